"""`JSON.*`: JSON text to Lua values and back. Output is compact or indented, with keys in order, in UTF-8.

Tables that were parsed know whether they are lists, so that an empty or emptied one stays what it was; tables of a
script's own are told with `JSON.array` and `JSON.object`. What a table holds goes before its mark.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.options import Options
from llmspellfs.lua.places import argument_place
from llmspellfs.tools.json_text import read, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.values import Raw, Values


class JsonFunctions:
    """The functions of the globals `JSON` and `json`."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, values: Values) -> None:
        """Convert with *values*."""
        self._values = values

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by name."""
        called = {name: partial(self._parse, f"JSON.{name}") for name in ("parse", "decode")}
        return {
            **called, **{name: partial(self._stringify, f"JSON.{name}") for name in ("stringify", "encode")},
            "array": self._array, "object": self._object,
        }  # fmt: skip

    def parse(self, text: Raw = None) -> Raw:
        """Return what the JSON *text* says; raise InvalidValue with line and column where it is none."""
        return self._parse("JSON.parse", text)

    def stringify(self, value: Raw = None, options: Raw = None) -> bytes:
        """Return *value* as JSON; *options* is true, or a table with `pretty = true`, for indented text."""
        return self._stringify("JSON.stringify", value, options)

    def _parse(self, called: str, text: Raw = None) -> Raw:
        where = argument_place(called, 1, "text")
        if not isinstance(text, bytes):
            raise InvalidValue(where, f"expected a string, got {self._values.described(text)}")
        value = read(text, where)
        try:
            return self._values.null if value is None else self._values.to_lua(value)
        except InvalidValue as error:  # a number that Lua has not
            raise InvalidValue(where, error.expected) from None

    def _stringify(self, called: str, value: Raw = None, options: Raw = None) -> bytes:
        said = self._values.from_lua(value, argument_place(called, 1, "value"), strict=True)
        return write(said, pretty=self._pretty(options, argument_place(called, 2, "options")))

    def _array(self, table: Raw = None) -> Raw:
        return self._values.as_array(self._table(table, "JSON.array"))

    def _object(self, table: Raw = None) -> Raw:
        return self._values.as_object(self._table(table, "JSON.object"))

    def _table(self, table: Raw, called: str) -> Raw:
        if table is None:
            return self._values.table({})
        if not self._values.is_table(table):
            where = argument_place(called, 1, "table")
            raise InvalidValue(where, f"expected a table, got {self._values.described(table)}")
        return table

    def _pretty(self, raw: Raw, where: str) -> bool:
        if raw is None or isinstance(raw, bool):
            return raw is True
        options = Options(self._values, raw, where)
        _, pretty = options.taken("pretty")
        options.done()
        if pretty is not None and not isinstance(pretty, bool):
            raise InvalidValue(f"{where}.pretty", f"expected a boolean, got {self._values.described(pretty)}")
        return pretty is True
