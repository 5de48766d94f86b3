"""An open file that is only read: what every such handle refuses, and what it has nothing to do for."""

from __future__ import annotations

import os
from collections.abc import Callable

from llmspellfs.errors import NotAllowed, ReadOnly
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.node import File

Fill = Callable[[memoryview, int], int]
"""Fills a buffer from an offset on, and returns how many bytes there were."""


def check_reading(name: str, flags: int) -> None:
    """Raise ReadOnly where open(2) with *flags* would change the file *name*; O_TRUNC does, whatever it comes with."""
    if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
        raise ReadOnly(name)


def check_permitted(attr: Attr, caller: Caller, name: str, bits: int = 0o4) -> None:
    """Raise NotAllowed where *attr*, as it is now, does not grant *caller* the *bits* (by default: to read) of *name*.

    The kernel decides by attributes that it believes in for a while, and drops them when the file itself changes, not
    when that changes on which the file's attributes rest.
    """
    if caller.uid == 0:
        return
    shift = 6 if caller.uid == attr.uid else 3 if attr.gid in {caller.gid, *_groups(caller.pid)} else 0
    if ~attr.mode >> shift & bits:
        raise NotAllowed(f"{name}: permission denied")


def _groups(pid: int) -> set[int]:
    """Return the supplementary groups of process *pid*, none where it is not to be seen."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            line = next(line for line in status if line.startswith("Groups:"))
    except (OSError, StopIteration):
        return set()
    return {int(group) for group in line.split()[1:]}


class ReadOnlyHandle:
    """An open file that cannot be written."""

    def __init__(self, file: File, fill: Fill, *, direct_io: bool = False, keep_cache: bool = False) -> None:
        """Read *file* by *fill*."""
        self._file, self.read_into = file, fill
        self.direct_io, self.keep_cache = direct_io, keep_cache

    def write(self, view: memoryview, offset: int) -> int:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self._file.attr()

    def truncate(self, size: int) -> None:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def flush(self) -> None:
        """Have nothing to commit."""

    def fsync(self, datasync: bool) -> None:
        """Have nothing to make durable."""

    def release(self) -> None:
        """Let go."""


def filling(read: Callable[[int, int], bytes]) -> Fill:
    """Return what fills a buffer with what *read*(offset, size) returns."""

    def fill(view: memoryview, offset: int) -> int:
        piece = read(offset, len(view))
        view[: len(piece)] = piece
        return len(piece)

    return fill
