"""The rules behind sessions: how a ref finds one, what its directory is called, how its row changes.

Every function runs on the caller's connection or in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain

from llmspellfs.errors import AlreadyExists, InvalidName, InvalidValue, NotFound, SessionNotActive
from llmspellfs.model.artifact import ArtifactId, Ownership
from llmspellfs.model.climb import climb
from llmspellfs.model.names import check_component, dirname_for, dirnames, from_view_name
from llmspellfs.model.session import Session
from llmspellfs.model.values import is_same, is_text
from llmspellfs.service import limits
from llmspellfs.service.engine import Transaction
from llmspellfs.storage import inodes, sessions
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow

_MIN_PREFIX = 4
_ID_LENGTH = 36


def find_session(db: Connection, ref: str, *, deleted: bool = False) -> Session:
    """Return the session that *ref* names: a directory name, an id, or a prefix of one id (4 characters or more).

    A whole id comes first: no session can be called after another's to stand in for it. With *deleted* those that
    are deleted count too, after the live ones. Raises NotFound, and InvalidValue where a prefix fits several.
    """
    if not isinstance(ref, str) or not ref or not is_text(ref):
        raise NotFound("session", repr(ref))
    found = sessions.by_id(db, ref, deleted=deleted) if len(ref) == _ID_LENGTH else None
    found = found or sessions.by_dirname(db, ref)
    if found is None and deleted:
        found = sessions.deleted_by_dirname(db, ref)
    if found is None and len(ref) >= _MIN_PREFIX and set(ref) <= set("0123456789abcdef-"):
        fits = sessions.by_prefix(db, ref, deleted=deleted)
        if len(fits) > 1:
            raise InvalidValue("session", f"{ref} is the beginning of several ids")
        found = fits[0] if fits else None
    if found is None:
        raise NotFound("session", ref)
    return found


def find_trail(db: Connection, ref: str) -> Session:
    """Return the session that *ref* names, be it deleted, or purged and named by its id; raises as `find_session`."""
    try:
        return find_session(db, ref, deleted=True)
    except NotFound:
        purged = sessions.purged_by_id(db, ref) if isinstance(ref, str) and len(ref) == _ID_LENGTH else None
        if purged is None:
            raise
        return purged


def find_place(db: Connection, text: str) -> tuple[Session, str]:
    """Return the session and the ref in it that *text* means: `SESSION:NAME`, or an artifact id.

    A directory name may hold colons too: the shortest beginning that is a session counts. Whether the artifact is
    there is not asked. Raises NotFound for the session, InvalidValue.
    """
    if ArtifactId.is_id(text):
        return find_session(db, ArtifactId.parse(text).session_id), text
    parts = text.split(":")
    if len(parts) == 1 or not parts[0] or not parts[-1]:
        raise InvalidValue("artifact", f"expected SESSION:NAME or an artifact id, not {text!r}")
    for count in range(1, len(parts)):
        with suppress(NotFound):
            return find_session(db, ":".join(parts[:count])), ":".join(parts[count:])
    raise NotFound("session", parts[0])


def check_limit(tx: Transaction, limit: int) -> None:
    """Raise LimitExceeded where *limit* (0: none) sessions or more are active or suspended."""
    if limit:
        limits.check_sessions(limit, sessions.count_open(tx.db) + 1)


def insert_session(
    tx: Transaction, session_id: str, row: SessionRow, created_by: str | None, own: Ownership, **told: object
) -> Session:
    """Insert the session *row* with a top folder of *own*'s and its `session.created` event; return it."""
    ino = next(tx.inos)
    inodes.insert(tx.db, ino, own.at(tx.now_ns))
    sid = sessions.insert(tx.db, session_id, ino, tx.now_ns, created_by)
    facts = {"name": row.dirname, "id": session_id, "parent": row.parent, **told}
    seq = tx.journal.append(sid, "session.created", row.state, **facts)
    sessions.insert_row(tx.db, sid, row, seq)
    sessions.note_listing(tx.db, tx.now_ns)
    return fresh(tx, sid)


def dirname_of(tx: Transaction, name: str, but: int | None = None) -> str:
    """Return the directory name for a session called *name*, free but for the session *but* (a sid)."""
    return dirname_for(name, lambda candidate: sessions.dirname_taken(tx.db, candidate, but))


class Dirnames:
    """Gives directory names for the new sessions of one transaction that takes none away.

    No candidate is looked at twice: thousands that are called the same, or whose long names are cut to the same, would
    take quadratic time.
    """

    def __init__(self, tx: Transaction) -> None:
        """Give names that are free in *tx*."""
        self._tx = tx
        self._left: dict[str, Iterator[str]] = {}

    def free(self, name: str) -> str:
        """Return the directory name for one more session called *name*; raise InvalidName."""
        candidates = dirnames(name)
        first = next(candidates)
        left = self._left.setdefault(first, chain([first], candidates))
        return next(candidate for candidate in left if not sessions.dirname_taken(self._tx.db, candidate))


def free_dirname(tx: Transaction, dirname: str, but: int | None = None) -> str:
    """Return *dirname* if it can be a session's; raise AlreadyExists or InvalidName."""
    if sessions.dirname_taken(tx.db, dirname, but):
        raise AlreadyExists("session", dirname)
    if dirname_of(tx, from_view_name(check_component(dirname)), but) != dirname:
        raise InvalidName(dirname, "cannot be a session's directory")
    return dirname


def update_row(tx: Transaction, session: Session, row: SessionRow) -> Session:
    """Write *row* as the session's own where it differs; of a frozen session only the tags may."""
    old = SessionRow.of(session)
    is_same_metadata = is_same(row.metadata, old.metadata)
    if row == old and is_same_metadata:
        return session
    if not session.is_active and not (is_same_metadata and replace(row, tags=old.tags) == old):
        raise SessionNotActive(session.dirname, session.status)
    changed = [
        name
        for name in ("name", "description", "tags", "metadata", "parent")
        if not is_same(getattr(row, name), getattr(old, name))
    ]
    told = {"name": row.dirname, "fields": changed}
    return put_row(tx, session, row, "session.updated", **told)


def put_row(tx: Transaction, session: Session, row: SessionRow, kind: str, **told: object) -> Session:
    """Make *row* the session's own with an event of *kind* that tells *told*, and return the session."""
    seq = tx.journal.append(session.sid, kind, row.state, **told)
    sessions.end_row(tx.db, session.sid, seq)
    sessions.insert_row(tx.db, session.sid, row, seq)
    if row.dirname != session.dirname:
        sessions.note_listing(tx.db, tx.now_ns)
    return fresh(tx, session.sid)


def take_out(tx: Transaction, session: Session, **told: object) -> None:
    """Take *session*, which has no drafts, out of every listing, with an event that tells *told*."""
    seq = tx.journal.append(session.sid, "session.deleted", None, name=session.dirname, **told)
    sessions.end_row(tx.db, session.sid, seq)
    sessions.set_deleted(tx.db, session.sid, tx.journal.last_ns(session.sid))
    sessions.note_listing(tx.db, tx.now_ns)


def fresh(tx: Transaction, sid: int) -> Session:
    """Return session *sid* with the numbers that this transaction will leave."""
    tally = tx.journal.touch(sid)
    return replace(
        tx.session(sid),
        updated_ns=tally.last_ns,
        seq=tally.seq, head=tally.head, artifact_count=tally.artifact_count, total_artifact_size=tally.total_size,
    )  # fmt: skip


def checked_parent(db: Connection, session: Session, ref: str | None) -> str | None:
    """Return the id of the parent *ref* for *session*; raise NotFound, and InvalidValue where it would be a cycle.

    Raises Corrupt where there is a cycle already, which does not include *session*.
    """
    if ref is None:
        return None
    parent = find_session(db, ref)

    def above(own: str) -> str | None:
        found = sessions.by_id(db, own, deleted=True)
        return None if found is None else found.parent_session_id

    if session.id in climb(parent.id, above, f"parent of session {parent.dirname}"):
        raise InvalidValue("parent", f"{ref} is the session itself or a descendant of it")
    return parent.id
