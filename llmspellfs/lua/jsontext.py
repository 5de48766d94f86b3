"""`JSON.*`: JSON text to Lua values and back. Output is compact or indented, with keys in order, in UTF-8.

Tables that were parsed know whether they are lists, so that an empty or emptied one stays what it was; tables of a
script's own are told with `JSON.array` and `JSON.object`. What a table holds goes before its mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
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
        return {
            "parse": self.parse,
            "decode": self.parse,
            "stringify": self.stringify,
            "encode": self.stringify,
            "array": self._array,
            "object": self._object,
        }

    def parse(self, text: Raw = None) -> Raw:
        """Return what the JSON *text* says; raise InvalidValue with line and column where it is none."""
        if not isinstance(text, bytes):
            raise InvalidValue("JSON", f"expected a string, not {self._values.kind(text)}")
        value = read(text, "JSON")
        return self._values.null if value is None else self._values.to_lua(value)

    def stringify(self, value: Raw = None, options: Raw = None) -> bytes:
        """Return *value* as JSON; *options* is true, or a table with `pretty = true`, for indented text."""
        said = self._values.from_lua(value, "JSON", strict=True)
        return write(said, pretty=self._pretty(options))

    def _array(self, table: Raw = None) -> Raw:
        return self._marked(table, "JSON.array", self._values.as_array)

    def _object(self, table: Raw = None) -> Raw:
        return self._marked(table, "JSON.object", self._values.as_object)

    def _marked(self, table: Raw, where: str, mark: Callable[[Raw], Raw]) -> Raw:
        if table is None:
            return mark(self._values.table({}))
        if not self._values.is_table(table):
            raise InvalidValue(where, f"expected a table, not {self._values.kind(table)}")
        marked = mark(table)
        if marked is None:
            raise InvalidValue(where, "the table has a metatable of its own")
        return marked

    def _pretty(self, options: Raw) -> bool:
        if options is None or isinstance(options, bool):
            return options is True
        given = self._values.mapping(options, "JSON: options")
        unknown = sorted(given.keys() - {"pretty"})
        if unknown:
            raise InvalidValue("JSON: options", f"unknown key {unknown[0]!r}; expected pretty")
        return given.get("pretty") is True
