"""What a repair makes of a WAL: never less than SQLite, and never again what was given up or rolled back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from tests.crash import damage as harm

HEAD, FRAME = 32, 24 + 4096


def killed(path: Path, act: Callable[[Store], object]) -> None:
    """Open the store at *path*, *act* in it, and leave it as a process does that is killed then."""
    aside = path.with_name("aside")
    with open_store(path, config=Config()) as store:
        act(store)
        harm.copied(path, aside)
    shutil.rmtree(path)
    aside.rename(path)
    shutil.rmtree(path / "spool")
    (path / "index.db-shm").unlink()


def put(store: Store, name: str, count: int) -> None:
    for number in range(count):
        store.artifacts.put("s", f"{name}{number}", f"{name} {number}".encode() * 30)


def put_late(store: Store) -> None:
    put(store, "late", 2)
    store.sync()


def frames(path: Path) -> int:
    return ((path / "index.db-wal").stat().st_size - HEAD) // FRAME


def lose(path: Path, number: int, at: int = 0, length: int = FRAME) -> None:
    """Have zeros for *length* bytes from *at* of frame *number* of the WAL."""
    with (path / "index.db-wal").open("r+b") as file:
        file.seek(HEAD + FRAME * number + at)
        file.write(bytes(length))


def names(path: Path) -> set[str]:
    with open_store(path, config=Config()) as store:
        return {artifact.name for artifact in store.artifacts.list("s")}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, int]:
    """A store that was killed, with five artifacts of which it said that they are durable and ten more; and where."""
    path, synced = tmp_path / "store", []

    with open_store(path, config=Config()) as store:
        store.sessions.create("s")

    def act(store: Store) -> None:
        put(store, "durable", 5)
        store.sync()
        synced.append(frames(path))
        put(store, "early", 10)

    killed(path, act)
    return path, synced[0]


def is_left_alone(path: Path) -> None:
    """Hold the repair of a store that SQLite finds sound to doing nothing."""
    before = harm.readable(harm.copied(path, path.with_name("probe")))
    report = harm.mended(path)
    assert (report.problems, report.repaired, report.done) == ((), (), ())
    assert harm.readable(path) == before
    assert harm.checked(path).problems == ()


def test_what_was_stored_after_a_power_cut_is_not_undone_by_a_repair(made: tuple[Path, int]) -> None:
    path, synced = made
    lose(path, synced + 6)
    killed(path, put_late)
    is_left_alone(path)
    assert names(path) == {*(f"durable{n}" for n in range(5)), "late0", "late1"}


@pytest.mark.parametrize("seed", range(4))
def test_frames_that_a_power_cut_has_lost_are_no_damage(made: tuple[Path, int], seed: int) -> None:
    path, synced = made
    chance = Random(seed)
    for number in sorted(chance.sample(range(synced, frames(path)), 8)):
        lose(path, number)
    is_left_alone(path)
    assert names(path) >= {f"durable{n}" for n in range(5)}


def test_a_page_cut_in_two_while_the_wal_was_folded_is_no_damage(made: tuple[Path, int]) -> None:
    path, _ = made
    with (path / "index.db").open("ab") as file:
        file.write(b"\r" * 1000)
    is_left_alone(path)


def test_commits_behind_lost_bytes_come_back_where_the_database_has_their_page(made: tuple[Path, int]) -> None:
    """SQLite mixes pages of two times here: those before the lost bytes with those that were folded since."""
    path, synced = made
    expected = harm.readable(harm.copied(path, path.with_name("probe")))
    with closing(sqlite3.connect(path.with_name("probe") / "index.db")) as folded:
        folded.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path.with_name("probe") / "index.db", path / "index.db")
    lose(path, synced // 2, 24, 512)
    report = harm.mended(path)
    assert (report.ok, any("salvaged" in line for line in report.done)) == (True, True)
    assert harm.readable(path) == expected


def test_a_damaged_index_is_not_salvaged_from_what_was_given_up(made: tuple[Path, int]) -> None:
    path, synced = made
    lose(path, synced + 6)
    killed(path, put_late)
    expected = harm.readable(harm.copied(path, path.with_name("probe")))
    lose_root(path, "session_label")
    report = harm.mended(path)
    assert any("salvaged" in line for line in report.done)
    assert harm.readable(path) == expected
    assert harm.checked(path).problems == ()


def lose_root(path: Path, table: str) -> None:
    """Have zeros for the first page of *table* in the database, which the WAL has none of."""
    with closing(sqlite3.connect(harm.copied(path, path.with_name("rooted")) / "index.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with (path / "index.db").open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(bytes(4096))
