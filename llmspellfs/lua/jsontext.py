"""`JSON.*`: JSON text to Lua values and back. Output is compact or indented, with keys in order, in UTF-8."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import parse_json

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
            "parse": self.parse, "decode": self.parse, "stringify": self.stringify, "encode": self.stringify
        }  # fmt: skip

    def parse(self, text: Raw = None) -> Raw:
        """Return what the JSON *text* says; raise InvalidValue with line and column where it is none."""
        if not isinstance(text, bytes):
            raise InvalidValue("JSON", f"expected a string, not {self._values.kind(text)}")
        value = parse_json(text, "JSON")
        return self._values.null if value is None else self._values.to_lua(value)

    def stringify(self, value: Raw = None, options: Raw = None) -> bytes:
        """Return *value* as JSON; *options* is true, or a table with `pretty = true`, for indented text."""
        said = self._values.from_lua(value, "JSON", strict=True)
        return write(said, pretty=self._pretty(options))

    def _pretty(self, options: Raw) -> bool:
        if options is None or isinstance(options, bool):
            return options is True
        return self._values.mapping(options, "JSON: options").get("pretty") is True


def write(value: object, *, pretty: bool) -> bytes:
    """Return *value* as JSON text in UTF-8, keys in order."""
    separators = None if pretty else (",", ":")
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        indent=2 if pretty else None,
        separators=separators,
    )
    return text.encode("utf-8")
