"""Small real disks that tests fill: a tmpfs, and ext4 on a loop device; both need root."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
BALLAST = "ballast"


class SmallDisk:
    """A file system of its own at *path*; what is free on it is set by `leave`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / BALLAST

    @property
    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bfree * status.f_frsize

    def leave(self, size: int) -> None:
        """Leave *size* bytes free, or as near as the file system's blocks allow."""
        self.empty()
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while (more := self.free - size) > 0:
                self._grow(fd, more)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(fd)

    def _grow(self, fd: int, more: int) -> None:
        end = os.fstat(fd).st_size
        try:
            os.posix_fallocate(fd, end, more)
        except OSError as error:
            if error.errno != errno.ENOSPC or more <= 4096:
                raise
            self._grow(fd, more // 2)

    def empty(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(path: Path, *words: str) -> Iterator[SmallDisk]:
    path.mkdir()
    done = subprocess.run(["mount", *words, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOTHING CAN BE MOUNTED HERE: full disks are not tested ({done.stderr.strip()})")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=False, capture_output=True)
        if os.path.ismount(path):
            subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def tmpfs(path: Path, size: int, inodes: int = 10_000) -> Iterator[SmallDisk]:
    """Mount a tmpfs of *size* bytes at *path*."""
    with mounted(path, "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0700", "tmpfs") as disk:
        yield disk


@contextlib.contextmanager
def ext4(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a new ext4 of *size* bytes at *path*."""
    maker = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if maker is None:
        pytest.skip("MKFS.EXT4 IS MISSING: full disks are tested on tmpfs only")
    image = path.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([maker, "-q", "-m", "0", str(image)], check=True)
    try:
        with mounted(path, "-o", "loop", str(image)) as disk:
            yield disk
    finally:
        image.unlink()
