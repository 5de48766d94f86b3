"""How what a script gives to the functions of the API is read, by the kinds of their arguments.

A function declares its arguments (`signatures.py`); `Arguments.bound` makes of it one that reads them as declared and
refuses what does not fit, naming the function, the argument, what was expected and what came:
`Artifact.store: argument 3 (name): expected a string, got nil`. Only the form is judged here; whether a thing is
there, and whether a value is allowed, is the service's matter, and is told with its place too (see `places`). What
comes beyond the declared is dropped, as Lua does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import InvalidName, InvalidValue
from llmspellfs.lua.kinds import Kind
from llmspellfs.lua.options import Options, texts
from llmspellfs.lua.places import Call, argument_place, placed
from llmspellfs.lua.signatures import SIGNATURES
from llmspellfs.lua.values import number_text
from llmspellfs.model.times import NS, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.kinds import Argument
    from llmspellfs.lua.values import Raw


_MOST_SECONDS = 1e11
"""As in `model.times.span`."""

Read = dict[str, Any]
"""A table of fields as it was read: each by its name, None where it was not given."""


class Arguments:
    """Reads what one script gives to functions."""

    def __init__(self, context: Context) -> None:
        """Read in the light of *context*, which knows the current session."""
        self._context, self._values = context, context.values
        self._readers: dict[Kind, Callable[[Raw, str, Argument], Any]] = {
            Kind.SESSION: self._session, Kind.ANY_SESSION: self._any_session, Kind.ARTIFACT: self._artifact,
            Kind.TEXT: self._text, Kind.CONTENT: self._content, Kind.PATH: self._path, Kind.COUNT: self._count,
            Kind.FLAG: self._flag, Kind.TIME: self._time, Kind.TEXTS: self._texts, Kind.PARENT: self._parent,
            Kind.OBJECT: self._object, Kind.JSON: self._json, Kind.POINT: self._point, Kind.TABLE: self._table,
            Kind.FILTER: self._filter, Kind.LIST: self._list, Kind.FUNCTION: self._function, Kind.VALUE: self._value,
            Kind.SECONDS: self._seconds,
        }  # fmt: skip

    def bound(self, module: str, functions: Mapping[str, Callable[..., object]]) -> dict[str, Callable[..., object]]:
        """Return the *functions* of *module*, each taking what a script gives and reading it as its signature says."""
        return {
            name: self.bind(call_name(module, name), SIGNATURES[f"{module}.{name}"], function)
            for name, function in functions.items()
        }

    def bind(self, called: str, takes: tuple[Argument, ...], function: Callable[..., object]) -> Callable[..., object]:
        """Return *function*, which messages call *called*, reading arguments as *takes* declares them."""
        plans = [
            (one, one.required, self._readers.get(one.kind), argument_place(called, place, one.name))
            for place, one in enumerate(takes, 1)
        ]
        rest = len(takes) - 1 if takes and takes[-1].kind is Kind.TAGS else None

        def call(*given: Raw) -> object:
            read: list[Any] = []
            for place, (argument, required, reader, where) in enumerate(plans):
                if reader is None:
                    read.append(self._tags(given[rest:], where))
                    continue
                value = given[place] if place < len(given) else None
                read.append(None if value is None and not required else reader(value, where, argument))
            try:
                return function(*read)
            except (InvalidName, InvalidValue) as error:
                raise placed(error, Call(called, takes, given), self._values) from None

        return call

    def read(self, value: Raw, where: str, argument: Argument) -> Any:
        """Return *value*, which messages call *where*, as *argument* declares it; raise InvalidValue."""
        return self._readers[argument.kind](value, where, argument)

    def _session(self, value: Raw, where: str, _: Argument) -> str:
        return self._context.session(value, where)

    def _any_session(self, value: Raw, where: str, argument: Argument) -> str | None:
        return None if value is None or value == b"" else self._named(value, where, argument)

    def _named(self, value: Raw, where: str, argument: Argument) -> str:
        named = self._context.named(value, where)
        if named is None:
            raise self._refused(value, where, argument)
        return named

    def _artifact(self, value: Raw, where: str, _: Argument) -> str:
        return self._context.artifact(value, where)

    def _text(self, value: Raw, where: str, _: Argument) -> str:
        return self._values.text(value, where)

    def _content(self, value: Raw, where: str, argument: Argument) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value).encode()
        raise self._refused(value, where, argument)

    def _path(self, value: Raw, where: str, argument: Argument) -> str:
        if isinstance(value, bytes) and value and b"\0" not in value:
            return os.fsdecode(value)
        raise self._refused(value, where, argument)

    def _count(self, value: Raw, where: str, argument: Argument) -> int:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 63:
            whole = int(value)
            if whole == value:
                return whole
        raise self._refused(value, where, argument)

    def _flag(self, value: Raw, where: str, argument: Argument) -> bool:
        if isinstance(value, bool):
            return value
        raise self._refused(value, where, argument)

    def _time(self, value: Raw, where: str, argument: Argument) -> str | float:
        if isinstance(value, bytes):
            return self._values.text(value, where)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise self._refused(value, where, argument)

    def _texts(self, value: Raw, where: str, argument: Argument) -> list[str]:
        if not self._values.is_table(value):
            raise self._refused(value, where, argument)
        return texts(self._values, value, where)

    def _tags(self, given: tuple[Raw, ...], where: str) -> list[str]:
        if len(given) == 1 and self._values.is_table(given[0]):
            return texts(self._values, given[0], where)
        return [self._values.text(tag, where) for tag in given or (None,)]

    def _parent(self, value: Raw, where: str, argument: Argument) -> str:
        return "" if value == b"" or self._values.is_null(value) else self._named(value, where, argument)

    def _object(self, value: Raw, where: str, argument: Argument) -> Read:
        if not self._values.is_table(value):
            raise self._refused(value, where, argument)
        found = self._values.from_lua(value, where)
        if isinstance(found, dict):
            return found
        if found:
            raise InvalidValue(where, f"expected {argument.kind.value}, got a list")
        return {}

    def _json(self, value: Raw, where: str, _: Argument) -> object:
        return self._values.from_lua(value, where)

    def _value(self, value: Raw, where: str, _: Argument) -> object:
        if value is None:
            raise InvalidValue(where, "expected a value, got nil; State.delete deletes, and JSON.null is a value")
        return self._values.from_lua(value, where)

    def _table(self, value: Raw, where: str, argument: Argument) -> Read:
        options = Options(self._values, value, where) if self._values.is_table(value) else None
        if options is None:
            raise self._refused(value, where, argument)
        read = {field.name: self._field(options, where, field) for field in argument.fields}
        if argument.is_open:
            read["rest"] = options.rest()
        options.done()
        return read

    def _field(self, options: Options, where: str, field: Argument) -> Any:
        spelt, value = options.taken(field.name, *field.aliases)
        return None if value is None else self._readers[field.kind](value, f"{where}.{spelt}", field)

    def _filter(self, value: Raw, where: str, argument: Argument) -> Read:
        if isinstance(value, bytes):
            return {**dict.fromkeys(field.name for field in argument.fields), "query": self._values.text(value, where)}
        return self._table(value, where, argument)

    def _point(self, value: Raw, where: str, argument: Argument) -> str:
        if isinstance(value, bytes):
            return self._values.text(value, where)
        if not self._values.is_table(value):
            raise self._refused(value, where, argument)
        told = self._table(value, where, argument)
        given = [name for name, part in told.items() if part is not None]
        if len(given) != 1:
            raise InvalidValue(where, f"expected one of checkpoint, seq and time, got {len(given)}")
        return _POINTS[given[0]](told[given[0]], f"{where}.{given[0]}")

    def _list(self, value: Raw, where: str, argument: Argument) -> Raw:
        if not self._values.is_table(value):
            raise self._refused(value, where, argument)
        return value

    def _seconds(self, value: Raw, where: str, argument: Argument) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # noqa: PLR0124  not NaN
            return value
        raise self._refused(value, where, argument)

    def _function(self, value: Raw, where: str, argument: Argument) -> Raw:
        if self._values.kind(value) != "function":
            raise self._refused(value, where, argument)
        return value

    def _refused(self, value: Raw, where: str, argument: Argument) -> InvalidValue:
        return InvalidValue(where, f"expected {argument.kind.value}, got {self._values.described(value)}")


_POINTS: dict[str, Callable[[Any, str], str]] = {
    "checkpoint": lambda number, _: f"c{number}",
    "seq": lambda number, _: str(number),
    "time": lambda time, where: time if isinstance(time, str) else _iso(time, where),
}


def _iso(seconds: float, where: str) -> str:
    if not 0 <= seconds <= _MOST_SECONDS:
        raise InvalidValue(where, f"expected epoch seconds or an ISO 8601 time, got {number_text(seconds)}")
    # A whole second means all of it, as its text does.
    text = iso(int(seconds * NS))
    return f"{text[:19]}Z" if float(seconds).is_integer() else text


def call_name(module: str, name: str) -> str:
    """Return how messages call the function *name* (words with underscores) of *module*."""
    first, *others = name.split("_")
    return f"{module}.{first}{''.join(map(str.title, others))}"
