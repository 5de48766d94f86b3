"""Checking that an index has the tables, columns, indexes and triggers that its schema gives it.

SQLite finds nothing wrong with a database in which somebody has dropped a table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from llmspellfs.storage.migrations import MIGRATIONS, as_of

_OTHERS = ("sqlite_", "_sqlite_")
"""What SQLite and sqlite-utils keep for themselves begins so."""


def gone(db: sqlite3.Connection) -> list[str]:
    """Return what the index *db* lacks of its schema, in words; nothing of one that a newer program has made."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not 0 < version <= len(MIGRATIONS):
        return []
    with closing(as_of(version)) as made:
        there, due = _parts(db), _parts(made)
    return [
        f"its {kind} {name} is gone" for kind, name in due if (kind, name) not in there and not _is_told(name, there)
    ]


def is_unusable(lacking: list[str]) -> bool:
    """Tell whether tables or columns are among what is *lacking*, without which little else can be asked."""
    return any(line.startswith(("its table", "its column")) for line in lacking)


def _is_told(name: str, there: dict[tuple[str, str], None]) -> bool:
    """Tell whether *name* is a column of a table that is not there."""
    table, dot, _ = name.partition(".")
    return bool(dot) and ("table", table) not in there


def _parts(db: sqlite3.Connection) -> dict[tuple[str, str], None]:
    found = dict.fromkeys(_objects(db))
    tables = [name for kind, name in found if kind == "table"]
    return found | dict.fromkeys(("column", f"{table}.{name}") for table in tables for name in _columns(db, table))


def _objects(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for kind, name in db.execute("SELECT type, name FROM sqlite_schema ORDER BY type != 'table', name"):
        if not str(name).startswith(_OTHERS):
            yield str(kind), str(name)


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    try:
        return [str(row[0]) for row in db.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))]
    except sqlite3.DatabaseError:  # a virtual table whose own tables are gone, which are told
        return []
