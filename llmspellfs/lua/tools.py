"""`Tool.*`: the tools that scripts call by name. A tool's own failure is in its answer, never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.lua import compression
from llmspellfs.lua.errors import message
from llmspellfs.lua.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.jsontext import JsonFunctions
    from llmspellfs.lua.values import Raw, Values

    Tool: TypeAlias = Callable[[Options], Raw]

_ABOUT = {
    "compression": "compress or decompress a string: gzip, zlib, zstd",
    "json-processor": "stringify a value as JSON, or parse JSON text",
}


class ToolFunctions:
    """The functions of the global `Tool`."""

    ABSENT = frozenset({"get"})
    """Those that answer `nil, message` for what does not exist."""

    def __init__(self, values: Values, json: JsonFunctions) -> None:
        """Convert with *values*, and speak JSON through *json*."""
        self._values, self._json = values, json
        self._tools: dict[str, Tool] = {
            "compression": self._compression,
            "json-processor": self._json_processor,
        }

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by name."""
        return {"execute": self._execute, "list": self._list, "get": self._get, "exists": self._exists}

    def _execute(self, name: Raw = None, raw: Raw = None) -> Raw:
        tool = self._named(name)
        try:
            options = Options(self._values, raw, self._values.text(name, "tool"))
            return self._values.record({"success": True, "result": tool(options)})
        except (SpellError, MemoryError) as error:
            return self._values.record({"success": False, "error": message(error)})

    def _list(self) -> Raw:
        return self._values.to_lua(sorted(self._tools))

    def _get(self, name: Raw = None) -> Raw:
        self._named(name)
        text = self._values.text(name, "tool")
        return self._values.record({"name": text, "description": _ABOUT[text]})

    def _exists(self, name: Raw = None) -> bool:
        return isinstance(name, bytes) and self._values.text(name, "tool") in self._tools

    def _named(self, name: Raw) -> Tool:
        text = self._values.text(name, "tool")
        if text not in self._tools:
            raise NotFound("tool", text)
        return self._tools[text]

    def _json_processor(self, options: Options) -> Raw:
        operation, value = options.text("operation"), options.raw("input")
        pretty = options.raw("pretty") is True
        options.done()
        if operation == "stringify":
            return self._json.stringify(value, pretty)
        if operation == "parse":
            return self._json.parse(value)
        raise InvalidValue("operation", f"expected stringify or parse, not {operation!r}")

    def _compression(self, options: Options) -> Raw:
        operation, algorithm = options.text("operation"), options.text("algorithm") or "gzip"
        data, level = options.raw("input"), options.integer("level")
        limit = options.integer("max_size")
        options.done()
        if not isinstance(data, bytes):
            raise InvalidValue("input", f"expected a string, not {self._values.kind(data)}")
        if operation == "compress":
            return compression.compress(algorithm, data, level)
        if operation == "decompress":
            return compression.decompress(algorithm, data, compression.MAX_OUTPUT if limit is None else limit)
        raise InvalidValue("operation", f"expected compress or decompress, not {operation!r}")
