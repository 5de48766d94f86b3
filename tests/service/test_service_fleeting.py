"""A file created and deleted within a minute keeps its events but not its content."""

from __future__ import annotations

import pytest

from llmspellfs import Store
from llmspellfs.errors import NotFound

MINUTE = 60 * 1_000_000_000
HOUR = 60 * MINUTE


def swap_file(store: Store, clock: list[int], lives_ns: int) -> str:
    session = store.sessions.create("s").id
    store.artifacts.put(session, "kept", b"kept")
    store.artifacts.put(session, ".swp", b"swapped")
    clock[0] += lives_ns
    store.artifacts.delete(session, ".swp")
    return session


def test_a_swap_file_is_forgotten_by_gc_and_its_events_stay(store: Store, clock: list[int]) -> None:
    session = swap_file(store, clock, MINUTE // 2)
    clock[0] += 2 * HOUR
    report = store.upkeep.gc()
    assert (report.pruned, report.condemned) == (1, 1)
    with pytest.raises(NotFound):
        store.artifacts.history(session, ".swp")
    kinds = [event.kind for event in store.sessions.events(session)]
    assert kinds == ["session.created", "artifact.stored", "artifact.stored", "artifact.deleted"]
    assert store.upkeep.verify()[0].problem is None


def test_it_can_be_restored_for_an_hour(store: Store, clock: list[int]) -> None:
    session = swap_file(store, clock, MINUTE // 2)
    clock[0] += HOUR // 2
    assert store.upkeep.gc().pruned == 0
    assert store.artifacts.read(store.artifacts.restore(session, ".swp")) == b"swapped"


def test_what_lived_for_more_than_a_minute_is_kept(store: Store, clock: list[int]) -> None:
    session = swap_file(store, clock, 2 * MINUTE)
    clock[0] += 2 * HOUR
    assert store.upkeep.gc().pruned == 0
    assert len(store.artifacts.history(session, ".swp")) == 1


def test_what_a_clock_created_that_was_ahead_is_kept_in_a_fork(store: Store, clock: list[int]) -> None:
    days = 24 * HOUR
    clock[0] += 30 * days
    store.sessions.create("s")
    store.artifacts.put("s", "precious", b"precious")
    clock[0] -= 30 * days
    for deleted_after in (5 * days, 30 * days + MINUTE // 2):
        fork = store.past.fork("s", "fork").id
        clock[0] += deleted_after
        store.artifacts.delete(fork, "precious")
        clock[0] += 2 * HOUR
        assert store.upkeep.gc(dry_run=True).pruned == 0
        assert store.upkeep.gc().pruned == 0
        assert store.artifacts.read(store.artifacts.restore(fork, "precious")) == b"precious"
        clock[0] -= deleted_after + 2 * HOUR


def test_what_a_checkpoint_shows_is_kept(store: Store, clock: list[int]) -> None:
    session = store.sessions.create("s").id
    store.artifacts.put(session, ".swp", b"swapped")
    store.sessions.save(session)
    store.artifacts.delete(session, ".swp")
    clock[0] += 2 * HOUR
    assert store.upkeep.gc().pruned == 0
