"""The yardstick: a plain fusepy passthrough; `python passthrough.py SOURCE MOUNTPOINT [threads]`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from fuse import FUSE, Operations

_STAT = (
    "st_atime",
    "st_ctime",
    "st_gid",
    "st_ino",
    "st_mode",
    "st_mtime",
    "st_nlink",
    "st_size",
    "st_uid",
    "st_blocks",
)


class Passthrough(Operations):  # type: ignore[misc]  # fusepy has no types
    use_ns = False

    def __init__(self, source: str) -> None:
        self.source = source

    def _full(self, path: str) -> str:
        return self.source + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._full(path))
        return {key: getattr(found, key) for key in _STAT}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._full(path))]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._full(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._full(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._full(path))

    def open(self, path: str, flags: int) -> int:
        return os.open(self._full(path), flags)

    def create(self, path: str, mode: int, fi: None = None) -> int:
        return os.open(self._full(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._full(path), length)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    FUSE(
        Passthrough(sys.argv[1]),
        sys.argv[2],
        foreground=True,
        nothreads=len(sys.argv) < 4,
        big_writes=True,
        attr_timeout=float(os.environ.get("ATTR_TIMEOUT", "1")),
        entry_timeout=float(os.environ.get("ATTR_TIMEOUT", "1")),
    )
