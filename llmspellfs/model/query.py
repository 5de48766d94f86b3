"""The query language: one meaning behind `find`, `Artifact.query`, `Session.list` and `search/`.

A query is terms that must all hold; a term is a field and the values of which one must hold. `parse_query`
makes one of text, `filters` of the options that a script gives. Pure: the time is given, and what a query
finds is up to `storage.search`. `labels` says which tags and metadata a query can ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.model.query_parser import Piece, Word, bad_query, split_query
from llmspellfs.model.query_values import (
    MAX_NUMBER,
    Match,
    Range,
    Value,
    compare,
    read_id,
    read_name,
    read_pattern,
    read_size,
    read_time,
)
from llmspellfs.model.session import parse_status
from llmspellfs.model.times import span
from llmspellfs.model.values import canonical, check_tags, check_type, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

META = "meta."
"""What the field of a metadata key begins with, as its label's key does."""
WORDS = "words"
"""The field of free words, which has no name in the language."""
PARENT = "parent"
"""The field of a parent session's id, which only `filters` makes."""
MAX_VALUES = 200
"""Values of all terms of one query together; SQL has bounds of its own beyond."""
MAX_LABEL = 256
"""Characters of a label's value."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: of *field* at least one of *values* holds, or, where *negated*, none does."""

    field: str
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that must all hold; without any, everything is found."""

    terms: tuple[Term, ...] = ()

    def __and__(self, other: Query) -> Query:
        """Return the query that asks for both."""
        return Query(self.terms + other.terms)

    @property
    def has_words(self) -> bool:
        """Whether it asks for free words, and so needs the full-text index brought up to date."""
        return any(term.field == WORDS for term in self.terms)


def parse_query(text: str, now_ns: int) -> Query:
    """Return the query that *text* says; ages count from *now_ns* (nanoseconds since the epoch).

    Raises InvalidValue saying why and at which column, and nothing else, whatever the text.
    """
    words = split_query(text)
    total = 0
    for word in words:
        total += len(word.values)
        if total > MAX_VALUES:
            raise bad_query(f"more than {MAX_VALUES} values", word.column)
    return Query(tuple(_term(word, now_ns) for word in words))


def filters(
    *,
    status: str | None = None,
    tags: Iterable[str] | None = (),
    name_pattern: str | None = None,
    artifact_type: str | None = None,
    created_after: str | float | None = None,
    created_before: str | float | None = None,
    updated_after: str | float | None = None,
    updated_before: str | float | None = None,
    min_size: float | None = None,
    max_size: float | None = None,
    parent: str | None = None,
    words: str | None = None,
) -> Query:
    """Return the query of the options given, all of which must hold; None and empty *tags* ask for nothing.

    Times are epoch seconds or ISO text and include what they name; sizes are bytes and included; *parent* is
    a session's id; *words* is free words. Raises InvalidValue naming the option.
    """
    terms = [Term("tag", (Match(tag),)) for tag in check_tags(tags)]
    if status is not None:
        terms.append(Term("status", (Match(parse_status(status)),)))
    if artifact_type is not None:
        terms.append(Term("type", (Match(check_type(artifact_type)),)))
    if name_pattern is not None:
        terms.append(Term("name", (read_name(_text(name_pattern, "name_pattern")),)))
    if parent is not None:
        terms.append(Term(PARENT, (Match(_text(parent, "parent")),)))
    terms += _times("created", created_after, created_before) + _times("updated", updated_after, updated_before)
    terms += _sizes(min_size, max_size)
    terms += [Term(WORDS, (Match(word),)) for word in _text(words or "", "words").split()]
    if len(terms) > MAX_VALUES:
        raise InvalidValue("query", f"more than {MAX_VALUES} values")
    return Query(tuple(terms))


def labels(tags: Iterable[str], metadata: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the (key, value) pairs that find *tags* and *metadata*: `tag`, and `meta.KEY` of scalars."""
    found = [("tag", tag) for tag in dict.fromkeys(tags)]
    return found + [(META + key, text[:MAX_LABEL]) for key, text in scalars(metadata)]


def scalars(metadata: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the top-level scalars of *metadata*, each with its key: text as itself, else as JSON.

    Bytes that were not UTF-8 are shown as escapes.
    """
    return [
        (_sayable(key), _sayable(value) if isinstance(value, str) else canonical(value))
        for key, value in metadata.items()
        if value is None or isinstance(value, str | int | float)
    ]


def _sayable(text: str) -> str:
    return text if is_text(text) else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _term(word: Word, now_ns: int) -> Term:
    field, read = _reader(word, now_ns)
    return Term(field, tuple(_read(read, piece) for piece in word.values), word.negated)


def _read(read: Callable[[Piece], Value], piece: Piece) -> Value:
    try:
        return read(piece)
    except InvalidValue as error:
        raise bad_query(error.expected, piece.column) from None


def _reader(word: Word, now_ns: int) -> tuple[str, Callable[[Piece], Value]]:
    if word.field is None:
        return WORDS, _free_words
    if word.field.startswith(META) and word.field != META:
        return word.field, _label
    if word.field in {"created", "updated"}:
        return word.field, lambda piece: _moment(piece, now_ns)
    if word.field not in _READERS:
        known = ", ".join([*_READERS, "created", "updated", "meta.KEY"])
        raise bad_query(f"unknown field {word.field[:40]!r} (known: {known}; in quotes it is free words)", word.column)
    return word.field, _READERS[word.field]


def _free_words(piece: Piece) -> Match:
    if not piece.text.strip():
        raise InvalidValue("words", "a word expected")
    return Match(piece.text)


def _label(piece: Piece) -> Match:
    match = read_pattern(piece.pattern)
    return match if match.is_glob else Match(match.text[:MAX_LABEL])


def _type(piece: Piece) -> Match:
    match = read_pattern(piece.pattern)
    return match if match.is_glob else Match(check_type(match.text))


def _size(piece: Piece) -> Range:
    return read_size(*_operator(piece.text))


def _moment(piece: Piece, now_ns: int) -> Range:
    operator, text = _operator(piece.text)
    return read_time(operator, text, now_ns)


def _operator(text: str) -> tuple[str, str]:
    for sign in (">=", "<=", ">", "<", "="):
        if text.startswith(sign):
            return sign, text.removeprefix(sign).strip()
    return "=", text


_READERS: dict[str, Callable[[Piece], Value]] = {
    "type": _type,
    "tag": lambda piece: read_pattern(piece.pattern),
    "name": lambda piece: read_name(piece.pattern),
    "size": _size,
    "session": lambda piece: read_pattern(piece.pattern),
    "status": lambda piece: Match(parse_status(piece.text)),
    "mime": lambda piece: read_pattern(piece.pattern),
    "id": lambda piece: read_id(piece.text),
}


def _times(field: str, after: str | float | None, before: str | float | None) -> list[Term]:
    terms = []
    if after is not None:
        terms.append(Term(field, (compare(">=", *_span(after, f"{field}_after")),)))
    if before is not None:
        terms.append(Term(field, (compare("<=", *_span(before, f"{field}_before")),)))
    return terms


def _span(value: str | float, where: str) -> tuple[int, int]:
    try:
        return span(value, where)
    except OverflowError:
        raise InvalidValue(where, "expected epoch seconds or an ISO 8601 time") from None


def _sizes(least: float | None, most: float | None) -> list[Term]:
    low, high = _bytes(least, "min_size"), _bytes(most, "max_size")
    return [] if low is None and high is None else [Term("size", (Range(low, high),))]


def _bytes(size: float | None, where: str) -> int | None:
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float) or math.isnan(size):
        raise InvalidValue(where, "expected a number of bytes")
    return int(max(-1, min(size, MAX_NUMBER)))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 8192:
        raise InvalidValue(where, "expected text without NUL, of at most 8192 characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidValue(where, "expected text that is UTF-8") from None
    return value
