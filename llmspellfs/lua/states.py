"""`State.*`: values that scripts keep in the store, by key, or by scope and key.

`get`, `delete`: `([scope,] key)`; `set`: `([scope,] key, value)`; `list_keys([scope])`; and `update([scope,] key,
function)`, of which `callbacks.lua` is the half that calls the script's function. Without a scope it is `global`;
`session:ID` belongs to that session. nil is no value: it is refused, and `JSON.null` is one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from llmspellfs.lua.arguments import Arguments
from llmspellfs.lua.signatures import STATE
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
        self._arguments = Arguments(context)

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by their names as words with underscores; Lua has both spellings."""
        return {
            "get": self._either("get", self._get), "set": self._either("set", self._set),
            "delete": self._either("delete", self._delete),
            "list_keys": self._arguments.bind("State.list_keys", STATE["list_keys"], self._list_keys),
        }  # fmt: skip

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what `State.update` is made of; no script sees it."""
        return {"look": self._either("update", self._look), "swap": self._swap, "outrun": self._outrun}

    def _either(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        """Return *function* of a scope, a key and more as scripts call it, with the scope or without it."""
        called, takes, bind = f"State.{name}", STATE[name], self._arguments.bind
        whole, without = bind(called, takes, function), bind(called, takes[1:], partial(function, None))
        return lambda *given: (whole if len(given) >= len(takes) else without)(*given)

    def _get(self, scope: str | None, key: str) -> Raw:
        value = self._state.get(key, _ABSENT, scope=_scope(scope))
        return None if value is _ABSENT else self._shown(value)

    def _set(self, scope: str | None, key: str, value: object) -> bool:
        self._state.set(key, value, scope=_scope(scope))
        return True

    def _delete(self, scope: str | None, key: str) -> bool:
        return self._state.delete(key, scope=_scope(scope))

    def _list_keys(self, scope: str | None) -> Raw:
        return self._values.to_lua(self._state.list_keys(_scope(scope)))

    def _look(self, scope: str | None, key: str) -> tuple[Raw, ...]:
        seen = self._state.look(key, scope=_scope(scope))
        return (None, None) if seen is None else (self._shown(seen.value), seen.text.encode())

    def _swap(self, seen: Raw, value: Raw, key: Raw, scope: Raw = None) -> bool:
        """Set the key where it is still as it was *seen*; key and scope have been read once, by `look`."""
        before = None if seen is None else Stored(None, seen.decode())
        new = self._arguments.read(value, "State.update: what the function returned", STATE["set"][-1])
        where = None if scope is None else self._values.text(scope, "scope")
        return self._state.swap(self._values.text(key, "key"), before, new, scope=_scope(where))

    def _outrun(self, key: Raw = None) -> None:
        raise outrun(self._values.text(key, "key"))

    def _shown(self, value: object) -> Raw:
        return self._values.null if value is None else self._values.to_lua(value)


def _scope(scope: str | None) -> str:
    return GLOBAL if scope is None else scope
