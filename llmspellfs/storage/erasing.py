"""The SQL of forgetting for good: rows, labels, full text, and content that nothing refers to any more.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from llmspellfs.storage import search_text
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED


def erase_entries(db: Connection, sid: int, sequence: int | None = None) -> list[int]:
    """Delete every row of session *sid*, or of its artifact *sequence*; return the contents (cids) they had."""
    where, key = ("sid = ?", (sid,)) if sequence is None else ("sid = ? AND sequence = ?", (sid, sequence))
    rows = db.execute(f"SELECT eid, ino, content FROM entry WHERE {where}", key).fetchall()  # noqa: S608
    db.execute(f"DELETE FROM entry_label WHERE eid IN (SELECT eid FROM entry WHERE {where})", key)  # noqa: S608
    db.execute(f"DELETE FROM entry WHERE {where}", key)  # noqa: S608
    search_text.forget(db, [row[0] for row in rows])
    _drop_inodes(db, [row[1] for row in rows])
    return sorted({row[2] for row in rows if row[2] is not None})


def _drop_inodes(db: Connection, inos: list[int]) -> None:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS erased (ino INTEGER PRIMARY KEY)")
    db.executemany("INSERT OR IGNORE INTO erased (ino) VALUES (?)", [(ino,) for ino in inos])
    db.execute("DELETE FROM inode WHERE ino IN erased AND ino NOT IN (SELECT ino FROM entry)")
    db.execute("DELETE FROM erased")


def erase_session_rows(db: Connection, sid: int, purged_ns: int, seq: int) -> None:
    """Delete all that session *sid* said of itself before its purge at *purged_ns*, the event *seq*."""
    db.execute("DELETE FROM session_row WHERE sid = ?", (sid,))
    db.execute("DELETE FROM session_label WHERE sid = ?", (sid,))
    db.execute("DELETE FROM checkpoint WHERE sid = ?", (sid,))
    db.execute(
        "UPDATE session SET deleted_ns = coalesce(deleted_ns, ?), purged_ns = ?, horizon_seq = ? WHERE sid = ?",
        (purged_ns, purged_ns, seq, sid),
    )


def erase_contents(db: Connection, cids: list[int]) -> tuple[list[str], int]:
    """Delete those of *cids* that no row refers to, and their chunks that nothing else needs.

    Returns the hashes of chunks whose files are to go, and the stored bytes freed.
    """
    loose, freed = [], 0
    for cid in cids:
        if db.execute("SELECT 1 FROM entry WHERE content = ? LIMIT 1", (cid,)).fetchone():
            continue
        kids = [row[0] for row in db.execute("SELECT DISTINCT kid FROM content_chunk WHERE cid = ?", (cid,))]
        inline = db.execute("SELECT coalesce(length(data), 0) FROM content WHERE cid = ?", (cid,)).fetchone()
        freed += inline[0] if inline else 0
        db.execute("DELETE FROM content_chunk WHERE cid = ?", (cid,))
        db.execute("DELETE FROM content WHERE cid = ?", (cid,))
        for kid in kids:
            if db.execute("SELECT 1 FROM content_chunk WHERE kid = ? LIMIT 1", (kid,)).fetchone():
                continue
            chunk, stored, is_file = db.execute(
                "SELECT hash, stored_size, data IS NULL FROM chunk WHERE kid = ?", (kid,)
            ).fetchone()
            db.execute("DELETE FROM chunk WHERE kid = ?", (kid,))
            freed += stored
            loose += [chunk.hex()] if is_file else []
    return loose, freed


def fold_wal(db: Connection) -> None:
    """Move the WAL into the database and empty it, so that no erased word stays there; as far as readers allow."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def prune_rows(db: Connection, sid: int, horizon: int) -> int:
    """Delete rows that ended at or before *horizon* unless a checkpoint shows them, and move the horizon there."""
    pinned = "SELECT 1 FROM checkpoint k WHERE k.sid = e.sid AND k.seq >= e.seq_from AND k.seq < e.seq_to"
    ended = f"SELECT eid, ino FROM entry e WHERE e.sid = ? AND e.seq_to <= ? AND NOT EXISTS ({pinned})"  # noqa: S608
    rows = db.execute(ended, (sid, horizon)).fetchall()
    db.executemany("DELETE FROM entry WHERE eid = ?", [(eid,) for eid, _ in rows])
    _drop_inodes(db, [ino for _, ino in rows])
    db.execute(_PRUNE_SESSION_ROWS, (sid, horizon))
    db.execute("UPDATE session SET horizon_seq = ? WHERE sid = ? AND horizon_seq < ?", (horizon, sid, horizon))
    return len(rows)


def fleeting(db: Connection, before_ns: int) -> list[tuple[int, int]]:
    """Return the sid and the sequence of artifacts that lived for less than a minute, deleted before *before_ns*.

    Editors' swap and lock files are such; one that a checkpoint shows is not.
    """
    return list(db.execute(_FLEETING, (before_ns, FLEETING_NS)))


def prune_sequence(db: Connection, sid: int, sequence: int) -> int:
    """Delete the rows of an artifact that is gone, its events left as they are; return how many there were."""
    inos = [row[0] for row in db.execute("SELECT ino FROM entry WHERE sid = ? AND sequence = ?", (sid, sequence))]
    db.execute("DELETE FROM entry WHERE sid = ? AND sequence = ?", (sid, sequence))
    _drop_inodes(db, inos)
    return len(inos)


FLEETING_NS = 60 * 1_000_000_000
"""A file created and deleted within this time keeps its events but not its content."""

_FLEETING = f"""
    WITH gone AS (
        SELECT sid, sequence, min(seq_from) AS first, max(seq_to) AS last, min(created_ns) AS created_ns FROM entry
        WHERE kind = 0 GROUP BY sid, sequence
        HAVING count(seq_from) = count(*) AND count(seq_to) = count(*) AND max(seq_to) < {SUPERSEDED})
    SELECT g.sid, g.sequence FROM gone g
    JOIN event v ON v.sid = g.sid AND v.seq = g.last AND v.kind = 'artifact.deleted'
    WHERE v.at_ns < ? AND v.at_ns - g.created_ns < ?
      AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = g.sid AND k.seq >= g.first AND k.seq < g.last)
"""  # noqa: S608

_PRUNE_SESSION_ROWS = """
    DELETE FROM session_row AS r WHERE r.sid = ? AND r.seq_to <= ?
    AND r.seq_from < (SELECT max(seq_from) FROM session_row WHERE sid = r.sid)
    AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = r.sid AND k.seq >= r.seq_from AND k.seq < r.seq_to)
"""


def horizons(db: Connection, before_ns: int) -> list[tuple[int, int]]:
    """Return for each session with history from before *before_ns* its sid and the seq it has reached then."""
    query = (
        "SELECT s.sid, max(e.seq) FROM session s JOIN event e ON e.sid = s.sid WHERE e.at_ns < ?"
        " AND e.seq > s.horizon_seq GROUP BY s.sid"
    )
    return list(db.execute(query, (before_ns,)))


def expired(db: Connection, before_ns: int) -> list[int]:
    """Return the sids of sessions deleted before *before_ns* and not purged."""
    query = "SELECT sid FROM session WHERE deleted_ns < ? AND purged_ns IS NULL"
    return [row[0] for row in db.execute(query, (before_ns,))]
