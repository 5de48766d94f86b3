"""Requests with odd flags, offsets and sizes at a real mount: each is answered, none ends it, and it stays whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from llmspellfs.fuse.mountpoint import daemon_of
from tests.fuzz.harness import Target, short, soak
from tests.mount.live import Mounted

SECONDS = float(os.environ.get("LLMSPELLFS_SOAK_SECONDS", "60"))
pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="/dev/fuse IS MISSING: no mount can be tested"),
]
_libc = ctypes.CDLL(None, use_errno=True)
_RENAMEAT2 = 316 if os.uname().machine == "x86_64" else 276
NAMES = (
    "f", "g", "d", "d/h", ".session/tags", ".session/session.json", ".session/events.jsonl", ".session/at/1/f",
    "README", ".session/artifacts/f.json", ".session/versions/f/1", ".session", ".fuse_hidden0000000100000001",
)  # fmt: skip
MOST = 8 << 20
number = st.one_of(
    st.integers(-3, 70_000), st.sampled_from([2**31 - 1, 2**31, 2**32, 2**52, 2**62, 2**63 - 1, -(2**63), 4095, 4097])
)
Step = tuple[str, str, str, int, int, int]
FLAGS = [
    os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_APPEND, os.O_TRUNC, os.O_CREAT, os.O_EXCL, os.O_DIRECT, os.O_SYNC,
    os.O_DSYNC, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NOATIME, os.O_NONBLOCK, os.O_PATH, os.O_TMPFILE, os.O_ASYNC,
]  # fmt: skip
flags = st.lists(st.sampled_from(FLAGS), max_size=4).map(lambda some: sum(set(some)) if some else 0)


def renameat2(old: Path, new: Path, how: int) -> None:
    if _libc.syscall(_RENAMEAT2, -100, os.fsencode(old), -100, os.fsencode(new), how):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fallocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    if _libc.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(min(size, MOST))):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def on_descriptor(descriptor: int, what: str, a: int, b: int) -> object:
    sized = max(0, min(b, 70_000))
    calls: dict[str, Callable[[], object]] = {
        "pread": lambda: os.pread(descriptor, sized, a),
        "pwrite": lambda: os.pwrite(descriptor, b"w" * sized, a if a < MOST or a > 2**52 else MOST),
        "ftruncate": lambda: os.ftruncate(descriptor, a if a < MOST or a > 2**52 else MOST),
        "lseek": lambda: os.lseek(descriptor, a, b % 7),
        "fallocate": lambda: fallocate(descriptor, b % 128, a, abs(b)),
        "fsync": lambda: os.fsync(descriptor),
        "fdatasync": lambda: os.fdatasync(descriptor),
        "ioctl": lambda: fcntl.ioctl(descriptor, a & 0xFFFFFFFF, b"\0" * 64),
        "flock": lambda: fcntl.flock(descriptor, fcntl.LOCK_NB | fcntl.LOCK_EX),
        "fchmod": lambda: os.fchmod(descriptor, b & 0o7777 | 0o600),
        "listdir": lambda: os.listdir(descriptor),
        "getxattr": lambda: os.getxattr(descriptor, "user.llmspell.hash"),
        "fadvise": lambda: os.posix_fadvise(descriptor, a, b, a % 6),
        "copy": lambda: os.copy_file_range(descriptor, descriptor, sized, max(a, 0), max(b, 0)),
    }
    return calls[what]()


DESCRIPTOR = (
    "pread", "pwrite", "ftruncate", "lseek", "fallocate", "fsync", "fdatasync", "ioctl", "flock", "fchmod", "listdir",
    "getxattr", "fadvise", "copy",
)  # fmt: skip
PATH = (
    "rename",
    "link",
    "symlink",
    "mkdir",
    "rmdir",
    "unlink",
    "mknod",
    "truncate",
    "utime",
    "statvfs",
    "access",
    "setxattr",
)


def on_path(s: Path, what: str, here: Path, there: Path, a: int, b: int) -> object:
    calls: dict[str, Callable[[], object]] = {
        "rename": lambda: renameat2(here, there, b & 7),
        "link": lambda: os.link(here, there),
        "symlink": lambda: os.symlink("x" * (abs(b) % 5000), here),
        "mkdir": lambda: os.mkdir(here, b & 0o7777 | 0o700),
        "rmdir": lambda: os.rmdir(here),
        "unlink": lambda: os.unlink(here),
        "mknod": lambda: os.mknod(here, b & 0o177777),
        "truncate": lambda: os.truncate(here, a if a < MOST or a > 2**52 else MOST),
        "utime": lambda: os.utime(here, ns=(a % 2**62, b % 2**62), follow_symlinks=False),
        "statvfs": lambda: os.statvfs(here),
        "access": lambda: os.access(here, a & 7),
        "setxattr": lambda: os.setxattr(here, "user.k" + "x" * (abs(a) % 300), b"v" * (abs(b) % 70_000), b % 4),
    }
    return calls[what]()


@contextlib.contextmanager
def requests(folder: Path) -> Iterator[Callable[[list[Step]], None]]:
    mounted = Mounted(folder)
    mounted.mount()
    mounted.may_fail = True  # what is refused with EINVAL is told in the log
    s = mounted.session("desk")
    (s / "f").write_text("content")

    def call(steps: list[Step]) -> None:
        for what, name, other, flag, a, b in steps:
            try:
                step(what, s / name, s / other, flag, a, b)
            except (OverflowError, ValueError):
                pass  # Python's own refusals
            except OSError as error:
                assert error.errno not in {errno.EIO, errno.ENOTCONN, errno.ENOSYS}, (what, name, other, flag, a, b)  # noqa: PT017
        assert mounted.session("alive").is_dir()
        (s.parent / "alive").rmdir()

    def step(what: str, here: Path, there: Path, flag: int, a: int, b: int) -> None:
        if what in PATH:
            on_path(s, what, here, there, a, b)
            return
        descriptor = os.open(here, flag | os.O_NONBLOCK, 0o644)
        try:
            on_descriptor(descriptor, what, a, b)
        finally:
            os.close(descriptor)

    try:
        yield call
    finally:
        mounted.end()
    mounted.check(is_whole=True)


name = st.sampled_from(NAMES)
steps = st.lists(
    st.tuples(st.sampled_from(DESCRIPTOR + PATH), name, name, flags, number, number),
    min_size=1, max_size=12,
)  # fmt: skip


def daemon(folder: Path) -> int:
    found = daemon_of(str(folder / "mnt"))
    assert found is not None
    return found


TARGET = Target("FUSE requests", steps, requests, 60, daemon)


def test_odd_requests_are_answered_and_the_mount_stays_whole(tmp_path: Path) -> None:
    assert short(TARGET, tmp_path).executed >= 5


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 300)
def test_hours_of_odd_requests_are_answered(tmp_path: Path, figures: Callable[[str], None]) -> None:
    figures(soak(TARGET, tmp_path, SECONDS)[1])
