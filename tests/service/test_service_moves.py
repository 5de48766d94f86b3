"""Renaming, over files too, folders, and moves from one session to another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmspellfs import Store
from llmspellfs.errors import (
    AlreadyExists,
    InvalidName,
    InvalidValue,
    IsAFolder,
    NotAFolder,
    NotEmpty,
    NotFound,
    SessionNotActive,
)
from llmspellfs.model.artifact import Attributes, Kind, Ownership
from llmspellfs.model.session import Session
from llmspellfs.service.paths import Place

OWN = Ownership(0o755, 1000, 1000)


def at(session: Session, name: str, folder: int | None = None) -> Place:
    return Place(session.sid, session.ino if folder is None else folder, name)


def names(store: Store, ref: str) -> list[str]:
    return [a.name for a in store.artifacts.list(ref)]


def test_renaming_over_a_file_makes_the_next_version_of_the_target(store: Store, clock: list[int]) -> None:
    s = store.sessions.create("s")
    target = store.artifacts.put(
        "s", "r.txt", b"old", artifact_type="agent_output", mime_type="text/x-own", description="the report",
        tags=["keep"], custom={"a": 1, "b": 2},
    )  # fmt: skip
    clock[0] += 5
    source = store.artifacts.put("s", "r.txt.tmp", b"new", custom={"b": 3, "c": 4})
    row = store.entries.rename(at(s, "r.txt.tmp"), at(s, "r.txt"))
    merged = store.artifacts.get("s", "r.txt")
    assert (row.eid, names(store, "s")) == (merged.eid, ["r.txt"])
    assert (merged.sequence, merged.version, merged.created_ns) == (target.sequence, 2, target.created_ns)
    assert (merged.artifact_type, merged.mime_type) == ("agent_output", "text/x-own")
    assert (merged.description, merged.tags, merged.custom) == ("the report", ("keep",), {"a": 1, "b": 3, "c": 4})
    assert merged.ino == source.ino
    assert [a.content_hash for a in store.artifacts.history("s", "r.txt")] == [
        target.content_hash, source.content_hash,
    ]  # fmt: skip
    after = store.sessions.get("s")
    assert (after.artifact_count, after.total_artifact_size) == (1, 3)
    assert [event.kind for event in store.sessions.events("s")][-1] == "artifact.renamed"
    assert store.artifacts.query("tag:keep meta.c:4") == [merged]


def test_metadata_set_on_the_source_wins(store: Store) -> None:
    s = store.sessions.create("s")
    store.artifacts.put("s", "old.csv", b"old", artifact_type="agent_output", description="d", tags=["x"])
    store.artifacts.put(
        "s", "new", b"new", artifact_type="tool_result", mime_type="text/special", description="e", tags=["y"]
    )
    store.entries.rename(at(s, "new"), at(s, "old.csv"))
    merged = store.artifacts.get("s", "old.csv")
    assert (merged.artifact_type, merged.mime_type) == ("tool_result", "text/special")
    assert (merged.description, merged.tags) == ("e", ("y",))


def test_renaming_the_same_content_over_a_file_is_no_new_version(store: Store) -> None:
    s = store.sessions.create("s")
    store.artifacts.put("s", "a", b"same")
    store.artifacts.put("s", "b", b"same")
    store.entries.rename(at(s, "b"), at(s, "a"))
    assert (store.artifacts.get("s", "a").sequence, store.artifacts.get("s", "a").version) == (1, 1)


def test_renaming_onto_itself_is_nothing(store: Store) -> None:
    s = store.sessions.create("s")
    store.artifacts.put("s", "a", b"x")
    store.entries.rename(at(s, "a"), at(s, "a"))
    assert store.sessions.get("s").seq == 2


def test_a_folder_is_renamed_with_all_in_it_by_one_event(store: Store) -> None:
    s = store.sessions.create("s")
    for name in ("d/a", "d/e/b"):
        store.artifacts.put("s", name, name.encode())
    before = store.sessions.get("s").seq
    folder = store.entries.rename(at(s, "d"), at(s, "x"))
    assert names(store, "s") == ["x/a", "x/e/b"]
    assert store.sessions.get("s").seq == before + 1
    with pytest.raises(InvalidValue):
        store.entries.rename(at(s, "x"), at(s, "y", folder.ino))
    inner = store.entries.lookup(folder.ino, "e")
    assert inner is not None
    with pytest.raises(InvalidValue):
        store.entries.rename(at(s, "x"), at(s, "y", inner.ino))
    assert [a.name for a in store.artifacts.query("name:x/**")] == ["x/a", "x/e/b"]


def test_kinds_that_do_not_go_over_each_other(store: Store) -> None:
    s = store.sessions.create("s")
    store.artifacts.put("s", "f", b"x")
    store.artifacts.put("s", "full/x", b"x")
    store.entries.make_folder(at(s, "empty"), OWN)
    store.entries.make_symlink(at(s, "link"), "f", OWN)
    for old, new, error in (
        ("f", "empty", IsAFolder), ("link", "empty", IsAFolder), ("empty", "f", NotAFolder),
        ("empty", "full", NotEmpty), ("nothing", "f", NotFound), ("f", "a/b", InvalidName),
        ("f", ".", InvalidName), ("f", ".session", AlreadyExists),
    ):  # fmt: skip
        with pytest.raises(error):
            store.entries.rename(at(s, old), at(s, new))
    store.entries.rename(at(s, "full"), at(s, "empty"))
    assert names(store, "s") == ["f", "empty/x"]
    store.entries.rename(at(s, "f"), at(s, "link"))
    assert names(store, "s") == ["link", "empty/x"]
    store.entries.make_symlink(at(s, "other"), "f", OWN)
    store.entries.rename(at(s, "other"), at(s, "link"))
    assert names(store, "s") == ["empty/x"]
    assert store.sessions.get("s").artifact_count == 1


def test_removing_checks_the_kind(store: Store) -> None:
    s = store.sessions.create("s")
    store.artifacts.put("s", "d/f", b"x")
    for name, folder, error in (("d", False, IsAFolder), ("d", True, NotEmpty), ("nothing", False, NotFound)):
        with pytest.raises(error):
            store.entries.remove(at(s, name), folder=folder)
    inner = store.entries.lookup(s.ino, "d")
    assert inner is not None
    with pytest.raises(NotAFolder):
        store.entries.remove(at(s, "f", inner.ino), folder=True)
    store.entries.remove(at(s, "f", inner.ino), folder=False)
    store.entries.remove(at(s, "d"), folder=True)
    calls: list[Callable[[], object]] = [
        lambda: store.entries.make_folder(at(s, "new", inner.ino), OWN),
        lambda: store.entries.make_symlink(at(s, "new", inner.ino), "x", OWN),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_names_taken_or_reserved_are_refused(store: Store) -> None:
    s = store.sessions.create("s")
    folder = store.entries.make_folder(at(s, "d"), OWN)
    makes: list[Callable[[Place], object]] = [
        lambda place: store.entries.make_folder(place, OWN),
        lambda place: store.entries.make_symlink(place, "x", OWN),
    ]
    for make in makes:
        for name, error in (("d", AlreadyExists), (".session", AlreadyExists), ("x" * 256, InvalidName)):
            with pytest.raises(error):
                make(at(s, name))
    store.entries.make_folder(at(s, ".session", folder.ino), OWN)
    assert store.sessions.get("s").seq == 3


def test_a_move_to_another_session_is_a_new_artifact_there(store: Store) -> None:
    s, t = store.sessions.create("s"), store.sessions.create("t")
    store.artifacts.put("t", "other", b"o")
    store.artifacts.put("s", "a", b"1")
    moved = store.artifacts.put("s", "a", b"22", tags=["x"], custom={"k": 1})
    stored = store.upkeep.stats().stored_bytes
    store.entries.rename(at(s, "a"), at(t, "b"))
    there = store.artifacts.get("t", "b")
    assert (there.sequence, there.version, there.ino, there.tags) == (2, 1, moved.ino, ("x",))
    assert (there.content, there.custom, there.created_ns) == (moved.content, {"k": 1}, moved.created_ns)
    assert names(store, "s") == []
    assert store.upkeep.stats().stored_bytes == stored
    s, t = store.sessions.get("s"), store.sessions.get("t")
    assert (s.artifact_count, s.total_artifact_size, t.artifact_count, t.total_artifact_size) == (0, 0, 2, 3)
    assert [a.version for a in store.artifacts.history("s", moved.id)] == [1, 2]


def test_a_move_over_a_file_of_another_session_is_its_next_version(store: Store) -> None:
    s, t = store.sessions.create("s"), store.sessions.create("t")
    store.artifacts.put("t", "b", b"old", tags=["t"])
    store.artifacts.put("s", "a", b"newer")
    store.entries.rename(at(s, "a"), at(t, "b"))
    merged = store.artifacts.get("t", "b")
    assert (merged.sequence, merged.version, merged.tags) == (1, 2, ("t",))
    assert store.sessions.get("t").total_artifact_size == 5
    assert store.sessions.get("t").artifact_count == 1


def test_a_folder_moves_to_another_session_with_all_in_it(store: Store) -> None:
    s, t = store.sessions.create("s"), store.sessions.create("t")
    for name in ("d/a", "d/e/b"):
        store.artifacts.put("s", name, name.encode())
    folder = store.entries.lookup(s.ino, "d")
    assert folder is not None
    store.entries.make_symlink(at(s, "link", folder.ino), "a", OWN)
    store.entries.rename(at(s, "d"), at(t, "x"))
    assert names(store, "t") == ["x/a", "x/e/b"]
    assert (names(store, "s"), store.entries.listing(s.ino)) == ([], [])
    assert {(e.name, e.kind) for e in store.entries.listing(folder.ino)} == {
        ("a", Kind.FILE), ("e", Kind.FOLDER), ("link", Kind.SYMLINK),
    }  # fmt: skip
    assert [store.artifacts.read(a) for a in store.artifacts.list("t")] == [b"d/a", b"d/e/b"]
    assert store.sessions.get("s").artifact_count == 0
    assert store.sessions.get("t").artifact_count == 2


def test_both_sessions_of_a_move_must_be_active(store: Store) -> None:
    s, t = store.sessions.create("s"), store.sessions.create("t")
    store.artifacts.put("s", "a", b"1")
    store.sessions.suspend("t")
    with pytest.raises(SessionNotActive):
        store.entries.rename(at(s, "a"), at(t, "a"))
    store.sessions.resume("t")
    store.sessions.complete("s")
    with pytest.raises(SessionNotActive):
        store.entries.rename(at(s, "a"), at(t, "a"))
    assert (names(store, "s"), names(store, "t")) == (["a"], [])


def test_attributes_follow_the_file_object_and_leave_no_event(store: Store, clock: list[int]) -> None:
    s = store.sessions.create("s")
    artifact = store.artifacts.put("s", "a", b"1")
    wanted = Attributes(0o4711, 7, 8, 111, 222, 333)
    assert store.entries.set_attributes(s.sid, artifact.ino, lambda _old, _now: wanted) == wanted
    store.entries.rename(at(s, "a"), at(s, "b"))
    attributes = store.entries.attributes(artifact.ino)
    assert (attributes.mode, attributes.uid, attributes.mtime_ns, attributes.atime_ns) == (0o4711, 7, 111, 333)
    assert attributes.ctime_ns == clock[0]
    assert [event.kind for event in store.sessions.events("s")][2:] == ["artifact.renamed"]
    with pytest.raises(NotFound):
        store.entries.attributes(1)
    with pytest.raises(NotFound):
        store.entries.set_attributes(s.sid, 1, lambda old, _: old)


def test_folders_show_when_what_is_in_them_changed(store: Store, clock: list[int]) -> None:
    s = store.sessions.create("s")
    for step in (
        lambda: store.artifacts.put("s", "a", b"1"),
        lambda: store.entries.rename(at(s, "a"), at(s, "b")),
        lambda: store.artifacts.delete("s", "b"),
        lambda: store.artifacts.restore("s", "b"),
        lambda: store.entries.make_symlink(at(s, "l"), "b", OWN),
    ):
        clock[0] += 1000
        step()
        assert store.entries.attributes(s.ino).mtime_ns == clock[0]
