"""Opening and closing a store's rooms: what others may think of it meanwhile."""

from __future__ import annotations

import os
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
