"""Sessions out into archives and in again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    Corrupt,
    InvalidValue,
    LimitExceeded,
    NotFound,
    SpellError,
    TooLarge,
    Vanished,
)
from llmspellfs.service import arrival, parents
from llmspellfs.service.creation import NewSession
from llmspellfs.storage import sessions
from tests.service.archives import (
    BIG,
    Forged,
    dump,
    export,
    fill,
    forged,
    joined,
    members,
    plain,
    take,
)
from tests.service.histories import Histories, at, live, place


def test_a_session_goes_to_another_store_with_all_of_its_past(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4")
    report = take(other, archive)
    assert [(one.id, one.dirname) for one in report.sessions] == [(ref, "q4")]
    assert (report.history, report.known) == (True, 0)
    assert live(other, ref) == live(store, ref)
    for seq in range(1, store.sessions.get(ref).seq + 1):
        assert at(other, ref, seq) == at(store, ref, seq)
    assert [event.line for event in other.sessions.events(ref)] == [event.line for event in store.sessions.events(ref)]
    assert other.sessions.checkpoints(ref) == store.sessions.checkpoints(ref)
    assert [other.artifacts.read(one) for one in other.artifacts.history(ref, "a")] == [b"one", b"two"]
    assert other.artifacts.read(other.artifacts.get(ref, "d/e/big")) == BIG
    assert [other.upkeep.verify(ref)[0].problem, other.upkeep.fsck().problems] == [None, ()]


def test_an_archive_comes_out_as_it_went_in(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.sessions.create("kid", parent="q4")
    store.sessions.complete("kid")
    archive = export(store, "q4", "kid")
    assert archive == export(store, "kid", "q4", "kid")
    take(other, archive)
    assert export(other, "q4", "kid") == archive


def test_what_came_in_is_changed_and_goes_on_to_a_third_store(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    take(other, export(store, "q4"))
    other.artifacts.put("q4", "d/new", b"here")
    other.entries.rename(place(other, "q4", "b"), place(other, "q4", "empty/b"))
    archive = export(other, "q4")
    with open_store(None, config=Config(), backend="memory") as third:
        third.sessions.create("there")
        take(third, archive)
        assert export(third, "q4") == archive
        third.artifacts.put("q4", "d/newer", b"third")
        assert live(third, ref).tree.keys() == live(other, ref).tree.keys() | {"d/newer"}
        assert third.upkeep.fsck().problems == ()


class Travelling(Histories):
    """Whatever was done to two sessions: elsewhere they show the same at every moment, and come out the same."""

    def teardown(self) -> None:
        for name, ref in self.ids.items():
            if not self.is_there(name):
                self.store.sessions.restore(ref)
        archive = export(self.store, *self.ids.values())
        with open_store(None, config=Config(), backend="memory") as other:
            other.sessions.create("there")
            take(other, archive)
            for name, ref in self.ids.items():
                assert live(other, ref) == live(self.store, ref)
                for seq, state in self.seen[name].items():
                    assert at(other, ref, seq) == state, (name, seq)
            if os.getuid() == 0:  # others may not give files away
                assert export(other, *self.ids.values()) == archive
            assert other.upkeep.fsck().problems == ()
            new = take(other, archive if len(self.ids) == 1 else export(self.store, self.ids["s"]), name="copy")
            assert live(other, new.sessions[0].id).tree.keys() == live(self.store, self.ids["s"]).tree.keys()
            assert other.upkeep.fsck().problems == ()
        super().teardown()


def test_any_history_travels() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    setting = settings(max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(Travelling, settings=setting)


def test_pruned_and_purged_history_travels(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    store.artifacts.put("q4", "gone", b"secret")
    store.artifacts.purge("q4", "gone")
    store.artifacts.put("q4", "swap", b"fleeting")
    store.artifacts.delete("q4", "swap")
    clock[0] += 40 * 86400 * 10**9
    store.artifacts.put("q4", "b", b"four")
    store.upkeep.gc(grace_seconds=0)
    archive = export(store, "q4")
    take(other, archive)
    assert export(other, "q4") == archive
    with pytest.raises(NotFound):
        at(other, ref, 2)
    assert b"secret" not in plain(archive)


def test_without_history_a_new_session_begins_with_what_it_comes_from(
    store: Store, other: Store, clock: list[int]
) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4", history=False)
    assert b"one" not in [data for _, data in members(archive)]
    for dirname in ("q4", "q4~2"):
        made = take(other, archive).sessions[0]
        assert made.id != ref
        assert (made.dirname, made.was) == (dirname, ref)
    events = other.sessions.events(made.id)
    told = {"session": ref, "name": "q4", "seq": store.sessions.get(ref).seq, "head": store.sessions.get(ref).head}
    assert [event.kind for event in events[:2]] == ["session.created", "session.imported"]
    assert events[1].fields["from"] == told
    assert live(other, made.id).tree.keys() == live(store, ref).tree.keys()
    mine, its = other.artifacts.get(made.id, "b"), store.artifacts.get("q4", "b")
    assert (mine.content_hash, mine.tags, mine.version) == (its.content_hash, its.tags, 1)
    assert other.sessions.get(made.id).metadata == {"k": [1, 2.5, None]}


def test_without_metadata_none_is_in_it(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.artifacts.put("q4", "c", b"c", tags=["tagged"], custom={"secret": "value"}, description="described")
    archive = export(store, "q4", history=False, metadata=False)
    assert not [word for word in (b"tagged", b"secret", b"described", b"[1,2.5,") if word in plain(archive)]
    made = take(other, archive).sessions[0]
    assert (other.sessions.get(made.id).tags, other.artifacts.get(made.id, "c").custom) == ((), {})
    with pytest.raises(InvalidValue, match="history"):
        export(store, "q4", metadata=False)


def test_under_another_name_it_is_a_new_session(store: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    made = take(store, export(store, "q4"), name="copy").sessions[0]
    assert (made.dirname, made.was, made.id == ref) == ("copy", ref, False)
    assert live(store, "copy").tree.keys() == live(store, "q4").tree.keys()
    store.sessions.create("more")
    with pytest.raises(InvalidValue, match="2 sessions"):
        take(store, export(store, "q4", "more"), name="x")


@pytest.mark.parametrize("end", ["there", "delete", "purge"])
def test_a_session_that_the_store_has_or_had_is_refused_by_its_id(store: Store, clock: list[int], end: str) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4")
    if end != "there":
        getattr(store.sessions, end)("q4")
    before = dump(store)
    with pytest.raises(AlreadyExists, match=ref):
        take(store, archive)
    assert dump(store) == before


def test_a_taken_directory_name_and_a_parent_left_behind_are_told_in_the_trail(store: Store, other: Store) -> None:
    store.sessions.create("above")
    kid = store.sessions.create("there", parent="above")
    store.sessions.suspend("there")
    take(other, export(store, "there"))
    found = other.sessions.get(kid.id)
    assert (found.name, found.dirname, found.parent_session_id, found.status) == ("there", "there~2", None, "suspended")
    kinds = [event.kind for event in other.sessions.events(kid.id)]
    assert kinds == ["session.created", "session.suspended", "session.updated", "session.updated"]
    assert other.upkeep.verify(kid.id)[0].problem is None


def test_thousands_of_one_name_are_not_looked_up_thousands_of_times_each(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (store, other):
        each.sessions.create_many([NewSession("x")] * 100)
    looked = _counted(monkeypatch, sessions, "dirname_taken")
    made = take(other, export(store, *(session.id for session in store.sessions.list()))).sessions
    assert {one.dirname for one in made} == {f"x~{number}" for number in range(101, 201)}
    assert len(looked) <= 400


def test_long_names_that_are_cut_to_one_are_not_looked_up_quadratically(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (store, other):
        each.sessions.create_many([NewSession("x" * 300 + str(number)) for number in range(100)])
    looked = _counted(monkeypatch, sessions, "dirname_taken")
    take(other, export(store, *(session.id for session in store.sessions.list())))
    assert len(looked) <= 400


def test_a_long_line_of_ancestors_is_gone_up_once(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    above = None
    for number in range(100):
        above = store.sessions.create(f"s{number}", parent=above).id
    archive = export(store, *(session.id for session in store.sessions.list()))
    looked = _counted(monkeypatch, parents, "_find")
    take(other, archive)
    assert len(looked) <= 300
    assert [other.sessions.get(f"s{number}").parent_session_id is None for number in (0, 1, 99)] == [True, False, False]


def _counted(monkeypatch: pytest.MonkeyPatch, room: Any, name: str) -> list[object]:
    """Return a list that grows with each call of the function *name* in *room*."""
    calls: list[object] = []
    real = getattr(room, name)

    def counted(*args: Any, **how: Any) -> Any:
        calls.append(args)
        return real(*args, **how)

    monkeypatch.setattr(room, name, counted)
    return calls


@pytest.mark.parametrize("tail", [0, 3])
def test_one_session_of_a_circle_is_left_without_a_parent(store: Store, other: Store, tail: int) -> None:
    ids = [store.sessions.create(f"s{number}").id for number in range(4 + tail)]
    above = {one: ids[(number + 1) % 4] if number < 4 else ids[number - 1] for number, one in enumerate(ids)}

    def below(one: str) -> Callable[[Forged], object]:
        return lambda f: f.rows[0].update(parent=above[one])

    archive = joined([forged(export(store, one), below(one)) for one in ids])
    take(other, archive)
    found = {one: other.sessions.get(one).parent_session_id for one in ids}
    parted = min(ids[:4])
    assert found == {**above, parted: None}


def test_what_the_store_has_is_not_stored_again(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    before = store.upkeep.stats().stored_bytes
    report = take(store, export(store, "q4"), name="copy")
    assert report.known == 2
    assert store.upkeep.stats().stored_bytes == before


@pytest.mark.parametrize("ends", [False, True])
def test_content_that_is_condemned_just_before_it_is_used_stays_or_is_missed(
    store: Store, other: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    ref = fill(store, clock)
    find = arrival._find_contents

    def find_and_condemn(engine: Any, staging: Any, **how: Any) -> None:
        find(engine, staging, **how)
        with other.engine.index.write() as db:
            db.execute("UPDATE content SET condemned_ns = 1")
            if ends:
                db.execute("DELETE FROM content WHERE size = 5")

    monkeypatch.setattr(arrival, "_find_contents", find_and_condemn)
    if ends:
        with pytest.raises(Vanished):
            take(other, export(store, "q4"))
        assert [session.dirname for session in other.sessions.list()] == ["there"]
        with other.engine.index.write() as db:
            db.execute("UPDATE content SET condemned_ns = NULL")
        return
    take(other, export(store, "q4"))
    with other.engine.index.read() as db:
        assert db.execute("SELECT size FROM content WHERE condemned_ns IS NOT NULL").fetchall() == [(4,)]
    assert live(other, ref) == live(store, ref)


def test_a_dry_run_verifies_and_makes_nothing(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    before = dump(other)
    assert take(other, export(store, "q4"), dry_run=True).dry_run
    assert dump(other) == before
    with pytest.raises(Corrupt):
        take(other, export(store, "q4")[:-1], dry_run=True)


def test_limits_of_the_configuration_hold(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    archive = export(store, "q4")
    limits: list[tuple[Config, type[SpellError]]] = [
        (Config(max_artifact_size=1 << 20), TooLarge),
        (Config(max_artifacts_per_session=1), LimitExceeded),
        (Config(max_sessions=1), LimitExceeded),
    ]
    for config, error in limits:
        with open_store(None, config=config, backend="memory") as other:
            other.sessions.create("there")
            before = dump(other)
            for name in (None, "copy"):
                with pytest.raises(error):
                    take(other, archive, name=name)
            assert dump(other) == before


def test_an_export_of_nothing_or_of_harmed_content_says_so(sqlite_store: Store) -> None:
    store = sqlite_store
    with pytest.raises(NotFound):
        export(store, "nobody")
    store.sessions.create("q4")
    store.artifacts.put("q4", "big", os.urandom(2 << 20))
    blob = next(path for path in ((store.path or Path()) / "blobs").rglob("*") if path.is_file())
    aside = blob.rename(blob.with_name("aside"))
    with pytest.raises(Corrupt):
        export(store, "q4")
    aside.rename(blob)


HARM = {
    "a row of the past that is gone": ("DELETE FROM entry WHERE version = 1", True),
    "a row of the past that says otherwise": ("UPDATE entry SET mime_type = 'x/y' WHERE version = 1", True),
    "a session's row that says otherwise": ("UPDATE session_row SET description = 'other'", True),
    "a line that says otherwise": ("UPDATE event SET line = replace(line, 'stored', 'Stored') WHERE seq = 2", True),
    "an event that is gone": ("DELETE FROM event WHERE seq = 2", True),
    "attributes that are gone": ("DELETE FROM inode WHERE ino = (SELECT ino FROM entry WHERE name = 'a')", False),
    "another size": ("UPDATE entry SET size = 5", False),
    "another size of a content": ("UPDATE content SET size = 5", False),
    "a row of no content": ("UPDATE entry SET content = NULL", False),
    "a name that is none": ("UPDATE entry SET name = 'a/b'", False),
}
"""SQL that harms a session, and whether what there is now can be exported all the same."""


@pytest.mark.parametrize("what", HARM)
def test_what_no_import_would_take_is_not_exported(what: str, other: Store) -> None:
    harm, is_sound_now = HARM[what]
    with open_store(None, config=Config(), backend="memory") as store:
        store.sessions.create("q4")
        store.artifacts.put("q4", "a", b"one")
        store.artifacts.put("q4", "a", b"two")
        with store.engine.index.write() as db:
            db.execute(harm)
        out = io.BytesIO()
        with pytest.raises(Corrupt, match=r"^corrupt: q4: no import would take it: ") as caught:
            store.archive.export(["q4"], out)
        assert out.getvalue() == b""
        assert ("--no-history" in str(caught.value)) == is_sound_now
        if is_sound_now:
            take(other, export(store, "q4", history=False))
            assert other.artifacts.read(other.artifacts.get("q4", "a")) == b"two"
        else:
            with pytest.raises(Corrupt, match="no import would take it"):
                export(store, "q4", history=False)


def test_a_content_whose_chunks_make_up_another_is_not_exported(store: Store) -> None:
    store.sessions.create("q4")
    store.artifacts.put("q4", "a", BIG)
    with store.engine.index.write() as db:
        db.execute("UPDATE content SET hash = ?", (bytes(32),))
    with pytest.raises(Corrupt, match="its bytes have another hash"):
        export(store, "q4", history=False)
    with store.engine.index.write() as db:
        db.execute("UPDATE content SET hash = ?", (blake3(BIG).digest(),))
