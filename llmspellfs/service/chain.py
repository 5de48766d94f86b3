"""The rule that the lines of an audit trail follow, one after another: what `verify` and a replay hold them against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmspellfs.model.event import FIRST_PREV, line_hash
from llmspellfs.model.times import iso
from llmspellfs.storage.audit import Line

_KEYS = ("seq", "kind", "prev", "at")


@dataclass(frozen=True, slots=True)
class Break:
    """One thing by which a line does not follow: of the `chain`, or of the `line` itself; *problem* is for people."""

    what: str
    expected: object
    got: object
    problem: str


class Chain:
    """The way through one trail, behind the line *last*, or before the first."""

    def __init__(self, last: Line | None = None) -> None:
        """Begin behind *last*, which is believed."""
        self.prev, self.seq, self._ends, self._at = FIRST_PREV, 0, 0, ""
        if last is not None:
            self.pass_by(last)

    def pass_by(self, line: Line) -> None:
        """Go on behind *line*, whatever it is."""
        self.prev, self.seq, self._ends, self._at = line_hash(_text(line)), line.seq, line.ends, _time(line)

    def breaks(self, line: Line, told: Mapping[str, Any]) -> Iterator[Break]:
        """Yield how *line*, which tells *told*, does not follow, the gravest first."""
        if not all(key in told for key in _KEYS):
            yield Break("line", "an event line", "one that cannot be read", "altered; not an event line")
        if (line.seq, told.get("seq")) != (self.seq + 1, self.seq + 1):
            found = told.get("seq") if line.seq == self.seq + 1 else line.seq
            yield Break("line", self.seq + 1, found, f"missing or out of order; found {told.get('seq')}")
        if told.get("prev") != self.prev:
            problem = "does not follow the event before it; one of the two was altered"
            yield Break("chain", self.prev, told.get("prev"), problem)
        ends = self._ends + len(_text(line).encode("utf-8", "replace")) + 1
        indexed, read = (line.kind, _time(line), line.ends), (told.get("kind"), told.get("at"), ends)
        for expected, got in zip(indexed, read, strict=True):
            if expected != got:
                yield Break("line", expected, got, "altered; the index disagrees with its line")
        if str(told.get("at", "")) < self._at:
            yield Break("line", f"{self._at} or later", told.get("at"), "altered; earlier than the event before it")


def _time(line: Line) -> str:
    """Return the time that the index has, or "" where that is none."""
    try:
        return iso(line.at_ns)
    except (TypeError, ValueError, OverflowError):
        return ""


def _text(line: Line) -> str:
    return line.text if isinstance(line.text, str) else ""
