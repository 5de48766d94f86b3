"""Sessions in which nothing happens for the configured time are suspended."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config, Rule
from llmspellfs.model.session import Status
from tests.tree.trees import Walker

SECOND = 1_000_000_000


def test_an_idle_session_is_suspended_with_the_reason_and_an_active_one_is_not(tmp_path: Path) -> None:
    clock = [10**18]
    with open_store(tmp_path / "s", config=Config(session_timeout_seconds=60), now=lambda: clock[0]) as store:
        idle, busy, held = (store.sessions.create(name) for name in ("idle", "busy", "held"))
        clock[0] += 50 * SECOND
        store.artifacts.put(busy.id, "f", b"x")
        assert store.sessions.suspend_idle() == []
        clock[0] += 20 * SECOND
        suspended = store.sessions.suspend_idle(lambda sid: sid == held.sid)
        assert [session.id for session in suspended] == [idle.id]
        event = store.sessions.events(idle.id)[-1]
        assert (event.kind, event.fields["reason"]) == ("session.suspended", "timeout")
        assert store.sessions.resume("idle").status is Status.ACTIVE
        assert store.upkeep.fsck().ok


def test_opening_a_store_suspends_what_has_been_idle_meanwhile(tmp_path: Path) -> None:
    clock, config = [10**18], Config(session_timeout_seconds=60)
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        store.sessions.create("s")
    clock[0] += 3600 * SECOND
    with open_store(tmp_path / "s", config=Config(), now=lambda: clock[0]) as store:
        assert store.sessions.get("s").is_active
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        assert store.sessions.get("s").status is Status.SUSPENDED


def test_a_mount_leaves_all_as_it_is_where_the_clock_has_jumped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("llmspellfs.tree.idleness._MOST_SECONDS", 0.01)
    clock = [10**18]
    config = Config(retention=(Rule("all", "delete", ("active",), older_than_seconds=1),))
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        store.sessions.create("s")
        clock[0] += 400 * 86400 * SECOND
        walker = Walker(store)
        try:
            deadline = time.monotonic() + 30
            while not caplog.messages and time.monotonic() < deadline:
                time.sleep(0.01)
            assert walker.names("/sessions") == ["s"]
        finally:
            walker.tree.destroy()
        assert "400 days ago: if the clock is right" in caplog.messages[0]
