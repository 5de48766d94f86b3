"""`Session.*`: each reads its arguments, makes one call on the service, and answers with ids and tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from llmspellfs.lua.arguments import Arguments, Read
from llmspellfs.model.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.session import Session

FIELDS: Final = (
    "id", "name", "dirname", "description", "status", "tags", "metadata", "custom_metadata",
    "parent_session_id",
    "created_by", "created_at", "updated_at", "ended_at", "failure_reason", "artifact_count",
    "total_artifact_size",
    "seq", "head",
)  # fmt: skip
"""What a session's table has of its own; every other key is looked up in its metadata."""


class SessionFunctions:
    """The functions of the global `Session`, over one script's *context*."""

    ABSENT = frozenset({"get", "load"})
    """Those that answer `nil, message` for what does not exist."""

    def __init__(self, context: Context) -> None:
        """Work on the store of *context* and keep its current session."""
        self._context = context
        self._values = context.values
        self._sessions = context.store.sessions
        self._names = context.values.record(dict.fromkeys(FIELDS, True))

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by their names as words with underscores; Lua has both spellings."""
        return Arguments(self._context).bound("Session", {
            "create": self._create, "get": self._get, "list": self._list, "update": self._update,
            "suspend": self._suspend, "resume": self._resume, "complete": self._complete, "fail": self._fail,
            "save": self._save, "load": self._load, "delete": self._delete, "restore": self._restore,
            "set_current": self._set_current, "get_current": self._get_current,
            "get_tags": self._get_tags, "set_tags": self._set_tags,
            "add_tag": self._add_tag, "remove_tag": self._remove_tag,
            "children": self._children, "path": self._path,
        })  # fmt: skip

    def _create(self, fields: Read | None) -> bytes:
        told = fields or {}
        session = self._sessions.create(
            told.get("name"), description=told.get("description") or "", tags=told.get("tags") or (),
            metadata=told.get("metadata"), parent=told.get("parent_session_id") or None,
            created_by=told.get("created_by"), by=self._context.origin,
        )  # fmt: skip
        self._context.hold(session.id)
        return session.id.encode()

    def _get(self, ref: str) -> Raw:
        return self._shown(self._sessions.get(ref))

    def _list(self, filters: Read | None) -> Raw:
        return self._all(self._sessions.list(**_given(filters, {"parent_session_id": "parent"})))

    def _update(self, ref: str, changes: Read) -> bool:
        told = _given(changes, {"parent_session_id": "parent"})
        if told.get("parent") == "":
            told["parent"] = None
        self._sessions.update(ref, **told, by=self._context.origin)
        return True

    def _suspend(self, ref: str) -> bool:
        self._sessions.suspend(ref, by=self._context.origin)
        return True

    def _resume(self, ref: str) -> bool:
        self._context.hold(self._sessions.resume(ref, by=self._context.origin).id)
        return True

    def _complete(self, ref: str) -> bool:
        self._sessions.complete(ref, by=self._context.origin)
        return True

    def _fail(self, ref: str, reason: str | None) -> bool:
        self._sessions.fail(ref, reason or "", by=self._context.origin)
        return True

    def _save(self, ref: str, label: str | None) -> int:
        return self._sessions.save(ref, label, by=self._context.origin).number

    def _load(self, ref: str) -> bytes:
        loaded = self._sessions.load(ref, by=self._context.origin).id
        self._context.hold(loaded)
        return loaded.encode()

    def _delete(self, ref: str) -> bool:
        self._sessions.delete(ref, by=self._context.origin)
        return True

    def _restore(self, ref: str) -> bytes:
        return self._sessions.restore(ref, by=self._context.origin).id.encode()

    def _set_current(self, ref: str | None) -> None:
        self._context.current = None if ref is None else self._sessions.get(ref).id

    def _get_current(self) -> bytes | None:
        current = self._context.current
        return None if current is None else current.encode()

    def _get_tags(self, ref: str) -> Raw:
        return self._tags(self._sessions.get(ref))

    def _set_tags(self, ref: str, tags: list[str]) -> Raw:
        return self._tags(self._sessions.update(ref, tags=tags, by=self._context.origin))

    def _add_tag(self, ref: str, tags: list[str]) -> Raw:
        return self._tags(self._sessions.tag(ref, add=tags, by=self._context.origin))

    def _remove_tag(self, ref: str, tags: list[str]) -> Raw:
        return self._tags(self._sessions.tag(ref, remove=tags, by=self._context.origin))

    def _children(self, ref: str) -> Raw:
        return self._all(self._sessions.children(ref))

    def _path(self, ref: str) -> bytes | None:
        dirname = self._sessions.get(ref).dirname
        mounted = next(iter(self._context.mounts()), None)
        return None if mounted is None else os.fsencode(os.path.join(mounted, "sessions", dirname))

    def _tags(self, session: Session) -> Raw:
        return self._values.to_lua(session.tags)

    def _all(self, sessions: list[Session]) -> Raw:
        return self._values.array(map(self._shown, sessions))

    def _shown(self, session: Session) -> Raw:
        custom = self._values.to_lua(session.metadata)
        fields = self._values.record({
            "id": session.id, "name": session.name, "dirname": session.dirname,
            "description": session.description,
            "status": str(session.status), "tags": session.tags, "metadata": custom,
            "custom_metadata": custom,
            "parent_session_id": session.parent_session_id, "created_by": session.created_by,
            "created_at": iso(session.created_ns), "updated_at": iso(session.updated_ns),
            "ended_at": None if session.ended_ns is None else iso(session.ended_ns),
            "failure_reason": session.failure_reason, "artifact_count": session.artifact_count,
            "total_artifact_size": session.total_artifact_size, "seq": session.seq, "head": session.head,
        })  # fmt: skip
        return self._values.fall_through(fields, custom, self._names)


def _given(told: Read | None, names: Mapping[str, str]) -> Read:
    """Return what was given in *told* as arguments of the service, some of which have other *names* there."""
    return {names.get(name, name): value for name, value in (told or {}).items() if value is not None}
