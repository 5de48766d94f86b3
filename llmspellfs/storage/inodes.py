"""The SQL of inodes: the numbers of file objects and their POSIX attributes, whatever names they have.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from llmspellfs.model.artifact import Attributes
from llmspellfs.storage.index import Connection


def reserve(db: Connection, count: int) -> int:
    """Return the first of *count* inode numbers that nobody else gets."""
    first: int = db.execute("SELECT value FROM store WHERE key = 'next_ino'").fetchone()[0]
    db.execute("UPDATE store SET value = ? WHERE key = 'next_ino'", (first + count,))
    return first


def insert(db: Connection, ino: int, a: Attributes) -> None:
    """Insert the attributes of a new inode."""
    query = "INSERT INTO inode (ino, mode, uid, gid, mtime_ns, ctime_ns, atime_ns) VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.execute(query, (ino, a.mode, a.uid, a.gid, a.mtime_ns, a.ctime_ns, a.atime_ns))


def update(db: Connection, ino: int, a: Attributes) -> None:
    """Replace the attributes of inode *ino*."""
    query = "UPDATE inode SET mode = ?, uid = ?, gid = ?, mtime_ns = ?, ctime_ns = ?, atime_ns = ? WHERE ino = ?"
    db.execute(query, (a.mode, a.uid, a.gid, a.mtime_ns, a.ctime_ns, a.atime_ns, ino))


def load(db: Connection, ino: int) -> Attributes | None:
    """Return the attributes of inode *ino*, or None."""
    query = "SELECT mode, uid, gid, mtime_ns, ctime_ns, atime_ns FROM inode WHERE ino = ?"
    row = db.execute(query, (ino,)).fetchone()
    return None if row is None else Attributes(*row)


def touch(db: Connection, ino: int, mtime_ns: int, ctime_ns: int | None = None) -> None:
    """Set mtime and ctime (by default the same) of inode *ino*: a folder's listing or a file's content changed."""
    query = "UPDATE inode SET mtime_ns = ?, ctime_ns = ? WHERE ino = ?"
    db.execute(query, (mtime_ns, mtime_ns if ctime_ns is None else ctime_ns, ino))


def touch_since(db: Connection, ino: int, at_ns: int) -> None:
    """Set mtime and ctime of the folder *ino* to when its listing changed, unless it has changed otherwise since."""
    db.execute("UPDATE inode SET mtime_ns = ?2, ctime_ns = ?2 WHERE ino = ?1 AND ctime_ns < ?2", (ino, at_ns))


def touch_ctime(db: Connection, ino: int, at_ns: int) -> None:
    """Set the ctime of inode *ino*."""
    db.execute("UPDATE inode SET ctime_ns = ? WHERE ino = ?", (at_ns, ino))
