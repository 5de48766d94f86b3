"""Tables of options that a script gives: each key is taken once, and a key that nobody takes is refused.

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

    def taken(self, *names: str) -> tuple[str, Raw]:
        """Return which of the *names*, which mean the same, is there, and what stands under it; nil is None.

        Raises InvalidValue where several are there.
        """
        self._known.append(names[0])
        given = [name for name in names if name in self._left]
        if len(given) > 1:
            raise InvalidValue(self._where, f"{' and '.join(given)} are the same; expected one of them")
        return (given[0], self._left.pop(given[0])) if given else (names[0], None)

    def rest(self) -> dict[str, Json]:
        """Return every key not read yet, as JSON has it, and take them as read."""
        rest, self._left = self._left, {}
        return {name: self._values.from_lua(value, f"{self._where}.{name}") for name, value in rest.items()}

    def done(self) -> None:
        """Raise InvalidValue where a key is left that nobody reads."""
        if self._left:
            known = ", ".join(sorted(self._known))
            raise InvalidValue(self._where, f"unknown key {min(self._left)!r}; expected one of {known}")


def texts(values: Values, value: Raw, where: str) -> list[str]:
    """Return the Lua list *value* as a list of text; raise InvalidValue where it is none."""
    return [values.text(item, f"{where}[{index}]") for index, item in enumerate(values.sequence(value, where), 1)]
