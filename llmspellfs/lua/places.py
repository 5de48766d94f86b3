"""Where in a call a wrong value stood: what is said of a value below, told with the function and the argument.

The rooms below know neither; they name what they judge (`sort_by`, `tags`) or repeat it. Which argument that is
follows from what the function declares and what the script gave, as in `Session.list: argument 1 (filter).sort_by:
expected one of …`. No metamethod of a script's is called.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmspellfs.errors import InvalidName, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmspellfs.lua.kinds import Argument
    from llmspellfs.lua.values import Raw, Values

_SHOWN: Final = 40
"""Characters of a wrong text that its message repeats."""
_NAMED: Final = frozenset({"name", "artifact", "path"})
"""Arguments that an invalid name may have come from."""
_BELOW: Final = {"artifact": {"artifact id"}, "name_pattern": {"pattern"}, "search": {"words"}}
"""Other names that arguments go by below."""
_SAYS_WHAT_CAME: Final = re.compile(r", (not|got) ")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the function that messages call *called*, which *takes* what is declared, with what was *given*."""

    called: str
    takes: tuple[Argument, ...]
    given: tuple[Raw, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    """A value of a call: the *names* it goes by, *where* it stood, and what it is."""

    names: frozenset[str]
    where: str
    raw: Raw


def argument_place(called: str, place: int, name: str) -> str:
    """Return how messages name the argument *name*, which is the *place*-th (from 1) of the function *called*."""
    return f"{called}: argument {place} ({name})"


def placed(error: InvalidName | InvalidValue, call: Call, values: Values) -> InvalidValue:
    """Return *error*, which was raised in *call*, so that it names the function, and the argument if it is one's."""
    if isinstance(error, InvalidName):
        return _placed_name(error, call, values)
    if error.message.startswith(f"{call.called}: "):
        return error
    found = _meant(error, list(_everything(call, values)))
    if found is None or error.message.startswith("item "):
        return InvalidValue(call.called, error.message)
    one, tail = found
    return InvalidValue(f"{one.where}{tail}", _with_what_came(error.expected, one.raw, values))


def _placed_name(error: InvalidName, call: Call, values: Values) -> InvalidValue:
    named = [one for one in _everything(call, values) if one.names & _NAMED and isinstance(one.raw, bytes)]
    exact = [one for one in named if error.name in {_text(one.raw), os.path.basename(_text(one.raw))}]
    one = next(iter(exact or named), None)
    return InvalidValue(call.called if one is None else one.where, error.message)


def _meant(error: InvalidValue, given: list[_Given]) -> tuple[_Given, str] | None:
    """Return which of *given* the *error* is about, and which part of it: one that it names, else one it repeats."""
    head, tail = _parted(error.where)
    named = next((one for one in given if head in one.names), None)
    if named is not None:
        return named, tail
    repeated = next((one for one in given if isinstance(one.raw, bytes) and _text(one.raw) == error.where), None)
    return None if repeated is None else (repeated, "")


def _parted(where: str) -> tuple[str, str]:
    """Return the name in *where* and what follows it; a value of `State` goes by its key below."""
    if where.startswith("state "):
        return "value", ""
    head = re.match(r"[^.\[]*", where)
    assert head is not None
    return head[0], where[head.end() :]


def _everything(call: Call, values: Values) -> Iterator[_Given]:
    for place, (argument, raw) in enumerate(zip(call.takes, call.given, strict=False), 1):
        if raw is not None:
            yield from _within(argument, argument.name, argument_place(call.called, place, argument.name), raw, values)


def _within(argument: Argument, spelt: str, where: str, raw: Raw, values: Values) -> Iterator[_Given]:
    """Yield *raw*, which was given as *argument*, and what is in it."""
    names = {spelt, argument.name, *argument.aliases, *_BELOW.get(argument.name, ())}
    if argument.is_open:
        names.add("custom")
    is_table = values.is_table(raw)
    if argument.fields and not is_table:
        names.add("query")
    yield _Given(frozenset(names), where, raw)
    if is_table:
        own = dict(raw.items())
        for field, key in _spellings(argument.fields):
            if own.get(key.encode()) is not None:
                yield from _within(field, key, f"{where}.{key}", own[key.encode()], values)


def _spellings(fields: Iterable[Argument]) -> Iterator[tuple[Argument, str]]:
    return ((field, key) for field in fields for key in (field.name, *field.aliases))


def _with_what_came(said: str, raw: Raw, values: Values) -> str:
    if "expected" not in said or _SAYS_WHAT_CAME.search(said):
        return said
    return f"{said}, got {repr(_text(raw)[:_SHOWN]) if isinstance(raw, bytes) else values.described(raw)}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
