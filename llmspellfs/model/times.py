"""Moments: integers of nanoseconds since the epoch inside, ISO 8601 text in UTC at the doors."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from llmspellfs.errors import InvalidValue

NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(s|m|h|d|w)")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_WHOLE = re.compile(r"\d{4}-?(?:\d{2}-?\d{2}|W\d{2}-?\d)[T ]\d{2}(:?\d{2}(:?\d{2})?)?(?:Z|[+-]\d{2}:?\d{2})?")
"""A time to the hour, the minute (group 1) or the second (group 2), which means all of that."""


def iso(moment_ns: int) -> str:
    """Return *moment_ns* (since the epoch, UTC) as text like `2026-11-21T19:26:43.120394Z`."""
    seconds, rest = divmod(moment_ns, NS)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{rest // 1000:06d}Z"


def parse_iso(text: str) -> int:
    """Return the nanoseconds since the epoch of ISO 8601 *text*; without a zone it is UTC.

    Raises InvalidValue where *text* is no such time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(text, "expected an ISO 8601 time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    return (delta.days * 86400 + delta.seconds) * NS + delta.microseconds * 1000


def parse_age(text: str) -> int | None:
    """Return an age such as `2h` or `7d` in nanoseconds, or None where *text* is no age."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    return int(float(match[1]) * _AGE_SECONDS[match[2]] * NS)


def span(value: str | float, where: str) -> tuple[int, int]:
    """Return the first and the last nanosecond that *value* means.

    *value* is epoch seconds or ISO text. A whole second means all of that second, a minute alone all of that minute,
    a date alone all of that day, parts of a second all of that microsecond: an upper bound includes what it
    names. *where* names the value in errors.

    Raises InvalidValue where *value* is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidValue(where, "expected epoch seconds or an ISO 8601 time")
    if isinstance(value, str):
        return _text_span(value, where)
    if not abs(value) <= 1e11:
        raise InvalidValue(where, "expected epoch seconds or an ISO 8601 time")
    first = int(value * NS) if isinstance(value, float) else value * NS
    return first, first + NS - 1 if float(value).is_integer() else first


def _text_span(text: str, where: str) -> tuple[int, int]:
    try:
        if _DAY.fullmatch(text):
            first = parse_iso(date.fromisoformat(text).isoformat())
            return first, first + 86400 * NS - 1
        first = parse_iso(text)
    except (InvalidValue, ValueError):
        raise InvalidValue(where, f"expected epoch seconds or an ISO 8601 time, not {text!r}") from None
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return first, first + 999
    return first, first + (1 if whole[2] else 60 if whole[1] else 3600) * NS - 1
