"""What a child made by `os.fork` inherits of SQLite, and what makes that safe.

SQLite keeps the locks that a process has in the process's memory, which a fork copies; POSIX gives a child none of
them. So each connection that the child opens believes to share a lock that nobody holds, and once the parent is gone,
the next command to end would take itself for the last one and delete the WAL under the child. Therefore:

- before a fork the process waits, for a moment, until none of its threads is inside SQLite: what the child inherits is
  then idle connections and no lock of a thread that it does not have;
- the child at once takes for itself the locks that every process with an open connection holds, on the descriptors
  that it has inherited;
- it never closes an inherited connection, since that may roll back a transaction of the parent's.

Threading: the hooks run in the thread that forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The bytes of a database that a process with an open connection has locked (sqlite3's os.h)."""
_LIVE_BYTE = 128
"""The byte of a wal-index that it has locked (UNIX_SHM_DMS in sqlite3's os_unix.c)."""
_PAUSE_SECONDS = 5.0
"""How long a fork waits for the other threads at most; most often they are out of SQLite within a millisecond."""

Gate: TypeAlias = "threading.Lock | threading.Semaphore"


class Forkable(Protocol):
    """An index that may be open while its process forks."""

    path: Path | None

    def gates(self) -> Iterator[Gate]:
        """Yield what keeps threads out of SQLite while it is held."""

    def connections(self) -> list[object]:
        """Return the connections that nobody has borrowed."""


_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_held: list[Gate] = []


def watch(index: Forkable) -> None:
    """Have *index* taken care of when this process forks, for as long as there is that object."""
    _open.add(index)


def lock() -> threading.Lock:
    """Return a lock that is free in a child, whoever held it: a fork waits for that too."""
    new = threading.Lock()
    _locks.add(new)
    return new


def _before() -> None:
    gates = [*_locks, *(gate for index in list(_open) for gate in index.gates())]
    give_up = time.monotonic() + _PAUSE_SECONDS
    while not _took_all(gates) and time.monotonic() < give_up:
        pass


def _took_all(gates: list[Gate]) -> bool:
    """Take all of *gates*, whatever the order in which other threads do; else hold those that were free."""
    _release()
    busy = [gate for gate in gates if not _takes(gate)]
    if not busy:
        return True
    _release()
    if busy[0].acquire(timeout=_PAUSE_SECONDS / 10):
        _held.append(busy[0])
        gates = list(gates)
        gates.remove(busy[0])
    taken = [_takes(gate) for gate in gates]
    return all(taken)


def _takes(gate: Gate) -> bool:
    if gate.acquire(blocking=False):
        _held.append(gate)
        return True
    return False


def _release() -> None:
    while _held:
        _held.pop().release()


def _in_child() -> None:
    _release()
    for index in list(_open):
        _keep(index.connections())
        if index.path is not None:
            with contextlib.suppress(OSError):
                _take_locks(index.path)


def _keep(connections: list[object]) -> None:
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _take_locks(path: Path) -> None:
    for name, first, size in ((path, _SHARED_FIRST, _SHARED_SIZE), (f"{path}-shm", _LIVE_BYTE, 1)):
        for descriptor in _descriptors(os.stat(name)):
            fcntl.lockf(descriptor, fcntl.LOCK_SH, size, first)


def _descriptors(wanted: os.stat_result) -> Iterator[int]:
    """Yield one descriptor of the file *wanted*, without opening it anew: closing that would drop SQLite's locks."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), wanted):
                yield descriptor
                return


os.register_at_fork(before=_before, after_in_parent=_release, after_in_child=_in_child)
