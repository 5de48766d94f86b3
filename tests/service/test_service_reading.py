"""What is open stays readable, whatever is deleted and collected meanwhile, and goes once nobody has it open."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt

BIG = os.urandom(3 << 20)


def collect(store: Store, clock: list[int]) -> int:
    """Collect what has been nobody's for two hours; return how many contents went."""
    gone = 0
    for _ in range(2):
        clock[0] += 2 * 3600 * 10**9
        foretold, done = store.upkeep.gc(dry_run=True), store.upkeep.gc()
        assert (foretold.removed, foretold.files) == (done.removed, done.files)
        gone += done.removed
    return gone


@pytest.fixture
def filled(store: Store) -> Store:
    store.sessions.create("s")
    store.artifacts.put("s", "a", BIG)
    return store


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_is_open_is_collected_once_its_reader_is_closed_or_gone(
    filled: Store, clock: list[int], *, is_closed: bool
) -> None:
    reader = filled.artifacts.open(filled.artifacts.get("s", "a"))
    filled.artifacts.delete("s", "a")
    assert collect(filled, clock) == 0
    filled.engine.rooms.cache.clear()
    assert reader.read_at(0, len(BIG)) == BIG
    if is_closed:
        reader.close()
        reader.close()
    else:
        del reader
        gc.collect()
    assert collect(filled, clock) == 1


def test_of_two_readers_each_keeps_the_content(filled: Store, clock: list[int]) -> None:
    found = filled.artifacts.get("s", "a")
    first, second = filled.artifacts.open(found), filled.artifacts.open(found)
    filled.artifacts.delete("s", "a")
    first.close()
    assert collect(filled, clock) == 0
    second.close()
    assert collect(filled, clock) == 1


def test_what_another_opening_of_the_store_reads_is_left_too(sqlite_store: Store, clock: list[int]) -> None:
    sqlite_store.sessions.create("s")
    sqlite_store.artifacts.put("s", "a", BIG)
    assert sqlite_store.path is not None
    with open_store(sqlite_store.path, config=Config(), now=lambda: clock[0]) as other:
        reader = other.artifacts.open(other.artifacts.get("s", "a"))
        sqlite_store.artifacts.delete("s", "a")
        assert collect(sqlite_store, clock) == 0
        assert reader.read_at(0, len(BIG)) == BIG
    assert collect(sqlite_store, clock) == 1


def test_a_forked_child_that_closes_its_reader_leaves_the_parents(sqlite_store: Store, clock: list[int]) -> None:
    sqlite_store.sessions.create("s")
    sqlite_store.artifacts.put("s", "a", BIG)
    found = sqlite_store.artifacts.get("s", "a")
    reader = sqlite_store.artifacts.open(found)
    child = os.fork()
    if child == 0:
        reader.close()
        sqlite_store.artifacts.open(found).close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sqlite_store.artifacts.delete("s", "a")
    assert collect(sqlite_store, clock) == 0
    reader.close()
    assert collect(sqlite_store, clock) == 1


def test_a_purge_waits_for_no_reader(filled: Store) -> None:
    reader = filled.artifacts.open(filled.artifacts.get("s", "a"))
    filled.artifacts.purge("s", "a")
    with pytest.raises(Corrupt):
        reader.read_at(0, 1)


def test_a_store_whose_notes_of_readers_cannot_be_made_is_read_all_the_same(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        found = store.artifacts.put("s", "a", BIG)
        (tmp_path / "s/reading.lock").mkdir()
        with store.artifacts.open(found) as reader:
            assert reader.read_at(0, len(BIG)) == BIG
            store.artifacts.delete("s", "a")
        assert not list((tmp_path / "s/reading.lock").iterdir())
        (tmp_path / "s/reading.lock").rmdir()
