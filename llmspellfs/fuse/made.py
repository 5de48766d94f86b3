"""What mkdir has just made and the tree shows as something else there: a symlink to the new directory.

The kernel takes nothing but a directory for what it has asked to make. So the reply on its way to the kernel says that
it is one, and that the name is to be looked up again before it is used: what is found then is the symlink. Nobody ever
is in the directory of that reply: were the name shown as one for a while, the kernel would call the inode bad once its
type changes, under the feet of whoever is in it.

Answers are looked at while such a reply is awaited. Threading: any thread may call.
"""

from __future__ import annotations

import ctypes
import stat
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmspellfs.fuse.answers import Answers


_UNIQUE_AT = 8  # bytes; where the headers of requests and of replies have the request's number
_VALID_AT, _VALID_NS_AT, _MODE_AT = 16, 32, 100  # in `struct fuse_entry_out`: how long the name holds, and st_mode
_ENTRY_SIZE = 104  # bytes that must be there


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class MadeFolders:
    """The answers to one mount's mkdirs of what the tree does not show as directories."""

    def __init__(self, answers: Answers) -> None:
        """Begin with none."""
        self._answers = answers
        self._turn = threading.Lock()
        self._awaited: set[int] = set()

    def add(self, request: memoryview) -> None:
        """Have the reply to *request*, a mkdir that succeeds, say that a directory was made."""
        if len(request) < _UNIQUE_AT + 8:
            return
        with self._turn:
            self._awaited.add(struct.unpack_from("=Q", request, _UNIQUE_AT)[0])
            self._answers.show(self._look)

    def _look(self, pieces: int, count: int) -> None:
        header = _Piece.from_address(pieces)
        (unique,) = struct.unpack_from("=Q", ctypes.string_at(header.base, header.size), _UNIQUE_AT)
        if unique not in self._awaited:
            return
        self._forget(unique)
        if count > 1:
            _show_folder(_Piece.from_address(pieces + ctypes.sizeof(_Piece)))

    def _forget(self, unique: int) -> None:
        with self._turn:
            self._awaited.discard(unique)
            if not self._awaited:
                self._answers.spare(self._look)


def _show_folder(entry: _Piece) -> None:
    """Have *entry*, a `struct fuse_entry_out`, be that of a directory whose name does not hold."""
    if entry.size < _ENTRY_SIZE:
        return
    bytes_ = (ctypes.c_char * entry.size).from_address(entry.base)
    struct.pack_into("=Q", bytes_, _VALID_AT, 0)
    struct.pack_into("=I", bytes_, _VALID_NS_AT, 0)
    struct.pack_into("=I", bytes_, _MODE_AT, stat.S_IFDIR | 0o755)
