"""The full-text index of files: brought up to date lazily, so that storing a file costs nothing here.

`is_behind` only reads; `catch_up`, `drop_gone` and `merge` write and run inside the caller's write transaction. A draft
is indexed as it is and looked at again until it is sealed; so is the eid of a deleted row, which SQLite may
give to a later one (a trigger in the schema notes it). Rows of the past stay in the index until they are
deleted: a query joins what it finds with the live rows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from llmspellfs.model.query import scalars
from llmspellfs.storage.schema import SUPERSEDED

if TYPE_CHECKING:
    import sqlite3

_Words: TypeAlias = tuple[str, str, str, str]

_WATERMARK = "SELECT coalesce((SELECT value FROM store WHERE key = 'indexed_eid'), 0)"
_SET_WATERMARK = "INSERT OR REPLACE INTO store (key, value) VALUES ('indexed_eid', ?)"
_LAST = "SELECT coalesce(max(eid), 0) FROM entry"
_SHOWN = f"kind = 0 AND (seq_to IS NULL OR seq_to = {SUPERSEDED})"
_NEW = f"""SELECT eid, {_SHOWN}, seq_from IS NULL, name, description, tags, custom
    FROM entry WHERE eid > ? ORDER BY eid LIMIT ?"""  # noqa: S608 - a constant of the schema
_DUE = f"""SELECT d.eid, coalesce({_SHOWN}, 0), e.seq_from IS NULL, e.name, e.description, e.tags, e.custom
    FROM entry_text_due d LEFT JOIN entry e ON e.eid = d.eid ORDER BY d.eid"""  # noqa: S608 - as above
_INDEXED = "SELECT name, description, tags, custom FROM entry_text WHERE rowid = ?"
_INSERT = "INSERT INTO entry_text (rowid, name, description, tags, custom) VALUES (?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM entry_text WHERE rowid = ?"
_GONE = """SELECT eid FROM entry_text_due d WHERE NOT EXISTS (SELECT 1 FROM entry e WHERE e.eid = d.eid)
    ORDER BY eid LIMIT ?"""


def is_behind(connection: sqlite3.Connection) -> bool:
    """Tell whether `catch_up` has anything to do; reads only, in microseconds where no draft is open."""
    if _one(connection, _WATERMARK) != _one(connection, _LAST):
        return True
    return any(_is_due(connection, row) for row in connection.execute(_DUE).fetchall())


def catch_up(connection: sqlite3.Connection, limit: int = 5000) -> bool:
    """Index at most *limit* new rows, and all that are due again; return whether more are left."""
    for row in connection.execute(_DUE).fetchall():
        _look_again(connection, row)
    before = min(_one(connection, _WATERMARK), _one(connection, _LAST))
    rows = connection.execute(_NEW, (before, limit)).fetchall()
    shown = [row for row in rows if row[1]]
    connection.executemany(_DELETE, [(row[0],) for row in shown])
    connection.executemany(_INSERT, [(row[0], *words(row)) for row in shown])
    drafts = [(row[0],) for row in shown if row[2]]
    connection.executemany("INSERT OR IGNORE INTO entry_text_due VALUES (?)", drafts)
    connection.execute(_SET_WATERMARK, (rows[-1][0] if rows else before,))
    return len(rows) == limit


def drop_gone(connection: sqlite3.Connection, limit: int = 200) -> bool:
    """Take at most *limit* rows that are deleted out of the index; return whether more are left.

    Their words stay in its pages until they are merged away: see `merge`.
    """
    gone = connection.execute(_GONE, (limit,)).fetchall()
    connection.executemany(_DELETE, gone)
    connection.executemany("DELETE FROM entry_text_due WHERE eid = ?", gone)
    return len(gone) == limit


def merge(connection: sqlite3.Connection, *, is_first: bool, pages: int = 100) -> bool:
    """Merge about *pages* pages of the index towards one segment; return whether more are left.

    Only in the one segment are no words of deleted rows. *is_first* begins that. The steps, each a transaction, do
    what FTS5's 'optimize' does in one.
    """
    before = connection.total_changes
    rank = -pages if is_first else pages
    connection.execute("INSERT INTO entry_text (entry_text, rank) VALUES ('merge', ?)", (rank,))
    return connection.total_changes - before >= 2


def phrase(words: str) -> str:
    """Return *words* as FTS5's query for exactly these words in this order, without any syntax."""
    return '"' + words.replace('"', '""') + '"'


def _is_due(connection: sqlite3.Connection, row: tuple[object, ...]) -> bool:
    eid, is_shown, is_draft = row[:3]
    if not is_shown or not is_draft:
        return True
    return bool(connection.execute(_INDEXED, (eid,)).fetchone() != words(row))


def _look_again(connection: sqlite3.Connection, row: tuple[object, ...]) -> None:
    eid, is_shown, is_draft = row[:3]
    indexed = connection.execute(_INDEXED, (eid,)).fetchone()
    wanted = words(row) if is_shown else None
    if indexed != wanted:
        connection.execute(_DELETE, (eid,))
        if wanted is not None:
            connection.execute(_INSERT, (eid, *wanted))
    if not (is_shown and is_draft):
        connection.execute("DELETE FROM entry_text_due WHERE eid = ?", (eid,))


def words(row: tuple[object, ...]) -> _Words:
    """Return what the full text has of a row: its name, description, tags and custom are *row*'s from the fourth on."""
    name, description, tags, custom = (str(value or "") for value in row[3:7])
    texts = [text for _, text in scalars(json.loads(custom or "{}"))]
    return name, description, "\n".join(json.loads(tags or "[]")), "\n".join(texts)


def _one(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
