"""An index that is only read: of a store whose folder this user cannot write to, or that is on a read-only medium.

It shows every commit that is in the folder (see `image`), within a second of it. Nothing is written to the
folder, and every transaction is refused.

Threading: as `index`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from llmspellfs.errors import Corrupt, ReadOnly, SpellError, StoreBusy, StoreUnusable
from llmspellfs.storage import connections, image
from llmspellfs.storage.index import _KEPT, _MOST, _PRAGMAS, _READ_PATIENCE, Connection, Index
from llmspellfs.storage.migrations import MIGRATIONS

_LOOK_SECONDS = 0.5
"""How often is looked whether somebody has changed an index that is read from a copy."""


class _Tagged(connections.Connection):
    """A connection that knows which image it reads, by number."""

    generation = 0


class ReadOnlyIndex(Index):
    """The index at *path*, of a folder that cannot be written to for the reason *why*."""

    def __init__(self, path: Path, why: str, *, busy_seconds: float) -> None:
        """Open it; raise StoreUnusable where it cannot be read."""
        self.why = why
        self._renewing = threading.Lock()
        self._generation = 0
        super().__init__(path, busy_seconds=busy_seconds)

    def _open_all(self) -> None:
        assert self.path is not None
        self._pid = os.getpid()
        self._turn, self._folding, self._watcher_turn = threading.Lock(), threading.Lock(), threading.Lock()
        self._memory_turn, self._guard = threading.RLock(), None
        self._idle = []
        self._images: list[image.Image] = []
        self._slots = threading.BoundedSemaphore(_MOST)
        self._begin_image(image.take(self.path, self.busy_seconds))

    def _begin_image(self, new: image.Image) -> None:
        self._images.append(new)
        self._generation += 1
        try:
            connection = self._connect(_READ_PATIENCE)
            self._check_schema(connection)
        except BaseException:
            self._images.pop().drop()
            raise
        self._watcher = self._writer = connection
        self._looked = time.monotonic()

    def _check_schema(self, connection: Connection) -> None:
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise Corrupt(f"index {self.path}: {error}") from None
        known = len(MIGRATIONS)
        if version != known:
            age = "a newer" if version > known else "an older"
            hint = "" if version > known else "; open it once where it can be written to"
            raise StoreUnusable(
                self.path, f"made by {age} version (schema {version}, this program knows {known}){hint}"
            )

    def _connect(self, patience: float) -> Connection:
        try:
            connection = sqlite3.connect(
                self._images[-1].uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False,
                cached_statements=512, factory=_Tagged,
            )  # fmt: skip
            connection.generation = self._generation
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise StoreUnusable(self.path, str(error)) from None
        return connection

    def lend(self) -> Connection:
        """Hand out a connection for reading, on the newest state."""
        self._renew()
        connection = super().lend()
        if self._is_current(connection):
            return connection
        connection.close()
        return self._connect_lent()

    def take_back(self, connection: Connection) -> None:
        """Take a connection back that was lent."""
        connections.end(connection)
        if self._is_current(connection) and len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        self._slots.release()

    def _is_current(self, connection: Connection) -> bool:
        return isinstance(connection, _Tagged) and connection.generation == self._generation

    def begin(self, *, durable: bool, patience: float | None = None, frees: bool = False) -> NoReturn:
        """Refuse: raise ReadOnly with the reason."""
        raise ReadOnly(f"the store {None if self.path is None else self.path.parent}: {self.why}")

    @contextmanager
    def write_derived(self, patience: float) -> Iterator[Connection]:
        """Write to a copy that is this process's own, and read from it from now on."""
        if not self._renewing.acquire(timeout=patience):
            raise StoreBusy(patience)
        try:
            self._change_image(image.private)
            with closing(self._connect(patience)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self.mapped(error) from None
        finally:
            self._renewing.release()

    def data_version(self) -> int:
        """Return a number that changes whenever somebody has committed."""
        self._renew()
        return (self._generation << 32) + super().data_version()

    def close(self) -> None:
        """Close every connection, and remove what was copied."""
        if self._pid != os.getpid():
            return
        for connection in [*self._idle, self._watcher]:
            connection.close()
        self._idle.clear()
        while self._images:
            self._images.pop().drop()

    def _renew(self) -> None:
        """Read from a new copy where the index has changed since the last."""
        if time.monotonic() - self._looked < _LOOK_SECONDS or not self._renewing.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            if self._images[-1].is_outdated():
                with suppress(SpellError):  # somebody has it open just now: at the next look, then
                    self._change_image(self._taken)
        finally:
            self._renewing.release()

    def _taken(self, old: image.Image) -> image.Image:
        return image.take(old.path, self.busy_seconds)

    def _change_image(self, make: Callable[[image.Image], image.Image]) -> None:
        """Read from what *make* makes of the image that was read so far; nothing changes where that is the same."""
        new = make(self._images[-1])
        if new is self._images[-1]:
            return
        old, idle = self._watcher, self._idle
        with self._watcher_turn:
            self._begin_image(new)
            self._idle = []
        for connection in [*idle, old]:
            connection.close()
        self._images.pop(0).drop()
