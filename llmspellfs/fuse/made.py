"""What mkdir has just made and the tree shows as something else there: a symlink to the new directory.

The kernel takes nothing but a directory for what it has asked to make. So it is given the directory that the symlink
leads to: the reply on its way to the kernel is replaced by the one that a lookup of that directory gives. Whoever goes
on with it, or stays in it, is in the real directory. The kernel is soon told to forget the new name, and finds the
symlink when it next looks. (Were the name itself shown as a directory for a while, the kernel would call the inode bad
once its type changes, under the feet of whoever is in it.)

libfuse counts what the kernel knows of each node: what is looked up here and not passed on is forgotten again. While a
reply is replaced, each reply of the mount goes through Python; otherwise none does. Threading: any thread may call.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import struct
import threading
from dataclasses import dataclass

import fuse

from llmspellfs.fuse.channel import ADDRESS, Channel, process

log = logging.getLogger(__name__)
_MOMENT = 0.05  # seconds; the kernel holds the folder above until mkdir is answered
_ROOT, _LOOKUP, _FORGET = 1, 1, 2  # the root's node id; opcodes of the FUSE protocol
_REQUEST = struct.Struct("=IIQQIIII")  # length, opcode, unique, node id, uid, gid, pid, padding
_REPLY = struct.Struct("=IiQ")  # length, error, unique
_OURS = 1 << 62
"""Where the numbers of requests begin that no kernel has made."""
_lib = fuse._libfuse  # noqa: SLF001 - the handle that fusepy found and opened
_invalidate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_size_t)(
    ("fuse_lowlevel_notify_inval_entry", _lib)
)
_Send = ctypes.CFUNCTYPE(ctypes.c_int, ADDRESS, ADDRESS, ctypes.c_size_t)
"""Sends a reply: a channel's address, that of an array of `struct iovec`, their number; 0 or a negative errno."""


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


@dataclass(frozen=True, slots=True)
class _Made:
    """A mkdir being answered: the node id of the folder above, the name in it, and the path of what it leads to."""

    above: int
    name: bytes
    target: bytes


class MadeFolders:
    """The answers to one mount's mkdirs of what the tree does not show as directories."""

    def __init__(self) -> None:
        """Begin with none."""
        self._turn = threading.Lock()
        self._telling = threading.Lock()
        """Held while the kernel is told something: it may wait then for a mkdir that is being answered."""
        self._channel: Channel | None = None
        self._plain = _Send()
        self._hook = _Send(self._send)
        self._waiting: dict[int, _Made] = {}
        self._caught: dict[int, bytes] = {}
        self._numbers = itertools.count(_OURS, 2)

    def use(self, channel: int) -> None:
        """Speak to the kernel through the `struct fuse_chan` at *channel*; 0 when that is about to go."""
        with self._telling, self._turn:
            self._channel = Channel.from_address(channel) if channel else None
            if self._channel is not None:
                self._plain = _Send(self._channel.send)

    def add(self, path: bytes, target: bytes, request: memoryview) -> None:
        """Answer the mkdir of *path*, which *request* is, with the directory at the absolute path *target*."""
        if len(request) < _REQUEST.size:
            return
        _, _, unique, above, *_ = _REQUEST.unpack_from(request)
        with self._turn:
            if self._channel is not None:
                self._waiting[unique] = _Made(above, path.rpartition(b"/")[2], target)
                self._channel.send = ctypes.cast(self._hook, ADDRESS)

    def _send(self, channel: int, pieces: int | None, count: int) -> int:
        """Send a reply, if it is one of those waited for another; what answers a request from here is kept back."""
        if not pieces:  # so libfuse says that a request, as to forget, has no reply
            return 0
        parts = (_Piece * count).from_address(pieces)
        reply = b"".join(ctypes.string_at(part.base, part.size) for part in parts[:2])
        _, error, unique = _REPLY.unpack_from(reply)
        if unique in self._caught:
            self._caught[unique] = reply
            return 0
        made = self._waiting.get(unique)
        try:
            if made is None or error:
                return int(self._plain(channel, pieces, count))
            return self._answer(channel, made, unique, reply[_REPLY.size :])
        except Exception:
            log.exception("mkdir could not be answered")
            return -errno.EIO
        finally:
            if made is not None:
                self._answered(unique)

    def _answered(self, unique: int) -> None:
        with self._turn:
            del self._waiting[unique]
            if not self._waiting and self._channel is not None:
                self._channel.send = ctypes.cast(self._plain, ADDRESS)

    def _answer(self, channel: int, made: _Made, unique: int, entry: bytes) -> int:
        """Answer with *made*'s target instead of *entry*, and let libfuse forget what the kernel does not hear of."""
        error, found = self._find(channel, made.target)
        text = _REPLY.pack(_REPLY.size + len(found), error, unique) + found
        piece = _Piece(ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value, len(text))
        sent = int(self._plain(channel, ctypes.addressof(piece), 1))
        if not sent:
            self._forget(channel, entry)
            timer = threading.Timer(_MOMENT, self._invalidate, (made,))
            timer.daemon = True
            timer.start()
        elif found:
            self._forget(channel, found)
        return sent

    def _find(self, channel: int, target: bytes) -> tuple[int, bytes]:
        """Return 0 and what a lookup of *target* says, or a negative errno and nothing."""
        entry = struct.pack("=Q", _ROOT)
        for depth, name in enumerate(target.strip(b"/").split(b"/")):
            above = entry
            error, entry = self._ask(channel, above, name)
            if depth:
                self._forget(channel, above)
            if error:
                return error, b""
        return 0, entry

    def _ask(self, channel: int, above: bytes, name: bytes) -> tuple[int, bytes]:
        unique = next(self._numbers)
        self._caught[unique] = b""
        self._process(channel, _LOOKUP, unique, above, name + b"\0")
        reply = self._caught.pop(unique)
        if not reply:
            return -errno.EIO, b""
        return _REPLY.unpack_from(reply)[1], reply[_REPLY.size :]

    def _forget(self, channel: int, entry: bytes) -> None:
        self._process(channel, _FORGET, next(self._numbers), entry, struct.pack("=Q", 1))

    def _process(self, channel: int, opcode: int, unique: int, entry: bytes, rest: bytes) -> None:
        """Have libfuse process a request about the node that *entry* begins with the id of."""
        (node,) = struct.unpack_from("=Q", entry)
        text = _REQUEST.pack(_REQUEST.size + len(rest), opcode, unique, node, 0, 0, 0, 0) + rest
        process(Channel.from_address(channel).session, text, len(text), channel)

    def _invalidate(self, made: _Made) -> None:
        with self._telling:
            if self._channel is not None:
                _invalidate(ctypes.addressof(self._channel), made.above, made.name, len(made.name))
