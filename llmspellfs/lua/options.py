"""Tables of options that a script gives: each key read once, by its type; a key that nobody reads is refused.

A misspelt filter that went unnoticed would match everything, and what it matches is often deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from llmspellfs.lua.values import Raw, Values
    from llmspellfs.model.values import Json


class Options:
    """The table *raw* of options to the function *where*; nil is an empty one."""

    def __init__(self, values: Values, raw: Raw, where: str) -> None:
        """Raise InvalidValue where *raw* is no table with text keys."""
        self._values, self._where = values, where
        self._left = values.mapping(raw, where)
        self._known: list[str] = []

    def raw(self, *names: str) -> Raw:
        """Return what stands under the first of the *names* that is there; nil is None."""
        self._known.extend(names)
        found = [self._left.pop(name) for name in names if name in self._left]
        return found[0] if found else None

    def text(self, *names: str) -> str | None:
        """Return the text under one of the *names*."""
        value = self.raw(*names)
        return None if value is None else self._values.text(value, self._at(names))

    def integer(self, *names: str) -> int | None:
        """Return the whole number, 0 or more, under one of the *names*."""
        value = self.raw(*names)
        if value is None:
            return None
        number = self._values.integer(value, self._at(names))
        if number < 0:
            raise InvalidValue(self._at(names), f"expected 0 or more, not {number}")
        return number

    def moment(self, *names: str) -> str | float | None:
        """Return the time under one of the *names*: epoch seconds, or ISO text."""
        value = self.raw(*names)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        if isinstance(value, bytes):
            return self._values.text(value, self._at(names))
        kind = self._values.kind(value)
        raise InvalidValue(self._at(names), f"expected epoch seconds or an ISO 8601 time, not {kind}")

    def texts(self, *names: str) -> list[str] | None:
        """Return the list of text under one of the *names*."""
        value = self.raw(*names)
        return None if value is None else texts(self._values, value, self._at(names))

    def json(self, *names: str) -> Json:
        """Return the value under one of the *names* as JSON has it."""
        return self._values.from_lua(self.raw(*names), self._at(names))

    def rest(self) -> dict[str, Json]:
        """Return every key not read yet, as JSON has it, and take them as read."""
        rest, self._left = self._left, {}
        return {name: self._values.from_lua(value, f"{self._where}.{name}") for name, value in rest.items()}

    def done(self) -> None:
        """Raise InvalidValue where a key is left that nobody reads."""
        if self._left:
            known = ", ".join(sorted(self._known))
            raise InvalidValue(self._where, f"unknown key {min(self._left)!r}; expected one of {known}")

    def _at(self, names: tuple[str, ...]) -> str:
        return f"{self._where}.{names[0]}"


def texts(values: Values, value: Raw, where: str) -> list[str]:
    """Return the Lua list *value* as a list of text; raise InvalidValue where it is none."""
    return [values.text(item, f"{where}[{index}]") for index, item in enumerate(values.sequence(value, where), 1)]
