"""The index's connections and transactions: one SQLite database in WAL mode, shared by many processes.

Threading: `read` and `write` may be called from any thread. Readers take a connection of a bounded pool and never wait
for a writer. Writers take turns, first for this process's lock, then for SQLite's (`BEGIN IMMEDIATE`), both bounded:
StoreBusy when the bound has passed. No connection crosses a fork. A store in memory has one connection, and everybody
takes turns on it.

Nothing here ever opens the database as a plain file: closing such a descriptor would drop SQLite's POSIX locks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspellfs.errors import Corrupt, NoSpace, StoreBusy, StoreUnusable
from llmspellfs.storage.schema import migrate

Connection = sqlite3.Connection

BUSY_SECONDS = 15.0
"""How long a writer waits for its turn before StoreBusy."""
_POOL = 8
_CHECKPOINT_PAGES = 4000


class Index:
    """The database at *path*, or one in memory where *path* is None; *busy_seconds* bounds each writer's wait."""

    def __init__(self, path: Path | None, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open the index, make it where it is missing, and bring its schema up to date."""
        self.path = path
        self.busy_seconds = busy_seconds
        self._open_all()

    def _open_all(self) -> None:
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._idle: list[Connection] = []
        self._slots = threading.BoundedSemaphore(_POOL)
        self._writer = self._connect()
        with self.mapped_errors():
            if self.path is not None:
                self._writer.execute("PRAGMA journal_mode = WAL")
            migrate(self._writer, self.path)
        self._memory_turn = threading.RLock()
        self._watcher = self._connect() if self.path is not None else self._writer
        self._watcher_turn = threading.Lock()

    def _connect(self) -> Connection:
        try:
            connection = sqlite3.connect(
                self.path or ":memory:",
                timeout=self.busy_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            raise StoreUnusable(self.path, str(error)) from None
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(self.path, f"not an index: {error}") from None
        return connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection for reading; statements between them may see different states (see `snapshot`)."""
        if self.path is None:
            if not self._memory_turn.acquire(timeout=self.busy_seconds):
                raise StoreBusy(self.busy_seconds)
            try:
                yield self._writer
            finally:
                self._memory_turn.release()
            return
        self._check_fork()
        if not self._slots.acquire(timeout=self.busy_seconds):
            raise StoreBusy(self.busy_seconds)
        try:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                with self.mapped_errors():
                    yield connection
            finally:
                self._idle.append(connection)
        finally:
            self._slots.release()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Lend a connection whose statements all see the same state."""
        with self.read() as connection:
            if self.path is None or connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """Run a write transaction: committed at the end, rolled back where the block raises.

        *durable*: return only when this and all earlier transactions survive power loss; the block writes at
        least one row then, since an empty transaction syncs nothing. Raises StoreBusy and NoSpace.
        """
        self._check_fork()
        deadline = time.monotonic() + self.busy_seconds
        turn = self._memory_turn if self.path is None else self._turn
        if not turn.acquire(timeout=self.busy_seconds):
            raise StoreBusy(self.busy_seconds)
        try:
            with self.mapped_errors():
                yield from self._transact(durable, deadline)
        finally:
            turn.release()

    def _transact(self, durable: bool, deadline: float) -> Iterator[Connection]:
        connection = self._writer
        if durable:
            connection.execute("PRAGMA synchronous = FULL")
        try:
            self._begin(connection, deadline)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        finally:
            if durable:
                connection.execute("PRAGMA synchronous = NORMAL")

    def _begin(self, connection: Connection, deadline: float) -> None:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.002)

    def data_version(self) -> int:
        """Return a number that changes whenever any other connection commits; 2 µs."""
        if self.path is None:
            return self._writer.total_changes
        self._check_fork()
        with self._watcher_turn:
            version: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
            return version

    def close(self) -> None:
        """Close every connection; the last process to do so folds the WAL into the database."""
        if self._pid != os.getpid():
            return
        for connection in [*self._idle, self._watcher, self._writer]:
            connection.close()
        self._idle.clear()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self._inherited = (self._idle, self._writer, self._watcher)
            self._open_all()

    @contextmanager
    def mapped_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into this package's: no sqlite3 error leaves the room."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise StoreBusy(self.busy_seconds) from None
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise NoSpace(self.path) from None
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}:
                raise Corrupt(f"index {self.path}: {error}") from None
            raise
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise Corrupt(f"index {self.path}: {error}") from None
            raise


_PRAGMAS = (
    "synchronous = NORMAL",
    f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "secure_delete = ON",
    "foreign_keys = OFF",
)


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
