"""`Session.*`: each reads its arguments, makes one call on the service, and answers with ids and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmspellfs.lua.options import Options, texts
from llmspellfs.model.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return {
            "create": self._create, "get": self._get, "list": self._list, "update": self._update,
            "suspend": self._suspend, "resume": self._resume, "complete": self._complete, "fail": self._fail,
            "save": self._save, "load": self._load, "delete": self._delete, "restore": self._restore,
            "set_current": self._set_current, "get_current": self._get_current,
            "get_tags": self._get_tags, "set_tags": self._set_tags,
            "add_tag": self._add_tag, "remove_tag": self._remove_tag,
            "children": self._children, "events": self._events, "checkpoints": self._checkpoints,
        }  # fmt: skip

    def _create(self, raw: Raw = None) -> Raw:
        options = Options(self._values, raw, "Session.create")
        name, description = options.text("name"), options.text("description")
        tags, metadata = options.texts("tags"), options.json("metadata", "custom_metadata")
        parent, created_by = options.text("parent_session_id"), options.text("created_by")
        options.done()
        session = self._sessions.create(
            name, description=description or "", tags=tags or (), metadata=_object(metadata),
            parent=parent or None,
            created_by=created_by, by=self._context.origin,
        )  # fmt: skip
        return session.id.encode()

    def _get(self, ref: Raw = None) -> Raw:
        return self._shown(self._sessions.get(self._context.session(ref)))

    def _list(self, raw: Raw = None) -> Raw:
        if isinstance(raw, bytes):
            return self._all(self._sessions.list(self._values.text(raw, "Session.list")))
        options = Options(self._values, raw, "Session.list")
        filters: dict[str, Any] = {
            "query": options.text("query"), "status": options.text("status"),
            "tags": options.texts("tags") or (),
            "name_pattern": options.text("name_pattern"), "search": options.text("search"),
            "parent": options.text("parent_session_id", "parent"),
            "created_after": options.moment("created_after"),
            "created_before": options.moment("created_before"),
            "updated_after": options.moment("updated_after"),
            "updated_before": options.moment("updated_before"),
            "limit": options.integer("limit"), "offset": options.integer("offset") or 0,
            "sort_by": options.text("sort_by") or "created_at", "order": options.text("order") or "asc",
            "deleted": options.raw("deleted") is True,
        }  # fmt: skip
        options.done()
        return self._all(self._sessions.list(**filters))

    def _update(self, ref: Raw = None, raw: Raw = None) -> bool:
        options = Options(self._values, raw, "Session.update")
        parent = options.raw("parent_session_id")
        changes: dict[str, Any] = {
            "name": options.text("name"), "description": options.text("description"),
            "tags": options.texts("tags"),
            "metadata": _object(options.json("metadata", "custom_metadata")),
        }  # fmt: skip
        options.done()
        if self._values.is_null(parent) or parent == b"":
            changes["parent"] = None
        elif parent is not None:
            changes["parent"] = self._values.text(parent, "Session.update.parent_session_id")
        self._sessions.update(self._context.session(ref), **changes, by=self._context.origin)
        return True

    def _suspend(self, ref: Raw = None) -> bool:
        self._sessions.suspend(self._context.session(ref), by=self._context.origin)
        return True

    def _resume(self, ref: Raw = None) -> bool:
        self._sessions.resume(self._context.session(ref), by=self._context.origin)
        return True

    def _complete(self, ref: Raw = None) -> bool:
        self._sessions.complete(self._context.session(ref), by=self._context.origin)
        return True

    def _fail(self, ref: Raw = None, reason: Raw = None) -> bool:
        why = "" if reason is None else self._values.text(reason, "Session.fail: reason")
        self._sessions.fail(self._context.session(ref), why, by=self._context.origin)
        return True

    def _save(self, ref: Raw = None, label: Raw = None) -> int:
        text = None if label is None else self._values.text(label, "Session.save: label")
        return self._sessions.save(self._context.session(ref), text, by=self._context.origin).number

    def _load(self, ref: Raw = None) -> bytes:
        return self._sessions.load(self._context.session(ref), by=self._context.origin).id.encode()

    def _delete(self, ref: Raw = None) -> bool:
        self._sessions.delete(self._context.session(ref), by=self._context.origin)
        return True

    def _restore(self, ref: Raw = None) -> bytes:
        return self._sessions.restore(self._context.session(ref), by=self._context.origin).id.encode()

    def _set_current(self, ref: Raw = None) -> None:
        known = None if ref is None or ref == b"" else self._sessions.get(self._context.session(ref))
        self._context.current = None if known is None else known.id

    def _get_current(self) -> bytes | None:
        current = self._context.current
        return None if current is None else current.encode()

    def _get_tags(self, ref: Raw = None) -> Raw:
        return self._tags(self._sessions.get(self._context.session(ref)))

    def _set_tags(self, ref: Raw = None, raw: Raw = None) -> Raw:
        tags = texts(self._values, raw, "Session.setTags: tags")
        return self._tags(self._sessions.update(self._context.session(ref), tags=tags, by=self._context.origin))

    def _add_tag(self, ref: Raw = None, *tags: Raw) -> Raw:
        add = self._given(tags, "Session.addTag: tag")
        return self._tags(self._sessions.tag(self._context.session(ref), add=add, by=self._context.origin))

    def _remove_tag(self, ref: Raw = None, *tags: Raw) -> Raw:
        remove = self._given(tags, "Session.removeTag: tag")
        return self._tags(self._sessions.tag(self._context.session(ref), remove=remove, by=self._context.origin))

    def _children(self, ref: Raw = None) -> Raw:
        return self._all(self._sessions.children(self._context.session(ref)))

    def _events(self, ref: Raw = None, raw: Raw = None) -> Raw:
        options = Options(self._values, raw, "Session.events")
        after, limit = options.integer("after") or 0, options.integer("limit")
        kinds = options.texts("kinds") or ()
        options.done()
        events = self._sessions.events(self._context.session(ref), after=after, limit=limit, kinds=kinds)
        return self._values.array(self._values.record({**event.fields, "line": event.line}) for event in events)

    def _checkpoints(self, ref: Raw = None) -> Raw:
        return self._values.array(
            self._values.record(
                {"number": one.number, "seq": one.seq, "label": one.label, "created_at": iso(one.at_ns)}
            )
            for one in self._sessions.checkpoints(self._context.session(ref))
        )

    def _given(self, tags: tuple[Raw, ...], where: str) -> list[str]:
        if len(tags) == 1 and self._values.is_table(tags[0]):
            return texts(self._values, tags[0], where)
        return [self._values.text(tag, where) for tag in tags or (None,)]

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


def _object(metadata: Any) -> Any:
    # An empty table says nothing of whether it is a list; what is said otherwise, the service refuses.
    return {} if metadata == [] else metadata
