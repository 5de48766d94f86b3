"""The SQL of replay: the rows that events made, and whether they are all still there.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from llmspellfs.model.artifact import Entry
from llmspellfs.model.session import Session
from llmspellfs.storage import sessions
from llmspellfs.storage.entries import SELECT, to_entry
from llmspellfs.storage.erasing import FLEETING_NS
from llmspellfs.storage.index import Connection

_STATELESS = (
    "session.saved", "session.forked", "session.imported", "session.repaired", "session.deleted", "session.purged",
    "artifact.deleted",
    "artifact.moved_out", "artifact.purged", "folder.deleted", "folder.moved_out", "folder.purged", "symlink.deleted",
    "symlink.moved_out", "symlink.purged", "run.started", "run.finished", "replay.started", "replay.finished",
)  # fmt: skip
"""Kinds of events that make no row."""
_MAKES = f"kind NOT IN {_STATELESS}"
_COUNTS = f"""
    SELECT s.sid, s.horizon_seq,
        (SELECT count(*) FROM event v WHERE v.sid = s.sid AND v.seq > s.horizon_seq AND {_MAKES})
    FROM session s WHERE s.purged_ns IS NULL
"""  # noqa: S608


def file_row(db: Connection, sid: int, sequence: int, seq: int) -> Entry | None:
    """Return the row of the artifact *sequence* that the event *seq* made, or None where it is gone."""
    query = f"{SELECT} WHERE e.kind = 0 AND e.sid = ? AND e.sequence = ? AND e.seq_from = ?"
    row = db.execute(query, (sid, sequence, seq)).fetchone()
    return None if row is None else to_entry(row)


def row_in(db: Connection, sid: int, folder: int, name: str, seq: int) -> Entry | None:
    """Return the row of *name* in *folder* (an ino) that the event *seq* made, or None where it is gone."""
    where = "e.sid = :sid AND e.folder = :folder AND e.name = :name AND e.seq_from = :seq AND e.seq_to"
    query = f"{SELECT} WHERE {where} IS NULL UNION ALL {SELECT} WHERE {where} IS NOT NULL"
    row = db.execute(query, {"sid": sid, "folder": folder, "name": name, "seq": seq}).fetchone()
    return None if row is None else to_entry(row)


def entry_at(db: Connection, sid: int, folder: int, name: str, seq: int) -> Entry | None:
    """Return what was *name* in *folder* at *seq*, or None."""
    where = "e.sid = :sid AND e.folder = :folder AND e.name = :name AND e.seq_from <= :seq AND e.seq_to"
    query = f"{SELECT} WHERE {where} IS NULL UNION ALL {SELECT} WHERE {where} > :seq"
    row = db.execute(query, {"sid": sid, "folder": folder, "name": name, "seq": seq}).fetchone()
    return None if row is None else to_entry(row)


def session_row(db: Connection, sid: int, seq: int) -> Session | None:
    """Return the session with the fields that the event *seq* gave it, or None where that row is gone."""
    found = db.execute("SELECT 1 FROM session_row WHERE sid = ? AND seq_from = ?", (sid, seq)).fetchone()
    return None if found is None else sessions.row_at(db, sid, seq)


def horizon(db: Connection, sid: int) -> int:
    """Return the seq below which session *sid* shows nothing but checkpoints."""
    found: int = db.execute("SELECT horizon_seq FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    return found


def is_purged(db: Connection, sid: int) -> bool:
    """Tell whether session *sid* has been purged."""
    return db.execute("SELECT purged_ns FROM session WHERE sid = ?", (sid,)).fetchone()[0] is not None


def missing_rows(db: Connection, sid: int | None = None) -> dict[int, int]:
    """Return how many rows are gone that events above the horizon made, by sid: of one session, or of each that is.

    It looks at every row of the store once.
    """
    only, key = ("", ()) if sid is None else (" AND s.sid = ?", (sid,))
    wanted = {row[0]: (row[1], row[2]) for row in db.execute(_COUNTS + only, key)}
    kept = dict.fromkeys(wanted, 0)
    which, only = ("entry e", "") if sid is None else ("entry e", " WHERE e.sid = ?")
    for table in (which, "session_row e"):
        query = (
            f"SELECT e.sid, count(*) FROM {table} JOIN session s ON s.sid = e.sid AND e.seq_from > s.horizon_seq{only}"  # noqa: S608
        )
        for owner, count in db.execute(f"{query} GROUP BY e.sid", key):
            if owner in kept:
                kept[owner] += count
    return {owner: wanted[owner][1] - kept[owner] for owner in wanted}


def is_fleeting(db: Connection, sid: int, sequence: object, at_ns: int) -> bool:
    """Tell whether the artifact *sequence*, stored at *at_ns*, was deleted so soon that its rows are not kept."""
    query = (
        "SELECT 1 FROM event WHERE sid = ? AND kind = 'artifact.deleted' AND at_ns >= ? AND at_ns < ?"
        " AND json_extract(line, '$.sequence') = ? LIMIT 1"
    )
    return db.execute(query, (sid, at_ns, at_ns + FLEETING_NS, sequence)).fetchone() is not None


def fleeting_rows(db: Connection, sid: int) -> int:
    """Return how many events above the horizon made rows of artifacts that were deleted too soon to be kept."""
    query = """
        SELECT count(*) FROM event v JOIN session s ON s.sid = v.sid
        WHERE v.sid = ? AND v.seq > s.horizon_seq
          AND v.kind IN ('artifact.stored', 'artifact.updated', 'artifact.renamed')
          AND NOT EXISTS (SELECT 1 FROM entry n WHERE n.kind = 0 AND n.sid = v.sid
                          AND n.sequence = json_extract(v.line, '$.sequence'))
          AND EXISTS (SELECT 1 FROM event d WHERE d.sid = v.sid AND d.kind = 'artifact.deleted' AND d.seq > v.seq
                      AND d.at_ns - v.at_ns < ?
                      AND json_extract(d.line, '$.sequence') = json_extract(v.line, '$.sequence'))
    """
    found: int = db.execute(query, (sid, FLEETING_NS)).fetchone()[0]
    return found


def label_of(db: Connection, sid: int, seq: int) -> str | None:
    """Return the label of the checkpoint that the event *seq* made, or None."""
    row = db.execute("SELECT label FROM checkpoint WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    return None if row is None else row[0]
