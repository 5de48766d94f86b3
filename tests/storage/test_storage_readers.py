"""Stores that are only read: who wants one alone sees that, and waits for nobody who has gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import StoreBusy, StoreUnusable
from llmspellfs.service.restoring import restore_store
from llmspellfs.storage import opening
from llmspellfs.storage.alone import alone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store, which `read` opens as one whose folder cannot be written to."""
    open_store(tmp_path / "store", config=Config()).close()
    return tmp_path / "store"


def read(path: Path, busy_seconds: float = 1) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "_why_read_only", lambda _: "a test")
        return open_store(path, config=Config(), busy_seconds=busy_seconds)


def test_a_store_that_is_read_is_not_had_alone(path: Path) -> None:
    first, second = read(path), read(path)
    first.close()
    first.close()
    with pytest.raises(StoreUnusable, match="another process reads it"), alone(path, 1):
        pass
    second.close()
    with alone(path, 1), pytest.raises(StoreBusy):
        read(path, 0.01)
    read(path).close()


def test_a_store_that_is_read_through_a_link_is_seen(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with read(tmp_path / "link"), pytest.raises(StoreUnusable), alone(path, 1):
        pass
    with alone(tmp_path / "link", 1):
        pass


def test_a_store_that_is_read_is_not_restored_over(path: Path, tmp_path: Path) -> None:
    with open_store(path, config=Config()) as store:
        store.upkeep.backup(tmp_path / "copy")
    with read(path), pytest.raises(StoreUnusable, match="in use"):
        restore_store(tmp_path / "copy", path, force=True)
    assert sorted(os.listdir(tmp_path)) == ["copy", "store"]
    restore_store(tmp_path / "copy", path, force=True)


def test_readers_and_writers_do_not_wait_for_each_other(path: Path) -> None:
    with read(path) as reader, open_store(path, config=Config()) as store:
        store.sessions.create("s")
        with read(path) as later:
            assert [session.name for session in later.sessions.list()] == ["s"]
        assert reader.read_only == "a test"
