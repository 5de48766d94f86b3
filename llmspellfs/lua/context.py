"""What the functions of one script share: the store, its conversions, who acts, and the current session.

It belongs to the script's thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.model.event import Origin

if TYPE_CHECKING:
    from llmspellfs.lua.values import Raw, Values
    from llmspellfs.service.store import Store

DOOR = "lua"
_SESSION = "session"


class Context:
    """One script's view of a *store*; `current` is the id of its current session, if it has one."""

    def __init__(self, store: Store, values: Values, current: str | None = None) -> None:
        """Act on *store* as its origin's actor, through the door `lua`."""
        self.store = store
        self.values = values
        self.current = current
        actor = store.origin.actor if store.origin else f"uid:{os.getuid()}"
        self.origin = Origin(actor, DOOR)

    def session(self, value: Raw) -> str:
        """Return the session that *value* names; nil and "" name the current one.

        Raises InvalidValue where there is no current session, or *value* is no string.
        """
        if value is None or value == b"":
            if self.current is None:
                raise InvalidValue(_SESSION, "none is given, and no current session is set")
            return self.current
        if not isinstance(value, bytes):
            raise InvalidValue(_SESSION, f"expected an id or a name, not a {self.values.kind(value)}")
        return self.values.text(value, _SESSION)

    def artifact(self, value: Raw) -> str:
        """Return the artifact that *value* names: its id or name, or a table with the id's three parts."""
        values = self.values
        if values.is_table(value):
            parts = {part: value[part.encode()] for part in ("session_id", "sequence", "content_hash")}
            if None not in parts.values():
                return "/".join(values.text(item, part) for part, item in parts.items())
            raise InvalidValue("artifact", "expected a table with session_id, sequence and content_hash")
        if not isinstance(value, bytes):
            raise InvalidValue("artifact", f"expected an id or a name, not {values.kind(value)}")
        return values.text(value, "artifact")
