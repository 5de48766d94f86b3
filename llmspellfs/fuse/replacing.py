"""What the kernel hears while a file is being replaced: to look again, not that there is none.

Between a lookup and the open that follows, a rename may put another file in the place of the one that was looked up.
libfuse 2.9 then finds no path for the inode that the open names, and says ENOENT: to readers a file that is saved by
rename would be missing for as long as that takes. ESTALE makes the kernel look the name up again. So while renames
are under way, and a second longer, answers go through Python here; otherwise libfuse sends them itself, since this
costs each of them 2 µs.
"""

from __future__ import annotations

import ctypes
import errno
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmspellfs.fuse.answers import Answers

_AFTER = 1.0
"""Seconds for which opens that waited for a rename may still come by."""
_ERROR_AT = 4
"""Where `struct fuse_out_header`, with which each answer begins, has its error."""
_OF_AN_INODE = frozenset({3, 4, 5, 14, 22, 23, 24, 27, 34})
"""The opcodes that name an inode and not a folder and a name, of FUSE_GETATTR to FUSE_ACCESS.

FUSE_SETXATTR is not among them: there ENOENT may be the answer that is meant, such as of a parent that does not exist.
"""


class Replacing:
    """The renames of one mount; *request* returns the request that the calling thread is serving."""

    def __init__(self, answers: Answers, request: Callable[[], memoryview]) -> None:
        """Stand by."""
        self._answers, self._request = answers, request
        self._turn = threading.Lock()
        self._under_way, self._until = 0, 0.0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a rename under way."""
        with self._turn:
            self._under_way += 1
            self._answers.show(self._look)
        try:
            yield
        finally:
            with self._turn:
                self._under_way -= 1
                self._until = time.monotonic() + _AFTER

    def _look(self, pieces: int, _count: int) -> None:
        error = ctypes.c_int32.from_address(ctypes.c_size_t.from_address(pieces).value + _ERROR_AT)
        if error.value == -errno.ENOENT and struct.unpack_from("=I", self._request(), 4)[0] in _OF_AN_INODE:
            error.value = -errno.ESTALE
        if not self._under_way and time.monotonic() > self._until:
            self._stand_by()

    def _stand_by(self) -> None:
        with self._turn:
            if not self._under_way:
                self._answers.spare(self._look)
