"""A script that is typed: pieces of code one after another on one runtime, whose results are printed.

A piece is an expression (its values are printed, `=` before it may stand as in older Luas) or statements. A `local`
that begins a piece is there in the next ones too: it is made global, since each piece is a chunk of its own. It
belongs to one thread, the main one, where Python hears of Control-C: code that runs is stopped by KeyboardInterrupt,
at the next of Lua's instructions; a single call of a function of Lua's own, such as a pattern, is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from llmspellfs.lua.errors import Leave
from llmspellfs.lua.runtime import Script
from llmspellfs.lua.values import decode, encode

if TYPE_CHECKING:
    from llmspellfs.service.store import Store

_INSTRUCTIONS = 20_000
"""Lua instructions between two looks for an interrupt."""
_LOCAL = re.compile(r"(\s*)local\s+(?=function\b|[^<>=]+=)")
KEYWORDS: Final = (
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
)  # fmt: skip


class Console(Script):
    """A runtime for code that is typed; see `Script`."""

    def __init__(self, store: Store, **options: Any) -> None:
        """Take the *options* of Script."""
        super().__init__(store, **options)
        words = self._lua.table_from(dict.fromkeys((word.encode() for word in KEYWORDS), True))
        self._load("console", self._host, self._answering(_look), _INSTRUCTIONS, words)

    def is_unfinished(self, code: str) -> bool:
        """Tell whether more text is needed before *code* can run."""
        return not self._compiles(_as_expression(code))[0] and self._compiles(code)[1]

    def run(self, code: str) -> int | None:
        """Run *code* and print its values; return an exit status where it called os.exit, else None.

        Raises ScriptFailed, and KeyboardInterrupt.
        """
        self._host[b"listen"]()
        status = self._execute(encode(self._as_chunk(code)), b"=stdin", b"stdin")
        return status if isinstance(self._ended, Leave) else None

    def names(self, path: str) -> list[str]:
        """Return what the last name of *path*, such as `Session.cr`, could be: globals, fields, keywords."""
        return decode(self._host[b"complete"](encode(path))).split()

    def _as_chunk(self, code: str) -> str:
        candidates = (_as_expression(code), _LOCAL.sub(r"\1", code, count=1) if _LOCAL.match(code) else code)
        return next((one for one in candidates if self._compiles(one)[0]), code)

    def _compiles(self, code: str) -> tuple[bool, bool]:
        whole, could = self._host[b"compiles"](encode(code))
        return whole, could


def _as_expression(code: str) -> str:
    rest = code.lstrip()
    return f"{code[: len(code) - len(rest)]}return {rest.removeprefix('=')}"


def _look() -> None:
    """Do nothing; but Python looks for signals when it is called."""
