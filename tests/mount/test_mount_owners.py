"""Who may do what under `allow_other`: modes, groups, sticky folders, and the bits that go when others write."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Calls, Mounted, mounted_for_everybody, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
JANE, JOE, STAFF = 1001, 1002, 2001
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def acting_as(uid: int, gid: int | None = None) -> Iterator[None]:
    """Let this thread, and no other, use files as *uid* and *gid* (by default the same number)."""
    _libc.setfsgid(uid if gid is None else gid)
    _libc.setfsuid(uid)
    try:
        yield
    finally:
        _libc.setfsuid(0)
        _libc.setfsgid(0)


@pytest.fixture(scope="module")
def shared() -> Iterator[Mounted]:
    """A mount for everybody, where everybody can reach it."""
    with mounted_for_everybody() as mounted:
        yield mounted


@pytest.fixture
def desk(s: Path) -> Path:
    """A session's directory that everybody may write to."""
    s.chmod(0o777)
    return s


def append(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, content)
    os.close(descriptor)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_made_belongs_to_who_makes_it(live: Mounted, desk: Path) -> None:
    with acting_as(JANE, STAFF):
        (desk / "f").write_text("x")
        (desk / "d").mkdir()
        (desk / "l").symlink_to("f")
        os.close(os.open(desk / "closed", os.O_CREAT | os.O_WRONLY, 0))
    for name in ("f", "d", "l", "closed"):
        got = (desk / name).lstat()
        assert (got.st_uid, got.st_gid) == (JANE, STAFF), name
    assert mode(desk / "closed") == 0
    with acting_as(JANE, STAFF), refused(errno.EACCES):
        (desk / "closed").read_text()
    with acting_as(JANE), refused(errno.EACCES):
        (live.sessions / "mine").mkdir()


def test_others_are_kept_out(live: Mounted, desk: Path) -> None:
    (desk / "secret").write_text("x")
    (desk / "secret").chmod(0o600)
    (desk / "d").mkdir()
    (desk / "d/f").write_text("x")
    (desk / "readonly").write_text("x")
    (desk / "readonly").chmod(0o644)
    denied: Calls = (
        (desk / "secret").read_text,
        lambda: (desk / "readonly").write_text("y"),
        lambda: os.truncate(desk / "readonly", 0),
        (desk / "d/new").touch,
        (desk / "d/f").unlink,
        lambda: os.rename(desk / "d/f", desk / "f"),
        lambda: os.setxattr(desk / "readonly", "user.k", b"v"),
        lambda: os.getxattr(desk / "secret", "user.k"),
        lambda: os.utime(desk / "readonly"),
    )
    not_theirs: Calls = (
        lambda: (desk / "secret").chmod(0o777),
        lambda: os.chown(desk / "secret", JOE, -1),
        lambda: os.utime(desk / "secret", ns=(1, 1)),
    )
    with acting_as(JOE):
        for number, call in enumerate(denied):
            with refused(errno.EACCES, what=number):
                call()
        for number, call in enumerate(not_theirs):
            with refused(errno.EPERM, what=number):
                call()
    for bits, call in ((0o711, lambda: os.listdir(desk / "d")), (0o766, lambda: os.stat(desk / "d/f"))):
        (desk / "d").chmod(bits)
        with acting_as(JOE), refused(errno.EACCES):
            call()


def test_a_mode_taken_away_counts_at_once(live: Mounted, desk: Path) -> None:
    (desk / "f").write_text("x")
    for _ in range(3):
        (desk / "f").chmod(0o644)
        with acting_as(JOE):
            assert (desk / "f").read_text() == "x"
        (desk / "f").chmod(0o600)
        with acting_as(JOE), refused(errno.EACCES):
            (desk / "f").read_text()


def test_in_a_sticky_folder_everybody_removes_their_own(live: Mounted, desk: Path) -> None:
    (desk / "tmp").mkdir()
    (desk / "tmp").chmod(0o1777)
    with acting_as(JANE):
        (desk / "tmp/janes").write_text("x")
        (desk / "tmp/folder").mkdir()
    with acting_as(JOE):
        (desk / "tmp/joes").write_text("x")
        foreign: Calls = (
            (desk / "tmp/janes").unlink,
            (desk / "tmp/folder").rmdir,
            lambda: os.rename(desk / "tmp/janes", desk / "tmp/mine"),
            lambda: os.rename(desk / "tmp/joes", desk / "tmp/janes"),
            lambda: os.rename(desk / "tmp/janes", desk / "janes"),
        )
        for number, call in enumerate(foreign):
            with refused(errno.EPERM, what=number):
                call()
        os.rename(desk / "tmp/joes", desk / "tmp/own")
        (desk / "tmp/own").unlink()
    with acting_as(JANE):
        (desk / "tmp/janes").unlink()
        (desk / "tmp/folder").rmdir()


def test_who_writes_takes_the_bits_of_another_away(live: Mounted, desk: Path) -> None:
    changes: Calls = (
        lambda: append(desk / "f", b"more"),
        lambda: os.truncate(desk / "f", 1),
        lambda: os.close(os.open(desk / "f", os.O_WRONLY | os.O_TRUNC)),
    )
    for number, change in enumerate(changes):
        (desk / "f").write_text("program")
        (desk / "f").chmod(0o6777)
        with acting_as(JOE):
            change()
        assert mode(desk / "f") == 0o777, number
    (desk / "f").chmod(0o6777)
    (desk / "f").write_text("by root")
    assert mode(desk / "f") == 0o6777, "root keeps them, as on a local file system"
    os.chown(desk / "f", JANE, STAFF)
    assert mode(desk / "f") == 0o777
    (desk / "f").chmod(0o2644)
    os.chown(desk / "f", 0, 0)
    assert mode(desk / "f") == 0o2644, "setgid without execution is no program's"


def test_owners_and_their_groups(live: Mounted, desk: Path) -> None:
    with acting_as(JANE, STAFF):
        (desk / "f").write_text("x")
        (desk / "f").chmod(0o660)
        for owner in ((JOE, -1), (-1, JOE), (0, 0)):
            with refused(errno.EPERM):
                os.chown(desk / "f", *owner)
        os.chown(desk / "f", -1, STAFF)
        os.utime(desk / "f", ns=(5, 6))
    assert (desk / "f").stat().st_mtime_ns == 6
    with acting_as(JOE, STAFF):
        assert (desk / "f").read_text() == "x"
        os.utime(desk / "f")
        with refused(errno.EPERM):
            os.utime(desk / "f", ns=(5, 6))
    os.chown(desk / "f", JOE, STAFF)
    with acting_as(JOE, JOE):
        (desk / "f").chmod(0o2770)
    assert mode(desk / "f") == 0o770, "nobody gives a program a group that is not theirs"


def test_supplementary_groups_count(live: Mounted, desk: Path) -> None:
    (desk / "f").write_text("for staff")
    os.chown(desk / "f", 0, STAFF)
    (desk / "f").chmod(0o640)
    for groups, expected in (([STAFF], "for staff"), ([JOE], "")):
        done = subprocess.run(
            ["cat", desk / "f"], user=JOE, group=JOE, extra_groups=groups, capture_output=True, text=True, check=False
        )
        assert done.stdout == expected
    os.chown(desk / "f", JOE, JOE)
    for group, code in ((STAFF, 0), (JANE, 1)):
        done = subprocess.run(
            ["chgrp", str(group), desk / "f"], user=JOE, group=JOE, extra_groups=[STAFF], capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert (desk / "f").stat().st_gid == STAFF


def test_a_setgid_folder_hands_its_group_to_other_users_files(live: Mounted, desk: Path) -> None:
    (desk / "d").mkdir()
    os.chown(desk / "d", 0, STAFF)
    (desk / "d").chmod(0o2777)
    with acting_as(JOE):
        (desk / "d/f").write_text("x")
        (desk / "d/e").mkdir()
        (desk / "d/e/f").write_text("x")
    assert [(desk / "d" / name).stat().st_gid for name in ("f", "e", "e/f")] == [STAFF] * 3
    assert mode(desk / "d/e") & stat.S_ISGID
