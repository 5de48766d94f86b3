"""Migrations: from version 1 to a later one, each in one transaction, and back where it fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import StoreUnusable
from llmspellfs.service import erasure
from llmspellfs.storage import migrations


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of this version, with a session in it."""
    with open_store(tmp_path, config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", b"kept")
    return tmp_path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Database], None]]:
    """The migrations of a later program, to add to."""
    known: list[Callable[[Database], None]] = [*migrations.MIGRATIONS]
    monkeypatch.setattr(migrations, "MIGRATIONS", known)
    return known


def version(path: Path) -> int:
    with closing(sqlite3.connect(path / "index.db")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_store_has_this_programs_version(old: Path) -> None:
    assert version(old) == len(migrations.MIGRATIONS)


def test_an_old_store_is_brought_up_to_date_once(old: Path, later: list[Callable[[Database], None]]) -> None:
    runs = []

    @later.append
    def m999_stars(db: Database) -> None:
        runs.append(1)
        db.execute("ALTER TABLE session ADD COLUMN stars INTEGER NOT NULL DEFAULT 5")
        db.execute("UPDATE session SET stars = 4")

    for _ in range(2):
        with open_store(old, config=Config()) as store:
            assert store.artifacts.read(store.artifacts.get("s", "a")) == b"kept"
            assert store.upkeep.fsck().ok
            with store.engine.index.read() as db:
                assert db.execute("SELECT stars FROM session").fetchall() == [(4,)]
    assert runs == [1]
    assert version(old) == len(later)


def test_a_store_that_is_new_gets_every_migration(tmp_path: Path, later: list[Callable[[Database], None]]) -> None:
    @later.append
    def m999_more(db: Database) -> None:
        db.execute("CREATE TABLE more (x)")

    with open_store(tmp_path / "new", config=Config()) as store, store.engine.index.read() as db:
        assert db.execute("SELECT count(*) FROM more").fetchone() == (0,)
    assert version(tmp_path / "new") == len(later)


def test_a_migration_that_fails_leaves_the_store_as_it_was(old: Path, later: list[Callable[[Database], None]]) -> None:
    before = version(old)

    @later.append
    def m999_half(db: Database) -> None:
        db.execute("CREATE TABLE half (x)")
        db.execute("UPDATE session SET total_size = 99")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        open_store(old, config=Config())
    assert version(old) == before
    with closing(sqlite3.connect(old / "index.db")) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
        assert db.execute("SELECT total_size FROM session").fetchall() == [(4,)]
    later.pop()
    with open_store(old, config=Config()) as store:
        assert store.upkeep.fsck().ok


def test_times_of_an_older_store_become_those_of_its_events(
    tmp_path: Path, later: list[Callable[[Database], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "finish", lambda engine: None)  # it asks for a table that is to come
    newer = later[3:]
    del later[3:]
    with open_store(tmp_path, config=Config()) as store:
        for name in ("saved", "deleted"):
            store.sessions.create(name)
        store.sessions.save("saved")
        store.sessions.delete("deleted")
    with closing(sqlite3.connect(tmp_path / "index.db")) as db, db:  # the clock went back before each event
        db.execute("UPDATE checkpoint SET at_ns = at_ns - 9000")
        db.execute("UPDATE session SET deleted_ns = deleted_ns - 9000")
    monkeypatch.undo()
    assert newer == migrations.MIGRATIONS[3:]
    with open_store(tmp_path, config=Config()) as store:
        assert store.upkeep.fsck().found == ()


def test_an_old_program_refuses_what_the_later_one_made(
    old: Path, later: list[Callable[[Database], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @later.append
    def m999_more(db: Database) -> None:
        db.execute("CREATE TABLE more (x)")

    with open_store(old, config=Config()):
        pass
    later.pop()
    with pytest.raises(StoreUnusable, match="made by a newer version"):
        open_store(old, config=Config())


def test_every_column_is_explained_or_plain(old: Path) -> None:
    with closing(sqlite3.connect(old / "index.db")) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {"store", "session", "session_row", "entry", "inode", "event", "checkpoint", "content", "chunk"} <= set(
        tables
    )
