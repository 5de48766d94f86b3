"""The SQL of checking the full-text index against the rows that it is made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from llmspellfs.storage.index import Connection
from llmspellfs.storage.search_text import words

_INDEXED = """
    SELECT t.rowid, e.eid, 0, e.name, e.description, e.tags, e.custom, t.name, t.description, t.tags, t.custom
    FROM entry_text t LEFT JOIN entry e ON e.eid = t.rowid
    WHERE t.rowid NOT IN (SELECT eid FROM entry_text_due)
"""
_MISSING = """
    SELECT eid FROM entry WHERE kind = 0 AND seq_to IS NULL
    AND eid <= coalesce((SELECT value FROM store WHERE key = 'indexed_eid'), 0)
    AND eid NOT IN (SELECT eid FROM entry_text_due) AND eid NOT IN (SELECT rowid FROM entry_text)
"""


def out_of_step(db: Connection) -> Iterator[tuple[int, str]]:
    """Yield each row (eid) of which the full text says something else than the row, and what is wrong."""
    for row in db.execute(_INDEXED):
        if row[1] is None:
            yield row[0], "the full text has words of it, and it is gone"
        elif not _agrees(row):
            yield row[0], "the full text has other words than it"
    for (eid,) in db.execute(_MISSING):
        yield eid, "the full text lacks its words"


def _agrees(row: tuple[object, ...]) -> bool:
    try:
        return words(row[:7]) == row[7:]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return True  # the row itself is damaged, which is told where rows are held against events


def integrity(db: Connection) -> str | None:
    """Return what FTS5 finds wrong within its index, or None; *db* is in a write transaction, which FTS5 asks for."""
    try:
        db.execute("INSERT INTO entry_text (entry_text, rank) VALUES ('integrity-check', 0)")
    except sqlite3.DatabaseError as error:
        return str(error)
    return None
