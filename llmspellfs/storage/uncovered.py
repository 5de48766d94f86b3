"""What no event tells of: values that scripts keep, messages, attributes of inodes, labels of checkpoints.

Which of two readings of an index is the later in these its trails do not say.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from blake3 import blake3

from llmspellfs.storage.salvage_pages import Pages

_TABLES = {"state": "scope, key", "message": "id", "inode": "ino", "checkpoint": "sid, number"}
"""By what their rows are in order."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an index is at a moment: how many *events* it has, and a hash of what none of them covers."""

    events: int
    uncovered: str
    layout: int
    """A number that is another once the whole index was written anew: pages of before have no place in it."""


def seen(db: sqlite3.Connection) -> Seen:
    """Return what the index *db* is; a table that an older schema lacks is as one without rows."""
    before, db.text_factory = db.text_factory, bytes
    try:
        there = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        digest = blake3()
        for table, order in _TABLES.items():
            if table.encode() in there:
                for row in db.execute(f"SELECT * FROM {table} ORDER BY {order}"):  # noqa: S608 - words of the program
                    digest.update(f"{table} {row}".encode())
        events: int = db.execute("SELECT count(*) FROM event").fetchone()[0]
        number: int = db.execute("PRAGMA schema_version").fetchone()[0]
    finally:
        db.text_factory = before
    return Seen(events, digest.hexdigest(), number)


def layout(path: str) -> int:
    """Return the `layout` of the index *path*, which SQLite may not be able to read: its schema cookie (chapter 1.3).

    VACUUM raises it.
    """
    with closing(Pages(path)) as pages:
        return int.from_bytes(pages.page(1)[40:44])
