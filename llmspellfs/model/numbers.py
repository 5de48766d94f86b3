"""Numbers that callers give: within what an index's columns and a clock in nanoseconds can hold."""

from __future__ import annotations

from llmspellfs.config import CENTURY_SECONDS, MOST
from llmspellfs.errors import InvalidValue


def whole(name: str, number: object) -> int:
    """Return *number* where it is a whole one of 0 or more; raise InvalidValue about *name*."""
    if type(number) is not int or not 0 <= number <= MOST:
        raise InvalidValue(name, f"expected a whole number of 0 or more, not {number!r}")
    return number


def page(limit: object, offset: object) -> tuple[int | None, int]:
    """Return *limit*, which may be None for none, and *offset*; raise InvalidValue."""
    return None if limit is None else whole("limit", limit), whole("offset", offset)


def seconds(name: str, number: float) -> float:
    """Return *number* of seconds, at most a century of them; raise InvalidValue about *name*."""
    if not number >= 0:  # which a NaN is not either
        raise InvalidValue(name, f"expected a number of seconds of 0 or more, not {number!r}")
    return min(number, CENTURY_SECONDS)
