"""C structures to and from the tree's data, as libfuse 2 lays them out; fusepy's declarations say how.

Measured: a `struct stat` packed here and moved with one `memmove` takes a quarter of the time that fusepy
takes to fill its `c_stat`. Attributes that the tree hands out again (the same object) are packed once.
"""

from __future__ import annotations

import ctypes
import struct
import time
from functools import lru_cache
from operator import itemgetter
from typing import Any

import fuse

from llmspellfs.tree.api import Attr, Caller, Statfs

BLKSIZE = 128 * 1024
"""What st_blksize asks programs to read and write at once: one request of the kernel at most."""

STAT_SIZE: int = ctypes.sizeof(fuse.c_stat)
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

_SECOND = 1_000_000_000
_SLACK = 64  # libfuse copies its own struct stat, which ends in words that fusepy does not declare
_NO_ID = 0xFFFF_FFFF
_FIELDS = (
    "", "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blksize", "st_blocks",
    "st_atimespec", "_", "st_mtimespec", "_", "st_ctimespec", "_",
)  # fmt: skip
_MOST_PACKED = 8192


def _stat_layout() -> tuple[struct.Struct, itemgetter[Any]]:
    """Return the structure of fusepy's `c_stat`, and what brings values from `_FIELDS`' order into its."""
    codes, order = "", list[int]()
    for name, kind in fuse.c_stat._fields_:
        at = _FIELDS.index(name) if name in _FIELDS else 0
        if kind is fuse.c_timespec:
            codes, order = codes + "ll", [*order, at, at + 1]
        else:
            codes, order = codes + kind._type_, [*order, at]
    layout = struct.Struct(f"@{codes}{_SLACK}x")
    assert layout.size == STAT_SIZE + _SLACK, "c_stat has padding that its fields do not show"
    return layout, itemgetter(*order)


_STAT, _ORDERED = _stat_layout()
_packed: dict[int, tuple[Attr, bytes]] = {}

caller_of = lru_cache(maxsize=512)(Caller)
"""Return the Caller of a uid, a gid and a pid."""


def stat_bytes(attr: Attr) -> bytes:
    """Return *attr* as a `struct stat`, longer than libfuse's own."""
    atime, atime_ns = divmod(attr.atime_ns, _SECOND)
    mtime, mtime_ns = divmod(attr.mtime_ns, _SECOND)
    ctime, ctime_ns = divmod(attr.ctime_ns, _SECOND)
    return _STAT.pack(
        *_ORDERED((
            0, attr.ino, attr.mode, attr.nlink, attr.uid, attr.gid, attr.size, BLKSIZE, attr.blocks,
            atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns,
        ))
    )  # fmt: skip


def put_stat(attr: Attr, address: int) -> None:
    """Write *attr* to the `struct stat` at *address*."""
    known = _packed.get(id(attr))
    if known is None:
        if len(_packed) >= _MOST_PACKED:
            _packed.clear()
        known = _packed[id(attr)] = (attr, stat_bytes(attr))
    ctypes.memmove(address, known[1], STAT_SIZE)


def put_statfs(statfs: Statfs, address: int) -> None:
    """Write *statfs* to the `struct statvfs` at *address*."""
    target = fuse.c_statvfs.from_address(address)
    for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax"):
        setattr(target, f"f_{name}", getattr(statfs, name))


def put_text(text: bytes, address: int, size: int) -> None:
    """Write *text* and its final NUL to the *size* bytes at *address*, cut to fit."""
    kept = text[: size - 1] + b"\0"
    ctypes.memmove(address, kept, len(kept))


def times_at(address: int | None) -> tuple[int | None, int | None]:
    """Return the times (ns, None = leave) that the two timespecs at *address* say; no address is now."""
    now_ns = time.time_ns()
    if not address:
        return now_ns, now_ns
    seconds = (ctypes.c_long * 4).from_address(address)
    return _moment(seconds[0], seconds[1], now_ns), _moment(seconds[2], seconds[3], now_ns)


def _moment(seconds: int, nanoseconds: int, now_ns: int) -> int | None:
    if nanoseconds == UTIME_OMIT:
        return None
    return now_ns if nanoseconds == UTIME_NOW else seconds * _SECOND + nanoseconds


def owner_id(value: int) -> int:
    """Return a uid or gid as chown means it: -1 leaves it."""
    return -1 if value == _NO_ID else value
