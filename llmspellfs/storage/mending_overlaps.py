"""The SQL of rows that are valid at the same time and must not be: which they are, and how each is written again.

Every function takes a connection and runs in the caller's transaction.
"""

# ruff: noqa: S608 - queries are made of words of the program

from __future__ import annotations

from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED

BY_INODE = "ino"
PLACES = ("folder, name", BY_INODE)
"""The columns of which, within a session, no two rows have the same at the same time."""
_BEGIN, _END = f"coalesce(seq_from, {SUPERSEDED})", f"coalesce(seq_to, {SUPERSEDED})"


def groups(db: Connection, by: str) -> list[list[int]]:
    """Return the rows (eids) that are alike *by* one of PLACES, of which some are valid at the same time."""
    before = f"""max({_END}) OVER (PARTITION BY sid, {by} ORDER BY {_BEGIN}, eid
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"""
    query = f"""
        WITH odd AS (SELECT DISTINCT sid, {by} FROM (SELECT sid, {by}, {_BEGIN} AS begins, {before} AS before
            FROM entry) WHERE before > begins)
        SELECT group_concat(e.eid) FROM entry e JOIN odd o USING (sid, {by}) GROUP BY e.sid, {_of(by)}
    """
    return [[int(eid) for eid in row[0].split(",")] for row in db.execute(query).fetchall()]


def _of(by: str) -> str:
    return ", ".join(f"e.{column}" for column in by.split(", "))


def is_free(db: Connection, folder: int, name: str) -> bool:
    """Tell whether no row, live or not, has *name* in *folder*."""
    return db.execute("SELECT 1 FROM entry WHERE folder = ? AND name = ? LIMIT 1", (folder, name)).fetchone() is None


def set_name(db: Connection, eid: int, name: str) -> None:
    """Have the row *eid* be called *name*."""
    db.execute("UPDATE entry SET name = ? WHERE eid = ?", (name, eid))


def set_inode(db: Connection, eid: int, ino: int) -> None:
    """Have the row *eid* be of the inode *ino*."""
    db.execute("UPDATE entry SET ino = ? WHERE eid = ?", (ino, eid))


def copy_inode(db: Connection, ino: int, new: int) -> None:
    """Make the inode *new* with the attributes of *ino*, if that has any."""
    query = """
        INSERT INTO inode (ino, mode, uid, gid, mtime_ns, ctime_ns, atime_ns)
        SELECT ?, mode, uid, gid, mtime_ns, ctime_ns, atime_ns FROM inode WHERE ino = ?
    """
    db.execute(query, (new, ino))


def session_groups(db: Connection) -> list[tuple[int, set[int]]]:
    """Return the sessions (sids) of which rows (rids) of their own fields are valid at the same time, and these."""
    query = f"""
        SELECT sid, group_concat(rid) FROM session_row WHERE sid IN (SELECT sid FROM ({_FOLLOWED})) GROUP BY sid
    """
    return [(sid, {int(rid) for rid in rids.split(",")}) for sid, rids in db.execute(query).fetchall()]


_FOLLOWED = f"""
    SELECT rid, sid, follower, begin, is_live FROM (SELECT rid, sid, seq_from, {_END} AS until, seq_to IS NULL AS
        is_live, lead(rid) OVER next AS follower, lead(seq_from) OVER next AS begin FROM session_row
        WINDOW next AS (PARTITION BY sid ORDER BY seq_from, rid)) WHERE begin > seq_from AND until > begin
"""


def session_overlaps(db: Connection, sid: int) -> list[tuple[int, int, int, bool]]:
    """Return each row (rid) of session *sid* that goes on beyond the beginning of the next, that one and its begin.

    The last tells whether the first is live.
    """
    query = f"SELECT rid, follower, begin, is_live FROM ({_FOLLOWED}) WHERE sid = ?"
    return [(rid, follower, begin, bool(live)) for rid, follower, begin, live in db.execute(query, (sid,)).fetchall()]


def end_session_row(db: Connection, rid: int, seq_to: int) -> None:
    """Have the row *rid* of a session's own fields end before *seq_to*."""
    db.execute("UPDATE session_row SET seq_to = ? WHERE rid = ?", (seq_to, rid))


def drop_session_row(db: Connection, rid: int) -> None:
    """Remove the row *rid* of a session's own fields."""
    db.execute("DELETE FROM session_row WHERE rid = ?", (rid,))
