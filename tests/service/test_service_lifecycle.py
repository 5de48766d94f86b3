"""The lifecycle of sessions, and what being frozen means."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from llmspellfs import Store
from llmspellfs.errors import (
    AlreadyExists,
    InvalidTransition,
    InvalidValue,
    NotFound,
    SessionNotActive,
    SpellError,
)
from llmspellfs.model.artifact import Kind, Ownership
from llmspellfs.model.session import Session, Status
from llmspellfs.service.paths import Place

OWN = Ownership(0o644, 1000, 1000)
STATES = ("active", "suspended", "completed", "failed")
ACTIONS: dict[str, Callable[[Store], Session]] = {
    "suspend": lambda store: store.sessions.suspend("s"),
    "resume": lambda store: store.sessions.resume("s"),
    "complete": lambda store: store.sessions.complete("s"),
    "fail": lambda store: store.sessions.fail("s", "why"),
    "load": lambda store: store.sessions.load("s"),
}
TABLE = {
    ("suspend", "active"): "suspended",
    ("resume", "suspended"): "active",
    ("complete", "active"): "completed",
    ("complete", "suspended"): "completed",
    ("fail", "active"): "failed",
    ("fail", "suspended"): "failed",
    ("load", "active"): "active",
    ("load", "suspended"): "active",
    ("load", "completed"): "completed",
    ("load", "failed"): "failed",
}
PAST = {
    "suspend": "session.suspended",
    "resume": "session.resumed",
    "complete": "session.completed",
    "fail": "session.failed",
    "load": "session.loaded",
}


def session_in(store: Store, state: str) -> Session:
    """Make the session s with an artifact and a folder, in *state*."""
    session = store.sessions.create("s", tags=["old"])
    store.artifacts.put("s", "d/a.txt", b"one", custom={"k": 1})
    if state != "active":
        ACTIONS[{"suspended": "suspend", "completed": "complete", "failed": "fail"}[state]](store)
    return session


@pytest.mark.parametrize(("action", "state"), list(itertools.product(ACTIONS, STATES)))
def test_each_action_from_each_state_is_as_the_table_says(store: Store, action: str, state: str) -> None:
    session_in(store, state)
    before = store.sessions.get("s")
    expected = TABLE.get((action, state))
    if expected is None:
        with pytest.raises(InvalidTransition, match=f"session s is {state}: cannot {action}"):
            ACTIONS[action](store)
        assert store.sessions.get("s") == before
        return
    after = ACTIONS[action](store)
    assert after == store.sessions.get("s")
    assert after.status == expected
    assert [event.kind for event in store.sessions.events("s", after=before.seq)] == [PAST[action]]
    assert (after.ended_ns is not None) == (expected in {"completed", "failed"})


@pytest.mark.parametrize("state", STATES)
def test_delete_restore_save_and_tag_work_in_every_state(store: Store, state: str) -> None:
    session = session_in(store, state)
    assert store.sessions.tag("s", add=["hold", "new"], remove=["old"]).tags == ("hold", "new")
    assert store.sessions.update("s", tags=["hold"]).tags == ("hold",)
    assert store.sessions.save("s", "here").label == "here"
    store.sessions.delete("s")
    assert store.sessions.list() == []
    with pytest.raises(NotFound):
        store.sessions.get(session.id)
    back = store.sessions.restore("s")
    assert (back.status, back.tags, back.artifact_count) == (state, ("hold",), 1)
    assert store.artifacts.read(store.artifacts.get("s", "d/a.txt")) == b"one"


@pytest.mark.parametrize("state", STATES[1:])
def test_a_frozen_session_does_not_change(store: Store, state: str) -> None:
    session = session_in(store, state)
    artifact = store.artifacts.get("s", "d/a.txt")
    active = store.sessions.create("other")
    store.artifacts.put("other", "b", b"b")
    place, top = Place(session.sid, artifact.folder, "a.txt"), Place(session.sid, session.ino, "new")
    before = store.sessions.get("s")
    for change in (
        lambda: store.artifacts.put("s", "b", b"x"),
        lambda: store.artifacts.put("s", "d/a.txt", b"x"),
        lambda: store.artifacts.update("s", "d/a.txt", tags=["x"]),
        lambda: store.artifacts.update("s", "d/a.txt", name="b"),
        lambda: store.entries.make_folder(top, OWN),
        lambda: store.entries.make_symlink(top, "d", OWN),
        lambda: store.entries.rename(place, top),
        lambda: store.entries.rename(place, Place(active.sid, active.ino, "a")),
        lambda: store.entries.rename(Place(active.sid, active.ino, "b"), top),
        lambda: store.entries.remove(place, folder=False),
        lambda: store.entries.set_attributes(session.sid, artifact.ino, lambda old, _: old),
        lambda: store.sessions.update("s", name="t"),
        lambda: store.sessions.update("s", description="t"),
        lambda: store.sessions.update("s", metadata={"a": 1}),
        lambda: store.sessions.update("s", parent="other"),
        lambda: store.sessions.update("s", tags=["t"], description="t"),
        lambda: store.sessions.rename("s", "t"),
    ):
        with pytest.raises(SessionNotActive, match=f"session s is {state}"):
            change()
    assert store.sessions.get("s") == before
    assert store.artifacts.get("s", "d/a.txt") == artifact
    assert [a.name for a in store.artifacts.list("other")] == ["b"]


@pytest.mark.parametrize("state", STATES[1:])
def test_artifacts_of_a_frozen_session_can_be_deleted_and_purged(store: Store, state: str) -> None:
    session_in(store, state)
    store.artifacts.delete("s", "d/a.txt")
    assert store.sessions.get("s").artifact_count == 0
    with pytest.raises(SessionNotActive):
        store.artifacts.restore("s", "d/a.txt")
    store.artifacts.purge("s", "d/a.txt")
    assert [event.kind for event in store.sessions.events("s")][-2:] == ["artifact.deleted", "artifact.purged"]


def test_the_status_can_be_written_as_the_state_it_shall_be(store: Store) -> None:
    store.sessions.create("s")
    assert store.sessions.set_status("s", Status.ACTIVE).seq == 1
    assert store.sessions.set_status("s", Status.SUSPENDED).status is Status.SUSPENDED
    assert store.sessions.set_status("s", Status.ACTIVE).status is Status.ACTIVE
    assert store.sessions.set_status("s", Status.FAILED, "no luck").failure_reason == "no luck"
    with pytest.raises(InvalidTransition):
        store.sessions.set_status("s", Status.ACTIVE)


def test_restore_undoes_the_run_of_deletions_that_ended_in_the_sessions_own(store: Store) -> None:
    session = store.sessions.create("s")
    store.artifacts.put("s", "gone before", b"old")
    store.artifacts.delete("s", "gone before")
    kept = [store.artifacts.put("s", name, name.encode()) for name in ("a", "d/b", "d/e/c")]
    store.entries.make_folder(Place(session.sid, session.ino, "empty"), OWN)
    store.entries.make_symlink(Place(session.sid, session.ino, "link"), "d/b", OWN)
    remove_all(store, session.sid, session.ino)
    assert store.entries.listing(session.ino) == []
    store.sessions.delete("s")
    back = store.sessions.restore("s")
    assert [a.name for a in store.artifacts.list("s")] == ["a", "d/b", "d/e/c"]
    assert [a.id for a in store.artifacts.list("s")] == [a.id for a in kept]
    assert (back.artifact_count, back.total_artifact_size) == (3, sum(a.size for a in kept))
    assert {entry.name for entry in store.entries.listing(session.ino)} == {"a", "d", "empty", "link"}
    assert [store.artifacts.read(a) for a in store.artifacts.list("s")] == [b"a", b"d/b", b"d/e/c"]


def remove_all(store: Store, sid: int, folder: int) -> None:
    """Remove everything below *folder*, as `rm -r` does."""
    for entry in store.entries.listing(folder):
        if entry.kind is Kind.FOLDER:
            remove_all(store, sid, entry.ino)
        store.entries.remove(Place(sid, folder, entry.name), folder=entry.kind is Kind.FOLDER)


def test_deletion_takes_what_is_there_and_leaves_the_rest_of_history(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"a")
    store.artifacts.put("s", "b", b"b")
    store.artifacts.delete("s", "a")
    store.sessions.tag("s", add=["t"])
    store.sessions.delete("s")
    store.sessions.restore("s")
    assert [a.name for a in store.artifacts.list("s")] == ["b"]
    assert store.artifacts.restore("s", "a").name == "a"


def test_restoring_where_the_directory_name_is_taken_gives_the_next(store: Store) -> None:
    first = store.sessions.create("s")
    store.sessions.delete("s")
    store.sessions.create("s")
    back = store.sessions.restore(first.id)
    assert (back.name, back.dirname) == ("s", "s~2")
    with pytest.raises(AlreadyExists):
        store.sessions.restore("s~2")
    with pytest.raises(NotFound):
        store.sessions.restore("nobody")


def test_the_last_deleted_of_a_name_is_the_one_that_is_restored(store: Store, clock: list[int]) -> None:
    store.sessions.create("s", description="first")
    store.sessions.delete("s")
    clock[0] += 10**9
    store.sessions.create("s", description="second")
    store.sessions.delete("s")
    assert store.sessions.restore("s").description == "second"


@pytest.mark.parametrize("first_deleted", [False, True])
def test_a_purged_session_is_gone_for_good_and_its_trail_verifies(store: Store, first_deleted: bool) -> None:
    session = session_in(store, "active")
    if first_deleted:
        store.sessions.delete("s")
    store.sessions.purge("s")
    for ref in ("s", session.id):
        for call in (store.sessions.get, store.sessions.restore, store.sessions.delete, store.sessions.save):
            with pytest.raises(SpellError):
                call(ref)
    assert store.sessions.list() == store.sessions.list(deleted=True) == []
    assert store.sessions.events(session.id)[-1].kind == "session.purged"
    assert [report.problem for report in store.upkeep.verify(session.id)] == [None]
    with pytest.raises(NotFound):
        store.sessions.purge(session.id)
    assert store.sessions.create("s").dirname == "s"


def test_deleted_sessions_are_listed_apart(store: Store) -> None:
    store.sessions.create("here")
    store.sessions.create("gone", tags=["t"])
    store.sessions.delete("gone")
    assert [s.name for s in store.sessions.list()] == ["here"]
    assert [s.name for s in store.sessions.list(deleted=True)] == ["gone"]
    assert store.sessions.get("gone", deleted=True).deleted_ns is not None
    assert store.sessions.list("tag:t") == []


def test_a_failed_session_says_why_and_text_is_checked(store: Store) -> None:
    store.sessions.create("s")
    assert store.sessions.fail("s", "no network").failure_reason == "no network"
    store.sessions.create("t")
    with pytest.raises(InvalidValue):
        store.sessions.fail("t", 7)  # type: ignore[arg-type]
    assert store.sessions.get("t").status is Status.ACTIVE
