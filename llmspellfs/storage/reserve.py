"""Room on the disk that is kept for taking things away, so that a full disk can be emptied again.

A deletion writes before it frees: rows and an event go to the WAL, and the room that it frees is had only when the WAL
is folded. So a store holds a share of its disk in `reserve/`: a file of allotted blocks, and a few empty files for file
systems that run out of inodes. Btrfs' global reserve and ZFS' slop space are the models. What only adds is refused
(NoSpace) while the reserve is not there and cannot be had; what frees may use it: it is let go before, and
taken again once the WAL is folded.

Threading: every method may be called from any thread and any process. Whether the reserve is there is asked of the
disk each time, since another process may have let it go.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from llmspellfs.errors import NoSpace, SpellError
from llmspellfs.storage import disk
from llmspellfs.storage.disk import StrPath, disk_errors

FOLDER = "reserve"
_ROOM = "room"
_SHARE, _LEAST, _MOST = 16, 1 << 20, 8 << 20
"""The reserve is this part of the disk, and between these numbers of bytes, beside what folding the WAL takes."""
_STEP = 1 << 20
_INODES = 6
"""What opening a store makes: the WAL and its shared memory, a spool folder and its lock; and two to spare."""


class Reserve:
    """The reserve of the store at *root*."""

    def __init__(self, root: StrPath) -> None:
        """Find out how large it is to be; nothing is taken yet."""
        self._root = os.fspath(root)
        self._folder = os.path.join(self._root, FOLDER)
        self._room = os.path.join(self._folder, _ROOM)
        total = os.statvfs(self._root)
        self.size = max(_LEAST, min(total.f_blocks * total.f_frsize // _SHARE, _MOST))

    def _held(self) -> int:
        try:
            return os.stat(self._room, follow_symlinks=False).st_size
        except OSError:
            return 0

    def hold(self, more: int = 0) -> None:
        """Return with the reserve there, and *more* bytes; raise NoSpace where the disk has no room for it.

        Whatever else forbids it (another user's folder, a limit of the process) forbids no work: there is none then.
        """
        held, wanted = self._held(), self.size + more
        if not wanted <= held <= wanted + 4 * _STEP:
            self._take(-(-wanted // _STEP) * _STEP)

    def lend(self) -> bool:
        """Let go of the reserve where the disk is short of room; tell whether it is let go."""
        if self._held() < self.size:
            return True
        if not self.is_short():
            return False
        self.release()
        return True

    def is_short(self, more: int = 0) -> bool:
        """Tell whether the disk has less room than the reserve is to have, and *more* bytes, or fewer inodes."""
        free = os.statvfs(self._root)
        blocks = free.f_bfree if os.geteuid() == 0 else free.f_bavail
        has_inodes = free.f_files == 0 or free.f_ffree >= _INODES  # some file systems do not count them
        return blocks * free.f_frsize < max(self.size, self._held()) + more or not has_inodes

    def release(self) -> bool:
        """Let go of the reserve; tell whether that freed anything. Raises what `disk_errors` does."""
        with disk_errors(self._folder):
            try:
                names = os.listdir(self._folder)
            except FileNotFoundError:
                return False
            for name in names:
                with suppress(FileNotFoundError):
                    disk.unlink("reserve.unlink", os.path.join(self._folder, name))
        return bool(names)

    def _take(self, size: int) -> None:
        held = self._held()
        try:
            disk.make_folder("reserve.mkdir", self._folder)
            for number in range(1, _INODES + 1):
                _make(os.path.join(self._folder, str(number)))
            _make(self._room)
            self._allot(size)
        except OSError as error:
            with suppress(OSError, SpellError):
                self._give_back(held)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpace(self._root) from None

    def _give_back(self, held: int) -> None:
        """Have no more than what was *held* before; less than the whole is of no use, and the room is somebody's."""
        if held < self.size:
            self.release()
        else:
            self._cut(held)

    def _allot(self, size: int) -> None:
        if self._held() > size:
            self._cut(size)
        descriptor = os.open(self._room, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            disk.allot("reserve.allot", descriptor, 0, size)
        finally:
            os.close(descriptor)

    def _cut(self, size: int) -> None:
        descriptor = os.open(self._room, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            disk.ftruncate("reserve.truncate", descriptor, size)
        finally:
            os.close(descriptor)


def _make(path: str) -> None:
    with suppress(FileExistsError):
        os.close(disk.create("reserve.create", path))
