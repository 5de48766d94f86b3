"""What the functions of one script share: the store, its conversions, who acts, and the current session.

It belongs to the script's thread.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from llmspellfs.errors import InvalidValue, NotFound, SessionNotActive
from llmspellfs.model.event import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmspellfs.lua.values import Raw, Values
    from llmspellfs.service.store import Store

DOOR = "lua"
_PARTS: Final = ("session_id", "sequence", "content_hash")


def _nowhere() -> tuple[str, ...]:
    return ()


class Context:
    """One script's view of a *store*."""

    def __init__(
        self,
        store: Store,
        values: Values,
        current: str | None = None,
        mounts: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """Act on *store* as its origin's actor, through the door `lua`.

        *mounts* gives the mount points where the store is mounted now.
        """
        self.store = store
        self.values = values
        self._presence = store.presence()
        self._is_at_work = False
        self._current = current
        self.mounts = mounts or _nowhere
        actor = store.origin.actor if store.origin else f"uid:{os.getuid()}"
        self.origin = Origin(actor, DOOR)

    @property
    def current(self) -> str | None:
        """The id of the current session, if there is one."""
        return self._current

    @current.setter
    def current(self, session_id: str | None) -> None:
        self._current = session_id
        if session_id is not None:
            self.hold(session_id)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have no session suspended as idle in which the script is at work: its current ones, and those it makes."""
        self._is_at_work = True
        if self._current is not None:
            self.hold(self._current)
        try:
            yield
        finally:
            self._is_at_work = False
            self._presence.free_all()

    def hold(self, session_id: str) -> None:
        """Note that the script is at work in the session, where it is active."""
        if self._is_at_work and self._presence.is_on:
            with suppress(SessionNotActive, NotFound):
                self._presence.hold(self.store.sessions.get(session_id).sid)

    def session(self, value: Raw, where: str = "session") -> str:
        """Return the session that *value* names; nil and "" name the current one. *where* names it in errors.

        Raises InvalidValue where there is no current session, or *value* is no string.
        """
        if value is None or value == b"":
            if self.current is None:
                raise InvalidValue(where, "none is given, and no current session is set")
            return self.current
        named = self.named(value, where)
        if named is None:
            raise InvalidValue(where, f"expected a session's id or name, got {self.values.described(value)}")
        return named

    def named(self, value: Raw, where: str) -> str | None:
        """Return the session's id or name that *value* is, or has, as what `Session.get` gives; None for all else."""
        named = dict(value.items()).get(b"id") if self.values.is_table(value) else value  # no metamethod is called
        return self.values.text(named, where) if isinstance(named, bytes) else None

    def artifact(self, value: Raw, where: str = "artifact") -> str:
        """Return the artifact that *value* names: its id or name, or a table with the id's three parts."""
        values = self.values
        if values.is_table(value):
            own = dict(value.items())  # no metamethod of a script's is called
            parts = [own.get(part.encode()) for part in _PARTS]
            if None in parts:
                raise InvalidValue(where, "expected a table with session_id, sequence and content_hash")
            return "/".join(values.text(item, f"{where}.{part}") for part, item in zip(_PARTS, parts, strict=True))
        if not isinstance(value, bytes):
            raise InvalidValue(where, f"expected an artifact's id or name, got {values.described(value)}")
        return values.text(value, where)
