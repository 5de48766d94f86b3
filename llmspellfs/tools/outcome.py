"""How a call of a tool went. Pure; any thread."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from llmspellfs.errors import SpellError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went: *result*, or *error* in one line where it is no *success*."""

    success: bool
    result: object = None
    error: str | None = None


def explained(error: BaseException) -> str:
    """Return one line about what a tool raised; what nobody foresaw is logged with its traceback."""
    if isinstance(error, SpellError):
        return error.message
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, RecursionError):
        return "nested too deep"
    _log.debug("a tool failed", exc_info=error)
    return f"{type(error).__name__}: {error}".replace("\n", "\\n")
