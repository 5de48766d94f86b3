"""Values that scripts keep in the store, by scope and key; `store.state`.

Each call is one transaction. Values are not part of any session's history. A scope is any text; `session:ID` belongs
to the session with that id: it must be there when something is set, in any status, and its purge erases the scope.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.model.values import Json, canonical, check_metadata, is_text
from llmspellfs.service.engine import Engine
from llmspellfs.storage import sessions, state
from llmspellfs.storage.index import Connection

GLOBAL = "global"
"""The scope of what no other is given for."""
MAX_KEY = 255
"""Bytes of a key, and of a scope."""
TRIES = 100
"""How often an update is tried again after others changed the value meanwhile."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as it was seen: *text* is what stands in the store, which `swap` compares with."""

    value: Json
    text: str


class State:
    """Every value that scripts keep in a store; any thread may call."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine

    def get(self, key: str, default: Any = None, *, scope: str = GLOBAL) -> Any:
        """Return the value of *key*, or *default* where there is none; raise InvalidValue for what is no key."""
        seen = self.look(key, scope=scope)
        return default if seen is None else seen.value

    def look(self, key: str, *, scope: str = GLOBAL) -> Stored | None:
        """Return the value of *key* as `swap` takes it, or None."""
        _check_place(scope, key)
        with self._engine.index.read() as db:
            text = state.load(db, scope, key)
        self._tell(scope, key, text)
        return None if text is None else Stored(json.loads(text), text)

    def set(self, key: str, value: Any, *, scope: str = GLOBAL) -> None:
        """Set *key* to *value*, anything that JSON can say in at most 1 MiB.

        Raises InvalidValue, and NotFound where the scope's session is not there.
        """
        text = _to_text(value, key)
        _check_place(scope, key)
        with self._engine.index.write() as db:
            _check_owner(db, scope)
            state.store(db, scope, key, text, self._engine.now())
        self._tell(scope, key, None)

    def swap(self, key: str, seen: Stored | None, value: Any, *, scope: str = GLOBAL) -> bool:
        """Set *key* to *value* if its value is still as *seen* (None: not there); tell whether it was.

        Raises as `set`.
        """
        text = _to_text(value, key)
        _check_place(scope, key)
        with self._engine.index.write() as db:
            if state.load(db, scope, key) != (None if seen is None else seen.text):
                return False
            _check_owner(db, scope)
            state.store(db, scope, key, text, self._engine.now())
            return True

    def update(self, key: str, change: Callable[[Any], Any], *, scope: str = GLOBAL) -> Any:
        """Set *key* to what *change* makes of its value (None where there is none) and return that.

        *change* runs outside any transaction, and again where somebody else has changed the value meanwhile. Raises
        as `set`, and SpellError where that happened 100 times.
        """
        for _ in range(TRIES):
            seen = self.look(key, scope=scope)
            value = change(None if seen is None else seen.value)
            if self.swap(key, seen, value, scope=scope):
                return value
        raise outrun(key)

    def delete(self, key: str, *, scope: str = GLOBAL) -> bool:
        """Delete *key* and tell whether it was there."""
        _check_place(scope, key)
        with self._engine.index.write() as db:
            before = None if self._engine.witness is None else state.load(db, scope, key)
            was_there = state.delete(db, scope, key)
        self._tell(scope, key, before)
        return was_there

    def list_keys(self, scope: str = GLOBAL) -> list[str]:
        """Return the keys of *scope*, in order."""
        _check_name(scope, "scope")
        with self._engine.index.read() as db:
            found = state.keys(db, scope)
            for key in found if self._engine.witness is not None else ():
                self._tell(scope, key, state.load(db, scope, key))
        return found

    def _tell(self, scope: str, key: str, text: str | None) -> None:
        if (witness := self._engine.witness) is not None:
            witness.looked(scope, key, text)


def outrun(key: str) -> SpellError:
    """Return the error for an update of *key* that others were always faster than."""
    return SpellError(f"state {key}: others changed it {TRIES} times while it was being updated")


def _check_place(scope: str, key: str) -> None:
    _check_name(scope, "scope")
    _check_name(key, "key")


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not name or not is_text(name) or "\0" in name:
        raise InvalidValue(where, f"expected text, not {name!r}")
    if len(name.encode("utf-8")) > MAX_KEY:
        raise InvalidValue(where, f"more than {MAX_KEY} bytes")


def _to_text(value: object, key: str) -> str:
    return canonical(check_metadata({"value": value}, f"state {key}")["value"])


def _check_owner(db: Connection, scope: str) -> None:
    """Raise NotFound where *scope* belongs to a session that is not there."""
    if scope.startswith(state.SESSION):
        owner = scope.removeprefix(state.SESSION)
        if sessions.by_id(db, owner) is None:
            raise NotFound("session", owner)
