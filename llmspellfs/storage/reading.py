"""Which contents are open for reading, told from process to process: garbage collection leaves them their bytes.

A content that is open is a lock on one byte of a file of the store's folder, the one that its number (cid) counts to:
a lock of the open file description, of which a process has one. It costs a microsecond, is on no disk, and ends with
its process. Where it cannot be taken, reading goes on without.

Threading: any thread may call. A finalizer may drop a `Hold` in the midst of anything, and so only notes that.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from llmspellfs.storage import disk, inherited

NAME = "reading.lock"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock (fcntl(2)): type, whence, first byte, bytes, process."""
_fcntl, _pack, _SET = fcntl.fcntl, _FLOCK.pack, fcntl.F_OFD_SETLK


class Hold:
    """A content that is held for as long as there is this object, or until `close`."""

    __slots__ = ("_cid", "_reading")

    def __init__(self, reading: Reading, cid: int) -> None:
        """Be the hold on content *cid*; `Reading.hold` makes one."""
        self._reading: Reading | None = reading
        self._cid = cid

    def close(self) -> None:
        """Let go; a second time does nothing."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.drop(self._cid)

    __del__ = close


class Reading:
    """The contents of one store that this process has open."""

    def __init__(self, store: Path | None, *, read_only: bool = False) -> None:
        """Begin with none of the store in the folder *store* (None: in memory), where *read_only* makes no file."""
        self._path = None if store is None else store / NAME
        self._flags = _FLAGS | (os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT)
        self._turn = inherited.lock()
        self._held: dict[int, int] = {}
        """By cid, how often."""
        self._dropped: deque[int] = deque()
        self._fd, self._pid = -1, os.getpid()

    def hold(self, cid: int) -> Hold:
        """Have the content *cid* kept while it is open."""
        with self._turn:
            if self._dropped or self._pid != os.getpid():
                self._settle()
            count = self._held[cid] = self._held.get(cid, 0) + 1
            if count == 1:
                self._lock(cid, fcntl.F_RDLCK)
        return Hold(self, cid)

    def drop(self, cid: int) -> None:
        """Let go of a hold on *cid*."""
        self._dropped.append(cid)
        if self._turn.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._turn.release()

    def in_use(self, cids: Iterable[int]) -> set[int]:
        """Return those of *cids* that any process holds."""
        with self._turn:
            self._settle()
            if self._path is None:
                return self._held.keys() & set(cids)
        try:
            descriptor = os.open(self._path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return set()
        try:
            return {cid for cid in cids if _is_locked(descriptor, cid)}
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all."""
        with self._turn:
            self._held.clear()
            self._path = None
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def _settle(self) -> None:
        """Let go of what was dropped. A fork leaves its parent's holds to it: they share one description."""
        if self._pid != os.getpid():
            self._fd, self._pid = -1, os.getpid()
            self._held.clear()
        while self._dropped:
            cid = self._dropped.popleft()
            count = self._held.pop(cid, 0) - 1
            if count > 0:
                self._held[cid] = count
            elif count == 0:
                self._lock(cid, fcntl.F_UNLCK)

    def _lock(self, cid: int, how: int) -> None:
        if self._path is None:
            return
        try:
            if self._fd < 0:
                self._fd = disk.open_lock("reading.lock", self._path, self._flags, 0o600)
            _fcntl(self._fd, _SET, _pack(how, 0, cid, 1, 0))
        except OSError:
            return


def _is_locked(descriptor: int, cid: int) -> bool:
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, cid, 1, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))[0]
    return kind != fcntl.F_UNLCK
