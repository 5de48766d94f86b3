"""Opening a store's folder: its rooms, made where they are missing, checked where they are there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import StoreBusy, StoreUnusable
from llmspellfs.storage.blobs import BlobStore, FileBlobs, MemoryBlobs
from llmspellfs.storage.content import ChunkCache
from llmspellfs.storage.index import Index
from llmspellfs.storage.lost import LostFound
from llmspellfs.storage.schema import FIRST_INO
from llmspellfs.storage.spool import Spool, salvage

INDEX_NAME = "index.db"
_OWN_NAMES = frozenset({"blobs", "spool", "lost+found", "opening.lock", "mount.log"})
"""What a folder may hold that becomes a store: the beginnings of one."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a store consists of; spool and lost+found are None for one in memory."""

    path: Path | None
    index: Index
    blobs: BlobStore
    cache: ChunkCache
    spool: Spool | None
    lost: LostFound | None

    def close(self) -> None:
        """Close everything; the spool's folder goes, since its process lets go of it."""
        if self.spool is not None:
            self.spool.close()
        self.cache.close()
        self.index.close()


def open_rooms(path: Path | None, *, busy_seconds: float, create: bool = True) -> Rooms:
    """Open the store at *path* (None: in memory); raise StoreUnusable with the reason.

    Where it is missing it is made, or with *create* false the reason is that.
    Leftovers of dead processes are moved from the spool to lost+found on the way.
    """
    if path is None:
        index = Index(None, busy_seconds=busy_seconds)
        _first_values(index)
        return Rooms(None, index, MemoryBlobs(), ChunkCache(), None, None)
    if not create and _is_missing(path):
        raise StoreUnusable.missing(path)
    _make_folder(path)
    with _opening_turn(path, busy_seconds):
        is_new = not (path / INDEX_NAME).exists()
        index = Index(path / INDEX_NAME, busy_seconds=busy_seconds)
        if is_new:
            (path / INDEX_NAME).chmod(0o600)
        _first_values(index)
    lost = LostFound(path)
    salvage(path, lost)
    return Rooms(path, index, FileBlobs(path), ChunkCache(), Spool(path), lost)


def _is_missing(path: Path) -> bool:
    """Say whether there is nothing at *path*, or only the beginnings of a store."""
    try:
        return set(os.listdir(path)) <= _OWN_NAMES
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _make_folder(path: Path) -> None:
    try:
        is_new = not path.exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_new and not (path / INDEX_NAME).exists():
            foreign = sorted(set(os.listdir(path)) - _OWN_NAMES)
            if foreign:
                raise StoreUnusable(path, f"not empty, and no store: it has {foreign[0]!r}")
            path.chmod(0o700)
    except FileExistsError:
        raise StoreUnusable(path, "not a folder") from None
    except NotADirectoryError:
        raise StoreUnusable(path, "part of the path is a file") from None
    except OSError as error:
        raise StoreUnusable(path, error.strerror or "cannot be made") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreUnusable(path, os.strerror(errno.EACCES))


@contextlib.contextmanager
def _opening_turn(path: Path, busy_seconds: float) -> Iterator[None]:
    """Let one process at a time make or migrate the index."""
    try:
        descriptor = os.open(path / "opening.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreUnusable(path, error.strerror or "cannot be written") from None
    try:
        deadline = time.monotonic() + busy_seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StoreBusy(busy_seconds)
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _first_values(index: Index) -> None:
    with index.read() as db:
        if db.execute("SELECT 1 FROM store WHERE key = 'next_ino'").fetchone():
            return
    with index.write() as db:
        rows = [
            ("uuid", str(uuid.uuid4())),
            ("created_ns", time.time_ns()),
            ("next_ino", FIRST_INO),
            ("synced_ns", 0),
        ]
        db.executemany("INSERT OR IGNORE INTO store (key, value) VALUES (?, ?)", rows)
