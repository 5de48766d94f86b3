"""Whose turn it is at work that goes on for long: locks on files of the store's folder, which end with their process.

Threading: each lock is a descriptor of its own, so that threads of one process are told apart as processes are. A fork
without exec keeps a lock until it ends too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspellfs.errors import StoreBusy
from llmspellfs.storage import disk

_PAUSE = 0.005
ERASING, SCRUBBING = "erasing.lock", "scrub.lock"


@contextmanager
def shared(store: Path | None, name: str, seconds: float) -> Iterator[None]:
    """Hold *name* in the folder *store* together with any number of others; a store in memory (None) needs none.

    Raises StoreBusy where somebody has held it alone for *seconds*.
    """
    with _opened(store, name) as descriptor:
        if descriptor is not None:
            wait_for(descriptor, fcntl.LOCK_SH, seconds)
        yield


@contextmanager
def alone(store: Path | None, name: str) -> Iterator[bool]:
    """Say True, holding *name* in the folder *store* alone, or False at once where anybody else holds it."""
    with _opened(store, name) as descriptor:
        yield descriptor is None or _take(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _opened(store: Path | None, name: str) -> Iterator[int | None]:
    if store is None:
        yield None
        return
    with disk.disk_errors(store):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = disk.open_lock("turn.lock", store / name, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait_for(descriptor: int, how: int, seconds: float) -> None:
    """Return with the lock of *descriptor*, `LOCK_SH` or `LOCK_EX`; raise StoreBusy after *seconds*."""
    deadline = time.monotonic() + seconds
    while not _take(descriptor, how | fcntl.LOCK_NB):
        if time.monotonic() > deadline:
            raise StoreBusy(seconds)
        time.sleep(_PAUSE)


def is_of(path: Path, descriptor: int) -> bool:
    """Tell whether *descriptor* is of what is at *path* now: it may have been replaced while its lock was awaited."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
