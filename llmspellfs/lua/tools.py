"""`Tool.*`: the tools of `llmspellfs.tools` for scripts. A tool's own failure is in its answer, never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.lua.errors import message
from llmspellfs.tools.outcome import Outcome, explained
from llmspellfs.tools.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.values import Raw, Values
    from llmspellfs.tools.tool import Parameter, Tool


class ToolFunctions:
    """The functions of the global `Tool`."""

    ABSENT: frozenset[str] = frozenset()
    """Those that answer `nil, message` for what does not exist; `get` does so itself, for a broken tool too."""

    def __init__(self, values: Values, registry: Registry | None = None) -> None:
        """Convert with *values*; run the tools of *registry*, or all that there are."""
        self._values = values
        self._registry = Registry() if registry is None else registry

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by name."""
        return {"execute": self._execute, "list": self._list, "get": self._get, "exists": self._exists}

    def _execute(self, name: Raw = None, raw: Raw = None) -> Raw:
        tool, given = self._name(name, "execute"), self._table(raw)
        try:
            outcome = self._registry.execute(tool, {key: self._given(value, key) for key, value in given.items()})
            return self._answer(outcome)
        except Exception as error:  # noqa: BLE001  what a tool gives is anyone's, and may have no form in Lua
            return self._answer(Outcome(success=False, error=explained(error)))

    def _list(self) -> Raw:
        return self._values.to_lua(self._registry.names())

    def _get(self, name: Raw = None) -> Raw:
        wanted = self._name(name, "get")
        try:
            return self._described(wanted, self._registry.get(wanted))
        except (InvalidValue, NotFound) as error:
            return None, message(error)

    def _exists(self, name: Raw = None) -> bool:
        return self._registry.exists(self._name(name, "exists"))

    def _answer(self, outcome: Outcome) -> Raw:
        if not outcome.success:
            return self._values.record({"success": False, "error": outcome.error})
        result = self._values.null if outcome.result is None else self._values.to_lua(outcome.result)
        return self._values.record({"success": True, "result": result})

    def _described(self, name: str, tool: Tool) -> Raw:
        """Return what a tool says of itself; its parameters stand in order, and under their names too."""
        values, fields = self._values, [_fields(parameter) for parameter in tool.parameters]
        tables = [values.to_lua(one) for one in fields]
        named = values.table({str(one["name"]).encode(): table for one, table in zip(fields, tables, strict=True)})
        listed = values.array(tables)
        parameters = values.fall_through(listed, named, values.table({})) if tables else listed
        return values.record({"name": name, "description": tool.description, "parameters": parameters})

    def _given(self, value: Raw, where: str) -> object:
        return value if isinstance(value, bytes) else self._values.from_lua(value, where, strict=True)

    def _name(self, value: Raw, function: str) -> str:
        where = f"Tool.{function}: argument 1 (name)"
        if not isinstance(value, bytes):
            raise InvalidValue(where, f"expected a string, got {self._values.described(value)}")
        return self._values.text(value, where)

    def _table(self, value: Raw) -> dict[str, Raw]:
        where = "Tool.execute: argument 2 (parameters)"
        if value is not None and not self._values.is_table(value):
            raise InvalidValue(where, f"expected a table, got {self._values.described(value)}")
        return self._values.mapping(value, where)


def _fields(parameter: Parameter) -> dict[str, object]:
    fields = {
        "name": parameter.name,
        "type": parameter.type,
        "description": parameter.description,
        "required": parameter.required,
        "default": parameter.default,
        "choices": list(parameter.choices) or None,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
    }
    return {name: value for name, value in fields.items() if value is not None}
