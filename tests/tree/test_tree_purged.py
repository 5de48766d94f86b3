"""Files that are open for writing while they are purged: nothing of them is kept, neither at their end nor after."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.errors import NotFound, SessionNotActive
from llmspellfs.storage.spool import Spool
from tests.service.test_service_purge import traces
from tests.tree.trees import Walker

SECRET = b"secretword"
SIZES = [10, 400_000]
"""Bytes that stay in memory while they are written, and that go through the spool."""


def purge(store: Store, *, is_session: bool) -> None:
    store.sessions.purge("s") if is_session else store.artifacts.purge("s", "doc")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_session", [True, False])
def test_what_is_written_to_a_purged_file_comes_into_no_lost_and_found(
    sqlite_store: Store, caplog: pytest.LogCaptureFixture, is_session: bool, size: int
) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", SECRET + os.urandom(size))
    handle.flush()
    purge(store, is_session=is_session)
    with caplog.at_level(logging.ERROR):
        handle.write(memoryview(b"more"), len(SECRET))
        with pytest.raises((NotFound, SessionNotActive)):
            handle.flush()
    assert "kept nowhere, since it was purged" in caplog.text
    handle.release()
    assert store.upkeep.lost() == []
    assert traces(store, (SECRET,)) == []
    walker.tree.destroy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_session", [True, False])
def test_what_is_written_to_a_deleted_file_is_kept(sqlite_store: Store, is_session: bool, size: int) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", SECRET + os.urandom(size))
    handle.flush()
    store.sessions.delete("s") if is_session else store.artifacts.delete("s", "doc")
    handle.write(memoryview(b"more"), len(SECRET))
    with pytest.raises((NotFound, SessionNotActive)):
        handle.flush()
    handle.release()
    assert [item.size for item in store.upkeep.lost()] == [len(SECRET) + size]
    walker.tree.destroy()


def test_a_purged_file_gets_no_file_in_the_spool(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", SECRET)
    handle.flush()
    purge(store, is_session=False)
    with pytest.raises(NotFound):
        handle.write(memoryview(bytes(400_000)), len(SECRET))
    assert not list((store.path or Path()).glob("spool/*/[0-9]*"))
    handle.release()
    walker.tree.destroy()


def test_a_new_file_of_a_purged_ones_name_is_kept(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"old")
    store.artifacts.delete("s", "doc")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", os.urandom(400_000))
    purge(store, is_session=False)
    assert not list((store.path or Path()).glob("spool/*/*.erased"))
    handle.flush()
    handle.release()
    assert store.artifacts.get("s", "doc").size == 400_000
    walker.tree.destroy()


@pytest.mark.parametrize("told", ["sequence", "ino", "session"])
@pytest.mark.parametrize("is_purged", [True, False])
def test_what_a_process_had_open_of_what_was_purged_is_not_salvaged_when_it_dies(
    tmp_path: Path, told: str, is_purged: bool
) -> None:
    with open_store(tmp_path / "made") as store:
        session = store.sessions.create("s")
        doc = store.artifacts.put("s", "doc", b"content")
        spool = Spool(tmp_path / "made")
        file = spool.new()
        known = {"sequence": doc.sequence} if told == "sequence" else {"ino": doc.ino} if told == "ino" else {}
        file.describe(session.id, "doc", **known)
        file.write(SECRET, 0)
        if is_purged:
            purge(store, is_session=told == "session")
        os.close(file.fd)
        spool.close()
    with open_store(tmp_path / "made") as store:
        assert len(store.upkeep.lost()) == (0 if is_purged else 1)
        assert bool(traces(store, (SECRET,))) is not is_purged
        assert not list((tmp_path / "made").glob(f"spool/{spool.name}"))


def test_what_is_told_of_bytes_in_the_spool_may_be_anything(tmp_path: Path) -> None:
    with open_store(tmp_path / "made") as store:
        session = store.sessions.create("s")
        spool = Spool(tmp_path / "made")
        odd: tuple[Any, ...] = (1 << 70, -1, {}, "1")
        for sequence in odd:
            file = spool.new()
            file.describe(session.id, "doc", sequence=sequence)
            file.write(SECRET, 0)
            os.close(file.fd)
        spool.close()
    with open_store(tmp_path / "made") as store:
        assert len(store.upkeep.lost()) == 4
