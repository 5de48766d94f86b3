"""The SQL of sessions, their validity rows, labels and checkpoints.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.model.query import labels
from llmspellfs.model.session import Checkpoint, Session, Status
from llmspellfs.model.values import canonical
from llmspellfs.storage.index import Connection

COLUMNS = """
    s.sid, s.id, r.name, r.dirname, r.description, r.status, r.tags, r.metadata, r.parent, s.created_by,
    s.created_ns, s.last_ns, r.ended_ns, r.failure_reason, s.artifact_count, s.total_size, s.ino, s.seq, s.head,
    s.deleted_ns
"""
"""Rows of `session` joined with `session_row`, as `to_session` takes them."""
_LIVE = f"SELECT {COLUMNS} FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL"  # noqa: S608
_LAST = (
    f"SELECT {COLUMNS} FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_from ="  # noqa: S608
    " (SELECT max(seq_from) FROM session_row WHERE sid = s.sid)"
)
_KEPT = f"{_LAST} AND s.purged_ns IS NULL"
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What a row of `session_row` holds beside its validity."""

    name: str
    dirname: str
    description: str
    status: Status
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    parent: str | None
    ended_ns: int | None
    failure_reason: str | None

    @property
    def state(self) -> dict[str, Any]:
        """The row as its event's `state` covers it."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        return state | {"status": str(self.status), "tags": list(self.tags)}

    @staticmethod
    def of(session: Session) -> SessionRow:
        """Return the row that *session* was read from."""
        s = session
        return SessionRow(
            s.name, s.dirname, s.description, s.status, s.tags, s.metadata, s.parent_session_id, s.ended_ns,
            s.failure_reason,
        )  # fmt: skip


def by_dirname(db: Connection, dirname: str) -> Session | None:
    """Return the live session whose directory is called *dirname*, or None."""
    return _one(db, f"{_LIVE} WHERE r.dirname = ?", dirname)


def by_id(db: Connection, session_id: str, *, deleted: bool = False) -> Session | None:
    """Return the session *session_id*, or None; with *deleted*, one that is deleted too (as it last was)."""
    return _one(db, f"{_KEPT if deleted else _LIVE} WHERE s.id = ?", session_id)


def purged_by_id(db: Connection, session_id: str) -> Session | None:
    """Return what is left of the purged session *session_id*, whose trail remains, or None."""
    return _one(db, f"{_LAST} WHERE s.purged_ns IS NOT NULL AND s.id = ?", session_id)


def by_prefix(db: Connection, prefix: str, *, deleted: bool = False) -> list[Session]:
    """Return at most two sessions whose ids begin with *prefix*, enough to tell that it is ambiguous."""
    query = f"{_KEPT if deleted else _LIVE} WHERE s.id >= ? AND s.id < ? LIMIT 2"
    return [to_session(row) for row in db.execute(query, (prefix, prefix + "g"))]


def by_start(db: Connection, start: str, limit: int) -> list[Session]:
    """Return the live sessions, at most *limit*, whose directory names begin with *start*, by name."""
    query = f"{_LIVE} WHERE r.dirname >= ? AND r.dirname < ? ORDER BY r.dirname LIMIT ?"
    return [to_session(row) for row in db.execute(query, (start, start + _LAST_CHARACTER, limit))]


def by_id_start(db: Connection, start: str, limit: int) -> list[Session]:
    """Return the live sessions, at most *limit*, whose ids begin with *start*, by id."""
    query = f"{_LIVE} WHERE s.id >= ? AND s.id < ? ORDER BY s.id LIMIT ?"
    return [to_session(row) for row in db.execute(query, (start, start + "g", limit))]


def deleted_by_dirname(db: Connection, dirname: str) -> Session | None:
    """Return the session last deleted of those whose directory was called *dirname*, or None."""
    query = f"{_KEPT} WHERE s.deleted_ns IS NOT NULL AND r.dirname = ? ORDER BY s.deleted_ns DESC, s.sid DESC"
    return _one(db, query, dirname)


def load(db: Connection, sid: int) -> Session | None:
    """Return the live session *sid*, or None."""
    return _one(db, f"{_LIVE} WHERE s.sid = ?", sid)


def load_any(db: Connection, sid: int) -> Session | None:
    """Return the session *sid*, deleted ones too, or None."""
    return _one(db, f"{_LAST} WHERE s.sid = ?", sid)


def row_at(db: Connection, sid: int, seq: int) -> Session | None:
    """Return the session *sid* with the fields that it had at *seq*, or last had before; None where none is kept."""
    query = f"SELECT {COLUMNS} FROM session s JOIN session_row r ON r.sid = s.sid"  # noqa: S608
    row = db.execute(f"{query} WHERE s.sid = ? AND r.seq_from <= ? ORDER BY r.seq_from DESC LIMIT 1", (sid, seq))
    return next((to_session(found) for found in row), None)


def load_many(db: Connection, sids: Sequence[int], *, deleted: bool = False) -> list[Session]:
    """Return the sessions *sids* in that order, without those that are gone."""
    found: dict[int, Session] = {}
    for start in range(0, len(sids), 500):
        part = sids[start : start + 500]
        query = f"{_LAST if deleted else _LIVE} WHERE s.sid IN ({','.join('?' * len(part))})"
        found |= {row[0]: to_session(row) for row in db.execute(query, part)}
    return [found[sid] for sid in sids if sid in found]


def live(db: Connection) -> list[Session]:
    """Return all live sessions by creation."""
    return [to_session(row) for row in db.execute(f"{_LIVE} ORDER BY s.created_ns, s.sid")]


def children(db: Connection, session_id: str) -> list[Session]:
    """Return the live sessions whose parent is *session_id*."""
    return [to_session(row) for row in db.execute(f"{_LIVE} WHERE r.parent = ? ORDER BY s.sid", (session_id,))]


def dirname_taken(db: Connection, dirname: str, but: int | None = None) -> bool:
    """Tell whether a live session other than *but* (a sid) has the directory name."""
    query = "SELECT sid FROM session_row WHERE dirname = ? AND seq_to IS NULL"
    row = db.execute(query, (dirname,)).fetchone()
    return row is not None and row[0] != but


def count_open(db: Connection) -> int:
    """Return how many live sessions are active or suspended."""
    query = "SELECT count(*) FROM session_row WHERE seq_to IS NULL AND status IN ('active', 'suspended')"
    count: int = db.execute(query).fetchone()[0]
    return count


def idle(db: Connection, before_ns: int) -> list[int]:
    """Return the sids of active sessions without drafts whose last event was before *before_ns*."""
    query = (
        "SELECT s.sid FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL AND r.status = 'active'"
        " WHERE s.last_ns < ? AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.sid = s.sid AND e.seq_from IS NULL)"
    )
    return [row[0] for row in db.execute(query, (before_ns,))]


def insert(db: Connection, session_id: str, ino: int, created_ns: int, created_by: str | None) -> int:
    """Insert a session without rows or events yet; return its sid."""
    cursor = db.execute(
        "INSERT INTO session (id, ino, created_ns, created_by, seq, head, last_ns, trail_size, horizon_seq,"
        " next_sequence, artifact_count, total_size, change) VALUES (?, ?, ?, ?, 0, ?, ?, 0, 0, 1, 0, 0, 0)",
        (session_id, ino, created_ns, created_by, "0" * 64, created_ns),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def insert_row(db: Connection, sid: int, row: SessionRow, seq_from: int) -> None:
    """Insert *row* as the live row of session *sid* from *seq_from* on."""
    db.execute(
        "INSERT INTO session_row (sid, seq_from, name, dirname, description, status, tags, metadata, parent, ended_ns,"
        " failure_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sid, seq_from, row.name, row.dirname, row.description, row.status, canonical(list(row.tags)),
            canonical(row.metadata), row.parent, row.ended_ns, row.failure_reason,
        ),
    )  # fmt: skip
    marks = [(key, value, sid) for key, value in labels(row.tags, row.metadata)]
    db.executemany("INSERT OR IGNORE INTO session_label (key, value, sid) VALUES (?, ?, ?)", marks)


def end_row(db: Connection, sid: int, seq_to: int) -> None:
    """End the live row of session *sid* before *seq_to*."""
    db.execute("UPDATE session_row SET seq_to = ? WHERE sid = ? AND seq_to IS NULL", (seq_to, sid))
    db.execute("DELETE FROM session_label WHERE sid = ?", (sid,))


def set_deleted(db: Connection, sid: int, deleted_ns: int | None) -> None:
    """Note when session *sid* was deleted, or that it is there again."""
    db.execute("UPDATE session SET deleted_ns = ? WHERE sid = ?", (deleted_ns, sid))


def note_listing(db: Connection, at_ns: int) -> None:
    """Note that the list of live sessions, or a directory name in it, changed at *at_ns*."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('listed_ns', ?)", (at_ns,))


def insert_checkpoint(db: Connection, sid: int, seq: int, label: str | None, at_ns: int) -> Checkpoint:
    """Insert the next checkpoint of session *sid* and return it."""
    last = db.execute("SELECT coalesce(max(number), 0) FROM checkpoint WHERE sid = ?", (sid,)).fetchone()[0]
    query = "INSERT INTO checkpoint (sid, number, seq, label, at_ns) VALUES (?, ?, ?, ?, ?)"
    db.execute(query, (sid, last + 1, seq, label, at_ns))
    return Checkpoint(last + 1, seq, label, at_ns)


def checkpoints(db: Connection, sid: int) -> list[Checkpoint]:
    """Return the checkpoints of session *sid*, first to last."""
    query = "SELECT number, seq, label, at_ns FROM checkpoint WHERE sid = ? ORDER BY number"
    return [Checkpoint(*row) for row in db.execute(query, (sid,))]


_STATUSES = {str(status): status for status in Status}


def _one(db: Connection, query: str, key: object) -> Session | None:
    row = db.execute(query, (key,)).fetchone()
    return None if row is None else to_session(row)


def to_session(row: tuple[Any, ...]) -> Session:
    """Return a row of `COLUMNS` as a Session; raise Corrupt where it has what no session has."""
    values = list(row)
    try:
        tags = () if row[6] == "[]" else tuple(json.loads(row[6]))
        values[5:8] = _STATUSES[row[5]], tags, {} if row[7] == "{}" else json.loads(row[7])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise Corrupt(f"the row of session {row[3]}: `llmspellfs fsck` tells more") from None
    return Session(*values)
