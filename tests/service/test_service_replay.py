"""Replay: a session rebuilt from its events is what is recorded, and what is not as recorded is told, not raised."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue, NotAllowed, NotFound, StoreBusy
from llmspellfs.model.point import Point
from llmspellfs.model.replay import Mode, Replayed, Step, Wanted
from llmspellfs.model.run import RunScript
from llmspellfs.service.rerunning import Ended
from llmspellfs.service.timeline import timeline
from tests.service.archives import export, take
from tests.service.histories import OWN, Histories, draft, live, past, place

DAY = 86400 * 10**9
SECOND = 10**9


def fill(store: Store, clock: list[int]) -> str:
    """Make a session with a bit of everything and return its id."""
    session = store.sessions.create("s", description="first", tags=["red"], metadata={"k": 1}).id
    store.artifacts.put("s", "d/a", b"one", tags=["blue"], custom={"n": 1}, description="a file")
    clock[0] += SECOND
    store.artifacts.put("s", "d/a", b"two")
    store.entries.make_symlink(place(store, "s", "link"), "d/a", OWN)
    store.sessions.save("s", "half")
    store.artifacts.put("s", "b", b"three")
    store.entries.rename(place(store, "s", "b"), place(store, "s", "d/a"))
    store.entries.rename(place(store, "s", "d"), place(store, "s", "e"))
    store.artifacts.put("s", "gone", b"four")
    clock[0] += 120 * SECOND
    store.artifacts.delete("s", "gone")
    store.sessions.update("s", description="last", tags=["green"])
    store.sessions.suspend("s")
    return session


def whats(result: Replayed) -> list[str]:
    return [one.what for one in result.mismatches]


def alter(store: Store, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(f"{store.path}/index.db", isolation_level=None)) as db:
        db.execute(statement, values)


def test_an_exact_replay_makes_a_session_that_is_the_same(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    before = store.sessions.get("s")
    result = store.replays.replay("s")
    assert result.ok, [str(one) for one in result.mismatches]
    assert (result.first, result.last, result.events) == (1, before.seq, before.seq)
    assert result.recorded_ns == 121 * SECOND
    assert store.sessions.get("s") == before
    made, again = live(store, "s"), live(store, result.new_session_id or "")
    assert (again.tree, again.versions, again.status) == (made.tree, made.versions, made.status)
    assert {**again.fields, "name": "s"} == made.fields
    assert [one.label for one in store.sessions.checkpoints("s replay")] == ["half"]


def test_a_session_that_came_out_of_archives_replays_as_where_it_was_made(store: Store, clock: list[int]) -> None:
    session = fill(store, clock)
    archive = export(store, "s")
    for _ in range(2):
        with open_store(None, config=Config(), backend="memory") as other:
            other.sessions.create("there")
            take(other, archive)
            other.sessions.resume(session)
            other.artifacts.put(session, "more/here", b"new")
            for wanted in (Wanted(), Wanted(checkpoint=1), Wanted(Mode.SIMULATE)):
                assert [str(one) for one in other.replays.replay(session, wanted).mismatches] == []
            other.sessions.suspend(session)
            archive = export(other, session)


def test_its_past_can_be_looked_at_and_its_trail_says_what_it_is_of(store: Store, clock: list[int]) -> None:
    session = fill(store, clock)
    made = store.replays.replay("s", Wanted(name="again")).new_session_id
    assert made is not None
    events = store.sessions.events("again")
    told = next(event.fields for event in events if event.kind == "replay.started")
    assert told["of"] == {"session": session, "name": "s", "from": 1, "to": store.sessions.get("s").seq}
    assert events[-1].kind == "replay.finished"
    sid = store.sessions.get("again").sid
    half = past(store, store.past.moment(sid, Point(checkpoint=1)))
    there = past(store, store.past.moment(store.sessions.get("s").sid, Point(checkpoint=1)))
    assert half.tree == there.tree


@pytest.mark.parametrize("mode", [Mode.SIMULATE, Mode.DEBUG])
def test_simulate_and_debug_store_nothing(store: Store, clock: list[int], mode: Mode) -> None:
    session = fill(store, clock)
    before = store.sessions.get("s")
    result = store.replays.replay("s", Wanted(mode))
    assert result.ok
    assert result.new_session_id is None
    assert [one.id for one in store.sessions.list()] == [session]
    assert store.sessions.get("s") == before


def test_debug_gives_the_state_at_each_event(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    steps: list[Step] = []
    store.replays.replay("s", Wanted(Mode.DEBUG), on_progress=steps.append)
    assert [step.seq for step in steps] == list(range(1, store.sessions.get("s").seq + 1))
    first, last = steps[0].state, steps[-1].state
    assert first is not None
    assert last is not None
    assert (first["description"], first["status"], first["entries"]) == ("first", "active", [])
    assert (last["description"], last["status"]) == ("last", "suspended")
    assert [entry["name"] for entry in last["entries"]] == ["e", "e/a", "link"]


def test_a_range_of_events_and_what_came_after_a_checkpoint(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    saved = store.sessions.checkpoints("s")[0].seq
    result = store.replays.replay("s", Wanted(checkpoint=1))
    assert result.ok, [str(one) for one in result.mismatches]
    assert result.first == saved + 1
    assert live(store, result.new_session_id or "").tree == live(store, "s").tree
    part = store.replays.replay("s", Wanted(first=2, last=3))
    assert part.ok
    assert sorted(live(store, part.new_session_id or "").tree) == ["d", "d/a"]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Wanted(first=3, checkpoint=1), InvalidValue),
        (lambda: Wanted(first=0), InvalidValue),
        (lambda: Wanted(timeout_seconds=0), InvalidValue),
        (lambda: Wanted(timeout_seconds=float("inf")), InvalidValue),
        (lambda: Wanted(timeout_seconds=float("nan")), InvalidValue),
        (lambda: Wanted(last=0), InvalidValue),
        (lambda: Wanted(first=5, last=3), InvalidValue),
        (lambda: Wanted(last=99), NotFound),
        (lambda: Wanted(first=99), NotFound),
        (lambda: Wanted(checkpoint=7), NotFound),
        (lambda: Wanted(Mode.RERUN), NotAllowed),
    ],
)
def test_what_cannot_be_meant_is_refused(store: Store, make: Callable[[], Wanted], error: type[Exception]) -> None:
    store.sessions.create("s")
    for name in "abcde":
        store.artifacts.put("s", name, b"x")
    with pytest.raises(error):
        store.replays.replay("s", make())
    with pytest.raises(NotFound):
        store.replays.replay("nobody")


class ReplayedHistories(Histories):
    """After anything was done to two sessions, each of them replays without a mismatch, from wherever one begins."""

    def teardown(self) -> None:
        for name, ref in self.ids.items():
            if not self.is_there(name):
                self.store.sessions.restore(ref)
            seq = self.store.sessions.get(ref).seq
            for wanted in (Wanted(), Wanted(first=seq // 2 + 1), Wanted(Mode.SIMULATE, first=seq)):
                result = self.store.replays.replay(ref, wanted)
                assert result.mismatches == (), [str(one) for one in result.mismatches]
            again = live(self.store, result.new_session_id) if result.new_session_id else live(self.store, ref)
            assert again.tree == live(self.store, ref).tree
            assert self.store.replays.can_replay(ref) == (True, None)
        super().teardown()


TestReplayed = ReplayedHistories.TestCase
TestReplayed.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_folders_that_moved_between_sessions_are_followed_both_ways(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "d/e/a", b"one")
    store.entries.make_symlink(place(store, "s", "d/e/link"), "a", OWN)
    store.entries.rename(place(store, "s", "d"), place(store, "t", "f"))
    for name, tree in (("s", []), ("t", ["f", "f/e", "f/e/a", "f/e/link"])):
        result = store.replays.replay(name)
        assert result.ok, [str(one) for one in result.mismatches]
        assert sorted(live(store, f"{name} replay").tree) == tree


def test_a_replay_does_not_look_at_drafts(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"one")
    _, end = draft(store, "s", "a", b"two")
    assert store.replays.replay("s", Wanted(Mode.SIMULATE)).ok
    end()
    assert store.replays.replay("s").ok


def test_harmed_content_is_a_mismatch(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    fill(store, clock)
    alter(store, "UPDATE content SET data = X'00' WHERE hash = (SELECT hash FROM content WHERE size = 5)")
    result = store.replays.replay("s", Wanted(Mode.SIMULATE))
    assert whats(result) == ["content"]
    assert result.mismatches[0].name == "b"
    assert "corrupt" in (result.mismatches[0].got or "")
    store.sessions.purge("s")


def test_missing_content_is_a_mismatch_and_left_out_of_what_is_rebuilt(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"kept")
    store.artifacts.put("s", "b", b"lost!")
    alter(store, "DELETE FROM content WHERE size = 5")
    result = store.replays.replay("s")
    assert whats(result) == ["content", "rebuilt"]
    assert (result.mismatches[0].name, result.mismatches[0].got) == ("b", None)
    assert list(live(store, "s replay").tree) == ["a"]
    store.sessions.purge("s")


def test_an_altered_row_and_an_altered_line_are_mismatches(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    fill(store, clock)
    description = "UPDATE entry SET description = ? WHERE name = 'gone'"
    alter(store, description, "other")
    assert "state" in whats(store.replays.replay("s", Wanted(Mode.SIMULATE)))
    alter(store, description, "")
    line = store.sessions.events("s")[2].line
    alter(store, "UPDATE event SET line = ? WHERE seq = 3", line.replace('"size":3', '"size":4'))
    result = store.replays.replay("s", Wanted(Mode.SIMULATE))
    assert whats(result)[:2] == ["size", "chain"]
    assert store.replays.can_replay("s")[0] is False
    alter(store, "UPDATE event SET line = ? WHERE seq = 3", line)
    assert store.replays.can_replay("s") == (True, None)


@pytest.mark.parametrize("line", ["no JSON", "[]", "{}", '{"sequence":[1],"name":7,"state":"x","hash":[]}'])
def test_a_line_that_is_none_any_more_is_a_mismatch(sqlite_store: Store, clock: list[int], line: str) -> None:
    store = sqlite_store
    fill(store, clock)
    lines = [event.line for event in store.sessions.events("s")]
    for seq in range(2, len(lines) + 1):
        alter(store, "UPDATE event SET line = ? WHERE seq = ?", line, seq)
        result = store.replays.replay("s", Wanted(Mode.SIMULATE))
        assert "chain" in whats(result), seq
        alter(store, "UPDATE event SET line = ? WHERE seq = ?", lines[seq - 1], seq)


def test_nothing_after_the_last_checkpoint_and_a_deleted_session_are_replayed_too(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"one")
    store.sessions.save("s")
    result = store.replays.replay("s", Wanted(checkpoint=1))
    assert (result.ok, result.events) == (True, 0)
    assert list(live(store, result.new_session_id or "").tree) == ["a"]
    store.sessions.delete("s")
    result = store.replays.replay("s")
    assert result.ok, [str(one) for one in result.mismatches]
    assert list(live(store, result.new_session_id or "").tree) == ["a"]


def test_a_past_that_shows_what_no_event_left_there_is_a_mismatch(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    fill(store, clock)
    ended = "UPDATE entry SET seq_to = seq_to + ? WHERE name = 'gone'"
    alter(store, ended, 1)
    result = store.replays.replay("s", Wanted(Mode.SIMULATE))
    assert [(one.what, one.name, one.got) for one in result.mismatches] == [("place", "gone", None)]
    alter(store, ended, 1000)
    assert whats(store.replays.replay("s", Wanted(Mode.SIMULATE))) == ["place", "final"]
    alter(store, ended, -1001)


def test_purged_artifacts_are_mismatches_of_their_rows(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.artifacts.purge("s", "gone")
    result = store.replays.replay("s")
    assert set(whats(result)) == {"row"}
    can, why = store.replays.can_replay("s")
    assert not can
    assert "are gone" in (why or "")
    assert store.replays.replayable()[0].name == "s replay"


def test_a_purged_session_cannot_be_replayed_and_trying_is_no_crash(store: Store, clock: list[int]) -> None:
    session = fill(store, clock)
    store.sessions.purge("s")
    assert store.replays.can_replay(session) == (False, "it has been purged")
    result = store.replays.replay(session, Wanted(Mode.SIMULATE))
    assert not result.ok
    assert "row" in whats(result)
    assert store.replays.can_replay("nobody") == (False, "session not found: nobody")


def test_below_the_horizon_rows_are_mismatches_and_above_it_all_is_well(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    clock[0] += 60 * DAY
    store.sessions.resume("s")
    store.artifacts.put("s", "new", b"new")
    clock[0] += DAY
    store.upkeep.gc()
    known = store.replays.metadata("s")
    assert known.horizon > 1
    assert known.why_not is None
    result = store.replays.replay("s")
    assert result.ok, [str(one) for one in result.mismatches]
    assert result.first == known.horizon + 1
    whole = store.replays.replay("s", Wanted(Mode.SIMULATE, first=1))
    assert {one.got for one in whole.mismatches if one.what == "row"} == {
        f"pruned: history goes back to seq {known.horizon}"
    }


def test_a_file_that_was_too_short_lived_to_be_kept_is_no_mismatch(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", ".swp", b"swapped")
    clock[0] += SECOND
    store.artifacts.delete("s", ".swp")
    clock[0] += 7200 * SECOND
    assert store.upkeep.gc().pruned == 1
    assert store.replays.replay("s").ok
    assert store.replays.can_replay("s") == (True, None)
    assert [one.name for one in store.replays.replayable()] == ["s", "s replay"]


def test_it_stops_at_the_first_mismatch_where_that_is_asked(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.artifacts.purge("s", "gone")
    seen: list[Step] = []
    result = store.replays.replay("s", Wanted(stop_on_error=True), on_progress=seen.append)
    assert result.stopped == "mismatch"
    assert len(result.mismatches) == 1
    assert seen[-1].mismatches == result.mismatches
    assert result.events == len(seen) < result.last
    assert store.sessions.get("s replay").id == result.new_session_id


def test_it_stops_when_time_is_up(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"a")
    result = store.replays.replay("s", Wanted(timeout_seconds=1e-9))
    assert (result.stopped, result.events, result.ok) == ("timeout", 0, False)


def test_what_on_progress_raises_ends_the_replay(store: Store, clock: list[int]) -> None:
    fill(store, clock)

    def stop(step: Step) -> None:
        raise KeyError(step.seq)

    for mode in (Mode.EXACT, Mode.SIMULATE, Mode.DEBUG):
        with pytest.raises(KeyError):
            store.replays.replay("s", Wanted(mode), on_progress=stop)
        assert [one.name for one in store.sessions.list()] == ["s"]


def test_what_on_progress_raises_ends_a_rerun_without_a_session_too(store: Store) -> None:
    store.sessions.create("s")
    with store.runs.recording(RunScript(b"", "t.lua")):
        store.artifacts.put("s", "a", b"1")

    def stop(step: Step) -> None:
        raise KeyError(step.seq)

    with pytest.raises(KeyError):
        store.replays.replay("s", Wanted(Mode.RERUN), on_progress=stop, runner=lambda _: Ended(None))
    assert [one.name for one in store.sessions.list()] == ["s"]


def test_a_failure_in_the_middle_leaves_no_session(
    store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, clock)
    monkeypatch.setattr("llmspellfs.service.replica.Replica.follow", lambda *_: (_ for _ in ()).throw(StoreBusy(1)))
    with pytest.raises(StoreBusy):
        store.replays.replay("s")
    assert [one.name for one in store.sessions.list()] == ["s"]


def test_without_comparing_it_only_rebuilds(sqlite_store: Store, clock: list[int]) -> None:
    fill(sqlite_store, clock)
    alter(sqlite_store, "UPDATE entry SET description = 'other' WHERE name = 'gone'")
    assert sqlite_store.replays.replay("s", Wanted(Mode.SIMULATE, compare=False)).ok
    assert not sqlite_store.replays.replay("s", Wanted(Mode.SIMULATE)).ok
    alter(sqlite_store, "UPDATE entry SET description = '' WHERE name = 'gone'")


def test_the_metadata_says_what_there_is(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    told = store.replays.metadata("s").document()
    assert told["events"] == store.sessions.get("s").seq
    assert told["span_seconds"] == 121
    assert [(one["number"], one["label"]) for one in told["checkpoints"]] == [(1, "half")]
    assert (told["replayable"], told["horizon"], told["runs"]) == (True, 1, [])


def test_a_timeline_tells_how_long_after_the_one_before_each_event_was(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    found = timeline(store.sessions.events("s"))
    assert [one.since_ns // SECOND for one in found if one.since_ns] == [1, 120]
    assert found[-1].elapsed_ns == 121 * SECOND
    assert found[2].name == "d/a"
    assert found[2].document()["details"] == {"version": 1, "size": 3}
    assert timeline([]) == []


def found_in(store: Store) -> set[str]:
    return {one.what for one in store.replays.replay("s", Wanted(Mode.SIMULATE)).mismatches}


def test_an_altered_last_line_and_a_moved_time_are_mismatches(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    assert found_in(store) == set()
    alter(store, "UPDATE event SET line = replace(line, 'uid:', 'uid:9') WHERE seq = 2")
    assert found_in(store) == {"chain", "line"}
    alter(store, "UPDATE event SET line = replace(line, 'uid:9', 'uid:') WHERE seq = 2")
    alter(store, "UPDATE event SET at_ns = at_ns + 1000000000 WHERE seq = 1")
    assert found_in(store) == {"line"}
    alter(store, "UPDATE event SET at_ns = at_ns - 1000000000 WHERE seq = 1")


def test_a_row_that_cannot_be_read_is_a_mismatch(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1", tags=["t"])
    alter(store, "UPDATE entry SET tags = '{' WHERE name = 'a'")
    assert "row" in found_in(store)
    alter(store, "UPDATE entry SET tags = ? WHERE name = 'a'", '["t"]')


@pytest.mark.parametrize(("name", "make"), [("to", lambda: Wanted(last=0)), ("from", lambda: Wanted(first=0, last=0))])
def test_a_bound_that_is_none_is_named(name: str, make: Callable[[], Wanted]) -> None:
    with pytest.raises(InvalidValue, match=f"^{name}: expected a seq of 1 or more, not 0"):
        make()


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"run":[],"script":{},"hash":1,"status":{}}', '"' * 9])
def test_an_altered_line_of_a_run_breaks_no_reader(sqlite_store: Store, line: str) -> None:
    store = sqlite_store
    store.sessions.create("s")
    with store.runs.recording(RunScript(b"", "t.lua")):
        store.artifacts.put("s", "a", b"1")
    lines = [event.line for event in store.sessions.events("s")]
    for seq in (2, len(lines)):
        alter(store, "UPDATE event SET line = ? WHERE seq = ?", line, seq)
        assert store.replays.metadata("s").why_not is not None
        store.replays.replayable()
        assert len(timeline(store.sessions.events("s"))) == len(lines)
        store.runs.all()
        assert not store.replays.replay("s", Wanted(Mode.RERUN), runner=lambda _: Ended(0)).ok
        alter(store, "UPDATE event SET line = ? WHERE seq = ?", lines[seq - 1], seq)
