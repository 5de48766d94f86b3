"""The SQL of repairs to trees: rows that are in no folder, in another session's, or inside themselves."""

# ruff: noqa: S608 - queries are made of words of the program

from __future__ import annotations

from llmspellfs.storage.index import Connection

_LIVE_FOLDERS = "SELECT ino FROM session UNION ALL SELECT ino FROM entry WHERE kind = 1 AND seq_to IS NULL"


def folders_missing(db: Connection) -> list[tuple[int, int]]:
    """Return the sid and the ino of each folder that live rows are in and that is nowhere live."""
    query = (
        f"SELECT min(sid), folder FROM entry WHERE seq_to IS NULL AND folder NOT IN ({_LIVE_FOLDERS}) GROUP BY folder"
    )
    return [(sid, ino) for sid, ino in db.execute(query).fetchall()]


def is_live_folder(db: Connection, ino: int) -> bool:
    """Tell whether *ino* is a session's top, or a folder that lives."""
    return db.execute(f"SELECT 1 FROM ({_LIVE_FOLDERS}) WHERE ino = ? LIMIT 1", (ino,)).fetchone() is not None


def misplaced(db: Connection) -> list[int]:
    """Return the rows (eids) that are in a folder of another session."""
    query = """
        SELECT e.eid FROM entry e LEFT JOIN entry f ON f.ino = e.folder AND f.kind = 1 AND f.seq_to IS NULL
        LEFT JOIN session s ON s.ino = e.folder WHERE e.seq_to IS NULL AND e.sid != coalesce(f.sid, s.sid, e.sid)
    """
    return [row[0] for row in db.execute(query).fetchall()]


def one_in_a_circle(db: Connection) -> int | None:
    """Return the row (eid) of a folder that is inside itself, the one made first; None where there is none."""
    query = """
        WITH RECURSIVE reached(ino) AS (SELECT ino FROM session UNION
            SELECT f.ino FROM entry f JOIN reached r ON f.folder = r.ino WHERE f.kind = 1 AND f.seq_to IS NULL),
        above(start, ino) AS (SELECT ino, folder FROM entry WHERE kind = 1 AND seq_to IS NULL
                AND ino NOT IN (SELECT ino FROM reached) UNION
            SELECT a.start, f.folder FROM above a JOIN entry f ON f.ino = a.ino AND f.kind = 1 AND f.seq_to IS NULL)
        SELECT min(e.eid) FROM above a JOIN entry e ON e.ino = a.start AND e.kind = 1 AND e.seq_to IS NULL
        WHERE a.start = a.ino
    """
    found: int | None = db.execute(query).fetchone()[0]
    return found


def restore_folder(db: Connection, ino: int) -> tuple[int, int, str] | None:
    """Return the eid, the folder and the name that the folder *ino* last had, or None where no row is left of it."""
    query = "SELECT eid, folder, name FROM entry WHERE ino = ? AND kind = 1 ORDER BY eid DESC LIMIT 1"
    row: tuple[int, int, str] | None = db.execute(query, (ino,)).fetchone()
    return row
