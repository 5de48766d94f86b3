"""The SQL of checking: chains as stored, rows with the events that cover them, and references that lead nowhere.

Every function takes a connection, reads only, and says what it finds rather than raising.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmspellfs.storage import entries, sessions
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.erasing import FLEETING_NS
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow


@dataclass(frozen=True, slots=True)
class Chain:
    """What the index says of a session's trail."""

    sid: int
    id: str
    dirname: str
    seq: int
    head: str


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the index has it."""

    seq: int
    kind: str
    at_ns: int
    ends: int
    text: str


@dataclass(frozen=True, slots=True)
class CoveredRow:
    """A row of history, what it says, and the `state` in the line of the event that made it (None: no such event).

    *harms* is where the artifact is (dirname, the session's ino, folder, name), for rows of files.
    """

    what: str
    seq: int
    state: dict[str, Any]
    event_state: str | None
    harms: tuple[str, int, int, str] | None


def chains(db: Connection, sid: int | None = None) -> list[Chain]:
    """Return the chain of session *sid*, or of every session that ever was."""
    query = (
        "SELECT s.sid, s.id, (SELECT dirname FROM session_row WHERE sid = s.sid ORDER BY seq_from DESC LIMIT 1),"
        " s.seq, s.head FROM session s"
    )
    if sid is None:
        return [Chain(*row) for row in db.execute(f"{query} ORDER BY s.sid")]
    return [Chain(*row) for row in db.execute(f"{query} WHERE s.sid = ?", (sid,))]


def lines(db: Connection, sid: int) -> Iterator[Line]:
    """Yield the events of session *sid* in order."""
    for row in db.execute("SELECT seq, kind, at_ns, ends, line FROM event WHERE sid = ? ORDER BY seq", (sid,)):
        yield Line(*row)


def line(db: Connection, sid: int, seq: int) -> Line | None:
    """Return the event *seq* of session *sid*, or None."""
    query = "SELECT seq, kind, at_ns, ends, line FROM event WHERE sid = ? AND seq = ?"
    row = db.execute(query, (sid, seq)).fetchone()
    return None if row is None else Line(*row)


def integrity(db: Connection) -> list[str]:
    """Return what SQLite finds wrong with the database's pages and indexes."""
    found = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found


def covered_rows(db: Connection) -> Iterator[CoveredRow]:
    """Yield each row of history with what its event says of it; drafts are in no history yet."""
    names = {row[0]: (row[1], row[2]) for row in db.execute(_NAMES)}
    for entry in entries.all_rows(db):
        if entry.seq_from is None:
            continue
        dirname, ino = names.get(entry.sid, (f"session {entry.sid}", 0))
        place = (dirname, ino, entry.folder, entry.name) if entry.file is not None else None
        state = NewEntry.of(entry).state
        yield CoveredRow(
            f"{dirname}:{entry.name}",
            entry.seq_from,
            state,
            _event_state(db, entry.sid, entry.seq_from),
            place,
        )
    for session, seq in sessions.all_rows(db):
        yield CoveredRow(session.dirname, seq, SessionRow.of(session).state, _event_state(db, session.sid, seq), None)


_NAMES = """
    SELECT s.sid, (SELECT dirname FROM session_row WHERE sid = s.sid ORDER BY seq_from DESC LIMIT 1), s.ino
    FROM session s
"""


def _event_state(db: Connection, sid: int, seq: int) -> str | None:
    row = db.execute("SELECT line FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    try:
        state = None if row is None else json.loads(row[0]).get("state")
    except (ValueError, AttributeError):
        return None
    return state if isinstance(state, str) else None


def uncovered_events(db: Connection) -> list[str]:
    """Return events above the horizon that made a row which is not there, was not purged, and was not fleeting."""
    query = """
        SELECT s.id, e.seq, e.kind FROM event e JOIN session s ON s.sid = e.sid
        WHERE e.seq > s.horizon_seq AND s.purged_ns IS NULL AND json_valid(e.line)
          AND json_extract(e.line, '$.state') IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM session_row r WHERE r.sid = e.sid AND r.seq_from = e.seq)
          AND (e.sid, e.seq) NOT IN (SELECT sid, seq_from FROM entry WHERE seq_from IS NOT NULL)
          AND NOT EXISTS (SELECT 1 FROM event p WHERE p.sid = e.sid AND p.kind = 'artifact.purged'
                          AND json_extract(p.line, '$.sequence') = json_extract(e.line, '$.sequence'))
          AND NOT EXISTS (SELECT 1 FROM event d WHERE d.sid = e.sid AND d.kind = 'artifact.deleted' AND d.seq > e.seq
                          AND d.at_ns - e.at_ns < :fleeting
                          AND json_extract(d.line, '$.sequence') = json_extract(e.line, '$.sequence'))
    """
    return [
        f"session {row[0]}: the row that event {row[1]} ({row[2]}) made is gone"
        for row in db.execute(query, {"fleeting": FLEETING_NS})
    ]


def broken_references(db: Connection) -> list[str]:
    """Return rows that refer to what is not there, and numbers that do not add up."""
    return [why.format(*row) for query, why in _BROKEN for row in db.execute(query)]


_BROKEN = (
    (
        "SELECT eid, name FROM entry WHERE content IS NOT NULL AND content NOT IN (SELECT cid FROM content)",
        "row {0} ({1}): its content is not in the index",
    ),
    (
        "SELECT eid, name FROM entry WHERE kind = 0 AND content IS NULL",
        "row {0} ({1}): a file without content",
    ),
    (
        "SELECT e.eid, e.name FROM entry e JOIN content c ON c.cid = e.content WHERE c.size != e.size",
        "row {0} ({1}): its size is not its content's",
    ),
    (
        "SELECT eid, name FROM entry WHERE ino NOT IN (SELECT ino FROM inode)",
        "row {0} ({1}): its inode is not there",
    ),
    (
        """SELECT eid, name FROM entry WHERE seq_to IS NULL AND folder NOT IN (SELECT ino FROM session)
           AND folder NOT IN (SELECT ino FROM entry WHERE kind = 1 AND seq_to IS NULL)""",
        "row {0} ({1}): its folder is not there",
    ),
    (
        """SELECT e.eid, e.name FROM entry e LEFT JOIN entry f ON f.ino = e.folder AND f.kind = 1 AND f.seq_to IS NULL
           LEFT JOIN session s ON s.ino = e.folder
           WHERE e.seq_to IS NULL AND e.sid != coalesce(f.sid, s.sid, e.sid)""",
        "row {0} ({1}): its folder is another session's",
    ),
    (
        """SELECT ino, mode FROM inode WHERE ino NOT IN (SELECT ino FROM entry)
           AND ino NOT IN (SELECT ino FROM session)""",
        "inode {0}: no row has it",
    ),
    (
        "SELECT cid, kid FROM content_chunk WHERE kid NOT IN (SELECT kid FROM chunk)",
        "content {0}: chunk {1} is not in the index",
    ),
    (
        """SELECT s.id, s.artifact_count, (SELECT count(*) FROM entry e WHERE e.sid = s.sid AND e.kind = 0
           AND e.seq_to IS NULL) AS real FROM session s WHERE s.artifact_count != real""",
        "session {0}: counts {1} artifacts and has {2}",
    ),
    (
        """SELECT s.id, s.total_size, (SELECT coalesce(sum(e.size), 0) FROM entry e WHERE e.sid = s.sid
           AND e.kind = 0 AND e.seq_to IS NULL) AS real FROM session s WHERE s.total_size != real""",
        "session {0}: counts {1} bytes and has {2}",
    ),
    (
        """SELECT s.id, r.dirname FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL
           WHERE r.parent IS NOT NULL AND r.parent NOT IN (SELECT id FROM session)""",
        "session {1}: its parent is not there",
    ),
    (
        "SELECT seq_from, name FROM entry WHERE seq_to <= seq_from",
        "row of {1}: ends before it begins, at seq {0}",
    ),
)


def places_of(db: Connection, cid: int) -> list[tuple[str, int, int, str]]:
    """Return where rows with the content *cid* are: dirname, the session's ino, folder, name; each place once."""
    query = (
        "SELECT DISTINCT (SELECT dirname FROM session_row WHERE sid = s.sid ORDER BY seq_from DESC LIMIT 1),"
        " s.ino, e.folder, e.name FROM entry e JOIN session s ON s.sid = e.sid WHERE e.content = ?"
    )
    return list(db.execute(query, (cid,)))
