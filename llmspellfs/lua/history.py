"""What `Session.*` tells of the past, and the ways back: events, checkpoints, diff, fork and rollback.

A point in a session's history is a table with `checkpoint`, `seq` or `time`, or a string: `"c1"` is the first
checkpoint, `"12"` a seq; an ISO time and an age such as `"2h"` do too. A diff is a table: `fields` of the session and
`changes` of what is in it, each with `kind` (added, removed, renamed, changed, described), `path`, `old_path`, `old`,
`new` and `fields`; with `text` also a unified diff where both sides are text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.arguments import Arguments, Read
from llmspellfs.model.artifact import Kind as EntryKind
from llmspellfs.model.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.artifact import Entry
    from llmspellfs.model.diff import Change, FieldChange


class HistoryFunctions:
    """The functions of the global `Session` that look back, over one script's *context*."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        """Work on the store of *context*."""
        self._context, self._values = context, context.values
        self._sessions, self._past = context.store.sessions, context.store.past

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by their names as words with underscores."""
        return Arguments(self._context).bound("Session", {
            "events": self._events, "checkpoints": self._checkpoints, "diff": self._diff, "fork": self._fork,
            "rollback": self._rollback,
        })  # fmt: skip

    def _events(self, ref: str, options: Read | None) -> Raw:
        told = dict(options or {})
        first, last = told.pop("from", None), told.pop("to", None)
        after = max(told.pop("after", None) or 0, (first or 1) - 1)
        bounds = [
            bound for bound in (told.pop("before", None), None if last is None else last + 1) if bound is not None
        ]
        kinds = told.pop("kinds", None) or ()
        events = self._sessions.events(ref, after=after, before=min(bounds, default=None), kinds=kinds, **told)
        return self._values.array(self._values.record({**event.fields, "line": event.line}) for event in events)

    def _checkpoints(self, ref: str) -> Raw:
        return self._values.array(
            self._values.record(
                {"number": one.number, "seq": one.seq, "label": one.label, "created_at": iso(one.at_ns)}
            )
            for one in self._sessions.checkpoints(ref)
        )

    def _diff(self, ref: str, options: Read | None) -> Raw:
        told = options or dict.fromkeys(("from", "to", "other", "text"))
        old, new = self._at(ref, told["from"]), None
        if told["other"] is not None or told["to"] is not None:
            new = self._at(ref if told["other"] is None else told["other"], told["to"])
            if told["from"] is None and told["other"] is None:
                raise InvalidValue("Session.diff: argument 2 (options).to", "expected from beside it")
        found = self._past.diff(old, new)
        changes = (self._change(change, with_text=told["text"] is True) for change in found.changes)
        return self._values.record({"fields": self._fields(found.fields), "changes": self._values.array(changes)})

    def _fork(self, ref: str, name: str, options: Read | None) -> bytes:
        told = options or dict.fromkeys(("at", "created_by"))
        at = self._at(ref, told["at"])
        return self._past.fork(at, name, created_by=told["created_by"], by=self._context.origin).id.encode()

    def _rollback(self, ref: str, to: str) -> bytes:
        return self._past.rollback(self._at(ref, to), by=self._context.origin).id.encode()

    def _at(self, ref: str, point: str | None) -> str:
        """Return how the service is told of session *ref* at *point*; by its id, since a name may hold a "@"."""
        found = self._sessions.get(ref).id
        return found if point is None else f"{found}@{point}"

    def _fields(self, fields: Iterable[FieldChange]) -> Raw:
        to_lua = self._values.to_lua
        return self._values.array(
            self._values.record({"name": one.name, "old": to_lua(one.old), "new": to_lua(one.new)}) for one in fields
        )

    def _change(self, change: Change, *, with_text: bool) -> Raw:
        told: dict[str, Any] = {
            "kind": change.kind, "path": change.path, "old_path": change.old_path,
            "old": self._entry(change.old), "new": self._entry(change.new), "fields": self._fields(change.fields),
        }  # fmt: skip
        if with_text and change.has_other_content:
            told["text"] = self._text(change)
        return self._values.record(told)

    def _entry(self, entry: Entry | None) -> Raw:
        if entry is None:
            return None
        told: dict[str, Any] = {"kind": entry.kind.name.lower(), "target": entry.target}
        if entry.file is not None:
            f = entry.file
            told |= {
                "size": f.size, "version": f.version, "sequence": f.sequence, "content_hash": f.content_hash,
                "artifact_type": f.artifact_type, "mime_type": f.mime_type,
            }  # fmt: skip
        return self._values.record(told)

    def _text(self, change: Change) -> str | None:
        if any(side is not None and side.kind is EntryKind.FOLDER for side in (change.old, change.new)):
            return None
        lines = self._past.text_diff(change, f"a/{change.old_path or change.path}", f"b/{change.path}")
        return None if lines is None else "".join(f"{line}\n" for line in lines)
