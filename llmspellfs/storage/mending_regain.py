"""The SQL of making rows again that are gone: what they were in, what inodes are left of them, how they are inserted.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace

from llmspellfs.storage import entries
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.index import Connection

_NOWHERE = -1


def spare_inodes(db: Connection) -> dict[int, tuple[int, int]]:
    """Return when each inode that no row has changed, and its file's content: rows that are gone had some of them."""
    query = """
        SELECT ino, ctime_ns, mtime_ns FROM inode WHERE ino NOT IN (SELECT ino FROM entry)
        AND ino NOT IN (SELECT ino FROM session)
    """
    return {ino: (ctime_ns, mtime_ns) for ino, ctime_ns, mtime_ns in db.execute(query)}


def folder_at(db: Connection, sid: int, path: str, seq: int) -> int | None:
    """Return the folder (ino) that *path* of session *sid* was in at *seq*, or None."""
    row = db.execute("SELECT ino FROM session WHERE sid = ?", (sid,)).fetchone()
    query = """
        SELECT ino FROM entry WHERE sid = ?1 AND folder = ?2 AND name = ?3 AND kind = 1 AND seq_from <= ?4
        AND (seq_to IS NULL OR seq_to > ?4)
    """
    for name in path.split("/")[:-1]:
        row = None if row is None else db.execute(query, (sid, row[0], name, seq)).fetchone()
    return None if row is None else int(row[0])


def end_of_folder(db: Connection, sid: int, ino: int, path: str, seq: int) -> int | None:
    """Return where the row of the folder *ino* from *seq* ended, by later rows and events; None: it lives."""
    query = """
        SELECT min(seq) FROM (SELECT seq_from AS seq FROM entry WHERE sid = ?1 AND ino = ?2 AND seq_from > ?4
        UNION ALL SELECT seq FROM event WHERE sid = ?1 AND seq > ?4 AND json_valid(line)
            AND kind IN ('folder.deleted', 'folder.moved_out', 'folder.renamed')
            AND ?3 IN (json_extract(line, '$.name'), json_extract(line, '$.from')))
    """
    found: int | None = db.execute(query, (sid, ino, path, seq)).fetchone()[0]
    return found


def insert_ended(db: Connection, new: NewEntry, seq_from: int, seq_to: int | None) -> int:
    """Insert the row *new*, valid from *seq_from* to before *seq_to*, and return its eid."""
    eid = entries.insert(db, replace(new, folder=_NOWHERE), seq_from)  # its place may be another's by now
    db.execute("UPDATE entry SET folder = ?, seq_to = ? WHERE eid = ?", (new.folder, seq_to, eid))
    return eid


def remove(db: Connection, eid: int) -> None:
    """Take the row *eid* out again."""
    db.execute("DELETE FROM entry WHERE eid = ?", (eid,))
