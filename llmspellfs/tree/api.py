"""What an adapter sees of the tree: callers, attributes, open handles, and the calls it may make.

Paths are text, absolute within the mount, with "/" as the root. Every call raises `llmspellfs.errors` only (or
OSError, where an errno has no error of its own); the adapter maps them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the ids that own what is made, and the process."""

    uid: int
    gid: int
    pid: int


@dataclass(frozen=True, slots=True)
class Attr:
    """What stat shows. *mode* has the file type's bits; *blocks* are of 512 bytes; times are nanoseconds."""

    mode: int
    ino: int
    nlink: int
    uid: int
    gid: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Statfs:
    """What statvfs shows, in its own units."""

    bsize: int
    frsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    favail: int
    namemax: int


class Handle(Protocol):
    """An open file; it never sees a path. `direct_io` and `keep_cache` are for the kernel, read once after open."""

    direct_io: bool
    keep_cache: bool

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from byte *offset* on; return how many bytes there were."""

    def write(self, view: memoryview, offset: int) -> int:
        """Take all of *view* as the bytes from *offset* on; return their number."""

    def attr(self) -> Attr:
        """Return what fstat shows."""

    def truncate(self, size: int) -> None:
        """Cut or extend (with zeros) to *size* bytes."""

    def flush(self) -> None:
        """Commit what is not committed: a descriptor of it was closed."""

    def fsync(self, datasync: bool) -> None:
        """Commit, and return when it survives power loss."""

    def release(self) -> None:
        """Finish: the last descriptor is closed."""


class TreeApi(Protocol):
    """The calls of an adapter; what each raises is what its namesake in POSIX may."""

    def attr(self, path: str) -> Attr: ...
    def readlink(self, path: str) -> str: ...
    def listdir(self, path: str) -> Iterable[tuple[str, Attr]]: ...
    def mkdir(self, path: str, mode: int, caller: Caller) -> None: ...
    def symlink(self, path: str, target: str, caller: Caller) -> None: ...
    def unlink(self, path: str, caller: Caller) -> None: ...
    def rmdir(self, path: str, caller: Caller) -> None: ...
    def rename(self, old: str, new: str, caller: Caller) -> None: ...
    def chmod(self, path: str, mode: int, caller: Caller) -> None: ...
    def chown(self, path: str, uid: int, gid: int, caller: Caller) -> None: ...
    def utimens(self, path: str, atime_ns: int | None, mtime_ns: int | None, caller: Caller) -> None: ...
    def truncate(self, path: str, size: int, caller: Caller) -> None: ...
    def open(self, path: str, flags: int, caller: Caller) -> Handle: ...
    def create(self, path: str, flags: int, mode: int, caller: Caller) -> Handle: ...
    def permit(self, path: str, caller: Caller, bits: int) -> None:
        """Raise NotAllowed where *caller* lacks *bits* (4: read, 2: write) that the kernel may still believe in."""

    def getxattr(self, path: str, name: str) -> bytes: ...
    def setxattr(self, path: str, name: str, value: bytes, flags: int, caller: Caller) -> None: ...
    def listxattr(self, path: str) -> list[str]: ...
    def removexattr(self, path: str, name: str, caller: Caller) -> None: ...
    def statfs(self) -> Statfs: ...

    def sync(self) -> None:
        """Return when everything committed so far survives power loss: a folder was synced."""

    def hide(self, path: str, hidden: str, replaced: bool) -> None:
        """Take the open file at *path* out of sight, known as *hidden* until its last close.

        *replaced*: a rename onto *path* follows at once, and makes the next version of what was there.
        """

    def destroy(self) -> None:
        """Commit everything and let go: the mount is gone."""
