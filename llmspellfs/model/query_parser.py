"""The query language's words: what stands between spaces, its quotes and columns, but not its meaning.

Pure, and linear in the length of the text. A word is `[-][FIELD:]VALUE[,VALUE…]`; where a part is in quotes,
spaces, ":", "," and "-" have no meaning of their own, and a backslash takes the next character as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_QUERY = 8192
"""Characters of one query."""
_WILD = "*?["


@dataclass(frozen=True, slots=True)
class Char:
    """One character of a word with what quotes made of it."""

    char: str
    column: int
    quoted: bool
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A value and the column where it stood."""

    text: str
    pattern: str
    """The text with each escaped `*`, `?` and `[` as a class of its own, so that it matches itself only."""
    column: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a query; *field* is None for free words. Columns count from 1."""

    negated: bool
    field: str | None
    values: tuple[Piece, ...]
    column: int


def bad_query(why: str, column: int) -> InvalidValue:
    """Return the error that says *why* a query is bad, and at which *column* (from 1)."""
    return InvalidValue("query", f"{why} at column {column}")


def split_query(text: str) -> tuple[Word, ...]:
    """Return the words of the query *text*; raise InvalidValue saying where and why it is none."""
    if len(text) > MAX_QUERY:
        raise bad_query(f"more than {MAX_QUERY} characters", MAX_QUERY + 1)
    return tuple(_word(chars) for chars in _runs(_chars(text)))


def _chars(text: str) -> Iterator[Char]:
    """Yield the characters of *text*; each quote is told by an empty one, so that `""` is not nothing."""
    opened, escaped = 0, False
    for column, char in enumerate(text, 1):
        if char == "\0" or "\ud800" <= char <= "\udfff":
            raise bad_query("a character that is no text", column)
        if escaped:
            escaped = False
            yield Char(char, column, quoted=True, escaped=True)
        elif char == '"':
            opened = 0 if opened else column
            yield Char("", column, quoted=True)
        elif opened and char == "\\":
            escaped = True
        else:
            yield Char(char, column, quoted=bool(opened))
    if opened:
        raise bad_query("a quote that is not closed", opened)


def _runs(chars: Iterator[Char]) -> Iterator[list[Char]]:
    run: list[Char] = []
    for char in chars:
        if char.quoted or not char.char.isspace():
            run.append(char)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _word(chars: list[Char]) -> Word:
    column = chars[0].column
    negated = _is(chars[0], "-")
    rest = chars[1:] if negated else chars
    if not rest or (negated and _is(rest[0], "-")):
        raise bad_query("a word expected after '-'", column)
    colon = next((index for index, char in enumerate(rest) if _is(char, ":")), None)
    if colon is None:
        return Word(negated, None, _values(rest, column), column)
    field = "".join(char.char for char in rest[:colon])
    return Word(negated, field, _values(rest[colon + 1 :], rest[colon].column + 1), rest[0].column)


def _values(chars: list[Char], column: int) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    piece: list[Char] = []
    for char in chars:
        if _is(char, ","):
            pieces.append(_piece(piece, char.column))
            piece = []
        else:
            piece.append(char)
    end = chars[-1].column + 1 if chars else column
    return (*pieces, _piece(piece, end))


def _piece(chars: list[Char], column: int) -> Piece:
    if not chars:
        raise bad_query("a value expected", column)
    text = "".join(char.char for char in chars)
    pattern = "".join(f"[{c.char}]" if c.escaped and c.char in _WILD else c.char for c in chars)
    return Piece(text, pattern, chars[0].column)


def _is(char: Char, sign: str) -> bool:
    return char.char == sign and not char.quoted
