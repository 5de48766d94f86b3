"""What a query's words ask of one field: patterns, ranges and ids, and how their text is read.

Pure: the time is given by the caller. Every reader raises InvalidValue and nothing else, whatever the text,
and no regular expression gives back what it took, so that none runs away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from llmspellfs.errors import InvalidValue
from llmspellfs.model.times import parse_age, span

MAX_NUMBER = (1 << 63) - 1
"""What an index column holds at most; bounds beyond it mean it."""
MAX_PATTERN = 8192
"""Characters of one pattern."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([kmgKMG]?)")
_EPOCH_SECONDS = re.compile(r"[0-9]{9,11}")
_ID = re.compile(r"([0-9a-f-]{4,36})(?:/([0-9]{1,18})(?:/([0-9a-f]{1,64}))?)?")
_CLASS_OR_WILD = re.compile(r"\[[!^]?+\]?+[^\]]*+\]|[*?\[]")
_ONE_WILD = re.compile(r"\[([*?\[])\]")


@dataclass(frozen=True, slots=True)
class Match:
    """Text to be equal to or, where *is_glob*, a pattern as SQLite's GLOB reads it (`*`, `?`, `[…]`)."""

    text: str
    is_glob: bool = False


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A pattern of a whole path: one Match a component, None (from `**`) for any number of folders."""

    parts: tuple[Match | None, ...]
    whole: Match
    """The same for text that is no path, such as a session's name: `*` crosses slashes."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number or moment from *low* to *high*, both included; None is no bound."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class IdMatch:
    """A session's id or its beginning; with *sequence* and a hash's beginning, an artifact's."""

    session: str
    sequence: int | None = None
    content_hash: str = ""


Value: TypeAlias = Match | PathMatch | Range | IdMatch


def escape_glob(text: str) -> str:
    """Return the pattern that only *text* matches."""
    return re.sub(r"[*?\[]", r"[\g<0>]", text)


def read_pattern(text: str) -> Match:
    """Return what *text* matches: `[!x]` is `[^x]`, and a bracket that never closes is itself."""
    if len(text) > MAX_PATTERN:
        raise InvalidValue("pattern", f"more than {MAX_PATTERN} characters")
    if not _has_wild(_ONE_WILD.sub("", text)):
        return Match(_ONE_WILD.sub(r"\1", text))
    return Match(_CLASS_OR_WILD.sub(_wild, text), is_glob=True)


def read_name(text: str) -> Match | PathMatch:
    """Return the pattern *text* of a name: of its last component, or with "/" of the whole path."""
    if "/" not in text:
        return read_pattern(text)
    pieces = text.removeprefix("/").split("/")
    if "" in pieces:
        raise InvalidValue("name", f"a path without empty parts expected, not {text[:80]!r}")
    parts = _parts(pieces)
    if len(parts) == 2 and parts[0] is None and parts[1] is not None:
        return parts[1]
    return PathMatch(parts, read_pattern(text))


def read_size(operator: str, text: str) -> Range:
    """Return the sizes in bytes that *operator* and *text* (`10k`, `1.5M`, `2G`; k is 1024) mean."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidValue("size", f"a size such as 300, 10k, 1.5M or 2G expected, not {text[:40]!r}")
    number = match[1]
    unit = _UNITS[match[2].lower()]
    size = int(number) * unit if number.isdigit() else int(float(number) * unit)
    return compare(operator, size, size)


def read_time(operator: str, text: str, now_ns: int) -> Range:
    """Return the moments that *operator* and *text* mean: an ISO 8601 time, a day, or an age before *now_ns*.

    An age is compared as an age: `<1h` is less than an hour ago. A day is all of its nanoseconds, and so is a
    second.
    """
    age = parse_age(text) if len(text) <= 16 else None
    if age is not None:
        return _aged(operator, now_ns - age)
    try:
        first, last = span(int(text) if _EPOCH_SECONDS.fullmatch(text) else text, "time")
    except (InvalidValue, OverflowError):
        expected = "a time such as 2026-11-01 or 2026-11-01T10:00:00Z, or an age such as 2h or 7d, expected"
        raise InvalidValue("time", f"{expected}, not {text[:40]!r}") from None
    return compare(operator, first, last)


def read_id(text: str) -> IdMatch:
    """Return what *text* names: the id of a session or an artifact, or the beginning of one."""
    match = _ID.fullmatch(text)
    if match is None:
        raise InvalidValue("id", f"an id or its first characters (4 at least) expected, not {text[:80]!r}")
    return IdMatch(match[1], None if match[2] is None else int(match[2]), match[3] or "")


def compare(operator: str, first: int, last: int) -> Range:
    """Return what is *operator* (`>`, `>=`, `<`, `<=` or `=`) the stretch from *first* to *last*."""
    low = {">": last + 1, ">=": first, "=": first}.get(operator)
    high = {"<": first - 1, "<=": last, "=": last}.get(operator)
    return Range(None if low is None else _clamp(low), None if high is None else _clamp(high))


def _aged(operator: str, moment: int) -> Range:
    mirrored = {">": "<", ">=": "<=", "<": ">", "<=": ">="}.get(operator)
    if mirrored is None:
        raise InvalidValue("time", "< or > expected before an age")
    return compare(mirrored, moment, moment)


def _clamp(number: int) -> int:
    return max(-MAX_NUMBER, min(MAX_NUMBER, number))


def _parts(pieces: list[str]) -> tuple[Match | None, ...]:
    parts: list[Match | None] = []
    for piece in pieces:
        if piece != "**":
            parts.append(read_pattern(piece))
        elif not parts or parts[-1] is not None:
            parts.append(None)
    if parts[-1] is None:
        parts.append(Match("*", is_glob=True))
    return tuple(parts)


def _has_wild(text: str) -> bool:
    return any(found[0] != "[" for found in _CLASS_OR_WILD.finditer(text))


def _wild(found: re.Match[str]) -> str:
    sign = found[0]
    if sign == "[":
        return "[[]"
    return "[^" + sign[2:] if sign.startswith("[!") else sign
