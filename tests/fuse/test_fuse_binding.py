"""The binding over a fake tree, through the kernel."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.steady import steady_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fuse.conftest import FakeMount

pytestmark = pytest.mark.mount


def _code(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what is looked at
        call()
    return caught.value.errno


def test_files_are_made_read_appended_and_cut(mnt: Path) -> None:
    file = mnt / "a"
    file.write_bytes(b"hello")
    with file.open("ab") as stream:
        stream.write(b" world")
    assert file.read_bytes() == b"hello world"
    os.truncate(file, 5)
    assert file.read_bytes() == b"hello"
    os.truncate(file, 7)
    assert file.read_bytes() == b"hello\0\0"
    file.write_bytes(b"new")
    assert file.read_bytes() == b"new"


def test_large_content_comes_back_whole(mnt: Path) -> None:
    content = os.urandom(5 << 20)
    (mnt / "big").write_bytes(content)
    assert (mnt / "big").read_bytes() == content
    descriptor = os.open(mnt / "big", os.O_RDONLY)
    assert os.pread(descriptor, 1000, (5 << 20) - 10) == content[-10:]
    os.close(descriptor)


def test_random_writes_leave_zeros_between(mnt: Path) -> None:
    descriptor = os.open(mnt / "sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"end", 1000)
    os.ftruncate(descriptor, 1002)
    os.close(descriptor)
    assert (mnt / "sparse").read_bytes() == bytes(1000) + b"en"


def test_folders_and_links(mnt: Path) -> None:
    (mnt / "d" / "e").mkdir(parents=True)
    (mnt / "d" / "e" / "f").symlink_to("../../füße")
    assert os.readlink(mnt / "d" / "e" / "f") == "../../füße"
    assert _code((mnt / "d").rmdir) == errno.ENOTEMPTY
    assert _code((mnt / "d").mkdir) == errno.EEXIST
    (mnt / "d" / "e").rename(mnt / "moved")
    assert os.listdir(mnt / "moved") == ["f"]
    (mnt / "d").rmdir()
    assert os.listdir(mnt) == ["moved"]


def test_modes_owners_and_the_umask(mnt: Path) -> None:
    before = os.umask(0o027)
    try:
        (mnt / "a").touch()
        (mnt / "d").mkdir()
    finally:
        os.umask(before)
    found = (mnt / "a").stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    assert stat.S_IMODE((mnt / "d").stat().st_mode) == 0o750
    (mnt / "a").chmod(0o604)
    assert stat.S_IMODE((mnt / "a").stat().st_mode) == 0o604
    assert stat.S_ISREG((mnt / "a").stat().st_mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_chown_leaves_what_it_is_not_told(mnt: Path) -> None:
    (mnt / "a").touch()
    os.chown(mnt / "a", 1234, -1)
    os.chown(mnt / "a", -1, 4321)
    found = (mnt / "a").stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_times_are_set_kept_and_now(mnt: Path) -> None:
    file = mnt / "a"
    file.touch()
    os.utime(file, ns=(1_000_000_001, 2_000_000_002))
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    subprocess.run(["touch", "-a", "-d", "@5", str(file)], check=True)
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (5_000_000_000, 2_000_000_002)
    before = time.time_ns()
    subprocess.run(["touch", "-m", str(file)], check=True)
    assert file.stat().st_atime_ns == 5_000_000_000
    assert before <= file.stat().st_mtime_ns <= time.time_ns()


def test_an_unlinked_open_file_is_all_there(fake: FakeMount) -> None:
    file = fake.path / "a"
    file.write_bytes(b"kept")
    descriptor = os.open(file, os.O_RDWR)
    file.unlink()
    assert os.listdir(fake.path) == []
    os.fchmod(descriptor, 0o600)
    os.utime(descriptor, ns=(1, 2))
    os.ftruncate(descriptor, 2)
    found = os.fstat(descriptor)
    assert (stat.S_IMODE(found.st_mode), found.st_size) == (0o600, 2)
    assert os.pread(descriptor, 10, 0) == b"ke"
    os.close(descriptor)
    (fake.path / "a").write_bytes(b"other")
    assert fake.asked()[0] == "hide /a unlinked"


def test_a_rename_onto_an_open_file_is_said_to_be_one(fake: FakeMount) -> None:
    old, new = fake.path / "old", fake.path / "new"
    old.write_bytes(b"before")
    new.write_bytes(b"after")
    with old.open("rb") as stream:
        new.rename(old)
        assert stream.read() == b"before"
        assert old.read_bytes() == b"after"
    assert os.listdir(fake.path) == ["old"]
    assert fake.asked()[:2] == ["hide /old replaced", "rename /new /old"]


def test_a_callers_own_hidden_name_is_a_name(fake: FakeMount) -> None:
    (fake.path / "a").write_bytes(b"x")
    with (fake.path / "a").open("rb"):
        (fake.path / "a").rename(fake.path / ".fuse_hidden01")
    assert os.listdir(fake.path) == [".fuse_hidden01"]
    assert fake.asked() == ["rename /a /.fuse_hidden01"]


def test_ten_thousand_names_are_listed_once_each(mnt: Path) -> None:
    names = {f"{number:05}" for number in range(10_000)}
    for name in names:
        os.mknod(mnt / name, 0o644 | stat.S_IFREG)
    entries = list(os.scandir(mnt))
    assert {entry.name for entry in entries} == names
    assert len(entries) == len(names)
    assert all(entry.inode() == entry.stat().st_ino for entry in entries[:20])


def test_a_rewound_folder_is_listed_anew(mnt: Path) -> None:
    (mnt / "a").touch()
    descriptor = os.open(mnt, os.O_RDONLY)
    assert os.listdir(descriptor) == ["a"]
    (mnt / "b").touch()
    assert sorted(os.listdir(descriptor)) == ["a", "b"]
    os.close(descriptor)


def test_extended_attributes(mnt: Path) -> None:
    file = mnt / "a"
    file.touch()
    os.setxattr(file, "user.one", b"\0binary\xff")
    os.setxattr(file, "user.empty", b"")
    os.setxattr(file, "user.long", b"x" * 5000)
    assert os.getxattr(file, "user.one") == b"\0binary\xff"
    assert os.getxattr(file, "user.empty") == b""
    assert os.getxattr(file, "user.long") == b"x" * 5000
    assert sorted(os.listxattr(file)) == ["user.empty", "user.long", "user.one"]
    os.removexattr(file, "user.one")
    assert _code(lambda: os.getxattr(file, "user.one")) == errno.ENODATA
    assert _code(lambda: os.removexattr(file, "user.one")) == errno.ENODATA
    assert _code(lambda: os.getxattr(file, "security.capability")) == errno.ENODATA
    assert _code(lambda: os.setxattr(file, "security.thing", b"x")) == errno.EOPNOTSUPP


def test_a_value_longer_than_the_callers_buffer_is_erange(mnt: Path) -> None:
    import ctypes

    (mnt / "a").touch()
    os.setxattr(mnt / "a", "user.long", b"x" * 100)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(10)
    assert libc.getxattr(os.fsencode(mnt / "a"), b"user.long", buffer, 10) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(os.fsencode(mnt / "a"), buffer, 3) == -1
    assert ctypes.get_errno() == errno.ERANGE


def test_what_does_not_exist_here_is_eperm(mnt: Path) -> None:
    (mnt / "a").touch()
    assert _code(lambda: os.link(mnt / "a", mnt / "b")) == errno.EPERM
    assert _code(lambda: os.mkfifo(mnt / "pipe")) == errno.EPERM


def test_a_name_that_is_not_text_is_eilseq(mnt: Path) -> None:
    bad = os.fsencode(mnt) + b"/\xff\xfe"
    assert _code(lambda: os.mkdir(bad)) == errno.EILSEQ
    assert _code(lambda: os.open(bad, os.O_CREAT | os.O_WRONLY)) == errno.EILSEQ
    assert _code(lambda: os.symlink(b"\xff", os.fsencode(mnt) + b"/good")) == errno.EILSEQ


def test_an_unforeseen_exception_is_eio_and_the_mount_lives(mnt: Path) -> None:
    assert _code((mnt / "trap-error").stat) == errno.EIO
    (mnt / "a").write_bytes(b"alive")
    assert (mnt / "a").read_bytes() == b"alive"


def test_a_failing_flush_fails_the_close(mnt: Path) -> None:
    descriptor = os.open(mnt / "a", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"FROZEN")
    assert _code(lambda: os.close(descriptor)) == errno.EROFS


def test_statvfs_is_the_trees(mnt: Path) -> None:
    found = os.statvfs(mnt)
    assert (found.f_bsize, found.f_blocks, found.f_bfree, found.f_bavail) == (4096, 1000, 900, 800)
    assert (found.f_files, found.f_ffree, found.f_namemax) == (700, 600, 255)


def test_a_slow_operation_delays_only_its_caller(fake: FakeMount) -> None:
    mnt = fake.path
    for number in range(3):
        (mnt / f"slow{number}").write_bytes(b"SLOW")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        slow = [pool.submit((mnt / f"slow{number}").read_bytes) for number in range(3)]
        fake.wait_for_slow(3)
        (mnt / "quick").write_bytes(b"quick")
        (mnt / "slow0").rename(mnt / "elsewhere")
        assert sorted(os.listdir(mnt)) == ["elsewhere", "quick", "slow1", "slow2"]
        assert not any(future.done() for future in slow)
        fake.let_go()
        assert {future.result() for future in slow} == {b"SLOW"}


def test_many_threads_at_once(mnt: Path) -> None:
    def work(number: int) -> bool:
        file = mnt / f"f{number}"
        file.write_bytes(str(number).encode() * 1000)
        return file.read_bytes() == str(number).encode() * 1000 and file.stat().st_size > 0

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(400)))


def test_an_unmount_ends_the_process_after_destroy(fake: FakeMount) -> None:
    (fake.path / "a").touch()
    subprocess.run(["fusermount", "-u", str(fake.path)], check=True)
    assert fake.process.wait(60) == 0
    assert fake.asked() == ["destroy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_mount_in_use(fake: FakeMount, number: signal.Signals) -> None:
    descriptor = os.open(fake.path / "a", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"x")
    with steady_clock() as clock:
        fake.process.send_signal(number)
        assert fake.process.wait(60) == 0
        assert clock() < 20
    assert fake.asked() == ["destroy"]
    assert not os.path.ismount(fake.path)
    assert _code(lambda: os.write(descriptor, b"y")) == errno.ENOTCONN
    assert _code(lambda: os.close(descriptor)) == errno.ENOTCONN


def test_a_signal_lets_a_slow_operation_finish(fake: FakeMount) -> None:
    (fake.path / "slow").write_bytes(b"SLOW")
    descriptor = os.open(fake.path / "slow", os.O_RDONLY)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(os.pread, descriptor, 4, 0)
        fake.wait_for_slow(1)
        fake.process.terminate()
        time.sleep(0.2)
        assert not slow.done()
        fake.let_go()
        assert slow.result() == b"SLOW"
    assert fake.process.wait(60) == 0
    assert fake.asked()[-1] == "destroy"
    assert _code(lambda: os.close(descriptor)) == errno.ENOTCONN


def test_fsync_of_a_folder_syncs_the_tree(fake: FakeMount) -> None:
    folder = os.open(fake.path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    assert fake.asked() == ["sync"]
