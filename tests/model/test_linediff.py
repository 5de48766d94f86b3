"""Unified diffs: right for every input, short where that matters, and bounded in time."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from llmspellfs.model import linediff
from llmspellfs.model.linediff import unified

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "-- a\n", "++ b\n", "@@\n", "\n", "\r\n"]), max_size=40)
LAST = st.sampled_from([[], ["end"], ["a"]])


def applied(old: Sequence[str], diff: Sequence[str]) -> list[str]:
    """Return what a strict reader of *diff* makes of *old*; every count and context line must agree."""
    if not diff:
        return list(old)
    assert diff[:2] == ["--- x", "+++ y"]
    new: list[str] = []
    at, here = 0, 2
    while here < len(diff):
        match = _HUNK.fullmatch(diff[here])
        assert match is not None, diff[here]
        first, count, new_first, new_count = (1 if part is None else int(part) for part in match.groups())
        first, new_first = first - bool(count), new_first - bool(new_count)
        here += 1
        new += old[at:first]
        assert len(new) == new_first
        at = first
        while count or new_count:
            mark, line = diff[here][0], diff[here][1:] + "\n"
            here += 1
            if here < len(diff) and diff[here].startswith("\\"):
                line, here = line[:-1], here + 1
            if mark in " -":
                assert old[at] == line
                at, count = at + 1, count - 1
            if mark in " +":
                new.append(line)
                new_count -= 1
    return new + list(old[at:])


@given(TEXTS, LAST, TEXTS, LAST)
@example([], [], [], [])
@example([], [], [], ["a"])
@example(["a\n"], [], [], [])
def test_the_old_lines_with_the_diff_applied_are_the_new_ones(
    old: list[str], old_end: list[str], new: list[str], new_end: list[str]
) -> None:
    old, new = old + old_end, new + new_end
    diff = list(unified(old, new, "x", "y"))
    assert applied(old, diff) == new
    assert (diff == []) == (old == new)


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True))
def test_lines_that_are_there_once_are_matched(old: list[int], new: list[int]) -> None:
    left, right = ([f"{number}\n" for number in side] for side in (old, new))
    diff = list(unified(left, right, "x", "y"))
    assert applied(left, diff) == right
    removed = sum(line.startswith("-") for line in diff[2:])
    assert removed == len(old) - longest(old, new)


def longest(old: Sequence[int], new: Sequence[int]) -> int:
    row = [0] * (len(new) + 1)
    for number in old:
        above = list(row)
        for at, other in enumerate(new, 1):
            row[at] = above[at - 1] + 1 if other == number else max(above[at], row[at - 1])
    return row[-1]


def test_contexts_that_touch_are_one_hunk_and_others_two() -> None:
    old = [f"{number}\n" for number in range(30)]
    for gap, hunks in ((6, 1), (7, 2)):
        new = list(old)
        new[5], new[5 + gap + 1] = "x\n", "y\n"
        diff = list(unified(old, new, "x", "y"))
        assert sum(line.startswith("@@") for line in diff) == hunks
        assert applied(old, diff) == new


def test_a_block_added_to_repeating_text_is_found() -> None:
    block = ["{\n", "a\n", "}\n", "\n"]
    for old, new in ((block * 3, block * 4), (block * 4, block * 3), (block * 3, block + ["x\n"] + block * 2)):
        diff = list(unified(old, new, "x", "y"))
        assert applied(old, diff) == new
        assert sum(line[0] in "-+" for line in diff[2:]) == abs(len(new) - len(old))


def test_what_is_too_much_to_compare_is_replaced_whole() -> None:
    numbers = random.Random(1)
    old = [f"{numbers.randrange(20)}\n" for _ in range(30_000)]
    new = list(old)
    numbers.shuffle(new)
    diff = list(unified(old, new, "x", "y"))
    assert applied(old, diff) == new
    assert len(old) * len(new) > linediff._MAX_PAIRS
