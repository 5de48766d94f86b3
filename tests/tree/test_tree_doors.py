"""A tree beside another door to its store: whatever changes there, and whenever, is seen, followed and kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotEmpty, NotFound
from llmspellfs.service.paths import Place
from llmspellfs.storage import changelog
from llmspellfs.tree.changes import set_status
from tests.tree.meanwhile import MOMENT, PATIENCE, Call, Pause, after, before
from tests.tree.trees import Walker, close, content_of, write


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Store]:
    """The other door: a store object of its own."""
    with open_store(tmp_path / "store", config=Config()) as store:
        yield store


@pytest.fixture
def walker(tmp_path: Path, door: Store) -> Iterator[Walker]:
    """A tree on the store of *door*."""
    with open_store(tmp_path / "store", config=Config()) as store:
        walker = Walker(store)
        yield walker
        walker.tree.destroy()
        assert store.upkeep.fsck().problems == ()


def test_a_lookup_that_read_a_session_before_its_change_does_not_keep_it(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = walker.store.sessions.suspend("s")
    walker.tree._ctx.cache.drop(session.sid)
    walker.tree._forget_folders()
    pause = Pause()
    after(monkeypatch, walker.store.sessions, "by_dirname", pause)
    looking = Call(walker.tree.attr, s)
    assert pause.reached.wait(PATIENCE)
    set_status(walker.tree._ctx, session, "active", walker.caller)
    pause.go_on.set()
    assert looking.is_over()
    walker.write(f"{s}/f", b"x")
    assert walker.read(f"{s}/f") == b"x"


def test_nobody_takes_a_change_for_heard_that_another_thread_is_still_reading(
    walker: Walker, s: str, door: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    walker.write(f"{s}/f", b"old")
    assert walker.read(f"{s}/f") == b"old"
    door.artifacts.put("s", "f", b"newer")
    pause, plain = Pause(), changelog.changed_since

    def slow(*args: Any) -> object:
        monkeypatch.setattr(changelog, "changed_since", plain)
        pause()
        return plain(*args)

    monkeypatch.setattr(changelog, "changed_since", slow)
    read: list[bytes] = []
    first = Call(lambda: walker.read(f"{s}/f"))
    assert pause.reached.wait(PATIENCE)
    second = Call(lambda: read.append(walker.read(f"{s}/f")))
    second.is_over(MOMENT)
    pause.go_on.set()
    assert first.is_over()
    assert second.is_over()
    assert read == [b"newer"]


def test_a_session_that_another_door_fills_while_it_is_removed_stays(
    walker: Walker, s: str, door: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(monkeypatch, walker.store.entries, "has_children", lambda: door.artifacts.put("s", "precious", b"1"))
    with pytest.raises(NotEmpty):
        walker.tree.rmdir(s, walker.caller)
    assert [a.name for a in door.artifacts.list("s")] == ["precious"]
    assert walker.read(f"{s}/precious") == b"1"


def test_metadata_set_through_two_doors_at_once_is_all_kept(
    walker: Walker, s: str, door: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.artifacts.put("s", "f", b"1", custom={"a": 1, "gone": 0})
    walker.tree.getxattr(f"{s}/f", "user.a")
    theirs = {"a": 1, "gone": 0, "theirs": 2}
    before(monkeypatch, walker.store.entries, "describe", lambda: door.artifacts.update("s", "f", custom=theirs))
    walker.tree.setxattr(f"{s}/f", "user.mine", b"x", 0, walker.caller)
    assert door.artifacts.get("s", "f").custom == theirs | {"mine": "x"}
    before(monkeypatch, walker.store.entries, "describe", lambda: door.artifacts.update("s", "f", custom=theirs))
    walker.tree.removexattr(f"{s}/f", "user.gone", walker.caller)
    assert door.artifacts.get("s", "f").custom == {"a": 1, "theirs": 2}


def test_a_sessions_metadata_set_through_two_doors_at_once_is_all_kept(
    walker: Walker, s: str, door: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = walker.store.sessions
    walker.tree.listxattr(s)
    before(monkeypatch, sessions, "update", lambda: door.sessions.update("s", metadata={"theirs": 2, "gone": 0}))
    walker.tree.setxattr(s, "user.mine", b"x", 0, walker.caller)
    assert door.sessions.get("s").metadata == {"theirs": 2, "gone": 0, "mine": "x"}
    before(monkeypatch, sessions, "update", lambda: door.sessions.update("s", metadata={"more": 3, "gone": 0}))
    walker.tree.removexattr(s, "user.gone", walker.caller)
    assert door.sessions.get("s").metadata == {"more": 3}


@pytest.mark.parametrize("size", [10, 400_000])
def test_what_is_lost_with_a_deleted_session_is_known_by_its_id(walker: Walker, s: str, door: Store, size: int) -> None:
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    handle = walker.create(f"{s}/d/f", b"d" * size)
    session = door.sessions.delete("s")
    with pytest.raises(NotFound):
        close(handle)
    assert [(item.session, item.name, item.size) for item in door.upkeep.lost()] == [(session.id, "d/f", size)]
    door.sessions.restore(session.id)
    assert door.artifacts.read(door.upkeep.recover(door.upkeep.lost()[0].id)) == b"d" * size


def test_a_file_that_another_door_moved_is_appended_to_where_it_is(walker: Walker, s: str, door: Store) -> None:
    walker.tree.mkdir("/sessions/t", 0o755, walker.caller)
    for name in ("log", "p", "q"):
        walker.write(f"{s}/{name}", name.encode())
    readers = [walker.open(f"{s}/{name}", os.O_RDONLY) for name in ("log", "p")]
    here, there = door.sessions.get("s"), door.sessions.get("t")
    door.entries.rename(Place(here.sid, here.ino, "log"), Place(there.sid, there.ino, "log"))
    door.entries.rename(Place(here.sid, here.ino, "p"), Place(here.sid, here.ino, "q"))
    for path, content in (("/sessions/t/log", b"log"), (f"{s}/q", b"p")):
        handle = walker.open(path, os.O_WRONLY | os.O_APPEND)
        write(handle, b" two", 0)
        close(handle)
        assert walker.read(path) == content + b" two"
    assert (walker.names(s), walker.names("/sessions/t"), door.upkeep.lost()) == (["q"], ["log"], [])
    for reader in readers:
        close(reader)


def test_a_handle_writes_on_where_another_door_has_moved_its_file(walker: Walker, s: str, door: Store) -> None:
    walker.tree.mkdir("/sessions/t", 0o755, walker.caller)
    walker.write(f"{s}/log", b"one")
    handle = walker.open(f"{s}/log")
    write(handle, b"two", 3)
    here, there = door.sessions.get("s"), door.sessions.get("t")
    door.entries.rename(Place(here.sid, here.ino, "log"), Place(there.sid, there.ino, "moved"))
    close(handle)
    assert (walker.names(s), walker.read("/sessions/t/moved"), door.upkeep.lost()) == ([], b"onetwo", [])


def test_an_append_goes_behind_what_another_door_has_stored(walker: Walker, s: str, door: Store) -> None:
    walker.write(f"{s}/log", b"one\n")
    assert walker.size(f"{s}/log") == 4
    door.artifacts.put("s", "log", b"one\ntwo from elsewhere\n")
    handle = walker.open(f"{s}/log", os.O_WRONLY | os.O_APPEND)
    write(handle, b"three\n", 4)
    assert content_of(handle) == b"one\ntwo from elsewhere\nthree\n"
    close(handle)
    door.sessions.tag("s", add=["alpha"])
    tags = walker.open(f"{s}/.session/tags", os.O_WRONLY | os.O_APPEND)
    write(tags, b"beta\n", 0)
    close(tags)
    assert door.sessions.get("s").tags == ("alpha", "beta")


def test_views_list_a_session_in_one_question(walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        walker.tree.mkdir(f"{s}/d{number}", 0o755, walker.caller)
        walker.write(f"{s}/d{number}/f", b"x")
    asked: list[Any] = []
    names = walker.store.search.names

    def counted(*wanted: Any) -> Any:
        asked.append(wanted)
        return names(*wanted)

    monkeypatch.setattr(walker.store.search, "names", counted)
    top = f"/by-type/user_input/{s.rpartition('/')[2]}"
    assert sorted(name for name, _ in walker.tree.listdir(top)) == [f"d{number}" for number in range(5)]
    for number in range(5):
        listed = dict(walker.tree.listdir(f"{top}/d{number}"))
        assert listed == {"f": walker.tree.attr(f"{top}/d{number}/f")}
    assert len(asked) == 1


@pytest.mark.usefixtures("patient_reader")
def test_an_emptied_control_file_is_empty_for_whoever_opens_it_after_its_close(walker: Walker, s: str) -> None:
    walker.write(f"{s}/.session/tags", b"old\n")
    closing = walker.open(f"{s}/.session/tags", os.O_WRONLY | os.O_TRUNC)
    closing.flush()
    seen: list[bytes] = []
    reader = Call(lambda: seen.append(walker.read(f"{s}/.session/tags")))
    reader.join(0.02)
    closing.release()
    reader.join(PATIENCE)
    assert (reader.error, seen) == (None, [b""])


def test_a_control_file_that_stays_open_after_being_emptied_holds_no_reader_up(walker: Walker, s: str) -> None:
    walker.write(f"{s}/.session/tags", b"old\n")
    writing = walker.open(f"{s}/.session/tags", os.O_WRONLY | os.O_TRUNC)
    writing.flush()
    reader = Call(walker.read, f"{s}/.session/tags")
    reader.join(PATIENCE)
    assert not reader.is_alive()
    writing.write(memoryview(b"new\n"), 0)
    close(writing)
    assert walker.read(f"{s}/.session/tags") == b"new\n"


def test_what_was_read_of_a_session_while_it_changed_is_used_once_and_dropped(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, sid = walker.tree._ctx.cache, walker.store.sessions.get("s").sid
    cache.drop(sid)
    after(monkeypatch, walker.store.sessions, "by_dirname", lambda: cache.drop(sid))
    late = cache.by_dirname("s")
    assert late is not None
    assert not late.is_alive
    now = cache.by_dirname("s")
    assert now is not None
    assert now.is_alive
    assert cache.peek(sid) is now


def test_of_a_session_that_two_threads_look_up_one_memory_is_kept(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, sid = walker.tree._ctx.cache, walker.store.sessions.get("s").sid
    cache.drop(sid)
    other: list[object] = []
    after(monkeypatch, walker.store.sessions, "by_dirname", lambda: other.append(cache.by_dirname("s")))
    assert [cache.by_dirname("s")] == other == [cache.peek(sid)]
