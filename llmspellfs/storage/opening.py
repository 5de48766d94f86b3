"""Opening a store's folder: its rooms, made where they are missing, checked where they are there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import NoSpace, ReadOnly, StoreUnusable
from llmspellfs.storage import disk, following, hidden, reading, turns
from llmspellfs.storage.blobs import BlobStore, FileBlobs, MemoryBlobs
from llmspellfs.storage.content import ChunkCache
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.index import Index
from llmspellfs.storage.lost import LostFound
from llmspellfs.storage.mounts import check_place
from llmspellfs.storage.planted import check_own, keep_private, take_over
from llmspellfs.storage.read_only import ReadOnlyIndex
from llmspellfs.storage.readers import Reader
from llmspellfs.storage.reading import Reading
from llmspellfs.storage.remains import INDEX_GONE, check_not_lost
from llmspellfs.storage.reserve import Reserve
from llmspellfs.storage.schema import FIRST_INO
from llmspellfs.storage.spool import Spool, salvage
from llmspellfs.storage.swap import READY, finish_swap
from llmspellfs.storage.traces import forget_ahead

INDEX_NAME = "index.db"
_TURN = "opening.lock"
_OWN_NAMES = frozenset({"blobs", "spool", "lost+found", "reserve", _TURN, "mount.log"})
"""What a folder may hold that becomes a store: the beginnings of one."""
_LEFT_BEHIND = frozenset(
    {f"{INDEX_NAME}-wal", f"{INDEX_NAME}-shm", reading.NAME, "quarantine", turns.ERASING, turns.SCRUBBING}
)
"""What is there only where there was an index too."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a store consists of; spool and lost+found are None for one in memory, the spool for a read-only one."""

    path: Path | None
    index: Index
    blobs: BlobStore
    cache: ChunkCache
    spool: Spool | None
    lost: LostFound | None
    reading: Reading
    read_only: str | None = None
    """Why nothing can be written, where that is so."""
    reader: Reader | None = None
    """What tells others of a read-only one."""

    def close(self) -> None:
        """Close everything, the spool last: by its lock others know that the index is in use."""
        with contextlib.ExitStack() as stack:
            if self.spool is not None:
                stack.callback(self.spool.close)
            if self.reader is not None:
                stack.callback(self.reader.close)
            stack.callback(self.index.close)
            self.reading.close()
            self.cache.close()


def open_rooms(
    path: Path | None,
    *,
    busy_seconds: float,
    create: bool = True,
    is_alone: bool = False,
    allow_network: bool = False,
) -> Rooms:
    """Open the store at *path* (None: in memory); raise StoreUnusable with the reason.

    Where it is missing it is made, or with *create* false the reason is that. Where its folder cannot be written to it
    is read-only. Leftovers of dead processes are moved from the spool to lost+found on the way. *is_alone*: the caller
    has the turn to open it already, so as to have the store alone. *allow_network*: also on a network file system.
    """
    if path is None:
        index = Index(None, busy_seconds=busy_seconds)
        _first_values(index)
        return Rooms(None, index, MemoryBlobs(), ChunkCache(), None, None, Reading(None))
    check_place(path, allow_network=allow_network)
    if not create and _is_missing(path):
        check_not_lost(path / INDEX_NAME)
        raise StoreUnusable.missing(path)
    why = _why_read_only(path)
    if why is not None:
        return _open_read_only(path, why, busy_seconds, is_alone=is_alone)
    _make_folder(path)
    try:
        return _open(path, busy_seconds, is_alone=is_alone)
    except (NoSpace, StoreUnusable):
        reserve = Reserve(path)
        if not (reserve.is_short() and reserve.release()):
            raise
        return _open(path, busy_seconds, is_alone=is_alone)  # a full disk can be emptied only by who has the store open


def _why_read_only(path: Path) -> str | None:
    """Return why the store that is at *path* cannot be written to, None where it can, or where there is none."""
    index = path / INDEX_NAME
    if not os.path.isfile(index) or not os.access(path, os.X_OK):
        return None
    for place, what in ((path, "its folder"), (index, "its index")):
        try:
            if not os.access(place, os.W_OK):
                is_medium = os.statvfs(place).f_flag & os.ST_RDONLY
                return "its file system is read-only" if is_medium else f"{what} is not writable for this user"
        except OSError as error:
            raise disk.mapped(path, error) from None
    return None


def _open_read_only(path: Path, why: str, busy_seconds: float, *, is_alone: bool) -> Rooms:
    check_own(path)
    check_not_lost(path / INDEX_NAME)
    reader = None if is_alone else Reader(path, busy_seconds)
    with _closed_on_failure(*filter(None, (reader,))):
        index = ReadOnlyIndex(path / INDEX_NAME, why, busy_seconds=busy_seconds)
        blobs, reading = FileBlobs(path), Reading(path, read_only=True)
        return Rooms(path, index, blobs, ChunkCache(), None, LostFound(path), reading, read_only=why, reader=reader)


def _open(path: Path, busy_seconds: float, *, is_alone: bool) -> Rooms:
    with contextlib.nullcontext() if is_alone else opening_turn(path, busy_seconds):
        finish_swap(path)
        _make_index(path / INDEX_NAME)
        has_hidden = hidden.keep(path, hidden.LOOKED_AT if is_alone else hidden.NAME)
        index = Index(path / INDEX_NAME, busy_seconds=busy_seconds)
        with _closed_on_failure(index):
            if has_hidden:  # else what is hidden would stand in the WAL behind what comes now
                index.empty_wal()
            _first_values(index)
            spool = Spool(path)  # before the turn ends: whoever needs the store alone looks for others there
    lost = LostFound(path)
    with _closed_on_failure(index, spool):
        blobs = FileBlobs(path)
        salvage(path, lost, functools.partial(_current, index), functools.partial(forget_ahead, index, blobs))
        return Rooms(path, index, blobs, ChunkCache(), spool, lost, Reading(path))


def _current(index: Index, told: Destination) -> Destination | None:
    with index.read() as db:
        return following.current(db, told)


def _make_index(path: Path) -> None:
    """Make the file *path*, where it is missing, as its owner's alone: SQLite gives its WAL the same mode.

    A file that is new nobody has open, so that closing this descriptor drops no lock of SQLite's.
    """
    check_not_lost(path)
    with contextlib.suppress(FileExistsError), disk.disk_errors(path):
        os.close(disk.create("opening.create", path))
    if not path.stat().st_size:  # else SQLite's journal may survive power loss, and the file that it belongs to not
        disk.sync_folder("opening.create_sync", path.parent)


@contextlib.contextmanager
def _closed_on_failure(*parts: Index | Spool | Reader) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for part in parts:
            part.close()
        raise


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
        if is_new:
            _make_new(path)
        elif not path.is_dir():
            raise StoreUnusable(path, "not a folder")
        if not is_new and not (path / INDEX_NAME).exists():
            check_own(path)
            if not (path / READY).exists():
                _check_bare(path)
            take_over(path)
        elif not is_new:
            keep_private(path)
    except NotADirectoryError:
        raise StoreUnusable(path, "part of the path is a file") from None
    except OSError as error:
        raise disk.mapped(path, error) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreUnusable(path, os.strerror(errno.EACCES))


def _check_bare(path: Path) -> None:
    """Raise StoreUnusable where the folder *path*, which has no index, is none of a store that is beginning."""
    check_not_lost(path / INDEX_NAME)
    foreign = sorted(set(os.listdir(path)) - _OWN_NAMES)
    if _LEFT_BEHIND.intersection(foreign):
        raise StoreUnusable(path, INDEX_GONE)
    if foreign:
        raise StoreUnusable.foreign(path, foreign[0])


def _make_new(path: Path) -> None:
    """Make the folder *path* and those above it that are missing, so that they survive power loss."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    disk.make_folder("opening.mkdir", path)
    for above in (folder.parent for folder in missing if os.access(folder.parent, os.R_OK)):
        disk.sync_folder("opening.above_sync", above)


@contextlib.contextmanager
def opening_turn(path: Path, busy_seconds: float) -> Iterator[None]:
    """Let one process at a time make, migrate or replace the index of the store at *path*.

    Raises StoreUnusable where the folder holds what a store does not put there, such as links under its own names, and
    ReadOnly where it cannot be written to.
    """
    while True:
        check_own(path)
        why = _why_read_only(path)
        if why is not None:
            raise ReadOnly(f"the store {path}: {why}")
        descriptor = _open_turn(path)
        try:
            turns.wait_for(descriptor, fcntl.LOCK_EX, busy_seconds)
            if turns.is_of(path / _TURN, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _open_turn(path: Path) -> int:
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return disk.open_lock("opening.lock", path / _TURN, flags, 0o600)
    except OSError as error:
        raise disk.mapped(path, error) from None


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
