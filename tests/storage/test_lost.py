"""Lost bytes are kept with what is known of them, and found again without it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from llmspellfs.errors import NoSpace, NotFound
from llmspellfs.storage import disk
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.lost import LostFound, LostItem
from llmspellfs.storage.reserve import Reserve


@pytest.fixture
def lost(tmp_path: Path) -> LostFound:
    return LostFound(tmp_path)


def test_nothing_lost(lost: LostFound, tmp_path: Path) -> None:
    assert lost.list() == []
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_kept_with_what_is_known(lost: LostFound) -> None:
    item_id = lost.add(b"work", Destination("session-1", "a/b.txt"), "session is completed", 5)
    assert lost.list() == [LostItem(item_id, "session-1", "a/b.txt", 4, 5, "session is completed")]
    assert lost.get(item_id) == lost.list()[0]
    with lost.open(item_id) as file:
        assert file.read() == b"work"


def test_a_child_that_was_forked_in_a_turn_does_not_keep_it(lost: LostFound, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with lost.turn(1):
        child = os.fork()
        if child == 0:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
    descriptor = os.open(tmp_path / "lost+found", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for each in (descriptor, ours, theirs):
        os.close(each)
    os.waitpid(child, 0)


def test_file_is_moved_here(lost: LostFound, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"work" * 1000)
    source.chmod(0o400)
    item_id = lost.add(source, Destination(), "crash", 5)
    assert not source.exists()
    assert lost.list() == [LostItem(item_id, None, None, 4000, 5, "crash")]
    assert (tmp_path / "lost+found" / item_id).stat().st_mode & 0o777 == 0o600


def test_oldest_come_first(lost: LostFound) -> None:
    ids = [lost.add(b"x", Destination(), "why", at_ns) for at_ns in (30, 10, 20)]
    assert [item.id for item in lost.list()] == [ids[1], ids[2], ids[0]]


def test_bytes_without_description_or_with_a_bad_one_are_listed(lost: LostFound, tmp_path: Path) -> None:
    item_id = lost.add(b"work", Destination("s", "n"), "why", 5)
    description = tmp_path / "lost+found" / f"{item_id}.json"
    for bad in (
        b"",
        b"[1]",
        b'{"session": 1, "name": null, "why": [], "at_ns": "x"}',
        b"\xff",
        b"[" * 100000,
    ):
        description.write_bytes(bad)
        (item,) = lost.list()
        assert (item.id, item.session, item.name, item.size, item.why) == (item_id, None, None, 4, "unknown")
        assert item.at_ns > 5
    description.unlink()
    assert [item.id for item in lost.list()] == [item_id]


def test_other_files_are_not_items(lost: LostFound, tmp_path: Path) -> None:
    lost.add(b"work", Destination(), "why", 5)
    for name in ("notes", "0123456789abcdef.part", "fedcba9876543210.json"):
        (tmp_path / "lost+found" / name).write_bytes(b"{}")
    assert len(lost.list()) == 1


def test_removed_is_gone(lost: LostFound, tmp_path: Path) -> None:
    item_id = lost.add(b"work", Destination(), "why", 5)
    lost.remove(item_id)
    assert lost.list() == []
    assert list((tmp_path / "lost+found").iterdir()) == []
    for call in (lost.remove, lost.open, lost.get):
        with pytest.raises(NotFound, match="lost item not found"):
            call(item_id)


@pytest.mark.parametrize("name", ["", "..", "../index.db", "0123456789abcdef.json", "0123456789abcdef\n"])
def test_what_is_no_id_is_not_found(lost: LostFound, name: str) -> None:
    lost.add(b"work", Destination(), "why", 5)
    with pytest.raises(NotFound):
        lost.open(name)


def test_missing_source_is_not_found(lost: LostFound, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        lost.add(tmp_path / "gone", Destination(), "why", 5)
    assert lost.list() == []


def test_name_that_is_no_utf8_is_kept(lost: LostFound) -> None:
    name = os.fsdecode(b"caf\xe9")
    lost.add(b"work", Destination("s", name), "why", 5)
    assert lost.list()[0].name == name


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(name: str) -> None:
        if name == step:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk, "hook", fail)


def test_bytes_survive_when_the_description_cannot_be_written(lost: LostFound, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "lost.about.write")
    item_id = lost.add(b"work", Destination("s", "n"), "why", 5)
    (item,) = lost.list()
    assert (item.id, item.name) == (item_id, None)
    with lost.open(item.id) as file:
        assert file.read() == b"work"


@pytest.mark.parametrize("step", ["lost.about.fsync", "lost.fsync", "lost.rename", "lost.folder_sync"])
def test_a_file_that_cannot_be_kept_is_where_it_was(
    lost: LostFound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"work")
    fail_at(monkeypatch, step)
    with pytest.raises(NoSpace):
        lost.add(source, Destination("s", "n"), "why", 5)
    assert source.read_bytes() == b"work"
    assert list((tmp_path / "lost+found").iterdir()) == []
    monkeypatch.setattr(disk, "hook", None)
    assert lost.get(lost.add(source, Destination("s", "n"), "why", 5)).name == "n"


def test_on_a_full_disk_a_file_is_kept_with_the_help_of_the_reserve(
    lost: LostFound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"work")
    reserve = Reserve(tmp_path)
    reserve.hold()
    assert not reserve.lend()

    def fail(name: str) -> None:
        if name in {"lost.about.write", "lost.bytes.write"} and any((tmp_path / "reserve").iterdir()):
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk, "hook", fail)
    with pytest.raises(NoSpace):
        lost.add(b"bytes need more room than a description", Destination("s", "n"), "why", 5)
    item = lost.get(lost.add(source, Destination("s", "n"), "why", 5))
    assert (item.name, item.why, item.size) == ("n", "why", 4)


def test_what_crashes_left_goes_when_it_is_old(lost: LostFound, tmp_path: Path) -> None:
    kept = lost.add(b"work", Destination(), "why", 5)
    leftovers = [tmp_path / "lost+found" / name for name in ("0123456789abcdef.part", "fedcba9876543210.json")]
    for path in leftovers:
        path.write_bytes(b"{}")
    os.utime(leftovers[0], (1, 1))
    lost.remove_leftovers(60)
    assert [path.exists() for path in leftovers] == [False, True]
    assert lost.get(kept).why == "why"
