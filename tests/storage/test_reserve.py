"""The reserve: room that is kept for taking away, let go of where the disk is short, and had again afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmspellfs.errors import NoSpace
from llmspellfs.storage import disk
from llmspellfs.storage import reserve as module
from llmspellfs.storage.reserve import Reserve

MIB = 1 << 20


@pytest.fixture
def reserve(tmp_path: Path) -> Reserve:
    return Reserve(tmp_path)


def allotted(reserve: Reserve) -> int:
    return os.stat(reserve._room).st_blocks * 512


def test_the_reserve_is_blocks_not_a_hole(reserve: Reserve) -> None:
    reserve.hold()
    assert allotted(reserve) >= reserve.size >= MIB


def test_the_reserve_follows_what_the_wal_needs(reserve: Reserve) -> None:
    reserve.hold(10 * MIB)
    assert allotted(reserve) >= reserve.size + 10 * MIB
    reserve.hold(0)
    assert allotted(reserve) < reserve.size + 2 * MIB


def test_a_reserve_is_not_let_go_of_while_there_is_room(reserve: Reserve) -> None:
    reserve.hold()
    assert not reserve.lend()
    assert allotted(reserve) >= reserve.size


def test_a_reserve_is_let_go_of_where_the_disk_is_short(reserve: Reserve, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve.hold()
    monkeypatch.setattr(Reserve, "is_short", lambda _: True)
    assert reserve.lend()
    assert os.listdir(reserve._folder) == []
    assert reserve.lend()


def test_a_reserve_that_cannot_be_had_leaves_nothing(reserve: Reserve, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(disk, "allot", refuse)
        with pytest.raises(NoSpace):
            reserve.hold()
        assert os.listdir(reserve._folder) == []
    reserve.hold()
    with monkeypatch.context() as patched:
        patched.setattr(disk, "allot", refuse)
        with pytest.raises(NoSpace):
            reserve.hold(20 * MIB)
    assert allotted(reserve) >= reserve.size


def test_the_names_of_the_reserve_are_enough_to_open_a_store(reserve: Reserve) -> None:
    reserve.hold()
    assert len(os.listdir(reserve._folder)) == module._INODES + 1


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")
