"""The SQL of checking the full-text index against the rows that it is made of."""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing

from llmspellfs.errors import NoSpace
from llmspellfs.storage.index import Connection
from llmspellfs.storage.search_text import words

_PARTS = ("data", "idx", "content", "docsize", "config")
"""The tables that FTS5 keeps its index in (sqlite.org/fts5.html, "FTS5 Data Structures")."""
_PRAGMAS = ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16000")
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
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
    """Return what FTS5 finds wrong within its index, or None; raise NoSpace where there is none for a copy.

    FTS5 asks for a write transaction, and its check takes seconds for a million rows. So it looks at a copy of its own
    tables, made through *db* in a database that nobody else has.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as copy:
        try:
            _copy_text(db, copy)
            copy.execute("INSERT INTO entry_text (entry_text, rank) VALUES ('integrity-check', 0)")
        except UnicodeError:
            return "damaged text"
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "").startswith(_NO_ROOM):
                raise NoSpace(tempfile.gettempdir()) from None
            return str(error)
    return None


def _copy_text(db: Connection, copy: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        copy.execute(f"PRAGMA {pragma}")
    copy.execute("BEGIN")
    for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE name = 'entry_text'"):
        copy.execute(sql)
    for part in _PARTS:
        rows = db.execute(f"SELECT * FROM entry_text_{part}")
        marks = ", ".join("?" * len(rows.description))
        copy.execute(f"DELETE FROM entry_text_{part}")
        copy.executemany(f"INSERT INTO entry_text_{part} VALUES ({marks})", rows)
