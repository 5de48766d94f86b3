"""The index's connections and transactions: one SQLite database in WAL mode, shared by many processes.

Threading: `read` and `write` may be called from any thread. Readers take a connection of a bounded pool and never wait
for a writer. Writers take turns, first for this process's lock, then for SQLite's (`BEGIN IMMEDIATE`), both bounded:
StoreBusy when the bound has passed. No connection crosses a fork (see `inherited`). A store in memory has one
connection, and everybody takes turns on it.

Nothing here ever opens the database as a plain file: closing such a descriptor would drop SQLite's POSIX locks.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from llmspellfs.errors import NoSpace, StoreBusy, StoreUnusable
from llmspellfs.storage import connections, disk, inherited, sqlite_errors
from llmspellfs.storage.guard import Guard
from llmspellfs.storage.migrations import migrate

_log = logging.getLogger(__name__)
Connection = sqlite3.Connection
AnyLock: TypeAlias = "threading.Lock | threading.RLock"

BUSY_SECONDS = 15.0
"""How long a writer waits for its turn before StoreBusy."""
_KEPT, _MOST = 8, 96
"""Connections for reading: kept while nobody reads, and lent at the same time; slow questions must not use them up."""
_READ_PATIENCE = 5.0
"""Seconds for which SQLite itself waits when a reader meets a lock, as it may while a WAL is recovered."""
_WRITE_PATIENCE = 0.02
"""Seconds for which SQLite itself waits for a write lock; its pauses grow long, those between tries here do not."""
_PAUSE = 0.001
_CHECKPOINT_PAGES = 16000
"""Pages of WAL at which a commit folds it itself, should the thread that does so have fallen behind: 64 MiB."""
_FOLD_COMMITS = 256
_LARGE = 64 << 20
"""Bytes that a large transaction may write."""


class Index:
    """The database at *path*, or one in memory where *path* is None; *busy_seconds* bounds each writer's wait."""

    def __init__(self, path: Path | None, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open the index, make it where it is missing, and bring its schema up to date."""
        self.path = path
        self.busy_seconds = busy_seconds
        self._open_all()
        if path is not None:
            inherited.watch(self)

    def _open_all(self) -> None:
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._folding = threading.Lock()
        self._commits = 0
        self._idle: list[Connection] = []
        self._slots = threading.BoundedSemaphore(_MOST)
        self._writer = self._connect(min(_READ_PATIENCE, self.busy_seconds))
        try:
            if self.path is not None:
                disk.execute("index.wal", self._writer, "PRAGMA journal_mode = WAL")
            migrate(self._writer, self.path)
            self._writer.execute(f"PRAGMA busy_timeout = {_WRITE_PATIENCE * 1000:.0f}")
        except sqlite3.Error as error:
            self._writer.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise StoreUnusable(self.path, f"not an index: {error}") from None
            raise self.mapped(error) from None
        except StoreUnusable:
            self._writer.close()
            raise
        self._memory_turn = threading.RLock()
        self._guard = None if self.path is None else Guard(self.path, self._writer)
        self._watcher = self._connect(_READ_PATIENCE) if self.path is not None else self._writer
        self._watcher_turn = threading.Lock()

    def _connect(self, patience: float) -> Connection:
        try:
            connection = sqlite3.connect(
                self.path or ":memory:",
                timeout=patience,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                factory=connections.Connection,
            )
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            mapped = self.mapped(error)
            raise mapped if isinstance(mapped, NoSpace) else StoreUnusable(self.path, str(error)) from None
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(self.path, f"not an index: {error}") from None
        return connection

    def read(self) -> Reading:
        """Lend a connection for reading; statements between them may see different states (see `snapshot`)."""
        return Reading(self)

    def lend(self) -> Connection:
        """Hand out a connection for reading, to be taken back; `read` does both."""
        if self.path is None:
            if not self._memory_turn.acquire(timeout=self.busy_seconds):
                raise StoreBusy(self.busy_seconds)
            return self._writer
        self._check_fork()
        if not self._slots.acquire(timeout=self.busy_seconds):
            raise StoreBusy(self.busy_seconds)
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect_lent()

    def _connect_lent(self) -> Connection:
        try:
            return self._connect(_READ_PATIENCE)
        except BaseException:
            self._slots.release()
            raise

    def take_back(self, connection: Connection) -> None:
        """Take a connection back that was lent."""
        if self.path is None:
            self._memory_turn.release()
            return
        try:
            connections.end(connection)
        finally:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
            else:
                connection.close()
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

    def write(self, *, durable: bool = False, patience: float | None = None, frees: bool = False) -> Writing:
        """Run a write transaction: committed at the end, rolled back where the block raises.

        *durable*: return only when this and all earlier transactions survive power loss; the block writes at
        least one row then, since an empty transaction syncs nothing. *patience*: seconds to wait for other writers,
        by default `busy_seconds`. *frees*: the block takes away more than it adds, and may use the room that is kept
        for that. Raises StoreBusy and NoSpace.
        """
        return Writing(self, durable, patience, frees)

    def write_derived(self, patience: float) -> AbstractContextManager[Connection]:
        """Write what only repeats other rows, such as the full text, as `write` does; a read-only index lets it too."""
        return self.write(patience=patience)

    def begin(self, *, durable: bool, patience: float | None = None, frees: bool = False) -> Connection:
        """Take the writer's turn and begin a transaction; `write` does this and what follows."""
        self._check_fork()
        bound = self.busy_seconds if patience is None else patience
        deadline = time.monotonic() + bound
        if not self._write_turn().acquire(timeout=bound):
            raise StoreBusy(bound)
        has_begun = False
        try:
            if self._guard is not None:
                self._guard.before(durable=durable, frees=frees)
            if durable:
                self._writer.execute("PRAGMA synchronous = FULL")
            self._begin(deadline)
            has_begun = True
        except sqlite3.Error as error:
            raise self.mapped(error) from None
        finally:
            if not has_begun:
                self._end_turn(durable=durable)
        return self._writer

    def end(self, *, durable: bool, commit: bool, last: Callable[[], None] | None = None) -> None:
        """Commit, after *last*, or roll back, and give the turn away; what fails is rolled back whole."""
        connection, failure = self._writer, None
        try:
            if commit:
                if last is not None:
                    last()
                disk.execute("index.commit", connection, "COMMIT")
                self._committed()
        except sqlite3.Error as error:
            failure = error
            raise self.mapped(error) from None
        finally:
            try:
                if self.path is not None:
                    connections.end(connection)
                if connection.in_transaction:
                    disk.execute("index.rollback", connection, "ROLLBACK")
                self._guard_after(failure)
            finally:
                self._end_turn(durable=durable)

    def check_room(self) -> None:
        """Raise NoSpace where the disk has no room but what is kept for deletions."""
        if self._guard is not None:
            self._guard.reserve.hold()

    def is_short(self, more: int = _LARGE) -> bool:
        """Tell whether the disk is so full that transactions had better be small, or has no room for *more* bytes."""
        return self._guard is not None and self._guard.reserve.is_short(more)

    @contextmanager
    def aside(self) -> Iterator[Connection]:
        """Lend a connection of its own, in no transaction, while no other thread of this process writes.

        It never folds the WAL by itself, and waits for other processes as long as a writer does. Raises StoreBusy,
        NoSpace.
        """
        self._check_fork()
        if not self._write_turn().acquire(timeout=self.busy_seconds):
            raise StoreBusy(self.busy_seconds)
        failure: sqlite3.Error | None = None
        try:
            with closing(self._connect(self.busy_seconds)) as connection:
                connection.execute("PRAGMA wal_autocheckpoint = 0")
                yield connection
        except sqlite3.Error as error:
            failure = error
            raise self.mapped(error) from None
        finally:
            try:
                self._guard_after(failure)
            finally:
                self._write_turn().release()

    def _guard_after(self, failure: sqlite3.Error | None) -> None:
        if self._guard is not None:
            if failure is not None:
                self._guard.failed(failure)
            self._guard.after()

    def _committed(self) -> None:
        """Fold the WAL into the database now and then, off the writer's thread: its fsyncs take milliseconds."""
        self._commits += 1
        if self.path is None or self._commits % _FOLD_COMMITS or self._folding.locked():
            return
        with suppress(RuntimeError):  # no thread to be had: the commit stands, and a later one folds
            threading.Thread(target=self._fold, name="wal", daemon=True).start()

    def _fold(self) -> None:
        with self._folding, suppress(sqlite3.Error, StoreUnusable):
            connection = self._connect(_WRITE_PATIENCE)
            try:
                disk.execute("index.fold", connection, "PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()

    def _end_turn(self, *, durable: bool) -> None:
        try:
            if durable:
                self._writer.execute("PRAGMA synchronous = NORMAL")
        finally:
            self._write_turn().release()

    def _write_turn(self) -> AnyLock:
        return self._memory_turn if self.path is None else self._turn

    def _begin(self, deadline: float) -> None:
        while True:
            try:
                disk.execute("index.begin", self._writer, "BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not sqlite_errors.is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)

    def empty_wal(self) -> None:
        """Fold the WAL into the database and cut it off, where nobody reads it; durable. Who does is logged."""
        try:
            is_held = disk.execute("index.fold", self._writer, "PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            raise self.mapped(error) from None
        if is_held:
            _log.warning("another program reads %s, whose WAL cannot be cut off meanwhile", self.path)

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
        if self._folding.acquire(timeout=self.busy_seconds):
            self._folding.release()
        for connection in [*self._idle, self._watcher, self._writer]:
            connection.close()
        self._idle.clear()

    def gates(self) -> Iterator[inherited.Gate]:
        """Yield what keeps threads out of SQLite while it is held, for a fork."""
        yield from (self._turn, self._folding, self._watcher_turn)
        for _ in range(_MOST):
            yield self._slots

    def connections(self) -> list[object]:
        """Return the connections that nobody has borrowed, for a fork."""
        return [*self._idle, self._watcher, self._writer]

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self._inherited = (self._idle, self._writer, self._watcher)
            self._open_all()

    def mapped(self, error: BaseException) -> BaseException:
        """Return *error*, or what it is here where it is SQLite's: no sqlite3 error leaves the room."""
        return sqlite_errors.mapped(error, self.path, self.busy_seconds)


class Reading:
    """The loan of a connection for reading, as a context; a class, since it is entered for every look-up."""

    __slots__ = ("_connection", "_index")

    def __init__(self, index: Index) -> None:
        """Borrow from *index*."""
        self._index = index

    def __enter__(self) -> Connection:
        """Return the connection."""
        self._connection = self._index.lend()
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Give it back, and raise SQLite's errors as this package's."""
        self._index.take_back(self._connection)
        if isinstance(error, sqlite3.Error):
            raise self._index.mapped(error) from None


class Writing:
    """A write transaction, as a context."""

    __slots__ = ("_durable", "_frees", "_index", "_patience")

    def __init__(self, index: Index, durable: bool, patience: float | None, frees: bool) -> None:
        """Write to *index*."""
        self._index, self._durable, self._patience, self._frees = index, durable, patience, frees

    def __enter__(self) -> Connection:
        """Begin, and return the connection."""
        return self._index.begin(durable=self._durable, patience=self._patience, frees=self._frees)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Commit, or roll back where there is an *error*; raise SQLite's errors as this package's."""
        self._index.end(durable=self._durable, commit=error is None)
        if isinstance(error, sqlite3.Error):
            raise self._index.mapped(error) from None


_PRAGMAS = (
    "synchronous = NORMAL",
    f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "secure_delete = ON",
    "foreign_keys = OFF",
)
