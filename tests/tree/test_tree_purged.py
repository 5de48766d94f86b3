"""Files that are open for writing while they are purged: nothing of them is kept, neither at their end nor after."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.errors import NotFound, SessionNotActive
from llmspellfs.service.incoming import Incoming, Outgoing
from llmspellfs.service.paths import Place
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.spool import Spool
from tests.service.test_service_purge import traces
from tests.service.test_service_unlinking import noted_elsewhere
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


@pytest.mark.parametrize("note", [Incoming, Outgoing])
def test_what_a_purge_has_refused_goes_whatever_comes_in_or_goes_out(sqlite_store: Store, note: type[Incoming]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", SECRET + os.urandom(3 << 20))
    handle.flush()
    with noted_elsewhere(store, note):
        store.artifacts.purge("s", "doc")
        handle.write(memoryview(b"more"), 3 << 20)
        with pytest.raises(NotFound):
            handle.flush()
        handle.release()
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


@pytest.mark.parametrize("is_session", [True, False])
@pytest.mark.parametrize("is_dead", [True, False])
def test_what_was_stored_ahead_of_a_commit_goes_too(sqlite_store: Store, is_session: bool, is_dead: bool) -> None:
    store, path = sqlite_store, sqlite_store.path or Path()
    store.sessions.create("s")
    store.sessions.create("t")
    doc = store.artifacts.put("s", "doc", b"first")
    shared, own = os.urandom(5 << 20), os.urandom(12 << 20)
    store.artifacts.put("t", "shared", shared)
    before = sorted(path.glob("blobs/*/*"))
    spool = Spool(path)
    file = spool.new()
    file.describe(Destination(store.sessions.get("s").id, "doc", doc.ino, doc.sequence))
    file.write(shared + own, 0)
    follower = store.intake.begin()
    follower.feed(shared + own)
    follower.abandon()
    ahead = {each.name for each in path.glob("blobs/*/*")} - {each.name for each in before}
    assert len(ahead) > 4
    if is_dead:
        os.close(file.fd)
        spool.close()
    report = store.sessions.purge("s") if is_session else store.artifacts.purge("s", "doc")
    assert sorted(path.glob("blobs/*/*")) == before
    assert set(report.unlinked) == ahead
    if not is_dead:
        file.discard()
        spool.close()


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
        file.describe(Destination(session.id, "doc", **known))
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
            file.describe(Destination(session.id, "doc", sequence=sequence))
            file.write(SECRET, 0)
            os.close(file.fd)
        spool.close()
    with open_store(tmp_path / "made") as store:
        assert len(store.upkeep.lost()) == 4


def move(store: Store, old: tuple[str, str], new: tuple[str, str]) -> None:
    """Move the artifact *old* (session, name) to *new*, as another process does."""
    (sid, top), (to, folder) = ((s.sid, s.ino) for s in (store.sessions.get(old[0]), store.sessions.get(new[0])))
    store.entries.rename(Place(sid, top, old[1]), Place(to, folder, new[1]))


@pytest.mark.parametrize(("session", "name"), [("t", "doc"), ("s", "over")])
def test_purging_what_a_file_was_leaves_what_it_has_lost_since(sqlite_store: Store, session: str, name: str) -> None:
    store = sqlite_store
    for ref in "st":
        store.sessions.create(ref)
    store.artifacts.put("s", "over", b"old")
    was = store.artifacts.put("s", "doc", b"content")
    move(store, ("s", "doc"), (session, name))
    now = store.artifacts.get(session, name)
    assert now.ino == was.ino
    meant_for = Destination(store.sessions.get(session).id, name, now.ino, now.sequence)
    item = store.intake.lose(SECRET, meant_for, "a test")
    file = store.intake.spool_file(meant_for)
    report = store.artifacts.purge("s", was.id)
    assert (report.lost, report.open_files) == ((), ())
    assert [lost.id for lost in store.upkeep.lost()] == [item]
    assert not list((store.path or Path()).glob("spool/*/*.erased"))
    file.discard()
    assert store.artifacts.purge(session, name).lost == (item,)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("purged", ["s", "t", "u", "t:doc", "s then t"])
def test_what_is_open_goes_with_the_session_that_it_was_moved_to(tmp_path: Path, purged: str, tells: bool) -> None:
    with open_store(tmp_path / "made") as store:
        for ref in "stu":
            store.sessions.create(ref)
        doc = store.artifacts.put("s", "doc", b"content")
        spool = Spool(tmp_path / "made")
        file = spool.new()
        file.describe(Destination(store.sessions.get("s").id, "doc", doc.ino, doc.sequence if tells else None))
        file.write(SECRET, 0)
        move(store, ("s", "doc"), ("u", "doc"))
        move(store, ("u", "doc"), ("t", "doc"))
        if purged == "s then t":
            store.sessions.purge("u")
            store.artifacts.purge("s", doc.id)
        session, _, name = purged[-5:].rpartition(" ")[2].partition(":")
        report = store.artifacts.purge("t", name) if name else store.sessions.purge(session)
        is_purged = session == "t"
        assert len(report.open_files) == is_purged
        os.close(file.fd)
        spool.close()
        moved_to = store.sessions.get("t").id if not is_purged or name else None
    with open_store(tmp_path / "made") as store:
        assert [(item.session, item.name) for item in store.upkeep.lost()] == ([] if is_purged else [(moved_to, "doc")])
        assert bool(traces(store, (SECRET,))) is not is_purged


@pytest.mark.parametrize("purged", ["s", "t"])
def test_what_a_dead_process_had_open_goes_where_it_was_moved_to(tmp_path: Path, purged: str) -> None:
    with open_store(tmp_path / "made") as store:
        for ref in "st":
            store.sessions.create(ref)
        doc = store.artifacts.put("s", "doc", b"content")
        spool = Spool(tmp_path / "made")
        file = spool.new()
        file.describe(Destination(store.sessions.get("s").id, "doc", doc.ino))
        file.write(SECRET, 0)
        move(store, ("s", "doc"), ("t", "new"))
        os.close(file.fd)
        spool.close()
        report = store.sessions.purge(purged)
        assert len(report.lost) == (purged == "t")
        assert [item.name for item in store.upkeep.lost()] == ([] if purged == "t" else ["new"])


def test_a_file_that_others_moved_is_written_on_when_what_it_was_is_purged(sqlite_store: Store) -> None:
    store = sqlite_store
    for ref in "st":
        store.sessions.create(ref)
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc", SECRET)
    handle.flush()
    was = store.artifacts.get("s", "doc")
    move(store, ("s", "doc"), ("t", "doc"))
    store.artifacts.purge("s", was.id)
    handle.write(memoryview(bytes(400_000)), len(SECRET))
    handle.flush()
    handle.release()
    assert store.artifacts.get("t", "doc").size == len(SECRET) + 400_000
    walker.tree.destroy()


def test_what_is_lost_of_a_file_that_was_moved_and_purged_is_kept_nowhere(sqlite_store: Store) -> None:
    store = sqlite_store
    for ref in "st":
        store.sessions.create(ref)
    doc = store.artifacts.put("s", "doc", b"content")
    told = Destination(store.sessions.get("s").id, "doc", doc.ino, doc.sequence)
    move(store, ("s", "doc"), ("t", "doc"))
    assert store.intake.lose(SECRET, told, "a test") is not None
    assert [item.session for item in store.upkeep.lost()] == [store.sessions.get("t").id]
    store.artifacts.purge("t", "doc")
    assert store.upkeep.lost() == []
    assert store.intake.lose(SECRET, told, "a test") is None
    assert store.upkeep.lost() == []
