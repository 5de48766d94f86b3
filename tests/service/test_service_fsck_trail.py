"""What sessions, checkpoints, events and rows say of themselves is held against the trail, and mended by it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from tests.crash import damage as harm

DAY_NS = 86400 * 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with something of everything, closed."""
    harm.make_store(tmp_path / "s")
    with open_store(tmp_path / "s", config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.save("work", "second")
    return tmp_path / "s"


def _mended(path: Path, kind: str) -> None:
    found = harm.checked(path)
    assert {problem.kind for problem in found.found} >= {kind}
    assert harm.mended(path).ok
    assert harm.checked(path).found == ()


def test_a_parents_id_is_put_back_and_its_children_stay(path: Path) -> None:
    other = "00000000-0000-4000-8000-000000000000"
    harm.sql(path, f"UPDATE session SET id = '{other}' WHERE sid = (SELECT sid FROM session_row WHERE name = 'work')")
    _mended(path, "identity")
    with open_store(path, config=Config()) as store:
        parent = store.sessions.get("child").parent_session_id
        assert parent == store.sessions.get("work").id != other


@pytest.mark.parametrize("column", ["created_ns", "deleted_ns"])
def test_a_sessions_times_are_those_of_its_events(path: Path, column: str) -> None:
    harm.sql(path, f"UPDATE session SET {column} = {column} - {400 * DAY_NS}")
    _mended(path, "identity")
    with open_store(path, config=Config()) as store:
        assert store.upkeep.gc().expired == 0
        assert store.sessions.restore("deleted").dirname == "deleted"


@pytest.mark.parametrize("column", ["deleted_ns", "purged_ns"])
def test_a_live_session_is_not_ended_by_a_number(path: Path, column: str) -> None:
    harm.sql(path, f"UPDATE session SET {column} = 7 WHERE sid = 1")
    _mended(path, "identity")
    with open_store(path, config=Config()) as store:
        assert store.artifacts.list("work")


def test_an_id_is_not_taken_from_an_event_that_was_altered(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        was = store.sessions.get("work").id
    altered = f"replace(line, '{was}', '00000000-0000-4000-8000-000000000000')"
    harm.sql(path, f"UPDATE event SET line = {altered} WHERE sid = 1 AND seq = 1")
    assert not harm.mended(path).ok
    with open_store(path, config=Config()) as store:
        assert store.sessions.get("work").id == was


def test_times_agree_with_events_where_the_clock_goes_back(tmp_path: Path, clock: list[int]) -> None:
    with open_store(tmp_path / "s", config=Config(), now=lambda: clock[0]) as store:
        for name in ("deleted", "purged"):
            store.sessions.create(name)
            store.sessions.save(name)
        clock[0] -= DAY_NS
        for name in ("deleted", "purged"):
            store.sessions.save(name)
        store.sessions.delete("deleted")
        store.sessions.purge("purged")
        assert store.upkeep.fsck().found == ()


def test_checkpoints_have_the_numbers_of_their_events(path: Path) -> None:
    harm.sql(path, "UPDATE checkpoint SET number = 7 - number, at_ns = at_ns - 5000")
    _mended(path, "checkpoint")
    with open_store(path, config=Config()) as store:
        assert [(one.number, one.label) for one in store.sessions.checkpoints("work")] == [(1, "first"), (2, "second")]


@pytest.mark.parametrize("number", [100_000, 0, -5])
def test_an_event_goes_back_into_its_order(path: Path, number: int) -> None:
    with closing(sqlite3.connect(path / "index.db")) as db:
        before = db.execute("SELECT id, sid, seq FROM event").fetchall()
    harm.sql(path, f"UPDATE event SET id = {number} WHERE sid = 1 AND seq = 4")
    found = harm.mended(path)
    assert "order" in {problem.kind for problem in found.found}
    assert found.ok
    with closing(sqlite3.connect(path / "index.db")) as db:
        assert set(before) < set(db.execute("SELECT id, sid, seq FROM event"))


def test_what_only_files_have_is_taken_from_a_folder(path: Path) -> None:
    harm.sql(path, "UPDATE entry SET sequence = 1, target = 'x' WHERE kind = 1")
    _mended(path, "spare")


def test_a_file_that_is_called_a_folder_is_a_file_again(path: Path) -> None:
    expected = harm.readable(path)
    harm.sql(path, "UPDATE entry SET kind = 1 WHERE name = 'big.bin'")
    _mended(path, "row")
    assert harm.readable(path) >= expected


@pytest.mark.parametrize("column", ["at_ns", "ends"])
def test_what_is_no_number_in_the_last_event_keeps_no_repair_from_its_end(path: Path, column: str) -> None:
    own = {"at_ns": "last_ns", "ends": "trail_size"}[column]
    harm.sql(path, f"UPDATE event SET {column} = 'abc'")
    harm.sql(path, f"UPDATE session SET {own} = 'abc' WHERE sid = 1")
    found = harm.mended(path)
    assert {"chain", "counter"} <= {problem.kind for problem in found.found}
    with open_store(path, config=Config()) as store:
        store.sessions.save("work", "third")
        assert store.sessions.checkpoints("work")[-1].label == "third"


def test_a_checkpoint_takes_no_time_from_an_event_that_was_altered(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        before = store.sessions.checkpoints("work")
    harm.sql(path, "UPDATE event SET at_ns = at_ns + 5000 WHERE sid = 1")
    harm.mended(path)
    with open_store(path, config=Config()) as store:
        assert store.sessions.checkpoints("work") == before
