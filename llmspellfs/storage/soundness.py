"""Whether an index that nobody has open is one that SQLite can use, asked without removing what may be salvaged.

What SQLite takes for the index is believed first. It is asked read-only where its WAL has more than it reads: the last
connection that may write folds what it believes, and removes the rest.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from urllib.parse import quote

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import audit_schema
from llmspellfs.storage.alone import connect_alone
from llmspellfs.storage.salvage_pages import MAGIC, PAGE_SIZE, Pages
from llmspellfs.storage.salvage_wal import harmed_bytes
from llmspellfs.storage.schema import MIGRATIONS


def damage(path: str) -> list[str]:
    """Return what is wrong with the files of the index *path* that nobody has open: header, WAL, pages, schema.

    Raises StoreUnusable where a newer version made it, or it is not there.
    """
    if not os.path.exists(path):
        raise StoreUnusable(os.path.dirname(path), "its index is gone: only a backup can bring it back")
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


def look(path: str) -> sqlite3.Connection:
    """Return a connection to the index *path* as SQLite takes it to be, which leaves frames behind that alone."""
    if not has_frames_behind(path):
        return connect_alone(path)
    return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)


def has_frames_behind(path: str) -> bool:
    """Tell whether the WAL of the index *path* has transactions behind the place at which SQLite stops reading."""
    with closing(Pages(path)) as pages:
        return pages.has_behind


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
