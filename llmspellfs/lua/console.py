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
_LOCAL = re.compile(r"(\s*)local\s+(function\b|(?:[\w\s,]|<\s*const\s*>)*=)")
_CONST = re.compile(r"<\s*const\s*>")
_ODD = re.compile(r"[^\n\t -~]+")
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
        own = (self._answers.of(_look), self._answers.of(_visible))
        self._load("console", self._host, *own, _INSTRUCTIONS, words)

    def is_unfinished(self, code: str) -> bool:
        """Tell whether more text is needed before *code* can run."""
        found = [self._compiles(one) for one in (_as_expression(code), code)]
        return not any(whole for whole, _ in found) and any(could for _, could in found)

    def run(self, code: str) -> int | None:
        """Run *code* and print its values; return an exit status where it called os.exit, else None.

        Raises ScriptFailed, and KeyboardInterrupt.
        """
        chunk, first = self._as_chunk(code)
        self._host[b"listen"](first)
        status = self._execute(encode(chunk), b"=stdin", b"stdin")
        return status if isinstance(self._answers.ended, Leave) else None

    def end_line(self) -> None:
        """End the line of output that has begun, if one has, so that what is painted next does not cover it."""
        self._output.end_line()

    def names(self, path: str) -> list[str]:
        """Return what the last name of *path*, such as `Session.cr`, could be: globals, fields, keywords."""
        return decode(self._host[b"complete"](encode(path))).split()

    def _as_chunk(self, code: str) -> tuple[str, int]:
        """Return what is run for *code*, and from which of its results on they are shown.

        An expression stands behind a nil: a call alone would be a tail call, of whose line errors tell nothing.
        """
        candidates = ((_as_expression(code, "nil, "), 2), (_as_expression(code), 1), (_without_local(code), 1))
        return next((one for one in candidates if self._compiles(one[0])[0]), (code, 1))

    def _compiles(self, code: str) -> tuple[bool, bool]:
        whole, could = self._host[b"compiles"](encode(code))
        return whole, could


def _as_expression(code: str, before: str = "") -> str:
    rest = code.lstrip()
    return f"{code[: len(code) - len(rest)]}return {before}{rest.removeprefix('=')}"


def _without_local(code: str) -> str:
    match = _LOCAL.match(code)
    return f"{match[1]}{_CONST.sub('', match[2])}{code[match.end() :]}" if match else code


def _look() -> None:
    """Do nothing; but Python looks for signals when it is called."""


def _visible(text: bytes) -> bytes:
    """Return *text* with an escape, as Lua has it, for all that is not printable but line ends and tabs."""
    return encode(_ODD.sub(lambda found: "".join(map(_escaped, found[0])), decode(text)))


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x80 or char >= "\ud800" else f"\\u{{{code:x}}}"
