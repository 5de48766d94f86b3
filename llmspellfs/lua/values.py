"""Values on their way between Python and one Lua runtime, both ways, checked as they cross.

Lua strings are bytes. Going in, text becomes UTF-8, and surrogates that stood for bytes that are not
UTF-8 become those bytes again; `None` inside a list or an object is `JSON.null`; integers beyond 64 bits
become floats, as Lua's own numerals do. Coming out, a table with the keys 1…n is a list, one with text
keys an object; an empty one is what its mark says, else an object. No Python object ever stands in a
table that goes in. A `Values` belongs to the thread of its runtime.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from lupa import lua54

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import MAX_DEPTH, Json

Raw: TypeAlias = Any
"""A value as lupa gives it: None, bool, int, float, bytes, or what wraps a table, function or thread."""

_NAMES = {bool: "boolean", int: "number", float: "number", bytes: "string", type(None): "nil"}
_CONVERTED = {str, int, float, bool, bytes, dict, list, tuple}
_LIMIT = 1 << 63


class Marks(NamedTuple):
    """What `tables.lua` gives for telling tables apart and for marking them."""

    look: Raw
    """From a table to its mark (`array`, `object`, `null` or nil) and its address."""
    as_array: Raw
    as_object: Raw
    fall_through: Raw
    """Lets a table of fields answer, for what is no field of its kind, from its table of custom values."""
    null: Raw


class Values:
    """The conversions of one runtime."""

    def __init__(self, lua: Raw, marks: Marks) -> None:
        """Convert for the runtime *lua*, with the functions that its prelude gave."""
        self._table_from = lua.table_from
        self._marks = marks

    def kind(self, value: Raw) -> str:
        """Return Lua's name of the type of *value*; a coroutine that has not begun is a function here."""
        known = _NAMES.get(type(value))
        return known if known is not None else str(lua54.lua_type(value) or "userdata")

    def described(self, value: Raw) -> str:
        """Return what a script is told that it gave: a number as it is, else the name of its type."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value)
        if value == b"":
            return "an empty string"
        return "JSON.null" if self.is_null(value) else self.kind(value)

    def is_table(self, value: Raw) -> bool:
        """Tell whether *value* is a table other than `JSON.null`."""
        return type(value) not in _NAMES and self.kind(value) == "table" and not self.is_null(value)

    def is_null(self, value: Raw) -> bool:
        """Tell whether *value* is `JSON.null`."""
        return type(value) not in _NAMES and self.kind(value) == "table" and self._marks.look(value)[0] == b"null"

    @property
    def null(self) -> Raw:
        """`JSON.null`."""
        return self._marks.null

    # Into Lua

    def to_lua(self, value: object) -> Raw:
        """Return *value* (what JSON can say, bytes, tuples) for Lua; None is nil, and `JSON.null` inside."""
        kind = type(value)
        if isinstance(value, str):
            return encode(value)
        if kind is int:
            return _number(value)  # type: ignore[arg-type]  # an int
        if kind in _NAMES:
            return value
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list | tuple):
            return self.as_array(self._table_from([self._inside(item) for item in value]))
        raise InvalidValue("value", f"{type(value).__name__} has no form in Lua")

    def array(self, items: Iterable[Raw]) -> Raw:
        """Return a table of the *items*, which are Lua's already; an empty one stays a list in JSON."""
        found = list(items)
        table = self._table_from(found)
        return table if found else self._marks.as_array(table)

    def as_array(self, table: Raw) -> Raw:
        """Return *table*, marked as a list, so that it is one in JSON while it is empty."""
        return self._marks.as_array(table)

    def as_object(self, table: Raw) -> Raw:
        """Return *table*, marked as an object; as in `as_array`."""
        return self._marks.as_object(table)

    def record(self, fields: Mapping[str, object]) -> Raw:
        """Return a table of named *fields*, without those that are None; wrapped tables stay themselves."""
        return self._table_from(self.fields(fields))

    def fields(self, fields: Mapping[str, object]) -> dict[bytes, Raw]:
        """Return named *fields* as Lua has them, for `table`; as in `record`."""
        return {name.encode(): self._field(value) for name, value in fields.items() if value is not None}

    def table(self, fields: dict[bytes, Raw]) -> Raw:
        """Return a table of *fields*, which are Lua's already."""
        return self._table_from(fields)

    def fall_through(self, fields: Raw, custom: Raw, names: Raw) -> Raw:
        """Let the table *fields* answer from *custom* for every key that is not in the table *names*."""
        return self._marks.fall_through(fields, custom, names)

    def _object(self, value: Mapping[str, object]) -> Raw:
        table = self._table_from({encode(key): self._inside(item) for key, item in value.items()})
        return table if value else self._marks.as_object(table)

    def _inside(self, value: object) -> Raw:
        return self._marks.null if value is None else self.to_lua(value)

    def _field(self, value: object) -> Raw:
        return self.to_lua(value) if type(value) in _CONVERTED else value

    # Out of Lua

    def from_lua(self, value: Raw, where: str, *, strict: bool = False) -> Json:
        """Return *value* as JSON has it; *where* names it in errors.

        Strings that are not UTF-8 are kept (as surrogates), or refused where *strict*. Raises
        InvalidValue at what JSON cannot say: functions, cycles, mixed and sparse tables, over 64 levels.
        """
        return self._json(value, where, strict, ())

    def mapping(self, value: Raw, where: str) -> dict[str, Raw]:
        """Return the table *value*, whose keys must be text, with its values as they are; nil is empty."""
        if value is None:
            return {}
        if not self.is_table(value):
            raise InvalidValue(where, f"expected a table, got {self.described(value)}")
        return {_key(key, where, self.kind(key)): item for key, item in value.items()}

    def sequence(self, value: Raw, where: str) -> list[Raw]:
        """Return the list *value* with its values as they are."""
        if not self.is_table(value):
            raise InvalidValue(where, f"expected a list, got {self.described(value)}")
        items = dict(value.items())
        if not _is_list(items):
            raise InvalidValue(where, "expected a list, with the keys 1, 2, 3…")
        return [items[index] for index in range(1, len(items) + 1)]

    def text(self, value: Raw, where: str) -> str:
        """Return the string or number *value* as text; raise InvalidValue where it is no UTF-8 text."""
        if isinstance(value, bytes):
            return _strictly(value, where, "expected UTF-8 text, got other bytes")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value)
        raise InvalidValue(where, f"expected a string, got {self.described(value)}")

    def _json(self, value: Raw, where: str, strict: bool, above: tuple[bytes, ...]) -> Json:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return _finite(value, where)
        if isinstance(value, bytes):
            return _strictly(value, where) if strict else decode(value)
        if self.kind(value) != "table":
            raise InvalidValue(where[:200], f"a {self.kind(value)} cannot be said in JSON")
        return self._json_table(value, where, strict, above)

    def _json_table(self, table: Raw, where: str, strict: bool, above: tuple[bytes, ...]) -> Json:
        mark, address = self._marks.look(table)
        if mark == b"null":
            return None
        if address in above:
            raise InvalidValue(where[:200], "a table that contains itself cannot be said in JSON")
        if len(above) >= MAX_DEPTH:
            raise InvalidValue(where[:200], f"nested more than {MAX_DEPTH} deep")
        items, within = dict(table.items()), (*above, address)
        if not items:
            return [] if mark == b"array" else {}
        if _is_list(items):
            places = [(index, f"{where}[{index}]") for index in range(1, len(items) + 1)]
            return [self._json(items[index], place, strict, within) for index, place in places]
        return self._json_object(items, where, strict, within)

    def _json_object(self, items: dict[Raw, Raw], where: str, strict: bool, within: tuple[bytes, ...]) -> Json:
        if any(type(key) is int for key in items):
            raise InvalidValue(where[:200], f"{_not_a_list(items)} cannot be said in JSON")
        keys = {_key(key, where, self.kind(key), strict): key for key in items}
        return {name: self._json(items[key], f"{where}.{name}", strict, within) for name, key in keys.items()}


def decode(raw: bytes) -> str:
    """Return a Lua string as text; bytes that are not UTF-8 become surrogates, so that they can come back."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return *text* as a Lua string: the reverse of `decode`; other lone surrogates as UTF-8 would."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _number(value: int) -> float:
    if -_LIMIT <= value < _LIMIT:
        return value
    try:
        return float(value)
    except OverflowError:
        raise InvalidValue("value", "an integer beyond the range of a number") from None


def number_text(value: float) -> str:
    """Return a number as Lua's tostring gives it."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.14g}"
    return text if not text.lstrip("-").isdigit() else f"{text}.0"


def _is_list(items: dict[Raw, Raw]) -> bool:
    # Lua has made each float key with a whole value an integer, and True must not pass for 1.
    return all(type(key) is int and 0 < key <= len(items) for key in items)


def _not_a_list(items: dict[Raw, Raw]) -> str:
    if any(isinstance(key, bytes) for key in items):
        return "a table with both positions and names"
    return "a list with gaps, or one that does not begin at 1,"


def _key(key: Raw, where: str, kind: str, strict: bool = False) -> str:
    if isinstance(key, bytes):
        return _strictly(key, where) if strict else decode(key)
    raise InvalidValue(where[:200], f"expected strings for keys, not a {kind}")


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise InvalidValue(where[:200], f"{value} cannot be said in JSON")
    return value


def _strictly(raw: bytes, where: str, why: str = "a string that is not UTF-8 cannot be said in JSON") -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(where[:200], why) from None
