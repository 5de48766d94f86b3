"""A clock that jumps back by an hour, forward by decades, and back again: order is kept, and nothing goes early."""

from __future__ import annotations

import json

import pytest

from llmspellfs import Store
from llmspellfs.errors import NotAllowed
from llmspellfs.model.point import parse_point

NS = 10**9
HOUR, YEAR = 3600 * NS, 365 * 86400 * NS
JUMPS = (0, 1, -HOUR, -30 * YEAR, 2 * HOUR, 70 * YEAR, 1, -70 * YEAR, HOUR, 0, -1)


def read(store: Store, ref: str, name: str, version: int) -> bytes:
    found = [one for one in store.artifacts.history(ref, name) if one.version == version]
    assert len(found) == 1
    return store.artifacts.read(found[0])


def test_the_trail_the_versions_and_the_checkpoints_keep_their_order(store: Store, clock: list[int]) -> None:
    store.sessions.create("desk")
    numbers = []
    for number, jump in enumerate(JUMPS, 1):
        clock[0] += jump
        store.artifacts.put("desk", "f", f"{number}".encode())
        numbers.append(store.sessions.save("desk"))
    times = [json.loads(event.line)["at"] for event in store.sessions.events("desk")]
    assert times == sorted(times)
    assert [event.seq for event in store.sessions.events("desk")] == list(range(1, len(times) + 1))
    assert [one.version for one in store.artifacts.history("desk", "f")] in (
        list(range(1, len(JUMPS) + 1)),
        list(range(len(JUMPS), 0, -1)),
    )
    for number in range(1, len(JUMPS) + 1):
        assert read(store, "desk", "f", number) == f"{number}".encode()
    assert store.artifacts.read(store.artifacts.get("desk", "f")) == str(len(JUMPS)).encode()
    assert len(set(map(str, numbers))) == len(JUMPS)
    assert [report.problem for report in store.upkeep.verify("desk")] == [None]


def test_each_seq_shows_what_was_there_then(store: Store, clock: list[int]) -> None:
    store.sessions.create("desk")
    seqs = []
    for number, jump in enumerate(JUMPS, 1):
        clock[0] += jump
        store.artifacts.put("desk", "f", f"{number}".encode())
        seqs.append(store.sessions.get("desk").seq)
    session = store.sessions.get("desk")
    for number, seq in enumerate(seqs, 1):
        moment = store.past.moment(session.sid, parse_point(str(seq)))
        row = store.past.lookup(moment, session.ino, "f")
        assert row is not None
        assert row.facts.version == number
    store.past.rollback(f"desk@{seqs[2]}")
    assert store.artifacts.read(store.artifacts.get("desk", "f")) == b"3"
    assert [report.problem for report in store.upkeep.verify("desk")] == [None]


@pytest.mark.parametrize("jump", [-HOUR, -30 * YEAR, 30 * YEAR])
def test_what_is_stored_now_is_found_as_of_now(store: Store, clock: list[int], jump: int) -> None:
    store.sessions.create("desk")
    store.artifacts.put("desk", "before", b"x")
    clock[0] += jump
    store.artifacts.put("desk", "after", b"x")
    clock[0] += NS
    found = [one.name for one in store.artifacts.query("updated:<1h")]
    assert "after" in found
    assert ("before" in found) == (jump < 0), "what lies in the future is no older than an hour"
    assert [one.dirname for one in store.sessions.list("updated:<1h")] == ["desk"]


@pytest.mark.parametrize("jump", [-HOUR, -30 * YEAR])
def test_gc_takes_nothing_early_where_the_clock_goes_back(store: Store, clock: list[int], jump: int) -> None:
    store.sessions.create("desk")
    kept = store.artifacts.put("desk", "f", b"kept" * 50_000)
    store.artifacts.put("desk", "g", b"gone" * 50_000)
    store.artifacts.purge("desk", "g")
    clock[0] += jump
    for _ in range(3):
        store.upkeep.gc()
        assert store.artifacts.read(kept) == b"kept" * 50_000
        clock[0] += NS
    clock[0] += -2 * jump
    store.upkeep.gc(force=True)
    assert store.artifacts.read(kept) == b"kept" * 50_000


def test_gc_takes_nothing_where_the_clock_jumps_ahead(store: Store, clock: list[int]) -> None:
    store.sessions.create("desk")
    store.sessions.create("gone")
    store.artifacts.put("desk", "f", b"version one")
    clock[0] += HOUR
    store.artifacts.put("desk", "f", b"version two")
    store.sessions.delete("gone")
    for _ in range(2):
        clock[0] += 400 * 24 * HOUR
        for dry_run in (True, False):
            with pytest.raises(NotAllowed, match=r"gc: the store was last changed at .*, 400 days ago: if the clock"):
                store.upkeep.gc(grace_seconds=0, dry_run=dry_run)
        store.artifacts.put("desk", "g", b"by the clock that is wrong")
        with pytest.raises(NotAllowed):
            store.upkeep.gc(grace_seconds=0)
        clock[0] -= 400 * 24 * HOUR
    assert read(store, "desk", "f", 1) == b"version one"
    store.sessions.restore("gone")


def test_gc_goes_by_when_it_last_ran(store: Store, clock: list[int]) -> None:
    store.sessions.create("desk")
    store.artifacts.put("desk", "f", b"one")
    clock[0] += HOUR
    store.artifacts.put("desk", "f", b"two")
    store.upkeep.gc()
    clock[0] += YEAR + 24 * HOUR
    store.artifacts.put("desk", "g", b"by a clock that may be wrong")
    clock[0] += 24 * HOUR
    with pytest.raises(NotAllowed, match=r"last collected at .*, 367 days ago"):
        store.upkeep.gc()
    assert store.upkeep.gc(force=True).pruned == 1
    clock[0] += YEAR - HOUR
    store.upkeep.gc()
    clock[0] -= 2 * YEAR
    store.upkeep.gc()


def test_what_was_marked_in_a_future_that_did_not_come_is_collected_after_a_grace(
    store: Store, clock: list[int]
) -> None:
    store.sessions.create("desk")
    store.artifacts.put("desk", "f", b"doomed" * 30_000)
    store.artifacts.delete("desk", "f")
    clock[0] += 30 * YEAR
    assert store.upkeep.gc(force=True).condemned == 1
    clock[0] -= 30 * YEAR
    assert store.upkeep.gc().removed == 0
    clock[0] += HOUR // 2
    assert store.upkeep.gc().removed == 0
    clock[0] += HOUR
    assert store.upkeep.gc().removed == 1
    assert store.upkeep.stats().unique_bytes == 0


def test_idle_sessions_and_ages_are_never_negative(store: Store, clock: list[int]) -> None:
    store.sessions.create("desk")
    clock[0] -= 30 * YEAR
    assert store.sessions.suspend_idle() == []
    assert store.upkeep.stats().sessions == {"active": 1}
