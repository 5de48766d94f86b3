"""Opening and closing a store's rooms: what others may think of it meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from llmspellfs.errors import StoreBusy, StoreUnusable
from llmspellfs.storage.alone import alone
from llmspellfs.storage.opening import Rooms, open_rooms
from llmspellfs.storage.spool import live_owners


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    return open_rooms(tmp_path / "s", busy_seconds=1)


def test_a_store_is_in_use_until_its_index_is_closed(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    path, close = rooms.path, rooms.index.close
    assert path is not None
    refused: list[str] = []

    def closing() -> None:
        with pytest.raises(StoreUnusable, match="has it open"), alone(path, 1):
            pass
        refused.append("a repair")
        close()

    monkeypatch.setattr(rooms.index, "close", closing)
    rooms.close()
    assert refused == ["a repair"]
    with alone(path, 1):
        assert live_owners(path) == []


def test_a_store_whose_index_fails_to_close_is_let_go_of(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    close = rooms.index.close

    def failing() -> None:
        close()
        raise StoreBusy(1)

    monkeypatch.setattr(rooms.index, "close", failing)
    with pytest.raises(StoreBusy):
        rooms.close()
    assert rooms.path is not None
    assert live_owners(rooms.path) == []


@pytest.mark.parametrize("name", ["scrub.lock", "erasing.lock", "reading.lock"])
def test_what_only_a_store_in_use_leaves_tells_that_its_index_is_gone(tmp_path: Path, name: str) -> None:
    open_rooms(tmp_path / "s", busy_seconds=1).close()
    (tmp_path / "s" / name).touch()
    (tmp_path / "s/index.db").unlink()
    with pytest.raises(StoreUnusable, match="its index is gone"):
        open_rooms(tmp_path / "s", busy_seconds=1)
    assert not (tmp_path / "s/index.db").exists()


def test_two_processes_that_have_a_store_open_are_named_as_two(rooms: Rooms) -> None:
    assert rooms.path is not None
    ready, go_on = os.pipe()
    child = os.fork()
    if child == 0:
        open_rooms(rooms.path, busy_seconds=1)
        os.write(go_on, b"x")
        signal.pause()
    try:
        assert os.read(ready, 1) == b"x"
        users = ", ".join(map(str, sorted((os.getpid(), child))))
        with pytest.raises(StoreUnusable, match=f"processes {users} have it open"), alone(rooms.path, 1):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        rooms.close()


def test_a_forked_child_that_closes_a_store_leaves_it_to_its_parent(rooms: Rooms) -> None:
    assert rooms.path is not None
    assert rooms.spool is not None
    child = os.fork()
    if child == 0:
        rooms.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert live_owners(rooms.path) == [rooms.spool.name]
    with pytest.raises(StoreUnusable, match="has it open"), alone(rooms.path, 1):
        pass
    rooms.spool.new().discard()
    rooms.close()


def test_an_index_that_was_emptied_is_told_of_and_not_begun_anew(rooms: Rooms) -> None:
    assert rooms.path is not None
    rooms.close()
    os.truncate(rooms.path / "index.db", 0)
    for create in (False, True):
        with pytest.raises(StoreUnusable, match="its index is gone"):
            open_rooms(rooms.path, busy_seconds=1, create=create)
    assert (rooms.path / "index.db").stat().st_size == 0


def test_an_index_that_an_opening_began_and_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    for name in ("opening.lock", "index.db"):
        (tmp_path / name).touch(0o600)
    open_rooms(tmp_path, busy_seconds=1).close()
