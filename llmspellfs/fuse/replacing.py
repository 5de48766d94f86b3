"""What the kernel hears while a file is being replaced: to look again, not that there is none.

Between a lookup and the open that follows, a rename may put another file in the place of the one that was looked up.
libfuse 2.9 then finds no path for the inode that the open names, and says ENOENT: to readers a file that is saved by
rename would be missing for as long as that takes. ESTALE makes the kernel look the name up again, once; between that
lookup and the open that follows no rename is let through. So while renames are under way, and a second longer,
requests and answers go through Python here; otherwise libfuse takes and sends them itself, since this costs each of
them 4 µs.

A rename of a name to itself the kernel answers alone, unless a rename just before has made it forget which inode the
name is. libfuse then locks the path twice, and waits for itself for ever; so such a request is answered here.
"""

from __future__ import annotations

import ctypes
import errno
import os
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
_HOLD = 0.1
"""Seconds at most for which renames wait for a caller that looks again, and it for those under way."""
_ERROR_AT = 4
"""Where `struct fuse_out_header`, with which each answer begins, has its error."""
_OF_AN_INODE = frozenset({3, 4, 5, 14, 22, 23, 24, 27, 34})
"""The opcodes that name an inode and not a folder and a name, of FUSE_GETATTR to FUSE_ACCESS.

FUSE_SETXATTR is not among them: there ENOENT may be the answer that is meant, such as of a parent that does not exist.
"""
_LOOKUP = 1
_MAX_NAME = 256
_RENAMES = frozenset({12, 45})
_GONE = frozenset({errno.ENOENT, errno.ESTALE})
_HEADER = struct.Struct("=4xI24xI")
"""Of `struct fuse_in_header`: the opcode, and the thread that waits for the answer."""
_RENAME, _NAMES_AT = 12, 48
"""The opcode of `struct fuse_rename_in`, and where the two names stand, each ended by a null byte."""
_FOLDERS = struct.Struct("=16xQ16xQ")
"""The folders that such a request names: the old name's, and the new one's."""


class Replacing:
    """The renames of one mount; *request* returns the request that the calling thread is serving."""

    def __init__(
        self, answers: Answers, request: Callable[[], memoryview], listen: Callable[[bool], None] = lambda _: None
    ) -> None:
        """Stand by; *listen* says whether `heard` is to be called with each request."""
        self._answers, self._request, self._listen = answers, request, listen
        self._turn = threading.Condition()
        self._under_way, self._until = 0, 0.0
        self._again: dict[int, float] = {}
        """The callers (threads, by number) that were told to look again, and until when renames wait for each."""
        self._heard: set[int] = set()
        """The threads here whose rename was heard of when it came in."""
        self._moot: set[int] = set()
        """The threads here whose rename is one of a name to itself."""

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a rename under way; raise EALREADY, which `_look` takes back, for one of a name to itself."""
        if threading.get_ident() in self._moot:
            raise OSError(errno.EALREADY, os.strerror(errno.EALREADY))
        with self._turn:
            self._begin()
        try:
            yield
        finally:
            with self._turn:
                self._end()

    def _begin(self) -> None:
        if not self._under_way:
            self._answers.show(self._look)
            self._listen(True)
        self._under_way += 1

    def _end(self) -> None:
        self._under_way -= 1
        self._until = time.monotonic() + _AFTER
        self._turn.notify_all()

    def _is_free(self) -> bool:
        now = time.monotonic()
        return all(until <= now for until in list(self._again.values()))  # others may add to them

    def heard(self) -> None:
        """Have renames and callers who look again wait for each other; libfuse locks paths as soon as it goes on."""
        opcode, thread = _HEADER.unpack_from(self._request())
        if opcode in _RENAMES:
            with self._turn:
                self._turn.wait_for(self._is_free, _HOLD)
                self._begin()
                self._heard.add(threading.get_ident())
            if opcode == _RENAME and self._is_moot():
                self._moot.add(threading.get_ident())
        elif opcode == _LOOKUP and thread in self._again:
            with self._turn:
                self._again[thread] = time.monotonic() + _HOLD
                self._turn.wait_for(lambda: not self._under_way, _HOLD)

    def _look(self, pieces: int, _count: int) -> None:
        error = ctypes.c_int32.from_address(ctypes.c_size_t.from_address(pieces).value + _ERROR_AT)
        opcode, thread = _HEADER.unpack_from(self._request())
        if opcode in _RENAMES:
            if threading.get_ident() in self._moot:
                self._moot.discard(threading.get_ident())
                error.value = 0
            self._is_over()
        elif -error.value in _GONE and opcode in _OF_AN_INODE:
            error.value = -errno.ESTALE
            self._again[thread] = 0.0
        elif self._again and (opcode in _OF_AN_INODE or (opcode == _LOOKUP and error.value)):
            self._has_looked(thread)
        if not self._under_way and time.monotonic() > self._until:
            self._stand_by()

    def _is_moot(self) -> bool:
        """Tell whether the request renames a name to itself; give it another new name then, which nobody locks."""
        request = self._request()
        old_folder, new_folder = _FOLDERS.unpack_from(request)
        text = bytes(request[_NAMES_AT : _NAMES_AT + 2 * _MAX_NAME])
        old, _, rest = text.partition(b"\0")
        new = rest.partition(b"\0")[0]
        if not old or (old_folder, old) != (new_folder, new):
            return False
        start = _NAMES_AT + len(old) + 1
        struct.pack_into(f"{len(new)}s", request, start, b"\x01" * len(new))
        return True

    def _is_over(self) -> None:
        with self._turn:
            if threading.get_ident() in self._heard:
                self._heard.discard(threading.get_ident())
                self._end()

    def _has_looked(self, thread: int) -> None:
        with self._turn:
            if self._again.pop(thread, None) is not None:
                self._turn.notify_all()

    def _stand_by(self) -> None:
        with self._turn:
            if not self._under_way:
                self._again.clear()
                self._answers.spare(self._look)
                self._listen(False)
