"""`State.*`: values that scripts keep in the store, by key, or by scope and key.

`get`, `delete`: `([scope,] key)`; `set`: `([scope,] key, value)`; `list_keys([scope])`; and `update([scope,] key,
function)`, of which `callbacks.lua` is the half that calls the script's function. Without a scope it is `global`;
`session:ID` belongs to that session. nil is no value: it is refused, and `JSON.null` is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.service.state import GLOBAL, Stored, outrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw

_ABSENT = object()


class StateFunctions:
    """The functions of the global `State`, over one script's *context*."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        """Work on the store of *context*."""
        self._values, self._state = context.values, context.store.state

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by their names as words with underscores; Lua has both spellings."""
        return {"get": self._get, "set": self._set, "delete": self._delete, "list_keys": self._list_keys}

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what `State.update` is made of; no script sees it."""
        return {"look": self._look, "swap": self._swap, "outrun": self._outrun}

    def _get(self, *given: Raw) -> Raw:
        scope, key = self._place("State.get", given)
        value = self._state.get(key, _ABSENT, scope=scope)
        return None if value is _ABSENT else self._shown(value)

    def _set(self, *given: Raw) -> bool:
        scope, key = self._place("State.set", given[:-1])
        where = f"State.set: argument {len(given)} (value)"
        self._state.set(key, self._stored(given[-1] if given else None, where), scope=scope)
        return True

    def _delete(self, *given: Raw) -> bool:
        scope, key = self._place("State.delete", given)
        return self._state.delete(key, scope=scope)

    def _list_keys(self, scope: Raw = None) -> Raw:
        where = "State.list_keys: argument 1 (scope)"
        return self._values.to_lua(self._state.list_keys(GLOBAL if scope is None else self._values.text(scope, where)))

    def _look(self, key: Raw = None, scope: Raw = None) -> tuple[Raw, ...]:
        seen = self._state.look(self._key(key), scope=self._scope(scope))
        return (None, None) if seen is None else (self._shown(seen.value), seen.text.encode())

    def _swap(self, seen: Raw, value: Raw, key: Raw = None, scope: Raw = None) -> bool:
        before = None if seen is None else Stored(None, seen.decode())
        new = self._stored(value, "State.update: what the function returned")
        return self._state.swap(self._key(key), before, new, scope=self._scope(scope))

    def _outrun(self, key: Raw = None) -> None:
        raise outrun(self._key(key))

    def _key(self, key: Raw) -> str:
        return self._values.text(key, "State.update: argument (key)")

    def _scope(self, scope: Raw) -> str:
        return GLOBAL if scope is None else self._values.text(scope, "State.update: argument 1 (scope)")

    def _place(self, function: str, given: tuple[Raw, ...]) -> tuple[str, str]:
        """Return the scope and the key that the arguments *given* of *function* say: `key` or `scope, key`."""
        if len(given) < 2:
            return GLOBAL, self._values.text(given[0] if given else None, f"{function}: argument 1 (key)")
        key = self._values.text(given[1], f"{function}: argument 2 (key)")
        if given[0] is None:
            return GLOBAL, key
        return self._values.text(given[0], f"{function}: argument 1 (scope)"), key

    def _stored(self, value: Raw, where: str) -> object:
        if value is None:
            raise InvalidValue(where, "expected a value, got nil; State.delete deletes, and JSON.null is a value")
        return self._values.from_lua(value, where)

    def _shown(self, value: object) -> Raw:
        return self._values.null if value is None else self._values.to_lua(value)
