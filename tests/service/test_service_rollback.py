"""Rollback: a session, or an artifact, is what it was, as new events, and nothing of the way there is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    InvalidValue,
    IsAFolder,
    LimitExceeded,
    NotAFolder,
    NotFound,
    SessionNotActive,
    SpellError,
)
from llmspellfs.model.artifact import Kind
from llmspellfs.model.event import Origin
from tests.service.histories import FILES, OWN, PICKS, REFS, Histories, State, draft, live, place


class Rollbacks(Histories):
    """Rolls sessions back to any moment that was seen, besides all else."""

    @rule(ref=REFS, pick=PICKS, forward=PICKS)
    def roll_back(self, ref: str, pick: int, forward: int) -> None:
        seqs = sorted(self.seen[ref])
        seq = seqs[pick % len(seqs)]
        if not self.is_there(ref) or not self.store.sessions.get(self.ids[ref]).is_active:
            with pytest.raises((NotFound, SessionNotActive)):
                self.store.past.rollback(f"{self.ids[ref]}@{seq}")
            return
        before = self.store.sessions.get(self.ids[ref])
        self.roll_to(ref, seq)
        if forward % 2:
            self.roll_to(ref, before.seq)

    @rule(ref=REFS, pick=PICKS, path=FILES)
    def roll_back_one(self, ref: str, pick: int, path: str) -> None:
        if not self.is_there(ref):
            return
        seqs = sorted(self.seen[ref])
        seq = seqs[pick % len(seqs)]
        wanted, before = self.seen[ref][seq].tree.get(path), live(self.store, self.ids[ref]).tree
        try:
            self.store.past.rollback_artifact(f"{self.ids[ref]}:{path}@{seq}")
        except SpellError:
            assert live(self.store, self.ids[ref]).tree == before
            return
        now = live(self.store, self.ids[ref]).tree
        self.note()
        assert wanted is not None
        assert wanted[0] is Kind.FILE
        assert now.pop(path)[2:] == wanted[2:]
        before.pop(path, None)
        assert {name: row for name, row in now.items() if name in before or not path.startswith(f"{name}/")} == before

    def roll_to(self, ref: str, seq: int) -> None:
        wanted, before = self.seen[ref][seq], live(self.store, self.ids[ref])
        session = self.store.past.rollback(f"{self.ids[ref]}@{seq}")
        now = live(self.store, self.ids[ref])
        self.note()
        assert session == self.store.sessions.get(self.ids[ref])
        assert now.status == "active"
        assert now.tree == wanted.tree
        self.check_fields(before, wanted, now)
        tagged = {a.name for a in self.store.artifacts.query("tag:x", session=self.ids[ref])}
        assert tagged == {path for path, row in now.tree.items() if row[0] is Kind.FILE and "x" in row[7]}  # type: ignore[operator]
        last = self.store.sessions.events(self.ids[ref])[-1]
        assert (last.kind, last.fields["to"]) == ("session.rolled_back", seq)

    def check_fields(self, before: State, wanted: State, now: State) -> None:
        old, new = dict(wanted.fields), dict(now.fields)
        assert new.pop("parent_session_id") in {old.pop("parent_session_id"), before.fields["parent_session_id"]}
        assert new == old


def test_a_session_rolled_back_is_what_it_was() -> None:
    run_state_machine_as_test(
        Rollbacks,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def seq_of(store: Store, ref: str = "s") -> int:
    return store.sessions.get(ref).seq


def rename(store: Store, old: str, new: str, ref: str = "s", to: str = "s") -> None:
    store.entries.rename(place(store, ref, old), place(store, to, new))


def read(store: Store, name: str, ref: str = "s") -> bytes:
    return store.artifacts.read(store.artifacts.get(ref, name))


def test_names_swapped_and_folders_in_each_others_place_go_back(store: Store) -> None:
    store.sessions.create("s")
    for name in ("a", "b", "d/x", "e/y"):
        store.artifacts.put("s", name, name.encode(), tags=[name])
    before = live(store, "s")
    inos = {name: store.artifacts.get("s", name).ino for name in before.versions}
    seq = seq_of(store)
    for one, other in (("a", "b"), ("d", "e")):
        rename(store, one, "third")
        rename(store, other, one)
        rename(store, "third", other)
    rename(store, "d", "e/d")
    rename(store, "e/d/y", "d")
    later, after = live(store, "s"), seq_of(store)
    store.past.rollback(f"s@{seq}")
    assert live(store, "s") == before
    assert {name: store.artifacts.get("s", name).ino for name in before.versions} == inos
    store.past.rollback(f"s@{after}")
    assert live(store, "s") == later


def test_a_file_that_became_a_folder_is_a_file_again_and_back(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "x", b"file")
    first = seq_of(store)
    store.artifacts.delete("s", "x")
    store.artifacts.put("s", "x/y", b"inside")
    second, later = seq_of(store), live(store, "s")
    store.past.rollback(f"s@{first}")
    assert read(store, "x") == b"file"
    kinds = [event.kind for event in store.sessions.events("s", after=second)]
    assert kinds == ["artifact.deleted", "folder.deleted", "artifact.restored", "session.rolled_back"]
    store.past.rollback(f"s@{second}")
    assert live(store, "s") == later


def test_the_way_back_keeps_versions_that_count_on(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq = seq_of(store)
    store.artifacts.put("s", "a", b"2")
    store.artifacts.update("s", "a", tags=["x"])
    store.past.rollback(f"s@{seq}")
    assert [(a.version, store.artifacts.read(a)) for a in store.artifacts.history("s", "a")] == [
        (1, b"1"), (2, b"2"), (3, b"1"),
    ]  # fmt: skip
    assert store.artifacts.get("s", "a").tags == ()


def test_a_rollback_to_now_says_so_and_changes_nothing_else(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    before, seq = live(store, "s"), seq_of(store)
    session = store.past.rollback(f"s@{seq}")
    assert (live(store, "s"), session.seq) == (before, seq + 1)


def test_a_draft_is_sealed_before_and_not_lost(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq = seq_of(store)
    _, end = draft(store, "s", "a", b"2")
    store.past.rollback(f"s@{seq}")
    end()
    assert read(store, "a") == b"1"
    assert [store.artifacts.read(a) for a in store.artifacts.history("s", "a")] == [b"1", b"2", b"1"]


def test_what_lives_on_in_another_session_comes_back_without_taking_it_from_there(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "d/a", b"one", tags=["x"])
    before, seq = live(store, "s"), seq_of(store)
    rename(store, "d", "d", to="t")
    there = live(store, "t")
    store.past.rollback(f"s@{seq}")
    assert (live(store, "s"), live(store, "t")) == (before, there)
    store.artifacts.put("t", "d/a", b"two")
    assert read(store, "d/a") == b"one"
    inos = {store.entries.lookup(store.sessions.get(ref).ino, "d").ino for ref in ("s", "t")}  # type: ignore[union-attr]
    assert len(inos) == 2


def test_a_folder_that_another_session_may_bring_back_is_not_the_same_folder(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "d/a", b"one")
    seq = seq_of(store)
    rename(store, "d", "d", to="t")
    store.artifacts.delete("t", "d/a")
    store.entries.remove(place(store, "t", "d"), folder=True)
    store.sessions.delete("t")
    store.past.rollback(f"s@{seq}")
    store.sessions.restore("t")
    store.artifacts.put("t", "d/b", b"two")
    assert sorted(live(store, "s").tree) == ["d", "d/a"]
    assert sorted(live(store, "t").tree) == ["d", "d/a", "d/b"]


@pytest.mark.parametrize("state", ["suspend", "complete", "fail"])
def test_a_frozen_session_stays_as_it_is(store: Store, state: str) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq = seq_of(store)
    getattr(store.sessions, state)("s")
    for call in (
        lambda: store.past.rollback(f"s@{seq - 1}"),
        lambda: store.past.rollback_artifact(f"s:a@{seq}"),
    ):
        with pytest.raises(SessionNotActive):
            call()
    assert seq_of(store) == seq + 1


def test_a_status_is_not_brought_back(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.suspend("s")
    seq = seq_of(store)
    store.sessions.resume("s")
    assert store.past.rollback(f"s@{seq}").is_active


@pytest.mark.parametrize("ref", ["s", "s@", "s@0", "s@99", "s@x", "s@c1", "none@1", "s@2001-01-01"])
def test_a_point_that_is_none_is_refused(store: Store, ref: str) -> None:
    store.sessions.create("s")
    with pytest.raises((NotFound, InvalidValue)):
        store.past.rollback(ref)
    assert seq_of(store) == 1


def test_a_deleted_session_is_not_rolled_back(store: Store) -> None:
    session = store.sessions.create("s")
    store.sessions.delete("s")
    for ref in ("s@1", f"{session.id}@1"):
        with pytest.raises(NotFound):
            store.past.rollback(ref)


def test_the_name_of_then_that_another_session_has_now_gets_a_number(store: Store) -> None:
    store.sessions.create("one")
    store.sessions.update("one", name="two")
    store.sessions.create("one")
    session = store.past.rollback("two@1")
    assert (session.name, session.dirname) == ("one", "one~2")


def test_a_parent_that_is_gone_or_a_child_by_now_is_left(store: Store) -> None:
    for name in ("gone", "other"):
        store.sessions.create(name)
    child = store.sessions.create("s", parent="gone")
    store.sessions.update("s", parent=None)
    store.sessions.delete("gone")
    assert store.past.rollback("s@1").parent_session_id is None
    store.sessions.update("s", parent="other")
    seq = seq_of(store)
    store.sessions.update("s", parent=None)
    store.sessions.update("other", parent="s")
    session = store.past.rollback(f"s@{seq}")
    assert (session.id, session.parent_session_id) == (child.id, None)


def test_a_limit_holds_except_for_what_does_not_grow(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config(max_artifacts_per_session=3)) as store:
        store.sessions.create("s")
        for name in "abc":
            store.artifacts.put("s", name, name.encode())
        seq = seq_of(store)
        store.artifacts.delete("s", "a")
        assert store.past.rollback(f"s@{seq}").artifact_count == 3
        store.artifacts.delete("s", "b")
    with open_store(tmp_path, config=Config(max_artifacts_per_session=1)) as store:
        before = live(store, "s")
        for call in (lambda: store.past.rollback(f"s@{seq}"), lambda: store.past.rollback_artifact(f"s:b@{seq}")):
            with pytest.raises(LimitExceeded):
                call()
        assert live(store, "s") == before
        assert store.past.rollback(f"s@{seq - 1}").artifact_count == 2
        assert store.upkeep.fsck().problems == ()


def test_an_artifact_goes_back_as_a_new_version(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"1", tags=["old"], artifact_type="tool_result")
    store.artifacts.put("s", "other", b"1")
    seq = seq_of(store)
    store.artifacts.put("s", "d/a", b"2", tags=["new"])
    store.artifacts.put("s", "other", b"2")
    entry = store.past.rollback_artifact(f"s:d/a@{seq}")
    assert (entry.facts.sequence, entry.facts.version, entry.facts.tags) == (1, 3, ("old",))
    assert (read(store, "d/a"), read(store, "other")) == (b"1", b"2")
    again = store.past.rollback_artifact(f"s:d/a@{seq}")
    assert again.eid == entry.eid


def test_a_deleted_artifact_is_there_again_with_its_folders(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/e/a", b"1")
    seq = seq_of(store)
    store.artifacts.put("s", "d/e/a", b"2")
    store.artifacts.delete("s", "d/e/a")
    for folder in ("d/e", "d"):
        store.entries.remove(place(store, "s", folder), folder=True)
    entry = store.past.rollback_artifact(f"s:d/e/a@{seq}")
    assert (entry.facts.sequence, entry.facts.version) == (1, 3)
    assert read(store, "d/e/a") == b"1"
    assert [event.kind for event in store.sessions.events("s")][-1] == "artifact.restored"


def test_a_version_never_goes_back(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1", tags=["first"])
    ino, seq = store.artifacts.get("s", "a").ino, seq_of(store)
    for content in (b"2", b"1"):
        store.artifacts.put("s", "a", content)
    store.artifacts.update("s", "a", tags=["later"])
    store.artifacts.delete("s", "a")
    entry = store.past.rollback_artifact(f"s:a@{seq}")
    assert (entry.facts.version, entry.facts.tags, entry.ino) == (3, ("first",), ino)
    assert [a.version for a in store.artifacts.history("s", "a")] == [1, 2, 3]


def test_an_artifact_renamed_away_stays_where_it_is(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq = seq_of(store)
    rename(store, "a", "b")
    entry = store.past.rollback_artifact(f"s:a@{seq}")
    assert (entry.facts.sequence, entry.facts.version) == (2, 1)
    assert (read(store, "a"), read(store, "b")) == (b"1", b"1")
    assert store.artifacts.get("s", "a").ino != store.artifacts.get("s", "b").ino


def test_a_name_that_is_another_artifact_by_now_gets_the_content_as_its_next_version(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq = seq_of(store)
    rename(store, "a", "b")
    store.artifacts.put("s", "a", b"another")
    entry = store.past.rollback_artifact(f"s:a@{seq}")
    assert (entry.facts.sequence, entry.facts.version) == (2, 2)
    assert read(store, "a") == b"1"


def test_what_is_in_the_way_stays(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.artifacts.put("s", "d/a", b"1")
    seq = seq_of(store)
    for name in ("a", "d/a"):
        store.artifacts.delete("s", name)
    store.entries.remove(place(store, "s", "d"), folder=True)
    store.entries.make_folder(place(store, "s", "a"), OWN)
    store.artifacts.put("s", "d", b"a file")
    before = live(store, "s")
    with pytest.raises(IsAFolder):
        store.past.rollback_artifact(f"s:a@{seq}")
    with pytest.raises(NotAFolder):
        store.past.rollback_artifact(f"s:d/a@{seq}")
    store.entries.remove(place(store, "s", "a"), folder=True)
    store.entries.make_symlink(place(store, "s", "a"), "d", OWN)
    with pytest.raises(AlreadyExists):
        store.past.rollback_artifact(f"s:a@{seq}")
    assert sorted(live(store, "s").tree) == sorted(before.tree)


@pytest.mark.parametrize("ref", ["s:a", "s:a@", "s:a@1", "s:a@99", "s:a@x", "s:d@3", "s:link@4", "s:none@2", "a@2"])
def test_no_artifact_of_then_is_refused(store: Store, ref: str) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.entries.make_folder(place(store, "s", "d"), OWN)
    store.entries.make_symlink(place(store, "s", "link"), "a", OWN)
    with pytest.raises((NotFound, InvalidValue)):
        store.past.rollback_artifact(ref)
    with pytest.raises(InvalidValue):
        store.past.rollback_artifact(f"{store.artifacts.get('s', 'a').id}@2")


def test_a_rollback_is_its_callers(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.past.rollback("s@1", by=Origin("uid:7", "lua"))
    assert {(e.fields["actor"], e.fields["door"]) for e in store.sessions.events("s", after=2)} == {("uid:7", "lua")}
