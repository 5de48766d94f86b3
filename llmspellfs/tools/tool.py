"""What a tool is: its description, its parameters, its function; and how what is given is held against them.

Pure; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llmspellfs.errors import InvalidValue

Type: TypeAlias = Literal["string", "bytes", "integer", "number", "boolean", "array", "object", "any"]
"""string is UTF-8 text; bytes any string; any is what JSON can say."""

_EXPECTED: dict[Type, str] = {
    "string": "a string",
    "bytes": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table with names",
    "any": "any value",
}
_SHOWN = 80
"""Characters of a wrong value that its message repeats."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool: *description* is for people, *choices* and the bounds (inclusive) are checked."""

    name: str
    type: Type
    description: str
    required: bool = False
    default: object = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: object) -> object:
        """Return *value* as the tool's function takes it; raise InvalidValue where it is something else."""
        checked = _CHECKS[self.type](value)
        if checked is _WRONG and self.type == "any":
            raise InvalidValue(self.name, "a string that is not UTF-8 cannot be said in JSON")
        if checked is _WRONG:
            raise InvalidValue(self.name, f"expected {_EXPECTED[self.type]}, not {_said(value, self.type)}")
        if self.choices and checked not in self.choices:
            raise InvalidValue(self.name, f"expected one of {', '.join(self.choices)}, not {_said(checked)}")
        if isinstance(checked, int | float) and not self._within(checked):
            raise InvalidValue(self.name, f"expected {self._bounds()}, not {checked}")
        return checked

    def _within(self, number: float) -> bool:
        return (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)

    def _bounds(self) -> str:
        if self.minimum is None:
            return f"{self.maximum} at most"
        return f"{self.minimum} or more" if self.maximum is None else f"{self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what it does, in a line; its *function*, called with the *parameters* by name.

    For the values of its parameter `operation` that are in *isolated*, it runs in a child process that is ended when it
    takes more time or memory than `worker` allows; what goes in and comes out is then what JSON can say.
    """

    description: str
    function: Callable[..., object]
    parameters: tuple[Parameter, ...] = ()
    isolated: frozenset[str] = frozenset()

    def arguments(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return what the function is called with for what is *given*, each parameter once.

        Raises InvalidValue naming the parameter that is unknown, missing or wrong, and what was expected.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                expected = f"expected one of {', '.join(known)}" if known else "it takes none"
                raise InvalidValue(name[:_SHOWN], f"unknown parameter; {expected}")
        return {name: _taken(parameter, given) for name, parameter in known.items()}

    def is_isolated(self, arguments: Mapping[str, object]) -> bool:
        """Tell whether a call with *arguments* belongs into the child process."""
        return arguments.get("operation") in self.isolated


def _taken(parameter: Parameter, given: Mapping[str, object]) -> object:
    if parameter.name in given:
        return parameter.check(given[parameter.name])
    if parameter.required:
        choices = f" (one of {', '.join(parameter.choices)})" if parameter.choices else ""
        raise InvalidValue(parameter.name, f"expected {_EXPECTED[parameter.type]}{choices}, not nothing")
    return parameter.default


_WRONG = object()


def _text(value: object) -> object:
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else _WRONG
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return _WRONG


def _bytes(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else _WRONG


def _integer(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _WRONG


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    return value if math.isfinite(value) else _WRONG


def _boolean(value: object) -> object:
    return value if isinstance(value, bool) else _WRONG


def _array(value: object) -> object:
    # An empty table says neither which of the two it is.
    return [] if value == {} else value if isinstance(value, list) else _WRONG


def _object(value: object) -> object:
    return {} if value == [] else value if isinstance(value, dict) else _WRONG


def _any(value: object) -> object:
    return _text(value) if isinstance(value, bytes) else value


_CHECKS: dict[Type, Callable[[object], object]] = {
    "string": _text,
    "bytes": _bytes,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
    "any": _any,
}


def _said(value: object, wanted: Type | None = None) -> str:
    """Return *value*, or what kind it is, for a message about what was *wanted*."""
    if isinstance(value, bytes) and wanted == "string":
        return "one that is not UTF-8"
    if isinstance(value, str | bytes):
        return repr(value[:_SHOWN]).removeprefix("b")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value!r}"[:_SHOWN]
    return "null" if value is None else "a table"
