"""Scratch files: what editors leave beside a control file for a moment.

They are in the memory of the mount and nowhere else: no row, no event, gone with the mount. Threading: `Scratches`
changes its tables under a lock that is held for dictionary work only, and a file its bytes under its own.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import replace

from llmspellfs.model.artifact import Attributes
from llmspellfs.tree.api import Attr
from llmspellfs.tree.attributes import Change, file_attr

MAX_CONTENT = 2 << 20
"""Bytes of a scratch file, and of what can be written to a control file."""
_IN_A_SESSION = 16
_IN_ALL = 256
_REPLACED = 64
HIDDEN = ".fuse_hidden"
"""How libfuse begins the names of open files that are unlinked or replaced."""
_FIRST_INO = 3 << 61
"""Apart from the store's inode numbers and from those of `node.fixed_ino`."""
_numbers = itertools.count(_FIRST_INO)
Key = tuple[int, int, str]
"""A session, the inode number of the folder that its control folder mirrors (0: `.session/` itself), and a name."""


class ScratchFile:
    """The bytes and attributes of one scratch file."""

    def __init__(self, attributes: Attributes, now: Callable[[], int], content: bytes = b"") -> None:
        """Begin with *content*; *now* is the clock."""
        self.ino = next(_numbers)
        self.attributes, self._now, self._turn = attributes, now, threading.Lock()
        self.content = bytearray(content)

    def attr(self) -> Attr:
        """Return what stat shows."""
        return file_attr(self.ino, self.attributes, len(self.content), 0)

    def change(self, change: Change) -> None:
        """Change the attributes."""
        self.attributes = change(self.attributes, self._now())

    def write(self, view: memoryview, offset: int | None) -> int:
        """Take *view* as the bytes from *offset* on, None: behind the last; raise EFBIG beyond 2 MiB."""
        with self._turn:
            start = len(self.content) if offset is None else offset
            self._check_size(start + len(view))
            self.content.extend(bytes(max(0, start - len(self.content))))
            self.content[start : start + len(view)] = view
        self._touch()
        return len(view)

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros; raise EFBIG beyond 2 MiB."""
        self._check_size(size)
        with self._turn:
            del self.content[size:]
            self.content.extend(bytes(size - len(self.content)))
        self._touch()

    def _check_size(self, size: int) -> None:
        if size > MAX_CONTENT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def _touch(self) -> None:
        now_ns = self._now()
        self.attributes = replace(self.attributes, mtime_ns=now_ns, ctime_ns=now_ns, atime_ns=None)


class Scratches:
    """The scratch files of one mount: at most 16 in a session, and 256 in all."""

    def __init__(self) -> None:
        """Have none."""
        self._turn = threading.Lock()
        self._files: dict[Key, ScratchFile] = {}
        self._replaced: dict[Key, str] = {}

    def get(self, key: Key) -> ScratchFile | None:
        """Return the file at *key*, or None."""
        return self._files.get(key)

    def put(self, key: Key, file: ScratchFile) -> None:
        """Have *file* at *key*, in place of what was there; raise EDQUOT where there are as many as may be."""
        with self._turn:
            if key not in self._files:
                beside = sum(other[0] == key[0] for other in self._files)
                if beside >= _IN_A_SESSION or len(self._files) >= _IN_ALL:
                    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            self._files[key] = file

    def move(self, old: Key, new: Key) -> bool:
        """Have at *new* what is at *old*, in place of what was there; tell whether anything was."""
        with self._turn:
            file = self._files.pop(old, None)
            if file is not None:
                self._files[new] = file
        return file is not None

    def drop(self, key: Key) -> bool:
        """Have nothing at *key* any more; tell whether anything was."""
        with self._turn:
            return self._files.pop(key, None) is not None

    def listed(self, sid: int, folder: int) -> list[tuple[str, ScratchFile]]:
        """Return the files in a control folder, without those that were unlinked while they are open."""
        with self._turn:
            here = [(key[2], file) for key, file in self._files.items() if key[:2] == (sid, folder)]
        return [(name, file) for name, file in here if not name.startswith(HIDDEN)]

    def replace(self, key: Key, hidden: Key) -> None:
        """Keep in mind that libfuse calls an open control file at *key*, which is being replaced, *hidden* now.

        Where the replacing fails the kernel goes on using that name for a second.
        """
        with self._turn:
            self._replaced[hidden] = key[2]
            for other in list(self._replaced)[: max(0, len(self._replaced) - _REPLACED)]:
                del self._replaced[other]

    def replaced(self, key: Key) -> str | None:
        """Return the name of the control file that libfuse calls *key*, or None."""
        return self._replaced.get(key)


class ScratchHandle:
    """An open scratch file."""

    direct_io, keep_cache = True, False

    def __init__(self, file: ScratchFile, flags: int) -> None:
        """Open *file* with the *flags* of open(2)."""
        self._file, self._is_appending = file, bool(flags & os.O_APPEND)
        if flags & os.O_TRUNC and flags & os.O_ACCMODE != os.O_RDONLY:
            file.truncate(0)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = bytes(self._file.content[offset : offset + len(view)])
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Take *view*."""
        return self._file.write(view, None if self._is_appending else offset)

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self._file.attr()

    def truncate(self, size: int) -> None:
        """Cut or extend."""
        self._file.truncate(size)

    def flush(self) -> None:
        """Have nothing to commit."""

    def fsync(self, datasync: bool) -> None:
        """Have nothing to make durable."""

    def release(self) -> None:
        """Let go."""
