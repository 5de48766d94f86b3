"""Who has a store open only to read it, in whose folder they can note nothing: a shared flock on the folder itself.

That takes no right to write. Where the file system has no such locks, as over a network, readers are not seen.

Threading: each lock is a descriptor of its own, so that threads of one process are told apart as processes are.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspellfs.storage import turns
from llmspellfs.storage.disk import disk_errors

_NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Reader:
    """Somebody who reads the store at a path, for others to see until `close`."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        """Begin to read the store at *path*, once nobody has it alone; raise StoreBusy.

        A folder that may be searched and not listed gives no lock, and so its reader is not seen.
        """
        self._descriptor = -1
        while os.access(path, os.R_OK):
            self._descriptor = _open(path)
            try:
                _wait(self._descriptor, busy_seconds)
            except BaseException:
                self.close()
                raise
            if turns.is_of(path, self._descriptor):
                return
            self.close()

    def close(self) -> None:
        """End; a second time does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


@contextmanager
def kept_out(path: Path) -> Iterator[bool]:
    """Say True, no reader entering the store at *path* for the length of the block; False where one is there."""
    descriptor = _open(path)
    try:
        yield _is_taken(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with disk_errors(path):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _wait(descriptor: int, seconds: float) -> None:
    try:
        turns.wait_for(descriptor, fcntl.LOCK_SH, seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
