"""What a write transaction needs of the disk beside SQLite: a reserve, and a WAL that can be trusted.

- What only adds to the store needs the reserve to be there; what frees may use it (`reserve`).
- After an fsync that failed the kernel holds the pages for clean, and the next fsync succeeds though they never reached
  the disk (LWN, "PostgreSQL's fsync() surprise"). So after such a failure nothing is called durable until the WAL
  has been folded into the database and begun anew.

The WAL's name needs no care: each connection syncs the folder with its own first sync of the WAL.

Threading: the writer's turn is held around every call.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from llmspellfs.errors import Corrupt, NoSpace, SpellError
from llmspellfs.storage import disk
from llmspellfs.storage.reserve import Reserve

_TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)"
_WORTHWHILE = 1 << 20
"""Bytes of WAL that are worth folding early where the disk is nearly full."""


class Guard:
    """What stands before and behind the transactions that *connection* writes to the index at *path*."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Begin with a WAL that is trusted."""
        self._path, self._connection = path, connection
        self.reserve = Reserve(path.parent)
        self._is_doubtful = self._is_lent = False
        self._covered = 0
        """Bytes of WAL that the reserve was last seen to allow for; it is cut in steps of 1 MiB."""

    def before(self, *, durable: bool, frees: bool) -> None:
        """Get ready for a transaction; raise NoSpace, or Corrupt where a *durable* one cannot be had."""
        if self._is_doubtful and not self._fold() and durable:
            raise Corrupt(f"index {self._path}: the disk has failed to keep what was written before")
        if frees:
            self._is_lent = self.reserve.lend()
        else:
            self._hold()

    def after(self) -> None:
        """Take the reserve again where the transaction was lent it, or has made the WAL longer."""
        if not self._is_lent and self._wal_size() <= self._covered:
            return
        if self._is_lent:
            self._fold()
        self._is_lent = False
        with suppress(SpellError, OSError):
            self._hold()

    def _hold(self) -> None:
        """Have the reserve, and as much as the WAL has: before it is emptied the database may grow by that."""
        size = self._wal_size()
        if size > _WORTHWHILE and self.reserve.is_short():
            self._make_room()
            size = self._wal_size()
        try:
            self.reserve.hold(size)
        except NoSpace:
            self._make_room()
            size = self._wal_size()
            self.reserve.hold(size)
        self._covered = size

    def _make_room(self) -> None:
        self.reserve.release()
        self._fold()

    def _wal_size(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    def failed(self, error: sqlite3.Error) -> None:
        """Hear that a commit failed: it must not come back with the WAL, and nothing before it is durable for sure."""
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
            self._is_doubtful = True
            self._fold()

    def _fold(self) -> bool:
        """Fold the whole WAL into the database and empty it; tell whether that succeeded."""
        try:
            is_busy = disk.execute("index.refold", self._connection, _TRUNCATE).fetchone()[0]
        except sqlite3.Error:
            return False
        self._is_doubtful = self._is_doubtful and bool(is_busy)
        return not is_busy
