"""Limits, quotas and idle time on a mount: which call is refused, with what, and what stays."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mount.live import Mounted, events, refused, wait_for

CONFIG = """
max_sessions = 6
max_artifacts_per_session = 5
max_artifact_size = "SIZE"
storage_quota = "12M"
session_quota = "10M"
"""
MIB = 1 << 20


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Mounted]:
    mounted = Mounted(tmp_path, CONFIG.replace('"SIZE"', str(20 * MIB)))
    mounted.mount()
    yield mounted
    mounted.may_fail = True
    mounted.end()
    mounted.check(is_whole=True)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def dd(path: Path, size: int, what: str = "/dev/urandom") -> str:
    return f"dd if={what} of={path} bs=64k count={size >> 16} status=none"


def test_a_session_too_many_is_edquot(limited: Mounted) -> None:
    for n in range(6):
        limited.session(f"s{n}")
    with refused(errno.EDQUOT):
        limited.session("s6")
    with refused(errno.EDQUOT):
        (limited.sessions / "s0/.session/children/c").mkdir()
    (limited.sessions / "s0/.session/status").write_text("completed")
    limited.session("s6")


def test_an_artifact_too_many_is_edquot_at_its_creation_and_a_folder_is_none(limited: Mounted) -> None:
    full, other = limited.session("full"), limited.session("other")
    for n in range(5):
        (full / f"f{n}").write_text("x")
    (other / "g").write_text("y")
    (full / "folder").mkdir()
    (full / "link").symlink_to("f0")
    with refused(errno.EDQUOT):
        (full / "f5").write_text("x")
    with refused(errno.EDQUOT):
        (other / "g").rename(full / "g")
    assert limited.shell("echo x > full/f5; cp other/g full/; mv other/g full/", limited.sessions, check=False).stderr
    (other / "g").rename(full / "f0")
    assert sorted(os.listdir(full)) == ["f0", "f1", "f2", "f3", "f4", "folder", "link"]
    (full / "f1").unlink()
    (full / "f5").write_text("x")


def test_a_file_too_large_is_efbig_at_the_write(limited: Mounted) -> None:
    s = limited.session("s")
    with (s / "zeros").open("wb", buffering=0) as file:
        file.write(bytes(MIB))
        file.seek(20 * MIB)
        with refused(errno.EFBIG):
            file.write(b"x")
        with refused(errno.EFBIG):
            file.truncate(20 * MIB + 1)
    assert "File too large" in limited.shell(dd(s / "more", 21 * MIB, "/dev/zero"), s, check=False).stderr
    assert (s / "zeros").stat().st_size == MIB


def test_bytes_beyond_a_quota_fail_the_close_and_are_in_lost_and_found(limited: Mounted) -> None:
    a, b = limited.session("a"), limited.session("b")
    (a / "f").write_bytes(noise(7 * MIB))
    wait_for(lambda: os.statvfs(limited.path).f_bavail * 4096 <= 5 * MIB)
    fd = os.open(b / "g", os.O_WRONLY | os.O_CREAT)
    os.write(fd, noise(3 * MIB, 1))
    (a / "small").write_bytes(noise(3 * MIB - 70_000, 2))
    with refused(errno.EDQUOT):
        os.close(fd)
    assert not (b / "g").exists()
    with limited.open() as store:
        [item] = store.upkeep.lost()
        assert (item.size, item.name, "storage_quota" in item.why) == (3 * MIB, "g", True)
    with refused(errno.EDQUOT):
        (a / "more").write_bytes(noise(100_000, 4))
    (b / "zeros").write_bytes(bytes(9 * MIB))
    (a / "small").rename(a / "renamed")
    limited.command("artifact", "purge", "a:renamed", "--yes", check=False)
    limited.may_fail = True


def test_what_cannot_fit_whatever_follows_fails_while_it_is_written(limited: Mounted) -> None:
    s = limited.session("s")
    done = limited.shell(dd(s / "f", 19 * MIB), s, check=False)
    assert "Disk quota exceeded" in done.stderr
    (limited.session("other") / "f").write_bytes(noise(7 * MIB))
    fd = os.open(s / "g", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        for n in range(34):
            os.write(fd, noise(MIB // 2, n))
    wait_for(lambda: _refusal(fd) == errno.EDQUOT)
    with refused(errno.EDQUOT):
        os.close(fd)
    assert os.listdir(s) == []
    (s / "h").write_text("fits")
    limited.may_fail = True


def _refusal(fd: int) -> int | None:
    try:
        os.write(fd, b"more")
    except OSError as error:
        return error.errno
    return None


def test_a_file_that_was_beyond_a_quota_can_be_cut_and_written_anew(limited: Mounted) -> None:
    s = limited.session("s")
    (s / "full").write_bytes(noise(7 * MIB))
    fd = os.open(s / "f", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        for n in range(34):
            os.write(fd, noise(MIB // 2, n))
    wait_for(lambda: _refusal(fd) == errno.EDQUOT)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"fits", 0)
    os.close(fd)
    assert (s / "f").read_bytes() == b"fits"


def test_df_shows_the_quota_and_what_is_left_of_it(limited: Mounted) -> None:
    s = limited.session("s")
    room = os.statvfs(limited.path)
    assert (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize) == (12 * MIB, 12 * MIB)
    (s / "f").write_bytes(noise(MIB))
    (s / "same").write_bytes(noise(MIB))
    room = os.statvfs(limited.path)
    assert room.f_bavail * room.f_frsize == 11 * MIB
    assert "12M" in limited.command("stats").stdout.replace(".0", "").replace(" ", "")


def test_idle_sessions_are_suspended_but_not_one_with_bytes_that_wait(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path, "session_timeout_seconds = 5\n")
    mounted.mount()
    try:
        busy, idle = mounted.session("busy"), mounted.session("idle")
        (idle / "f").write_text("x")
        with (busy / "f").open("w") as file:
            file.write("bytes")
            file.flush()
            wait_for(lambda: (idle / ".session/status").read_text() == "suspended\n")
            for _ in range(3):
                mounted.command("stats")
            assert (busy / ".session/status").read_text() == "active\n"
        assert (busy / "f").read_text() == "bytes"
        wait_for(lambda: (busy / ".session/status").read_text() == "suspended\n")
        assert events(busy)[-1]["reason"] == "timeout"
        with refused(errno.EROFS):
            (busy / "g").write_text("x")
        wait_for(lambda: not mounted.spooled(), mounted.spooled)
    finally:
        mounted.end()
        mounted.check(is_whole=True)


def test_rules_of_retention_are_applied_while_the_store_is_mounted(tmp_path: Path) -> None:
    rule = "[[runtime.sessions.retention.rules]]\nname = 'tmp'\naction = 'delete'\ntags = ['tmp']\n"
    mounted = Mounted(tmp_path, f"session_timeout_seconds = 1\n{rule}")
    mounted.command("init")
    mounted.command("session", "create", "tmp", "--tag", "tmp")
    mounted.command("session", "complete", "tmp")
    mounted.mount()
    try:
        keep = mounted.session("keep")
        wait_for(lambda: not (mounted.sessions / "tmp").exists())
        assert keep.exists()
    finally:
        mounted.end()
        mounted.check(is_whole=True)
