"""Unified diffs of text, in a time that is bounded for every input.

Lines that both sides have exactly once are matched first (patience diff); stretches between them that have none are
matched by the longest common subsequence. Every step is paid from a budget; what is left when it is spent is shown as
replaced whole, which is a correct diff, if not the shortest. (difflib has no such bound: on 20,000 lines of which
every second one changed it takes most of a minute.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

CONTEXT = 3
"""Equal lines shown around a change."""
_BUDGET = 1 << 24
_MAX_PAIRS = 1 << 20
"""Pairs of lines in one stretch that may be compared; their table is in memory."""

_Range = tuple[int, int, int, int]
"""From and to in the old lines, from and to in the new ones."""


def unified(old: Sequence[str], new: Sequence[str], old_label: str, new_label: str) -> Iterator[str]:
    """Yield the lines, without their ends, of the unified diff of *old* and *new*, lines with their ends.

    Nothing where they are equal. A last line without an end is followed by the usual remark.
    """
    changes = _Matcher(old, new).changes()
    if changes:
        yield f"--- {old_label}"
        yield f"+++ {new_label}"
    for hunk in _hunks(changes):
        yield from _shown(hunk, old, new)


def _hunks(changes: Sequence[_Range]) -> Iterator[list[_Range]]:
    """Yield *changes* in groups whose contexts touch."""
    group: list[_Range] = []
    for change in changes:
        if group and change[0] - group[-1][1] > 2 * CONTEXT:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _shown(hunk: Sequence[_Range], old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    lead = min(CONTEXT, hunk[0][0])
    tail = min(CONTEXT, len(old) - hunk[-1][1])
    at, to, new_at, new_to = hunk[0][0] - lead, hunk[-1][1] + tail, hunk[0][2] - lead, hunk[-1][3] + tail
    yield f"@@ -{_extent(at, to)} +{_extent(new_at, new_to)} @@"
    for first, last, new_first, new_last in hunk:
        yield from _marked(" ", old[at:first])
        yield from _marked("-", old[first:last])
        yield from _marked("+", new[new_first:new_last])
        at = last
    yield from _marked(" ", old[at:to])


def _extent(first: int, last: int) -> str:
    if last - first == 1:
        return str(last)
    return f"{first + 1 if last > first else first},{last - first}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if line.endswith("\n"):
            yield mark + line[:-1]
        else:
            yield mark + line
            yield "\\ No newline at end of file"


class _Matcher:
    """Finds which lines of two sides are the same."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self._old, self._new = old, new
        self._left = _BUDGET
        self._same: list[tuple[int, int, int]] = []
        """Stretches that are the same: where in the old lines, where in the new ones, how many."""

    def changes(self) -> list[_Range]:
        """Return what differs, in order; none touches the next."""
        waiting = [(0, len(self._old), 0, len(self._new))]
        while waiting:
            waiting += self._match(waiting.pop())
        found, at, new_at = [], 0, 0
        for first, new_first, count in [*sorted(self._same), (len(self._old), len(self._new), 0)]:
            if first > at or new_first > new_at:
                found.append((at, first, new_at, new_first))
            at, new_at = first + count, new_first + count
        return found

    def _match(self, where: _Range) -> list[_Range]:
        """Match what is the same in *where*, and return the ranges in it that are to be looked at further."""
        first, last, new_first, new_last = self._trimmed(where)
        if first == last or new_first == new_last or not self._pay(last - first + new_last - new_first):
            return []
        anchors = self._anchors((first, last, new_first, new_last))
        if not anchors:
            self._match_longest((first, last, new_first, new_last))
            return []
        between = []
        for at, new_at in [*anchors, (last, new_last)]:
            between.append((first, at, new_first, new_at))
            first, new_first = at + 1, new_at + 1
        self._same += [(at, new_at, 1) for at, new_at in anchors]
        return between

    def _pay(self, steps: int) -> bool:
        if steps > self._left:
            return False
        self._left -= steps
        return True

    def _trimmed(self, where: _Range) -> _Range:
        """Match the beginning and the end that both sides share, and return the rest."""
        old, new = self._old, self._new
        first, last, new_first, new_last = where
        while first < last and new_first < new_last and old[first] == new[new_first]:
            first, new_first = first + 1, new_first + 1
        self._same.append((where[0], where[2], first - where[0]))
        while last > first and new_last > new_first and old[last - 1] == new[new_last - 1]:
            last, new_last = last - 1, new_last - 1
        self._same.append((last, new_last, where[1] - last))
        return first, last, new_first, new_last

    def _anchors(self, where: _Range) -> list[tuple[int, int]]:
        """Return the longest row of lines that both sides of *where* have once, in the same order."""
        first, last, new_first, new_last = where
        times, new_times = Counter(self._old[first:last]), Counter(self._new[new_first:new_last])
        places = {line: at for at, line in enumerate(self._new[new_first:new_last], new_first) if new_times[line] == 1}
        pairs = [
            (at, places[line])
            for at, line in enumerate(self._old[first:last], first)
            if times[line] == 1 and line in places
        ]
        return _longest_rising(pairs)

    def _match_longest(self, where: _Range) -> None:
        """Match the longest common subsequence of *where*, if that can be paid."""
        first, last, new_first, new_last = where
        old, new = self._old[first:last], self._new[new_first:new_last]
        pairs = len(old) * len(new)
        if pairs > _MAX_PAIRS or not self._pay(pairs):
            return
        lengths = [[0] * (len(new) + 1)]  # of what the last so many lines of both have in common
        for line in reversed(old):
            below, row = lengths[-1], [0]
            for count, other in enumerate(reversed(new)):
                row.append(below[count] + 1 if other == line else max(row[count], below[count + 1]))
            lengths.append(row)
        self._walk(lengths, where)

    def _walk(self, lengths: Sequence[Sequence[int]], where: _Range) -> None:
        at, last, new_at, new_last = where
        while at < last and new_at < new_last:
            if self._old[at] == self._new[new_at]:
                self._same.append((at, new_at, 1))
                at, new_at = at + 1, new_at + 1
            elif lengths[last - at - 1][new_last - new_at] >= lengths[last - at][new_last - new_at - 1]:
                at += 1
            else:
                new_at += 1


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest row of *pairs*, which rise in their first part, that rises in its second part too."""
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, value) in enumerate(pairs):
        at = bisect_left(ends, value)
        before.append(last[at - 1] if at else -1)
        ends[at : at + 1], last[at : at + 1] = [value], [number]
    row, number = [], last[-1] if last else -1
    while number >= 0:
        row.append(pairs[number])
        number = before[number]
    return row[::-1]
