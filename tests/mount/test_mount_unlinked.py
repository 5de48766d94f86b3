"""Files that are unlinked or replaced while they are open, and entries that are renamed while they are."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from tests.mount.live import Calls, Mounted, events, refused, stored, version, wait_for


def _use(descriptor: int, content: bytes) -> None:
    """Do to an open file that has no name any more all that can be done to it."""
    assert os.pread(descriptor, 100, 0) == content
    assert os.fstat(descriptor).st_size == len(content)
    os.fchmod(descriptor, 0o640)
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o640
    os.utime(descriptor, ns=(5, 7_000_000_000))
    assert os.fstat(descriptor).st_mtime_ns == 7_000_000_000
    os.fchown(descriptor, 12, 34)
    assert (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid) == (12, 34)
    os.pwrite(descriptor, b"written", 0)
    os.ftruncate(descriptor, 4)
    assert os.pread(descriptor, 100, 0) == b"writ"
    os.fsync(descriptor)
    assert os.fstat(descriptor).st_size == 4


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_unlinked_file_lives_until_its_last_close(live: Mounted, s: Path, is_committed: bool) -> None:
    descriptor = os.open(s / "f", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"content")
    if is_committed:
        os.fsync(descriptor)
    os.unlink(s / "f")
    assert os.listdir(s) == []
    _use(descriptor, b"content")
    assert os.listdir(s) == []
    assert not list((s / ".session/artifacts").iterdir())
    os.close(descriptor)
    time.sleep(0.05)
    assert os.listdir(s) == []
    os.rmdir(s)


def test_an_unlinked_file_does_not_block_rmdir(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    (s / "d/f").write_bytes(b"content")
    descriptor = os.open(s / "d/f", os.O_RDWR)
    os.unlink(s / "d/f")
    os.rmdir(s / "d")
    assert os.pread(descriptor, 100, 0) == b"content"
    os.pwrite(descriptor, b"CON", 0)
    assert os.pread(descriptor, 100, 0) == b"CONtent"
    os.close(descriptor)
    time.sleep(0.05)
    assert os.listdir(s) == []


def test_a_name_is_free_at_once_for_a_new_file(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"old")
    with open(s / "f", "r+b", buffering=0) as old:
        os.unlink(s / "f")
        (s / "f").write_bytes(b"another")
        assert old.read() == b"old"
        old.write(b"er")
    assert (s / "f").read_bytes() == b"another"
    assert os.listdir(s) == ["f"]


def test_a_file_of_another_session_can_be_removed_while_open_and_its_session_too(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    descriptor = os.open(other / "f", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"x")
    live.shell(f"rm -rf {other.name}", live.sessions)
    assert os.pread(descriptor, 9, 0) == b"x"
    os.close(descriptor)
    assert other.name not in os.listdir(live.sessions)


@pytest.mark.parametrize("writes", [False, True])
def test_a_rename_over_an_open_file_leaves_the_reader_its_bytes(live: Mounted, s: Path, writes: bool) -> None:
    (s / "f").write_bytes(b"old")
    (s / "new").write_bytes(b"new content")
    descriptor = os.open(s / "f", os.O_RDWR)
    os.rename(s / "new", s / "f")
    assert os.pread(descriptor, 100, 0) == b"old"
    assert (s / "f").read_bytes() == b"new content"
    if writes:
        _use(descriptor, b"old")
    os.close(descriptor)
    assert os.listdir(s) == ["f"]
    assert (s / "f").read_bytes() == b"new content"
    assert version(s / "f") == 2
    assert [e["kind"] for e in events(s) if e["kind"].startswith("artifact")] == [
        "artifact.stored", "artifact.stored", "artifact.renamed",
    ]  # fmt: skip


def test_a_refused_rename_over_an_open_file_changes_nothing(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"kept")
    (s / "d").mkdir()
    descriptor = os.open(s / "f", os.O_RDWR)
    with refused(errno.ENOTDIR):
        os.rename(s / "d", s / "f")
    assert (s / "f").read_bytes() == b"kept"
    os.pwrite(descriptor, b"K", 0)
    os.close(descriptor)
    assert (s / "f").read_bytes() == b"Kept"
    assert sorted(os.listdir(s)) == ["d", "f"]


def test_an_open_file_is_written_under_its_new_name(live: Mounted, s: Path) -> None:
    descriptor = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"before ")
    os.rename(s / "f", s / "g")
    os.write(descriptor, b"after")
    assert os.listdir(s) == ["g"]
    os.close(descriptor)
    assert (s / "g").read_bytes() == b"before after"
    wait_for(lambda: {e["name"] for e in events(s)[1:]} >= {"g"})


def test_a_folder_is_renamed_over_the_files_open_in_it(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    kept = os.open(s / "d/f", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"one ")
    os.rename(s / "d", s / "e")
    os.write(kept, b"two")
    assert (s / "e/f").read_bytes() == b"one two"
    os.close(kept)
    assert (s / "e/f").read_bytes() == b"one two"
    assert [e["name"] for e in stored(s, "e/f")] == ["e/f"]


def test_a_session_is_renamed_over_the_files_open_in_it(live: Mounted, s: Path) -> None:
    kept = os.open(s / "f", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"one ")
    renamed = live.sessions / f"{s.name}-renamed"
    os.rename(s, renamed)
    os.write(kept, b"two")
    os.close(kept)
    assert (renamed / "f").read_bytes() == b"one two"
    assert (renamed / ".session/name").read_text() == f"{renamed.name}\n"


def test_an_open_file_moves_to_another_session_with_its_handle(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    kept = os.open(s / "f", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"one ")
    os.rename(s / "f", other / "f")
    os.write(kept, b"two")
    os.close(kept)
    assert os.listdir(s) == []
    assert (other / "f").read_bytes() == b"one two"
    assert [e["kind"] for e in events(s)] == ["session.created", "artifact.stored", "artifact.moved_out"]
    wait_for(lambda: [e["kind"] for e in events(other)][1:] == ["artifact.moved_in", "artifact.stored"])


def test_many_files_unlinked_while_open_leave_nothing(live: Mounted, s: Path) -> None:
    kept = [os.open(s / f"f{number}", os.O_CREAT | os.O_RDWR) for number in range(20)]
    for number, descriptor in enumerate(kept):
        os.write(descriptor, b"x" * number)
        os.unlink(s / f"f{number}")
    os.rmdir(s)
    for number, descriptor in enumerate(kept):
        assert os.pread(descriptor, 100, 0) == b"x" * number
        os.close(descriptor)


def test_tempfiles_of_python_work(live: Mounted, s: Path) -> None:
    import tempfile

    with tempfile.TemporaryFile(dir=s) as file:
        file.write(b"x" * 500_000)
        file.seek(0)
        assert len(file.read()) == 500_000
    assert os.listdir(s) == []


@pytest.mark.parametrize("write", [b"", b"x"], ids=["empty", "written"])
def test_a_file_removed_right_after_its_close_stays_away(live: Mounted, s: Path, write: bytes) -> None:
    for number in range(100):
        descriptor = os.open(s / f"f{number}", os.O_CREAT | os.O_RDWR)
        os.write(descriptor, write)
        os.close(descriptor)
        os.unlink(s / f"f{number}")
    assert os.listdir(s) == []
    time.sleep(0.1)
    os.rmdir(s)


def test_a_file_renamed_right_after_its_close_keeps_its_bytes(live: Mounted, s: Path) -> None:
    for number in range(50):
        (s / "t").write_bytes(b"%d" % number)
        os.rename(s / "t", s / "f")
        assert (s / "f").read_bytes() == b"%d" % number
    assert os.listdir(s) == ["f"]
    assert version(s / "f") == 50


def test_a_folder_moves_to_another_session_with_files_open_in_it(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    (s / "d").mkdir()
    kept = os.open(s / "d/f", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"one ")
    os.fsync(kept)
    os.write(kept, b"two ")
    os.rename(s / "d", other / "d")
    os.write(kept, b"three")
    os.close(kept)
    assert (other / "d/f").read_bytes() == b"one two three"
    assert os.listdir(s) == []


def test_an_empty_folder_moves_to_another_session_with_a_file_pending_in_it(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    (s / "d").mkdir()
    kept = os.open(s / "d/f", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"one ")
    os.rename(s / "d", other / "d")
    assert os.listdir(other / "d") == ["f"]
    os.write(kept, b"two")
    os.close(kept)
    assert (other / "d/f").read_bytes() == b"one two"


def test_a_folder_with_a_pending_file_is_not_empty(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    (s / "e").mkdir()
    kept = os.open(s / "d/f", os.O_CREAT | os.O_RDWR)
    calls_1: Calls = (lambda: os.rmdir(s / "d"), lambda: os.rename(s / "e", s / "d"), lambda: os.rmdir(s))
    for call in calls_1:
        with refused(errno.ENOTEMPTY):
            call()
    os.close(kept)


def test_a_close_returns_when_what_another_close_commits_is_committed(live: Mounted, s: Path) -> None:
    import threading

    for _ in range(20):
        first = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
        second = os.open(s / "f", os.O_WRONLY)
        os.pwrite(first, b"first ", 0)
        os.pwrite(second, b"second", 6)
        closers = [threading.Thread(target=os.close, args=(descriptor,)) for descriptor in (first, second)]
        for closer in closers:
            closer.start()
        closers[0].join()
        with live.open() as door:
            assert door.artifacts.read(door.artifacts.get(s.name, "f")) == b"first second"
        closers[1].join()
        os.unlink(s / "f")


@pytest.mark.parametrize("above", ["folder", "session"])
def test_an_unlinked_file_lives_on_when_what_it_was_in_is_renamed(live: Mounted, s: Path, above: str) -> None:
    (s / "d").mkdir()
    descriptor = os.open(s / "d/f", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"content")
    os.unlink(s / "d/f")
    renamed = s.with_name(f"{s.name}-renamed")
    os.rename(*((s / "d", s / "e") if above == "folder" else (s, renamed)))
    _use(descriptor, b"content")
    os.close(descriptor)
    folder = s / "e" if above == "folder" else renamed / "d"
    assert os.listdir(folder) == []
    os.rmdir(folder)
