"""What a repair makes of a WAL: never less than SQLite, and never again what was given up or rolled back."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NoSpace, StoreUnusable
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.repair import unopenable
from llmspellfs.storage import hidden, soundness
from llmspellfs.storage.salvage_wal import read_wal
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


def begin(store: Store) -> None:
    store.sessions.create("s")
    put(store, "n", 20)


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


def fold_to(path: Path, table: str) -> None:
    """Fold the pages of the WAL that stand before *table*, and no more: SQLite goes on in order of their numbers."""
    index = path / "index.db"
    with closing(sqlite3.connect(harm.copied(path, path.with_name("rooted")) / "index.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with index.open("r+b") as file:
        for number, page in read_wal(f"{index}-wal", 4096).pages.items():
            if number < root:
                file.seek(4096 * (number - 1))
                file.write(page)


def test_a_database_into_which_half_a_wal_was_folded_undoes_nothing_that_the_wal_has(tmp_path: Path) -> None:
    path, synced = tmp_path / "s", []
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        store.state.set("k", 0)

    def act(store: Store) -> None:
        put(store, "durable", 1)
        store.state.set("k", 1)
        store.sync()
        synced.append(frames(path))
        put(store, "late", 3)

    killed(path, act)
    fold_to(path, "state")
    for number in range(2):
        harm.flip(path / "index.db-wal", HEAD + FRAME * synced[0] + 1000 + 600 * number, 0x10)
    report = harm.mended(path)
    assert ["lost" in problem for problem in report.problems] == [True]
    assert names(path) == {"durable0"}
    with open_store(path, config=Config()) as store:
        assert store.state.get("k") == 1
    (lost,) = path.glob(f"quarantine/*/{hidden.LOST}")
    with closing(sqlite3.connect(lost.with_name("index.db"))) as db:
        assert db.execute("SELECT count(*) FROM event WHERE instr(line, 'late')").fetchone() == (3,)


def fold_and_keep(path: Path) -> None:
    """Fold the WAL into the database, and leave it there as it was: so it rests most of the time."""
    wal = (path / "index.db-wal").read_bytes()
    with closing(sqlite3.connect(path / "index.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (path / "index.db-wal").write_bytes(wal)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_what_the_database_has_is_not_lost_to_what_is_left_of_its_wal(made: tuple[Path, int], share: float) -> None:
    path, _ = made
    expected = harm.readable(harm.copied(path, path.with_name("probe")))
    fold_and_keep(path)
    os.truncate(path / "index.db-wal", HEAD + FRAME * int(frames(path) * share) + 100)
    assert harm.mended(path).ok
    assert harm.readable(path) == expected


def test_asking_what_is_wrong_leaves_every_byte_of_a_harmed_store(made: tuple[Path, int]) -> None:
    path, _ = made
    fold_and_keep(path)
    os.truncate(path / "index.db-wal", HEAD + FRAME * 6 + 100)
    before = {name: (path / name).read_bytes() for name in ("index.db", "index.db-wal")}
    assert soundness.damage(str(path / "index.db"))
    gc.collect()
    assert {name: (path / name).read_bytes() for name in before} == before


def test_what_a_journal_holds_is_rolled_back_and_not_taken_for_damage(tmp_path: Path) -> None:
    """A restored store has no WAL until it is opened; its first opener may be killed as it changes that."""
    path, live = tmp_path / "store", tmp_path / "live"
    with open_store(live, config=Config()) as store:
        store.sessions.create("s")
        put(store, "one", 3)
    with closing(sqlite3.connect(live / "index.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.execute("UPDATE entry SET name = name || 'x'")
        db.execute("UPDATE event SET line = line || ' '")
        harm.copied(live, path)
        db.execute("ROLLBACK")
    assert (path / "index.db-journal").stat().st_size > 0
    report = harm.mended(path)
    assert (report.problems, report.done, report.quarantine) == ((), (), None)
    assert names(path) == {"one0", "one1", "one2"}


def hidden_ones(report: FsckReport) -> int:
    return sum(problem.kind == "hidden" and not problem.is_note for problem in report.found)


def opened(path: Path) -> None:
    with open_store(path, config=Config(), create=False):
        pass


def test_commits_that_an_opening_would_have_ended_are_told_of_and_put_back(
    made: tuple[Path, int], caplog: pytest.LogCaptureFixture
) -> None:
    path, synced = made
    expected = harm.readable(harm.copied(path, path.with_name("probe")))
    wal = (path / "index.db-wal").read_bytes()
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced + 3) + 1000, 0x10)
    opened(path)
    assert "fsck --repair" in caplog.text
    (kept,) = path.glob("quarantine/*/hidden.wal")
    assert kept.stat().st_size == len(wal)
    opened(path)
    assert harm.readable(path) < expected
    assert hidden_ones(harm.checked(path)) == 1
    report = harm.mended(path)
    assert report.ok
    assert report.repaired
    assert harm.readable(path) == expected
    assert not kept.exists()
    assert harm.checked(path).found == ()
    assert harm.mended(path).done == ()


def test_hidden_commits_do_not_undo_what_came_after_them(made: tuple[Path, int]) -> None:
    path, synced = made
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced + 3) + 1000, 0x10)
    killed(path, put_late)
    before = harm.readable(harm.copied(path, path.with_name("probe")))
    assert names(harm.copied(path, path.with_name("named"))) >= {"late0", "late1"}
    report = harm.mended(path)
    assert hidden_ones(report) == len(report.problems) == 1
    assert report.done == ()
    assert harm.readable(path) == before


def test_what_a_power_cut_has_lost_is_no_damage_after_an_opening(made: tuple[Path, int]) -> None:
    path, synced = made
    lose(path, synced + 6)
    opened(path)
    assert harm.checked(path).problems == ()
    is_left_alone(path)
    assert list(path.glob("quarantine/*/hidden.wal")) == []
    assert names(path) >= {f"durable{n}" for n in range(5)}


@pytest.mark.parametrize("harmful", [lambda _: None, lambda path: os.truncate(path / "index.db-wal", HEAD + FRAME * 9)])
def test_a_wal_that_hides_nothing_is_not_kept(made: tuple[Path, int], harmful: Callable[[Path], None]) -> None:
    path, _ = made
    harmful(path)
    opened(path)
    assert not (path / "quarantine").exists()


def test_kept_wals_are_bounded_in_number(made: tuple[Path, int]) -> None:
    path, synced = made
    source = harm.copied(path, path.with_name("source"))
    for number in range(6):
        harm.flip(source / "index.db-wal", HEAD + FRAME * (synced + 3) + 1000 + number, 0x10)
        shutil.copy(source / "index.db", path / "index.db")
        shutil.copy(source / "index.db-wal", path / "index.db-wal")
        opened(path)
    assert len(list(path.glob("quarantine/*"))) == len(list(path.glob("quarantine/*/hidden.wal"))) == 4


def test_a_disk_without_room_for_a_copy_is_no_reason_not_to_open(
    made: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, synced = made
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced + 3) + 1000, 0x10)

    def full(*_: object) -> None:
        raise NoSpace(path)

    monkeypatch.setattr(hidden, "copy", full)
    assert names(path) >= {f"durable{n}" for n in range(5)}
    assert "cannot be kept" in caplog.text


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


@pytest.mark.parametrize("is_there", [True, False])
def test_the_wal_of_an_index_that_is_gone_stays_until_a_repair_reads_it(tmp_path: Path, *, is_there: bool) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
    killed(path, lambda store: put(store, "n", 20))
    expected = harm.readable(harm.copied(path, tmp_path / "probe"))
    wal, index = path / "index.db-wal", path / "index.db"
    frames = wal.read_bytes()
    assert len(frames) > HEAD + 40 * FRAME
    index.unlink()
    if is_there:
        index.touch(0o600)
    for create in (False, True):
        with pytest.raises(StoreUnusable, match="fsck --repair") as caught:
            open_store(path, config=Config(), create=create)
    assert unopenable(path, caught.value).problems
    assert wal.read_bytes() == frames
    harm.mended(path)
    assert harm.readable(path) <= expected


def test_a_repair_makes_all_of_a_store_of_whose_index_a_whole_wal_is_left(tmp_path: Path) -> None:
    path = tmp_path / "s"
    killed(path, begin)
    expected = harm.readable(harm.copied(path, tmp_path / "probe"))
    assert len(expected) == 20
    os.truncate(path / "index.db", 0)
    assert harm.mended(path).ok
    assert harm.readable(path) == expected


def test_a_journal_of_an_index_that_is_gone_stays_and_that_of_a_beginning_does_not(tmp_path: Path) -> None:
    for pages in (0, 7):
        path = tmp_path / str(pages)
        path.mkdir(mode=0o700)
        (path / "index.db").touch(0o600)
        journal = path / "index.db-journal"
        journal.write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(8) + pages.to_bytes(4) + bytes(492))
        if not pages:
            open_store(path, config=Config()).close()
            continue
        with pytest.raises(StoreUnusable, match="journal"):
            open_store(path, config=Config())
        assert journal.exists()


def test_a_link_in_the_place_of_a_kept_wal_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "quarantine" / "20261122T000000Z"
    folder.mkdir(parents=True)
    (folder / hidden.NAME).write_bytes(b"a WAL")
    assert hidden.kept(tmp_path) == [str(folder / hidden.NAME)]
    (folder / hidden.NAME).rename(tmp_path / "elsewhere")
    (folder / hidden.NAME).symlink_to(tmp_path / "elsewhere")
    assert hidden.kept(tmp_path) == []
    with pytest.raises(OSError, match="symbolic link"):
        hidden.copy(str(folder / hidden.NAME), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()
