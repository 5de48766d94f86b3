"""Whether one reading of an index has all that another has, or tells why it has not."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.storage import succession, uncovered
from tests.tree.trees import Walker

DAY = 86400 * 10**9


def begin(store: Store) -> None:
    store.sessions.create("s")
    for number in range(3):
        store.artifacts.put("s", f"n{number}", b"%d" % number, tags=["t"], description="about it")
    store.artifacts.put("s", "large", Random(1).randbytes(300_000))
    store.artifacts.put("s", "n0", b"once more")
    store.sessions.save("s", "a label")
    store.sessions.update("s", description="what it is for")
    store.artifacts.put("s", "n0", b"and once more")
    store.state.set("k", 1)
    store.messages.publish("heard", {"n": 1})
    walker = Walker(store)
    walker.tree.mkdir("/sessions/s/d", 0o700, walker.caller)
    walker.tree.symlink("/sessions/s/link", "n0", walker.caller)


def go_on(store: Store) -> None:
    store.artifacts.put("s", "n0", b"later")
    store.artifacts.delete("s", "n1")
    store.artifacts.put("s", "more", b"more")
    store.sessions.update("s", name="t")
    store.state.set("k", 2)
    store.messages.publish("heard", {"n": 2})
    store.sessions.create("other")


def purge_one(store: Store) -> None:
    store.artifacts.purge("s", "n0")


def purge_all(store: Store) -> None:
    store.sessions.purge("s")


def rename_all(store: Store) -> None:
    walker = Walker(store)
    walker.tree.rename("/sessions/s/d", "/sessions/s/e", walker.caller)
    walker.tree.rename("/sessions/s/n2", "/sessions/s/n1", walker.caller)
    walker.tree.unlink("/sessions/s/link", walker.caller)


def collect(store: Store) -> None:
    for _ in range(2):
        store.upkeep.gc(grace_seconds=0, force=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "own", config=Config()) as store:
        begin(store)
    shutil.copytree(tmp_path / "own", tmp_path / "other")
    return tmp_path


@contextmanager
def both(path: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    one, two = (sqlite3.connect(path / name / "index.db", isolation_level=None) for name in ("own", "other"))
    with closing(one) as db, closing(two) as other:
        yield db, other


@pytest.mark.parametrize(
    "acts",
    [(go_on,), (rename_all,), (purge_one,), (purge_all,), (go_on, collect), (rename_all, collect)],
)  # fmt: skip
def test_what_came_later_loses_nothing_and_what_was_before_does(
    path: Path, acts: tuple[Callable[[Store], object], ...]
) -> None:
    """Rows that were live may have ended since, and be pruned."""
    for number, act in enumerate(acts):
        clock = time.time_ns() + number * 400 * DAY + DAY
        with open_store(path / "other", config=Config(), now=lambda clock=clock: clock) as store:  # type: ignore[misc]
            act(store)
    with both(path) as (db, other):
        assert succession.loses(db, db) is None
        assert succession.loses(db, other) is None
        assert succession.loses(other, db) is not None


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("DELETE FROM store WHERE key = 'uuid'", "store"),
        ("UPDATE store SET value = value + 1 WHERE key = 'created_ns'", "store"),
        ("DELETE FROM session", "session"),
        ("UPDATE session SET horizon_seq = -1", "session"),
        ("DELETE FROM session_row WHERE seq_to IS NULL", "session_row"),
        ("DELETE FROM session_row WHERE seq_to IS NOT NULL", "session_row"),
        ("UPDATE session_row SET tags = '[1]'", "session_row"),
        ("DELETE FROM entry WHERE seq_to IS NULL AND name = 'n1'", "entry"),
        ("DELETE FROM entry WHERE seq_to IS NOT NULL", "entry"),
        ("UPDATE entry SET seq_to = NULL, name = name || eid WHERE seq_to IS NOT NULL", "entry"),
        ("UPDATE entry SET seq_to = 1000 WHERE name = 'n1'", "entry"),
        ("UPDATE entry SET custom = NULL", "entry"),
        ("UPDATE checkpoint SET label = 'another'", "checkpoint"),
        ("DELETE FROM checkpoint", "checkpoint"),
        ("DELETE FROM content WHERE data IS NOT NULL", "content"),
        ("UPDATE content SET data = zeroblob(length(data))", "content"),
        ("DELETE FROM content_chunk", "content_chunk"),
        ("DELETE FROM chunk", "content_chunk"),
        ("DELETE FROM inode WHERE ino = (SELECT ino FROM entry WHERE name = 'n1')", "inode"),
        ("UPDATE inode SET mode = 0", "inode"),
        ("DELETE FROM state", "state"),
        ("UPDATE state SET value = 5", "state"),
        ("UPDATE state SET value = 5, updated_ns = updated_ns - 1", "state"),
        ("DELETE FROM message; DELETE FROM sqlite_sequence WHERE name = 'message'", "message"),
        ("UPDATE message SET payload = '{}'", "message"),
    ],
)
def test_rows_that_nothing_tells_of_are_lost(path: Path, change: str, table: str) -> None:
    with both(path) as (db, other):
        before = other.total_changes
        for statement in change.split("; "):
            other.execute(statement)
        assert other.total_changes > before
        assert succession.loses(db, other) == table


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE store SET value = value - 1 WHERE key = 'created_ns'",
        "UPDATE state SET value = 5, updated_ns = updated_ns + 1",
        "UPDATE inode SET mode = 0, ctime_ns = ctime_ns + 1",
        "DELETE FROM entry_label",
        "DELETE FROM message",
        "UPDATE content SET condemned_ns = 1",
    ],
)
def test_what_its_clock_says_is_later_or_is_made_anew_is_not_lost(path: Path, change: str) -> None:
    with both(path) as (db, other):
        assert other.execute(change).rowcount > 0
        assert succession.loses(db, other) is None


@pytest.mark.parametrize("change", ["DELETE FROM state", "UPDATE inode SET mode = 0"])
def test_what_no_event_covers_may_be_another_where_all_is_later(path: Path, change: str) -> None:
    with both(path) as (db, other):
        other.execute(change)
        assert succession.loses(db, other, is_later=True) is None


def test_rows_that_cannot_be_compared_are_lost(path: Path) -> None:
    with both(path) as (db, other):
        other.execute("UPDATE inode SET ctime_ns = 'x'")
        assert succession.loses(db, other) == "inode"


def test_an_index_that_was_written_anew_has_another_layout(path: Path) -> None:
    index = str(path / "own" / "index.db")
    before = uncovered.layout(index)
    with both(path) as (db, _):
        assert uncovered.seen(db).layout == before
        db.execute("DELETE FROM entry_label")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert uncovered.layout(index) == before
        db.execute("VACUUM")
        assert uncovered.seen(db).layout == uncovered.layout(index) != before
