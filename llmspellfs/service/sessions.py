"""Sessions: made, found, changed, frozen, saved, deleted and brought back; `store.sessions`."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmspellfs.errors import AlreadyExists, NotEmpty
from llmspellfs.model import numbers
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.event import Event, Origin, event_kinds
from llmspellfs.model.names import from_view_name
from llmspellfs.model.session import Action, Checkpoint, Session, Status, action_to
from llmspellfs.model.times import span
from llmspellfs.model.values import check_metadata, check_tags, check_text
from llmspellfs.service import batches, erasure, transitions, undelete
from llmspellfs.service.creation import NewSession, checked, create
from llmspellfs.service.engine import Engine
from llmspellfs.service.purged import PurgeReport
from llmspellfs.service.search import Search
from llmspellfs.service.session_rules import (
    check_limit,
    checked_parent,
    dirname_of,
    find_session,
    find_trail,
    free_dirname,
    fresh,
    take_out,
    update_row,
)
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import entries, journal, sessions, usage
from llmspellfs.storage.sessions import SessionRow

_MOST_NS = (1 << 63) - 1
_CLOSING_SECONDS, _CLOSING_TRIES = 0.05, 10
"""How long the trail's readers wait for drafts, which mean a file that is open, or closed this very moment."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The mark of an argument that was not given, where None is a value."""


KEEP = Keep()


class Sessions:
    """Every session of a store. A *ref* is a directory name, an id, or a prefix of exactly one id."""

    def __init__(self, engine: Engine, search: Search) -> None:
        """Work on *engine*'s store; lists come from *search*."""
        self._engine, self._search = engine, search

    def create(
        self,
        name: str | None = None,
        *,
        description: str = "",
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        parent: str | None = None,
        created_by: str | None = None,
        dirname: str | None = None,
        own: Ownership | None = None,
        by: Origin | None = None,
    ) -> Session:
        """Create an active session and return it; without a *name* it is called after its id.

        A *dirname* gives the name that it stands for, and AlreadyExists where it is taken; *own* are the directory's
        mode and owner. Raises LimitExceeded (`max_sessions`), NotFound (*parent*), InvalidName and InvalidValue.
        """
        new = NewSession(name, description, tags, metadata, parent, created_by, dirname, own)
        ready = checked(new, self._engine.new_id())
        with self._engine.write(by) as tx:
            return create(tx, self._engine.config.max_sessions, ready)

    def create_many(self, items: Iterable[NewSession], *, by: Origin | None = None) -> builtins.list[Session]:
        """Create *items* as `create` would one after another, in one transaction, and return them in that order.

        An item's parent may be one before it. Raises as `create` does, and nothing is created then; the message says
        which item it is about, counted from 1.
        """
        return batches.create_many(self._engine, items, by)

    def get(self, ref: str, *, deleted: bool = False) -> Session:
        """Return the session *ref*; with *deleted*, one that is deleted too. Raises NotFound, InvalidValue."""
        with self._engine.index.read() as db:
            return find_session(db, ref, deleted=deleted)

    def load_sid(self, sid: int) -> Session | None:
        """Return the live session with the store's number *sid*, or None."""
        with self._engine.index.read() as db:
            return sessions.load(db, sid)

    def by_id(self, session_id: str) -> Session | None:
        """Return the live session with the id, or None."""
        with self._engine.index.read() as db:
            return sessions.by_id(db, session_id)

    def by_dirname(self, dirname: str) -> Session | None:
        """Return the live session whose directory is called *dirname*, or None."""
        with self._engine.index.read() as db:
            return sessions.by_dirname(db, dirname)

    def list(
        self,
        query: str | None = None,
        *,
        status: str | None = None,
        tags: Iterable[str] = (),
        name_pattern: str | None = None,
        parent: str | None = None,
        created_after: str | float | None = None,
        created_before: str | float | None = None,
        updated_after: str | float | None = None,
        updated_before: str | float | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        sort_by: str = "created_at",
        order: str = "asc",
        deleted: bool = False,
    ) -> list[Session]:
        """Return the sessions that fit *query* (see the query language) and every filter that is given.

        All of *tags* must be there; bounds are epoch seconds or ISO text and include what they name; *sort_by* is
        created_at, updated_at, name, status, artifact_count or total_artifact_size, *order* asc or desc; *deleted*
        lists those that are deleted instead. Raises InvalidValue.
        """
        if parent is not None:
            parent = self.get(parent).id
        filters = {
            "status": status, "tags": tags, "name_pattern": name_pattern, "parent": parent,
            "created_after": created_after, "created_before": created_before, "updated_after": updated_after,
            "updated_before": updated_before, "words": search,
        }  # fmt: skip
        return self._search.list_sessions(
            query, filters, sort_by=sort_by, order=order, limit=limit, offset=offset, deleted=deleted
        )

    def suspend(self, ref: str, *, by: Origin | None = None) -> Session:
        """Freeze an active session until it is resumed; raise InvalidTransition from any other state."""
        return transitions.change_state(self._engine, ref, Action.SUSPEND, None, by)

    def resume(self, ref: str, *, by: Origin | None = None) -> Session:
        """Make a suspended session active; raise InvalidTransition from any other state."""
        return transitions.change_state(self._engine, ref, Action.RESUME, None, by)

    def complete(self, ref: str, *, by: Origin | None = None) -> Session:
        """End an active or suspended session with success; raise InvalidTransition where it has ended."""
        return transitions.change_state(self._engine, ref, Action.COMPLETE, None, by)

    def fail(self, ref: str, reason: str | None = None, *, by: Origin | None = None) -> Session:
        """End an active or suspended session as failed for *reason*; raise InvalidTransition where it has ended."""
        return transitions.change_state(self._engine, ref, Action.FAIL, reason, by)

    def load(self, ref: str, *, by: Origin | None = None) -> Session:
        """Take a session up again: a suspended one becomes active, every other stays as it is."""
        return transitions.change_state(self._engine, ref, Action.LOAD, None, by)

    def set_status(self, ref: str, status: Status, reason: str | None = None, *, by: Origin | None = None) -> Session:
        """Bring the session to *status* by the action that leads there; no change where it is there already."""
        session = self.get(ref)
        if session.status is status:
            return session
        return transitions.change_state(self._engine, ref, action_to(status), reason, by)

    def suspend_idle(
        self, is_busy: Callable[[int], bool] = lambda _: False, *, dry_run: bool = False
    ) -> builtins.list[Session]:
        """Suspend every active session in which nothing has happened for `session_timeout_seconds`; 0 suspends none.

        Sessions with files that are open for writing, in which a script of any process is at work, or of which
        *is_busy*(sid) says so, are left. Their events have the reason "timeout". Returns them as they are now; a
        *dry_run* only tells which they would be.
        """
        return transitions.suspend_idle(self._engine, is_busy, dry_run=dry_run)

    def save(self, ref: str, label: str | None = None, *, by: Origin | None = None) -> Checkpoint:
        """Make a checkpoint of the session as it is, in any state; return when it survives power loss."""
        if label is not None:
            check_text(label, "label")
        with self._engine.write(by, durable=True) as tx:
            session = find_session(tx.db, ref)
            seal_all(tx, session)
            seq = tx.journal.append(session.sid, "session.saved", None)
            return sessions.insert_checkpoint(tx.db, session.sid, seq, label, tx.journal.last_ns(session.sid))

    def stored_bytes(self, ref: str) -> int:
        """Return the stored bytes of all content that the session's history retains, each content and chunk once."""
        with self._engine.index.snapshot() as db:
            return usage.session_bytes(db, find_session(db, ref).sid)

    def checkpoints(self, ref: str) -> builtins.list[Checkpoint]:
        """Return the session's checkpoints, first to last."""
        with self._engine.index.read() as db:
            return sessions.checkpoints(db, find_session(db, ref).sid)

    def update(
        self,
        ref: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        parent: str | Keep | None = KEEP,
        by: Origin | None = None,
    ) -> Session:
        """Replace what is given and return the session; a new *name* gives a new directory name.

        *metadata* may be a function that makes the new object of the one there is, inside the transaction; *parent*
        None makes it a root. Of a frozen session only the tags change: SessionNotActive otherwise. Raises
        AlreadyExists, NotFound, InvalidName, and InvalidValue (a cycle of parents, values).
        """
        with self._engine.write(by) as tx:
            session = find_session(tx.db, ref)
            old = row = SessionRow.of(session)
            if tags is not None:
                row = replace(row, tags=check_tags(tags))
            if description is not None:
                row = replace(row, description=check_text(description, "description"))
            if metadata is not None:
                wanted = metadata(dict(row.metadata)) if callable(metadata) else metadata
                row = replace(row, metadata=check_metadata(wanted))
            if name is not None and name != old.name:
                row = replace(row, name=name, dirname=dirname_of(tx, check_text(name, "name"), session.sid))
            if not isinstance(parent, Keep):
                row = replace(row, parent=checked_parent(tx.db, session, parent))
            return update_row(tx, session, row)

    def check_parent(self, ref: str, parent: str) -> None:
        """Raise what `update` would for *parent*: NotFound, and InvalidValue for a cycle."""
        with self._engine.index.snapshot() as db:
            checked_parent(db, find_session(db, ref), parent)

    def rename(self, ref: str, dirname: str, *, by: Origin | None = None) -> Session:
        """Give the session the directory name *dirname*, and the name that it stands for.

        Raises AlreadyExists where another session has it, SessionNotActive, InvalidName.
        """
        with self._engine.write(by) as tx:
            session = find_session(tx.db, ref)
            directory = free_dirname(tx, dirname, session.sid)
            row = replace(SessionRow.of(session), name=from_view_name(dirname), dirname=directory)
            return update_row(tx, session, row)

    def tag(
        self, ref: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), by: Origin | None = None
    ) -> Session:
        """Add and remove tags, in any state, and return the session."""
        added, removed = check_tags(add), set(check_tags(remove))
        with self._engine.write(by) as tx:
            session = find_session(tx.db, ref)
            tags = tuple(tag for tag in dict.fromkeys(session.tags + added) if tag not in removed)
            return update_row(tx, session, replace(SessionRow.of(session), tags=tags))

    def delete(self, ref: str, *, full: bool = True, by: Origin | None = None) -> Session:
        """Take the session out of every listing, in any state; `restore` brings it back. Return it as it was.

        Not *full*: NotEmpty is raised where it is active and holds anything.
        """
        with self._engine.write(by, frees=True) as tx:
            session = find_session(tx.db, ref)
            if not full and session.is_active and entries.has_children(tx.db, session.ino):
                raise NotEmpty(session.dirname)
            seal_all(tx, session)
            take_out(tx, session)
            return replace(session, deleted_ns=tx.journal.last_ns(session.sid))

    def restore(self, ref: str, *, by: Origin | None = None) -> Session:
        """Bring a deleted session back as it was before the run of deletions that ended in its own.

        A directory name that is taken becomes `~2`. Raises NotFound, AlreadyExists where it is not deleted, and
        LimitExceeded (`max_sessions`).
        """
        with self._engine.write(by) as tx:
            session = find_session(tx.db, ref, deleted=True)
            if session.deleted_ns is None:
                raise AlreadyExists("session", session.dirname)
            if session.status in {Status.ACTIVE, Status.SUSPENDED}:
                check_limit(tx, self._engine.config.max_sessions)
            row = SessionRow.of(session)
            if sessions.dirname_taken(tx.db, row.dirname):
                row = replace(row, dirname=dirname_of(tx, row.name))
            seq = tx.journal.append(session.sid, "session.restored", row.state, name=row.dirname)
            sessions.insert_row(tx.db, session.sid, row, seq)
            sessions.set_deleted(tx.db, session.sid, None)
            sessions.note_listing(tx.db, tx.now_ns)
            undelete.restore_run(tx, session, before=journal.last_of(tx.db, session.sid, "session.deleted"))
            return fresh(tx, session.sid)

    def purge(self, ref: str, *, by: Origin | None = None) -> PurgeReport:
        """Erase the session, deleted or not, for good: rows, metadata, and content that nothing else uses.

        Its audit trail stays and verifies.
        """
        with self._engine.index.read() as db:
            session = find_session(db, ref, deleted=True)
        return erasure.purge_session(self._engine, session, by)

    def events(
        self,
        ref: str,
        *,
        after: int = 0,
        before: int | None = None,
        created_after: str | float | None = None,
        created_before: str | float | None = None,
        limit: int | None = None,
        kinds: Iterable[str] = (),
    ) -> builtins.list[Event]:
        """Return the session's events with a seq above *after* and below *before*; deleted sessions' too.

        *kinds* are those wanted, `*` and `?` in them standing for any characters and for one; times are epoch seconds
        or ISO text, and include what they name. The event of a file that was closed this very moment is waited for, up
        to 50 ms. Raises InvalidValue.
        """
        numbers.page(limit, after)
        wanted = event_kinds(kinds)
        span_ns = _span(created_after, created_before)
        with self._engine.index.read() as db:
            sid = find_trail(db, ref).sid
            for _ in range(_CLOSING_TRIES):
                if not entries.has_drafts(db, sid):
                    break
                time.sleep(_CLOSING_SECONDS / _CLOSING_TRIES)
        with self._engine.index.read() as db:
            session = find_trail(db, ref)
            return journal.events(
                db, session.sid, after=after, before=before, span_ns=span_ns, limit=limit, kinds=wanted
            )

    def children(self, ref: str) -> builtins.list[Session]:
        """Return the live sessions whose parent is *ref*."""
        with self._engine.index.read() as db:
            return sessions.children(db, find_session(db, ref).id)

    def trail_size(self, sid: int) -> int:
        """Return the bytes of the audit trail as a file."""
        with self._engine.index.read() as db:
            return journal.trail_size(db, sid)

    def trail_bytes(self, sid: int, offset: int, size: int) -> bytes:
        """Return at most *size* bytes of the audit trail as a file, from *offset* on."""
        with self._engine.index.snapshot() as db:
            return journal.trail_bytes(db, sid, offset, size)


def _span(after: str | float | None, before: str | float | None) -> tuple[int, int] | None:
    """Return the first and the last nanosecond that the bounds *after* and *before* let through, None for all."""
    if after is None and before is None:
        return None
    first = 0 if after is None else span(after, "created_after")[0]
    last = _MOST_NS if before is None else span(before, "created_before")[1]
    return max(first, -_MOST_NS), min(last, _MOST_NS)
