"""A point in a session's history as people write it: a seq, a checkpoint, an ISO time, or an age."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmspellfs.errors import InvalidValue
from llmspellfs.model.times import parse_age, span

_SEQ = re.compile(r"0|[1-9][0-9]{0,17}")
_CHECKPOINT = re.compile(r"c([1-9][0-9]{0,17})")
_TIME = re.compile(r"\d{4}-?\d{2}-?\d{2}.*|\d{4}-?W.*")


@dataclass(frozen=True, slots=True)
class Point:
    """One of four: the seq, the last nanosecond of a time, an age in nanoseconds, or the number of a checkpoint."""

    seq: int | None = None
    moment_ns: int | None = None
    age_ns: int | None = None
    checkpoint: int | None = None

    def at(self, now_ns: int) -> int:
        """Return the moment that a time or an age means at *now_ns*."""
        if self.moment_ns is not None:
            return self.moment_ns
        assert self.age_ns is not None
        return now_ns - self.age_ns


def parse_point(text: str) -> Point:
    """Return the point that *text* says: `12`, `2026-11-21T19:26:43Z`, `2026-11-21` (its end), `2h`, `c3`.

    Raises InvalidValue where it is none of these.
    """
    if _SEQ.fullmatch(text):
        return Point(seq=int(text))
    checkpoint = _CHECKPOINT.fullmatch(text)
    if checkpoint is not None:
        return Point(checkpoint=int(checkpoint[1]))
    age = parse_age(text)
    if age is not None:
        return Point(age_ns=age)
    if not _TIME.fullmatch(text):
        raise InvalidValue(text, "expected a seq, an ISO 8601 time, an age such as 2h or a checkpoint such as c3")
    return Point(moment_ns=span(text, text)[1])
