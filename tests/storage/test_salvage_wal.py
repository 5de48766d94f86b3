"""The WAL read without SQLite: nothing but what SQLite reads, unless it is asked for, and single bytes put back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs.storage.salvage_pages import Pages
from llmspellfs.storage.salvage_wal import harmed_bytes, put_back, read_wal

PAGE, FRAME = 4096, 4096 + 24


def commit(db: sqlite3.Connection, text: str, count: int) -> None:
    for number in range(count):
        db.execute("INSERT INTO t VALUES (?)", (f"{text} {number} " * 200,))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index whose WAL has all but its first page, as a process leaves it that was killed."""
    with closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (a)")
        commit(db, "first", 8)
        return taken(tmp_path / "live.db", tmp_path / "index.db")


def taken(live: Path, path: Path) -> Path:
    for end in ("", "-wal"):
        shutil.copy(f"{live}{end}", f"{path}{end}")
    return path


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def seen_by_sqlite(path: Path) -> bytes:
    copy = taken(path, path.with_name("seen.db"))
    with closing(sqlite3.connect(copy)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy.read_bytes()


def read_here(path: Path) -> bytes:
    with closing(Pages(str(path))) as pages:
        return b"".join(pages.page(number) for number in pages.numbers())


def test_most_changed_bytes_are_put_back_and_only_to_what_they_were(index: Path) -> None:
    whole = wal(index).read_bytes()
    fields = [*range(32), *range(32 + FRAME * 2, 32 + FRAME * 2 + 32)]
    places = [*fields, *range(32, len(whole), 2999), len(whole) - 1]
    told = 0
    for at in places:
        change(wal(index), at, bytes([whole[at] ^ 1 << at % 7]))
        harmed = harmed_bytes(str(wal(index)), PAGE)
        assert harmed in ({}, {at: whole[at]}), at
        told += len(harmed)
        change(wal(index), at, whole[at : at + 1])
    assert told > len(places) * 0.7


def test_a_byte_that_is_put_back_makes_the_wal_what_it_was(index: Path) -> None:
    whole = wal(index).read_bytes()
    change(wal(index), 32 + FRAME * 3 + 1000, b"\x99")
    put_back(str(wal(index)), harmed_bytes(str(wal(index)), PAGE))
    assert wal(index).read_bytes() == whole
    assert harmed_bytes(str(wal(index)), PAGE) == {}


def test_two_bytes_of_one_frame_are_not_guessed(index: Path) -> None:
    for at in (3, 9, 20, 1000):
        change(wal(index), 32 + FRAME * 3 + at, b"\xa5")
    assert harmed_bytes(str(wal(index)), PAGE) == {}


def test_a_byte_in_each_of_two_frames_is_put_back(index: Path) -> None:
    whole = wal(index).read_bytes()
    places = [32 + FRAME * 3 + 1000, 32 + FRAME * 5 + 2]
    for at in places:
        change(wal(index), at, bytes([whole[at] ^ 0x21]))
    assert harmed_bytes(str(wal(index)), PAGE) == {at: whole[at] for at in places}


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_wal_has_the_pages_that_sqlite_takes_from_it(index: Path, seed: int) -> None:
    chance, size = Random(seed), wal(index).stat().st_size
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(size)
        change(wal(index), at, chance.choice([bytes(512), chance.randbytes(3)])[: size - at])
    if seed % 4 == 0:
        os.truncate(wal(index), chance.randrange(32, size))
    assert read_here(index) == seen_by_sqlite(index)


def test_frames_of_a_time_that_was_given_up_are_behind(index: Path) -> None:
    change(wal(index), 32 + FRAME * 6, bytes(FRAME))
    live = taken(index, index.with_name("again.db"))
    with closing(sqlite3.connect(live, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        commit(db, "second", 2)
        index = taken(live, index.with_name("later.db"))
    found = read_wal(str(wal(index)), PAGE)
    assert found.behind
    assert not any(b"second" in page for page in found.behind.values())
    assert harmed_bytes(str(wal(index)), PAGE) == {}
    assert read_here(index) == seen_by_sqlite(index)
    with closing(Pages(str(index), is_beyond=True)) as pages:
        assert any(pages.page(number) == found.behind[number] for number in found.behind)


def test_frames_of_a_transaction_that_was_rolled_back_are_nowhere(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (a)")
        db.execute("PRAGMA cache_size = 100")
        db.execute("BEGIN")
        commit(db, "spilled", 400)
        db.execute("ROLLBACK")
        commit(db, "second", 2)
        index = taken(tmp_path / "live.db", tmp_path / "index.db")
    assert wal(index).read_bytes().count(b"spilled") > 200
    assert read_wal(str(wal(index)), PAGE).behind == {}
    assert read_here(index) == seen_by_sqlite(index)


@pytest.mark.parametrize("is_beyond", [False, True])
def test_no_page_is_there_but_those_of_the_file_and_of_sound_frames(index: Path, is_beyond: bool) -> None:
    change(wal(index), 32 + FRAME * 4, b"\x10")
    with closing(Pages(str(index), is_beyond=is_beyond)) as pages:
        assert max(pages.numbers()) < 100
