"""Bringing an index to this program's schema.

Migrations are sqlite-utils' own: each runs in one transaction with the record of itself. A new one is a function
added at the end; none is ever changed once released. `PRAGMA user_version` is the number of migrations, so that an
older program refuses a newer store instead of harming it.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import disk, schema

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations


def m001_first(db: Database) -> None:
    """Create the schema of version 1."""
    _run(db, schema.FIRST)


def m002_past(db: Database) -> None:
    """Index rows that have ended by their place, so that a folder's past, and a name's in it, is one range."""
    _run(db, schema.PAST)


def m003_scripts(db: Database) -> None:
    """Make room for the values that scripts keep, and for what they publish."""
    _run(db, schema.SCRIPTS)


def m004_keeping(db: Database) -> None:
    """Make room for what keeps a store well over the years."""
    _run(db, schema.KEEPING)


def _run(db: Database, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


MIGRATIONS = [m001_first, m002_past, m003_scripts, m004_keeping]
"""Every migration, in order; `PRAGMA user_version` counts those that a store has."""


def _step(migration: Callable[[Database], None]) -> Callable[[Database], None]:
    """Return *migration* as a step that `disk` knows; it commits after the step is done."""

    @functools.wraps(migration)
    def step(db: Database) -> None:
        disk.point("index.migration")
        migration(db)
        disk.point("index.migration.done")

    return step


def registered() -> Migrations:
    """Return the migrations as sqlite-utils applies them; it is imported only where there is something to apply."""
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("llmspellfs")
    for migration in MIGRATIONS:
        migrations()(_step(migration))
    return migrations


def as_of(version: int) -> sqlite3.Connection:
    """Return an empty index in memory with the schema of *version*."""
    from sqlite_utils import Database

    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in MIGRATIONS[:version]:
        migration(Database(connection))
    return connection


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Bring the index at *path* to this program's schema; raise StoreUnusable where it is of a newer one."""
    version, known = connection.execute("PRAGMA user_version").fetchone()[0], len(MIGRATIONS)
    if version > known:
        raise StoreUnusable(path, f"made by a newer version (schema {version}, this program knows {known})")
    if version < known:
        from sqlite_utils import Database

        registered().apply(Database(connection))
        disk.execute("index.version", connection, f"PRAGMA user_version = {known}")
