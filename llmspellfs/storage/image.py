"""The index of a store whose folder cannot be written to, and how SQLite is to open it so that it shows every commit.

SQLite's own words on it ("Read-Only Databases", sqlite.org/wal.html): a database in WAL mode can be read where the
`-shm` and `-wal` are there, or where it is sure not to change (`immutable=1`, which does not look at a WAL). So:

- Both are there: SQLite reads them, live, whoever else writes.
- No WAL, on a file system that nobody on this machine can write to: immutable.
- Else a private copy of the index and its WAL, taken while nobody opens the store, and taken again once they change.

Threading: every function may be called from any thread.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import turns
from llmspellfs.storage.connections import address, connect
from llmspellfs.storage.mounts import is_superblock_read_only
from llmspellfs.storage.swap import READY

_PARTS = ("", "-wal", "-journal")
_TRIES = 5
Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be opened in the place of the index *path*: a *uri*, and the *folder* of a copy, if it is one."""

    path: Path
    uri: str
    folder: str | None
    seen: Signature | None
    """The files as they were, None where SQLite sees changes by itself."""

    def is_outdated(self) -> bool:
        """Tell whether somebody has changed the index since."""
        return self.seen is not None and _signature(self.path) != self.seen

    def drop(self) -> None:
        """Remove the copy; who has it open goes on reading it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def take(path: Path, busy_seconds: float) -> Image:
    """Return how the index *path* is to be read; raise StoreUnusable with the reason why it cannot be, StoreBusy."""
    if os.path.lexists(path.parent / READY):
        raise StoreUnusable(path.parent, "a repair of it has not ended: it has to be opened where it can be written to")
    live = Image(path, address(path, "mode=ro"), None, None)
    if os.path.exists(f"{path}-shm") and os.path.exists(f"{path}-wal") and _opens(live):
        return live
    seen = _signature(path)
    if not any(part and part[0] for part in seen[1:]) and is_superblock_read_only(path):
        still = Image(path, address(path, "mode=ro&immutable=1"), None, seen)
        if _opens(still):
            return still
    with _nobody_opening(path.parent, busy_seconds):
        return _copied(path)


def private(image: Image) -> Image:
    """Return a copy of *image* that may be changed, as it is now."""
    if image.folder is not None:
        return image
    seen, folder = _signature(image.path), tempfile.mkdtemp(prefix="llmspellfs-")
    target = f"{folder}/{image.path.name}"
    try:
        with closing(connect(image.uri, uri=True)) as db, closing(connect(target)) as copy:
            db.backup(copy)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, sqlite3.Error):
            raise StoreUnusable(image.path.parent, f"its index cannot be copied: {error}") from None
        raise
    return Image(image.path, address(target, "mode=rw"), folder, seen)


def _opens(image: Image) -> bool:
    try:
        with closing(connect(image.uri, uri=True, timeout=1)) as db:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        return False
    return True


def _signature(path: Path) -> Signature:
    return tuple(_sign(f"{path}{part}") for part in _PARTS)


def _sign(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _copied(path: Path) -> Image:
    """Copy the index and its WAL, as they are at one moment, to a folder that is this user's alone."""
    folder = tempfile.mkdtemp(prefix="llmspellfs-")
    try:
        for _ in range(_TRIES):
            seen = _signature(path)
            _copy(path, folder, seen)
            if _signature(path) == seen:
                return Image(path, address(f"{folder}/{path.name}", "mode=rw"), folder, seen)
            for name in os.listdir(folder):
                os.unlink(f"{folder}/{name}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    raise StoreUnusable(path.parent, "it is read-only here, and changes faster than it can be copied")


def _copy(path: Path, folder: str, seen: Signature) -> None:
    """Copy by a process of its own: to close a plain descriptor of the index drops the locks that SQLite has on it."""
    there = [f"{path}{part}" for part, found in zip(_PARTS, seen, strict=True) if found is not None]
    command = ["cp", "--", *there, folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise StoreUnusable(path.parent, f"its index cannot be copied to be read: cp: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["cp failed"]
        raise StoreUnusable(path.parent, f"its index cannot be copied to be read: {said[-1]}")
    for name in os.listdir(folder):  # SQLite has to fold the copy's WAL
        os.chmod(f"{folder}/{name}", 0o600)


@contextmanager
def _nobody_opening(root: Path, busy_seconds: float) -> Iterator[None]:
    """Keep others from opening the store at *root*; where it has no lock, nobody ever does."""
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(root / "opening.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        yield
        return
    try:
        turns.wait_for(descriptor, fcntl.LOCK_SH, busy_seconds)
        yield
    finally:
        os.close(descriptor)
