"""What SQLite's errors about an index are here, by their result codes (sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from llmspellfs.errors import Corrupt, NoSpace, StoreBusy, StoreUnusable

_DAMAGED = (
    "no such table", "no such column", "SQL logic error", "vtable constructor failed", "malformed JSON",
    "invalid fts5 file format",
)  # fmt: skip
"""How SQLite's words begin where a part of the schema, or of the full text's own tables, is gone, or JSON is none."""


def mapped(error: BaseException, path: Path | None, busy_seconds: float) -> BaseException:
    """Return what *error* about the index *path* is here, itself where it is not SQLite's or of no kind foreseen.

    *busy_seconds* are those for which a lock was waited for.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.OperationalError) and code is None and "decode" in str(error):
        return Corrupt(f"index {path}: {error}")
    if not isinstance(error, sqlite3.Error) or code is None:
        return error
    if is_busy(error):
        return StoreBusy(busy_seconds)
    if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return NoSpace(path)
    if code & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return StoreUnusable(path, str(error))
    if code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Corrupt(f"index {path}: {error}")
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(_DAMAGED):
        return Corrupt(f"index {path}: {error} (`llmspellfs fsck` tells more)")
    return error


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection holds a lock that was waited for."""
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
