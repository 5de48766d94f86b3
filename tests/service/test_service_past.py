"""What sessions were: at every seq just what was seen there then, as far back as history is kept, and no draft."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound
from llmspellfs.model.point import Point, parse_point
from llmspellfs.model.stay import Stay
from llmspellfs.model.times import iso
from llmspellfs.service.moments import Moment
from tests.service.histories import OWN, Histories, at, draft, live, past, place

SECOND = 10**9
DAY = 86400 * SECOND


def test_the_past_at_every_seq_is_what_was_seen_then() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def moment(store: Store, text: str, ref: str = "s") -> Moment:
    return store.past.moment(store.sessions.get(ref).sid, parse_point(text))


def filled(store: Store, clock: list[int], count: int = 4) -> None:
    """Make a session in which a file changes once a day: seq 2 to seq *count* + 1."""
    store.sessions.create("s")
    for number in range(count):
        clock[0] += DAY
        store.artifacts.put("s", "a", str(number).encode())


def content(store: Store, when: Moment, name: str = "a") -> bytes:
    entry = store.past.lookup(when, store.past.session(when).ino, name)
    assert entry is not None
    return store.past.open_content(entry).read_at(0, entry.facts.size)


def test_points_say_seqs_times_ages_and_checkpoints(store: Store, clock: list[int]) -> None:
    start = clock[0]
    filled(store, clock)
    store.sessions.save("s")
    third = iso(start + 3 * DAY)
    expected = {
        "1": 1, "4": 4, "c1": 6, "1d": 4, "36h": 3, "0s": 6, third: 4, third[:19]: 4, third[:10]: 4,
        iso(start + 3 * DAY - SECOND): 3, iso(start): 1, "2999-01-01": 6,
    }  # fmt: skip
    assert {text: moment(store, text).seq for text in expected} == expected


def test_a_time_means_the_last_that_happened_by_then(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    for number in range(5):
        store.artifacts.put("s", "a", str(number).encode())
    clock[0] += 1
    store.artifacts.put("s", "a", b"a nanosecond later")
    assert store.past.moment(1, Point(moment_ns=clock[0] - 1)).seq == 6
    assert store.past.moment(1, Point(moment_ns=clock[0])).seq == 7
    with pytest.raises(NotFound):
        store.past.moment(1, Point(moment_ns=clock[0] - 2))


@pytest.mark.parametrize("text", ["0", "7", "99999999", "c2", "5d", "2001-01-01", "0001-01-01", "99999999999w"])
def test_what_was_never_is_not_found(store: Store, clock: list[int], text: str) -> None:
    filled(store, clock)
    store.sessions.save("s")
    with pytest.raises(NotFound):
        moment(store, text)


def test_below_the_horizon_nothing_is_shown_but_checkpoints(tmp_path: Path, clock: list[int]) -> None:
    config = Config(history_days=2)
    with open_store(tmp_path, config=config, backend="memory", now=lambda: clock[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", b"0")
        store.artifacts.put("s", "gone", b"gone")
        store.artifacts.delete("s", "gone")
        store.artifacts.put("s", "a", b"1")
        store.sessions.save("s")
        saved = live(store, "s")
        for number in range(2, 8):
            clock[0] += DAY
            store.artifacts.put("s", "a", str(number).encode())
        kept = at(store, "s", 10)
        for _ in range(2):
            clock[0] += 3700 * SECOND
            store.upkeep.gc()
        shown = [each.seq for each in store.past.moments(1)]
        assert shown[0] == 6
        horizon = shown[1]
        assert 7 < horizon <= 11
        for seq in (set(range(1, 12)) - {6}) & set(range(horizon)):
            with pytest.raises(NotFound):
                moment(store, str(seq))
            for call in (store.past.session, lambda when: store.past.listing(when, 1)):
                with pytest.raises(NotFound):
                    call(Moment(1, seq, 0))
            with pytest.raises(NotFound):
                store.past.lookup(Moment(1, seq, 0), 1, "a")
        assert past(store, moment(store, "c1")) == saved
        assert past(store, moment(store, "6")) == saved
        assert content(store, moment(store, "c1")) == b"1"
        if horizon <= 10:
            assert at(store, "s", 10) == kept
        with pytest.raises(NotFound):
            moment(store, "20d")
        for ref in ("s@2", "s@20d"):
            for way in (store.past.diff, store.past.rollback, lambda point: store.past.fork(point, "f")):
                with pytest.raises(NotFound):
                    way(ref)
        with pytest.raises(NotFound):
            store.past.rollback_artifact("s:gone@3")
        assert [change.path for change in store.past.diff("s@c1").changes] == ["a"]
        fork = store.past.fork("s@c1", "f")
        assert live(store, fork.id).tree["a"][3] == saved.tree["a"][3]
        store.past.rollback("s@c1")
        assert live(store, "s").tree == saved.tree
        assert store.upkeep.fsck().problems == ()


def test_a_checkpoint_keeps_its_folders_and_what_lived_for_a_moment(tmp_path: Path, clock: list[int]) -> None:
    with open_store(tmp_path, config=Config(history_days=2), backend="memory", now=lambda: clock[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "d/e/a", b"for a moment", tags=["x"])
        store.entries.make_symlink(place(store, "s", "d/link"), "e", OWN)
        store.sessions.save("s")
        saved = live(store, "s")
        store.artifacts.delete("s", "d/e/a")
        store.entries.remove(place(store, "s", "d/link"), folder=False)
        for folder in ("d/e", "d"):
            store.entries.remove(place(store, "s", folder), folder=True)
        for number in range(9):
            clock[0] += DAY
            store.artifacts.put("s", "b", str(number).encode())
            store.upkeep.gc()
        assert past(store, moment(store, "c1")) == saved
        assert [change.path for change in store.past.diff("s").changes] == ["b", "d", "d/e", "d/e/a", "d/link"]
        store.past.rollback("s@c1")
        assert live(store, "s").tree == saved.tree
        assert store.upkeep.fsck().problems == ()


def test_without_a_checkpoint_a_diff_begins_where_history_does(tmp_path: Path, clock: list[int]) -> None:
    with open_store(tmp_path, config=Config(history_days=2), backend="memory", now=lambda: clock[0]) as store:
        store.sessions.create("s")
        for number in range(9):
            clock[0] += DAY
            store.artifacts.put("s", "b", str(number).encode())
            store.upkeep.gc()
        found = store.past.diff("s")
        assert found.old.seq > 2
        assert [change.kind for change in found.changes] == ["changed"]


def test_a_purged_session_has_no_past(store: Store, clock: list[int]) -> None:
    filled(store, clock)
    store.sessions.purge("s")
    with pytest.raises(NotFound):
        store.past.moment(1, Point(seq=2))
    with pytest.raises(NotFound):
        store.past.session(Moment(1, 2, 0))


def test_a_purged_artifact_is_in_no_past(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"secret")
    store.artifacts.put("s", "b", b"kept")
    store.artifacts.purge("s", "a")
    for seq in range(1, store.sessions.get("s").seq + 1):
        assert "a" not in at(store, "s", seq).tree


def test_drafts_are_in_no_past_until_they_are_sealed(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    seq, before = store.sessions.get("s").seq, live(store, "s")
    ends = [draft(store, "s", name, b"draft")[1] for name in ("a", "b")]
    assert at(store, "s", seq) == before
    assert live(store, "s") != before
    assert [each.seq for each in store.past.moments(1)] == [1, 2]
    assert store.past.names(1, [Stay(store.sessions.get("s").ino)]) == ["a"]
    for end in ends:
        end()
    assert at(store, "s", seq) == before
    assert at(store, "s", seq + 2) == live(store, "s")


def test_moments_are_those_at_which_something_changed(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.sessions.save("s")
    store.past.fork("s", "f")
    store.sessions.tag("s", add=["x"])
    assert [each.seq for each in store.past.moments(1)] == [1, 2, 4]
    events = {event.seq: event.at_ns for event in store.sessions.events("s")}
    assert all(events[each.seq] == each.at_ns for each in store.past.moments(1))


def test_each_content_of_a_name_is_a_version_of_it(store: Store, clock: list[int]) -> None:
    session = store.sessions.create("s")
    made = []
    for text in (b"1", b"2", b"2", b"1"):
        clock[0] += SECOND
        store.artifacts.put("s", "a", text)
        made.append(clock[0])
    store.artifacts.update("s", "a", tags=["x"])
    store.entries.rename(place(store, "s", "a"), place(store, "s", "b"))
    clock[0] += SECOND
    store.artifacts.put("s", "a", b"1")
    files, folders = store.past.named(session.sid, [Stay(session.ino)], "a")
    assert [(each.entry.facts.sequence, each.entry.facts.version, each.made_ns) for each in files] == [
        (1, 1, made[0]), (1, 2, made[1]), (1, 3, made[3]), (2, 1, clock[0]),
    ]  # fmt: skip
    assert files[2].entry.facts.tags == ("x",)
    assert folders == []


def chmod(store: Store, path: str, mode: int, uid: int | None = None) -> None:
    session = store.sessions.get("s")
    where = place(store, "s", path)
    entry = store.entries.lookup(where.folder, where.name)
    assert entry is not None
    change = {"mode": mode} if uid is None else {"mode": mode, "uid": uid}
    store.entries.set_attributes(session.sid, entry.ino, lambda old, now: replace(old, **change))


def mode_at(store: Store, seq: int, path: str) -> int:
    when = Moment(1, seq, 0)
    folder = store.past.session(when).ino
    entry = None
    for part in path.split("/"):
        entry = store.past.lookup(when, folder, part)
        assert entry is not None
        assert entry in store.past.listing(when, folder)
        folder = entry.ino
    assert entry is not None
    return entry.attributes.mode


def test_the_past_grants_what_the_present_does_and_no_more(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"1")
    store.artifacts.put("s", "b", b"1")
    for path, mode in (("d", 0o755), ("d/a", 0o644), ("b", 0o664)):
        chmod(store, path, mode)
    seq = store.sessions.get("s").seq
    assert [mode_at(store, seq, path) for path in ("d", "d/a", "b")] == [0o755, 0o644, 0o664]
    chmod(store, "b", 0o640)
    assert mode_at(store, seq, "b") == 0o640
    chmod(store, "d", 0o750)
    assert mode_at(store, seq, "d/a") == 0o640
    chmod(store, "d", 0o700)
    assert [mode_at(store, seq, path) for path in ("d", "d/a", "b")] == [0o700, 0o600, 0o640]


def test_what_is_gone_is_its_owners_alone(store: Store) -> None:
    store.sessions.create("s")
    store.entries.make_folder(place(store, "s", "d"), OWN)
    for name in ("a", "d/b"):
        store.artifacts.put("s", name, b"1")
        chmod(store, name, 0o666)
    seq = store.sessions.get("s").seq
    for name in ("a", "d/b"):
        store.artifacts.delete("s", name)
    store.entries.remove(place(store, "s", "d"), folder=True)
    assert [mode_at(store, seq, path) for path in ("a", "d", "d/b")] == [0o600, 0o700, 0o600]


def test_a_file_moved_into_a_private_folder_is_private_in_the_past_too(store: Store) -> None:
    store.sessions.create("s")
    store.entries.make_folder(place(store, "s", "secret"), OWN)
    chmod(store, "secret", 0o700)
    store.artifacts.put("s", "a", b"1")
    chmod(store, "a", 0o644)
    seq = store.sessions.get("s").seq
    store.entries.rename(place(store, "s", "a"), place(store, "s", "secret/a"))
    assert mode_at(store, seq, "a") & 0o077 == 0


def test_a_file_renamed_over_by_a_private_one_is_private_before(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"public by then")
    store.artifacts.put("s", "b", b"private")
    chmod(store, "a", 0o644)
    chmod(store, "b", 0o600)
    seq = store.sessions.get("s").seq
    store.entries.rename(place(store, "s", "b"), place(store, "s", "a"))
    assert mode_at(store, seq, "a") == 0o600


def test_another_owner_of_today_is_respected(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    chmod(store, "a", 0o644, uid=5)
    seq = store.sessions.get("s").seq
    assert mode_at(store, seq, "a") == 0o644
    store.artifacts.put("s", "b", b"2")
    chmod(store, "b", 0o600, uid=9)
    store.entries.rename(place(store, "s", "b"), place(store, "s", "a"))
    assert mode_at(store, seq, "a") == 0
