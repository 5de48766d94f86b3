"""Whether an index that nobody has open is one that SQLite can use, asked without removing what may be salvaged.

What SQLite takes for the index is believed first. It is asked read-only: the last connection that may write folds what
it believes, cuts the file to the size that it had then, and removes the WAL.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import audit_schema
from llmspellfs.storage.alone import connect_alone
from llmspellfs.storage.connections import look
from llmspellfs.storage.migrations import MIGRATIONS
from llmspellfs.storage.remains import INDEX_GONE
from llmspellfs.storage.salvage_pages import MAGIC, PAGE_SIZE, Pages
from llmspellfs.storage.salvage_wal import harmed_bytes


def damage(path: str) -> list[str]:
    """Return what is wrong with the files of the index *path* that nobody has open: header, WAL, pages, schema.

    Raises StoreUnusable where a newer version made it, or it is not there.
    """
    if not os.path.exists(path):
        raise StoreUnusable(os.path.dirname(path), INDEX_GONE)
    found = _outside(path)
    if found:
        return found
    try:
        with closing(look(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(100)")]
            found = audit_schema.gone(db) if found == ["ok"] else found
    except sqlite3.DatabaseError as error:
        return [str(error)]
    if version > len(MIGRATIONS):
        raise StoreUnusable(os.path.dirname(path), f"made by a newer version (schema {version})")
    return found


def harmed_wal(path: str) -> dict[int, int]:
    """Return what bytes of the WAL of the index *path* were, by place, where they hide commits: see `salvage_wal`."""
    if not os.path.exists(path):
        return {}
    with closing(Pages(path)) as pages:
        return harmed_bytes(f"{path}-wal", pages.size)


def roll_back(path: str) -> None:
    """Let SQLite end what it had begun before the index *path* got a WAL; else it could not be asked read-only."""
    with suppress(sqlite3.DatabaseError), closing(connect_alone(path)) as db:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()


def has_journal(path: str) -> bool:
    """Tell whether the index *path* was being changed without a WAL when its process ended."""
    try:
        return os.path.getsize(f"{path}-journal") > 0 and os.path.getsize(path) > 0
    except FileNotFoundError:
        return False


def has_frames_behind(path: str) -> bool:
    """Tell whether the WAL of the index *path* has transactions behind the place at which SQLite stops reading."""
    with closing(Pages(path)) as pages:
        return pages.has_behind


def has_wal(path: str) -> bool:
    """Tell whether SQLite reads pages of the index *path* from its WAL."""
    with closing(Pages(path)) as pages:
        return bool(pages.from_wal)


def _outside(path: str) -> list[str]:
    """Return what is wrong before SQLite looks: it would remove the WAL of an index that is empty.

    A page cut in two is the checkpoint's that a power cut has ended, where the WAL has pages.
    """
    with closing(Pages(path)) as pages:
        header, size = pages.page(1)[:100], os.stat(path).st_size
        found = [] if header[:16] == MAGIC else ["the header is destroyed"]
        if not size or (size % PAGE_SIZE and not pages.from_wal):
            found.append(f"the file is cut off at {size} bytes")
        return found
