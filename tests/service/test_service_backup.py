"""Backups of a store that is used meanwhile, what is left of one that is cut short, and the way back."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import AlreadyExists, Corrupt, InvalidValue, NoSpace, NotSupported, SpellError, StoreUnusable
from llmspellfs.service.backup import BackupReport
from llmspellfs.service.restoring import restore_store
from llmspellfs.storage import disk, opening
from llmspellfs.storage.building import begun
from llmspellfs.storage.copying import SHARES
from llmspellfs.storage.destination import Destination

BIG = 2 << 20
ROOT = Path(__file__).parents[2]
TABLES = (
    "session", "session_row", "session_label", "entry", "entry_label", "event", "inode", "content", "content_chunk",
    "chunk", "checkpoint", "state",
)  # fmt: skip


@pytest.fixture
def filled(sqlite_store: Store) -> Store:
    """A store with large and small content, history, and something lost."""
    sqlite_store.sessions.create("s")
    for number in range(4):
        sqlite_store.artifacts.put("s", f"big{number}", os.urandom(BIG))
        sqlite_store.artifacts.put("s", f"d/small{number}", os.urandom(100))
    sqlite_store.artifacts.put("s", "big0", os.urandom(BIG))
    sqlite_store.sessions.save("s")
    sqlite_store.intake.lose(b"lost bytes", Destination(None, "x"), "for a test")
    return sqlite_store


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}


def path_of(store: Store) -> Path:
    assert store.path is not None
    return store.path


def rows(store: Store) -> list[object]:
    with store.engine.index.snapshot() as db:
        return [db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in TABLES]


def check(folder: Path) -> list[object]:
    """Return the rows of the store in *folder*, which must be whole and its owner's alone."""
    assert folder.stat().st_mode & 0o777 == 0o700
    with open_store(folder, config=Config()) as store:
        found = rows(store)
        assert store.upkeep.fsck().problems == ()
    return found


def test_a_backup_is_a_store_that_equals_the_source(filled: Store, tmp_path: Path) -> None:
    report = filled.upkeep.backup(tmp_path / "b")
    assert check(tmp_path / "b") == rows(filled)
    assert blobs(tmp_path / "b") == blobs(path_of(filled))
    assert (report.chunks, report.linked, report.copied, report.removed, report.lost, report.missing) == (
        len(blobs(path_of(filled))), len(blobs(path_of(filled))), 0, 0, 1, ()
    )  # fmt: skip
    with open_store(tmp_path / "b", config=Config()) as copy:
        assert [item.name for item in copy.upkeep.lost()] == ["x"]
        assert copy.upkeep.stats().events == report.event
    one = next(iter(blobs(tmp_path / "b")))
    assert os.path.samefile(tmp_path / "b/blobs" / one[:2] / one, path_of(filled) / "blobs" / one[:2] / one)


def test_without_links_nothing_is_shared(filled: Store, tmp_path: Path) -> None:
    report = filled.upkeep.backup(tmp_path / "b", hardlink=False)
    assert (report.linked, report.copied) == (0, len(blobs(path_of(filled))))
    assert {path.stat().st_nlink for path in (tmp_path / "b/blobs").rglob("*") if path.is_file()} == {1}
    assert check(tmp_path / "b") == rows(filled)


@pytest.mark.parametrize("hardlink", [True, False])
def test_a_second_backup_brings_only_what_is_new(
    filled: Store, tmp_path: Path, clock: list[int], hardlink: bool
) -> None:
    first = filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    again = filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    assert (again.linked, again.copied, again.removed, again.event) == (0, 0, 0, first.event)
    filled.artifacts.put("s", "new", os.urandom(1 << 18))
    filled.artifacts.purge("s", "big1")
    for item in filled.upkeep.lost():
        filled.upkeep.recover(item.id, "s", "found")
    third = filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    assert third.linked + third.copied == 1
    assert third.removed >= 1
    assert third.lost == 0
    assert blobs(tmp_path / "b") == blobs(path_of(filled))
    assert check(tmp_path / "b") == rows(filled)
    assert filled.upkeep.backup(tmp_path / "b", hardlink=hardlink).event == third.event


def test_a_backup_that_was_looked_at_is_taken_and_one_that_was_used_is_not(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    check(tmp_path / "b")
    filled.upkeep.backup(tmp_path / "b")
    with open_store(tmp_path / "b", config=Config()) as copy:
        with pytest.raises(StoreUnusable, match="in use"):
            filled.upkeep.backup(tmp_path / "b")
        copy.artifacts.put("s", "mine", b"written into the backup")
    with pytest.raises(InvalidValue, match="used as a store"):
        filled.upkeep.backup(tmp_path / "b")
    with open_store(tmp_path / "b", config=Config()) as copy:
        assert copy.artifacts.read(copy.artifacts.get("s", "mine")) == b"written into the backup"


def test_a_folder_that_is_no_place_for_it_is_refused_and_left_alone(
    filled: Store, tmp_path: Path, clock: list[int]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    (tmp_path / "file").write_text("x")
    with open_store(tmp_path / "other", config=Config()) as other:
        other.upkeep.backup(tmp_path / "others")
    (tmp_path / "link").symlink_to(path_of(filled))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/backup.json").write_text('{"format": 1')
    store = path_of(filled)
    for place in ("full", "file", "other", "others", "link", "odd", "."):
        with pytest.raises(InvalidValue):
            filled.upkeep.backup(tmp_path / place)
    for inside in (store, store / "blobs", store / "new/deep"):
        with pytest.raises(InvalidValue):
            filled.upkeep.backup(inside)
    assert sorted(os.listdir(tmp_path / "full")) == ["mine"]
    assert not (store / "new").exists()


def test_a_store_in_memory_has_no_backup(tmp_path: Path) -> None:
    with open_store(None, backend="memory", config=Config()) as store, pytest.raises(NotSupported):
        store.upkeep.backup(tmp_path / "b")


def test_an_empty_folder_and_umask_make_a_private_one(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        filled.upkeep.backup(tmp_path / "b", hardlink=False)
    finally:
        os.umask(before)
    for path in [tmp_path / "b", *(tmp_path / "b").rglob("*")]:
        assert path.lstat().st_mode & 0o077 == 0, path


def told(report: BackupReport) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the chunks that are missing in the store, harmed in it, and sound in the backup all the same."""
    return report.missing, report.harmed, report.kept


def test_a_chunk_that_the_store_lacks_is_told_and_the_older_copy_kept(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    victim = next(path for path in (path_of(filled) / "blobs").rglob("*") if path.is_file())
    aside = victim.rename(tmp_path / "aside")
    one = (victim.name,)
    assert told(filled.upkeep.backup(tmp_path / "new")) == (one, (), ())
    assert told(filled.upkeep.backup(tmp_path / "b")) == (one, (), one)
    assert check(tmp_path / "b") == rows(filled)
    aside.rename(victim)
    assert filled.upkeep.backup(tmp_path / "new").missing == ()
    check(tmp_path / "new")


def harmed(folder: Path, size: int | None = None) -> Path:
    """Return a chunk of *folder*, not shared with another, whose bytes are zeros now, *size* of them or as many."""
    path = next(path for path in sorted((folder / "blobs").rglob("*")) if path.is_file())
    path.rename(path.with_name("aside"))
    path.write_bytes(bytes(path.with_name("aside").stat().st_size if size is None else size))
    path.with_name("aside").unlink()
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("hardlink", [True, False])
def test_a_copy_that_has_rotted_is_brought_again_within_some_runs(
    filled: Store, tmp_path: Path, *, hardlink: bool
) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    path = harmed(tmp_path / "b")
    whole = (path_of(filled) / "blobs" / path.name[:2] / path.name).read_bytes()
    reports = [filled.upkeep.backup(tmp_path / "b", hardlink=hardlink) for _ in range(SHARES)]
    assert [report.linked + report.copied for report in reports if report.linked + report.copied] == [1]
    assert path.read_bytes() == whole
    assert check(tmp_path / "b") == rows(filled)


@pytest.mark.parametrize("size", [None, 1000])
def test_a_chunk_that_is_harmed_in_the_store_replaces_no_sound_copy(
    filled: Store, tmp_path: Path, size: int | None
) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    path = harmed(path_of(filled), size)
    sound = (tmp_path / "b/blobs" / path.name[:2] / path.name).read_bytes()
    one = () if size is None else (path.name,)  # of equal length it is the scrub's to find
    for _ in range(SHARES):
        assert told(filled.upkeep.backup(tmp_path / "b", hardlink=False)) == ((), one, one)
    assert check(tmp_path / "b") == rows(filled)
    path.write_bytes(sound)


@pytest.mark.parametrize(("hardlink", "size"), [(False, None), (False, 1000), (True, 1000)])
def test_a_chunk_that_is_harmed_in_the_store_does_not_come_into_a_backup(
    filled: Store, tmp_path: Path, size: int | None, *, hardlink: bool
) -> None:
    sound = {path.name: path.read_bytes() for path in (path_of(filled) / "blobs").rglob("*") if path.is_file()}
    path = harmed(path_of(filled), size)
    for _ in range(2):
        assert told(filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)) == ((), (path.name,), ())
        assert blobs(tmp_path / "b") == sound.keys() - {path.name}
    path.write_bytes(sound[path.name])
    assert told(filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)) == ((), (), ())
    assert check(tmp_path / "b") == rows(filled)


@pytest.mark.parametrize("hardlink", [True, False])
def test_what_a_scrub_has_found_harmed_is_told_and_the_sound_copy_kept(
    filled: Store, tmp_path: Path, *, hardlink: bool
) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    path = harmed(path_of(filled), None)
    sound = (tmp_path / "b/blobs" / path.name[:2] / path.name).read_bytes()
    filled.upkeep.scrub()
    for _ in range(2):
        assert told(filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)) == ((), (path.name,), (path.name,))
        assert told(filled.upkeep.backup(tmp_path / "new", hardlink=hardlink)) == ((), (path.name,), ())
        assert path.name not in blobs(tmp_path / "new")
    assert (tmp_path / "b/blobs" / path.name[:2] / path.name).read_bytes() == sound
    path.write_bytes(sound)
    for name in ("b", "new"):  # it is read, whatever was noted of it
        assert told(filled.upkeep.backup(tmp_path / name, hardlink=hardlink)) == ((), (), ())
        check(tmp_path / name)


def test_a_link_to_what_a_scrub_has_found_harmed_is_told(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    path = next(path for path in (path_of(filled) / "blobs").rglob("*") if path.is_file())
    sound = path.read_bytes()
    path.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])  # in place: the link has the same bytes
    filled.upkeep.scrub()
    assert told(filled.upkeep.backup(tmp_path / "b")) == ((), (path.name,), ())
    path.write_bytes(sound)


def test_a_link_to_a_chunk_that_is_cut_is_told(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    path = next(path for path in (path_of(filled) / "blobs").rglob("*") if path.is_file())
    whole = path.read_bytes()
    os.truncate(path, 100)
    for hardlink in (True, False):
        assert told(filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)) == ((), (path.name,), ())
    path.write_bytes(whole)
    assert told(filled.upkeep.backup(tmp_path / "b")) == ((), (), ())


def test_a_link_to_another_writing_of_a_chunk_stays_one(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    was = rows(filled)
    with filled.engine.index.write() as db:
        db.execute("UPDATE chunk SET stored_size = stored_size + 1 WHERE data IS NULL")
    report = filled.upkeep.backup(tmp_path / "b")
    with filled.engine.index.write() as db:
        db.execute("UPDATE chunk SET stored_size = stored_size - 1 WHERE data IS NULL")
    assert (report.linked, report.copied, told(report)) == (0, 0, ((), (), ()))
    assert rows(filled) == was


def test_links_become_copies_where_that_is_asked_for(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    report = filled.upkeep.backup(tmp_path / "b", hardlink=False)
    assert (report.linked, report.copied) == (0, report.chunks)
    files = [path for folder in ("blobs", "lost+found") for path in (tmp_path / "b" / folder).rglob("*")]
    assert {path.stat().st_nlink for path in files if path.is_file()} == {1}
    assert check(tmp_path / "b") == rows(filled)
    assert filled.upkeep.backup(tmp_path / "b", hardlink=False).copied == 0


def test_a_pipe_that_takes_a_chunks_place_is_not_waited_for(filled: Store, tmp_path: Path) -> None:
    path = min((path for path in (path_of(filled) / "blobs").rglob("*") if path.is_file()), key=lambda p: p.name)
    whole = path.read_bytes()

    def plant(name: str) -> None:
        if name == "backup.mkdir" and path.is_file() and (tmp_path / "b/index.db.part").exists():
            path.unlink()
            os.mkfifo(path)

    disk.hook = plant
    try:
        report = filled.upkeep.backup(tmp_path / "b", hardlink=False)
    finally:
        disk.hook = None
    path.unlink()
    path.write_bytes(whole)
    path.chmod(0o600)
    assert told(report) == ((), (path.name,), ())


def test_no_chunk_is_missed_while_others_write_collect_and_purge(filled: Store, tmp_path: Path) -> None:
    ending = threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with open_store(filled.path, config=Config()) as store:
                store.sessions.create(f"w{number}")
                turn = 0
                while not ending.is_set():
                    turn += 1
                    content = os.urandom(300_000)
                    store.artifacts.put(f"w{number}", "a", content)
                    store.artifacts.purge(f"w{number}", "a")
                    if turn % 5 == 0:
                        store.upkeep.gc(grace_seconds=0, force=True)  # `filled` has another clock
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    try:
        until = time.monotonic() + 3
        rounds = 0
        while time.monotonic() < until or rounds < 3:
            report = filled.upkeep.backup(tmp_path / "b")
            assert report.missing == ()
            rounds += 1
    finally:
        ending.set()
        for worker in workers:
            worker.join()
    assert failures == []
    check(tmp_path / "b")


def test_a_backup_is_of_one_moment(filled: Store, tmp_path: Path) -> None:
    """A writer copies a number into two artifacts in turn: the second is never ahead of the first."""
    ending = threading.Event()

    def write() -> None:
        with open_store(filled.path, config=Config()) as store:
            for turn in range(10_000):
                for name in ("first", "second"):
                    store.artifacts.put("s", name, str(turn).encode())
                if ending.is_set():
                    return

    worker = threading.Thread(target=write)
    worker.start()
    try:
        for number in range(5):
            time.sleep(0.1)
            filled.upkeep.backup(tmp_path / f"b{number}")
    finally:
        ending.set()
        worker.join()
    for number in range(5):
        with open_store(tmp_path / f"b{number}", config=Config()) as copy:
            if "second" in {one.name for one in copy.artifacts.list("s")}:
                first, second = (
                    int(copy.artifacts.read(copy.artifacts.get("s", name))) for name in ("first", "second")
                )
                assert first - second in {0, 1}
            assert copy.upkeep.fsck().problems == ()


class Fault(OSError):
    """The disk that fails in these tests."""


@pytest.mark.parametrize("hardlink", [True, False])
def test_a_backup_that_fails_at_any_step_leaves_the_one_before_whole(
    filled: Store, tmp_path: Path, hardlink: bool
) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    before = rows(filled)
    filled.artifacts.put("s", "more", os.urandom(BIG))
    filled.artifacts.purge("s", "big2")
    after = rows(filled)
    number, done = 0, False
    while not done:
        number += 1
        hits = [0]

        def fail(name: str, hits: list[int] = hits, number: int = number) -> None:
            hits[0] += name.startswith("backup.")
            if hits[0] == number and name.startswith("backup."):
                raise Fault(5, "input/output error")

        disk.hook = fail
        try:
            filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
            done = True
        except SpellError:
            pass
        finally:
            disk.hook = None
        if number % 5 == 1 and not done:
            with closing(sqlite3.connect(tmp_path / "b/index.db")) as db:
                count = db.execute("SELECT count(*) FROM event").fetchone()[0]
            assert count in {len(before[5]), len(after[5])}  # type: ignore[arg-type]
    assert number > 10
    assert check(tmp_path / "b") == after
    assert blobs(tmp_path / "b") == blobs(path_of(filled))


_KILLED = """
import os, sys
from llmspellfs import open_store
from llmspellfs.config import Config
with open_store(sys.argv[1], config=Config()) as store:
    store.upkeep.backup(sys.argv[2])
"""


KILLS = ("backup.snapshot_fsync", "backup.link#2", "backup.index", "backup.index.done", "backup.unlink")


@pytest.mark.parametrize("name", KILLS)
def test_a_backup_that_is_killed_leaves_the_one_before_whole(filled: Store, tmp_path: Path, name: str) -> None:
    filled.upkeep.backup(tmp_path / "b")
    before = rows(filled)
    for number in range(3):
        filled.artifacts.put("s", f"more{number}", os.urandom(BIG))
    filled.artifacts.purge("s", "big2")
    after = rows(filled)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), disk.ARMED_BY: f"kill:{name}"}
    words = [sys.executable, "-c", _KILLED, str(path_of(filled)), str(tmp_path / "b")]
    assert subprocess.run(words, env=environment, check=False).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(f"file:{tmp_path}/b/index.db?mode=ro", uri=True)) as db:
        events = db.execute("SELECT count(*) FROM event").fetchone()[0]
        named = {row[0].hex() for row in db.execute("SELECT hash FROM chunk WHERE data IS NULL")}
    assert events in {len(before[5]), len(after[5])}  # type: ignore[arg-type]
    assert named <= blobs(tmp_path / "b")
    filled.upkeep.backup(tmp_path / "b")
    assert check(tmp_path / "b") == after
    assert blobs(tmp_path / "b") == blobs(path_of(filled))


def test_a_first_backup_that_is_killed_goes_on(filled: Store, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), disk.ARMED_BY: "kill:backup.link#3"}
    words = [sys.executable, "-c", _KILLED, str(path_of(filled)), str(tmp_path / "b")]
    assert subprocess.run(words, env=environment, check=False).returncode == -signal.SIGKILL
    report = filled.upkeep.backup(tmp_path / "b")
    assert 0 < report.linked < report.chunks
    assert check(tmp_path / "b") == rows(filled)


def test_a_restored_store_is_the_one_that_was_backed_up(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    report = restore_store(tmp_path / "b", tmp_path / "new/r")
    assert (report.lost, report.moved_aside) == (1, None)
    assert check(tmp_path / "new/r") == rows(filled)
    assert not {path.name for path in (tmp_path / "new/r").iterdir()} & {"backup.json", "index.db.part"}
    assert os.listdir(tmp_path / "new") == ["r"]
    with open_store(tmp_path / "new/r", config=Config()) as store:
        store.artifacts.put("s", "more", b"x")
    filled.upkeep.backup(tmp_path / "b")


def test_a_harmed_backup_is_not_restored_and_nothing_is_left(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    victim = max((path for path in (tmp_path / "b/blobs").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    sound = victim.read_bytes()
    for harmed in (sound[:-1], bytes([sound[0] ^ 1]) + sound[1:], None):
        victim.unlink() if harmed is None else victim.write_bytes(harmed)
        with pytest.raises(Corrupt, match=victim.name):
            restore_store(tmp_path / "b", tmp_path / "r")
        assert not [name for name in os.listdir(tmp_path) if "restoring" in name or name == "r"]


def test_a_store_that_is_there_is_moved_aside_by_force_alone(filled: Store, tmp_path: Path, clock: list[int]) -> None:
    filled.upkeep.backup(tmp_path / "b")
    with open_store(tmp_path / "r", config=Config()) as other:
        other.sessions.create("mine")
        with pytest.raises(StoreUnusable, match="in use"):
            restore_store(tmp_path / "b", tmp_path / "r", force=True)
    with pytest.raises(AlreadyExists):
        restore_store(tmp_path / "b", tmp_path / "r")
    for _ in range(2):
        report = restore_store(tmp_path / "b", tmp_path / "r", force=True, now=lambda: clock[0])
    assert report.moved_aside == f"{tmp_path}/r.20261121T120000Z-1"
    with open_store(tmp_path / "r.20261121T120000Z", config=Config()) as other:
        assert [session.name for session in other.sessions.list()] == ["mine"]
    assert check(tmp_path / "r") == rows(filled)


def test_what_is_sound_of_a_harmed_backup_is_restored_and_the_rest_named(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    ours = sorted(blobs(tmp_path / "b"))
    gone, flipped, cut, link = (tmp_path / "b/blobs" / name[:2] / name for name in ours[:4])
    gone.unlink()
    flipped.write_bytes(bytes([flipped.read_bytes()[0] ^ 1]) + flipped.read_bytes()[1:])
    cut.write_bytes(cut.read_bytes()[:-1])
    link.unlink()
    link.symlink_to(path_of(filled) / "blobs" / link.name[:2] / link.name)
    with pytest.raises(Corrupt):
        restore_store(tmp_path / "b", tmp_path / "r")
    report = restore_store(tmp_path / "b", tmp_path / "r", harmed=True)
    assert sorted(report.harmed) == ours[:4]
    assert blobs(tmp_path / "r") == set(ours[4:])
    with open_store(tmp_path / "r", config=Config()) as store:
        found = [problem for problem in store.upkeep.fsck().found if not problem.is_note]
        assert {problem.where.split()[-1] for problem in found} == set(ours[:4])
        assert all(problem.harmed for problem in found)
        for number in range(4):
            name = f"d/small{number}"
            assert store.artifacts.read(store.artifacts.get("s", name)) == filled.artifacts.read(
                filled.artifacts.get("s", name)
            )
    assert restore_store(tmp_path / "b", tmp_path / "r2", harmed=True).harmed == report.harmed


def plant(lost: Path) -> list[Path]:
    """Put into *lost* what no store has there, under names that a store has."""
    link, folder, fifo = (lost / (digit * 16) for digit in "abc")
    link.symlink_to("/etc/hostname")
    folder.mkdir()
    os.mkfifo(fifo)
    return [link, folder, fifo]


@pytest.mark.parametrize("hardlink", [True, False])
def test_what_is_no_file_is_no_part_of_a_backup(filled: Store, tmp_path: Path, hardlink: bool) -> None:
    planted = plant(path_of(filled) / "lost+found")
    victim = next(path for path in (path_of(filled) / "blobs").rglob("*") if path.is_file())
    aside = victim.rename(tmp_path / "aside")
    os.mkfifo(victim)
    report = filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    assert (report.lost, report.missing) == (1, (victim.name,))
    assert len(os.listdir(tmp_path / "b/lost+found")) == 2
    copy = tmp_path / "b/blobs" / victim.name[:2] / victim.name
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    copy.symlink_to(aside)
    aside.rename(victim)
    report = filled.upkeep.backup(tmp_path / "b", hardlink=hardlink)
    assert (report.missing, copy.is_symlink()) == ((), False)
    for path in planted:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert check(tmp_path / "b") == rows(filled)


def test_what_is_no_file_in_a_backup_s_lost_and_found_is_not_restored(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")
    plant(tmp_path / "b/lost+found")
    assert restore_store(tmp_path / "b", tmp_path / "r").lost == 1
    assert len(os.listdir(tmp_path / "r/lost+found")) == 2
    assert check(tmp_path / "r") == rows(filled)


class At:
    """Calls *does* once, at the step *name*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, does: Callable[[], None]) -> None:
        self.name, self.does, self.is_done = name, does, False
        monkeypatch.setattr(disk, "hook", self)

    def __call__(self, name: str) -> None:
        if name == self.name and not self.is_done:
            self.is_done = True
            self.does()


def test_a_store_that_is_opened_while_another_is_restored_over_it_stays(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    open_store(tmp_path / "r", config=Config()).close()
    opened: list[Store] = []

    def use() -> None:
        opened.append(open_store(tmp_path / "r", config=Config()))
        opened[0].sessions.create("mine")

    meanwhile = At(monkeypatch, "restore.index", use)
    with pytest.raises(StoreUnusable, match="in use"):
        restore_store(tmp_path / "b", tmp_path / "r", force=True)
    assert meanwhile.is_done
    opened[0].artifacts.put("mine", "big", b"x" * BIG)
    opened[0].sync()
    opened[0].close()
    assert not [name for name in os.listdir(tmp_path) if "restoring" in name or name.startswith("r.")]
    with open_store(tmp_path / "r", config=Config()) as store:
        assert store.artifacts.read(store.artifacts.get("mine", "big")) == b"x" * BIG


@pytest.mark.parametrize("step", ["restore.aside", "restore.exchange", "restore.exchange.done", "restore.sync"])
def test_who_opens_a_store_as_another_takes_its_place_has_the_one_that_stays(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    open_store(tmp_path / "r", config=Config()).close()
    began = threading.Event()

    def use() -> None:
        began.set()
        with open_store(tmp_path / "r", config=Config()) as store:
            store.sessions.create("mine")

    worker = threading.Thread(target=use)

    def begin() -> None:
        worker.start()
        began.wait()
        time.sleep(0.2)

    At(monkeypatch, step, begin)
    aside = restore_store(tmp_path / "b", tmp_path / "r", force=True).moved_aside
    worker.join()
    assert aside is not None
    with open_store(tmp_path / "r", config=Config()) as store, open_store(aside, config=Config()) as before:
        assert {session.name for session in store.sessions.list()} == {"s", "mine"}
        assert before.sessions.list() == []


@pytest.mark.parametrize("step", ["restore.aside", "restore.exchange", "restore.exchange.done", "restore.sync"])
def test_a_restore_that_fails_at_the_end_leaves_what_was_there(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    with open_store(tmp_path / "r", config=Config()) as other:
        other.sessions.create("mine")

    def fail() -> None:
        raise Fault(5, "input/output error")

    At(monkeypatch, step, fail)
    with pytest.raises(SpellError):
        restore_store(tmp_path / "b", tmp_path / "r", force=True)
    assert sorted(name for name in os.listdir(tmp_path) if "r" in name.split(".")) == ["r"]
    assert not [name for name in os.listdir(tmp_path) if "restoring" in name]
    with open_store(tmp_path / "r", config=Config()) as other:
        assert [session.name for session in other.sessions.list()] == ["mine"]


def test_a_restore_where_names_cannot_be_exchanged(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    with open_store(tmp_path / "r", config=Config()) as other:
        other.sessions.create("mine")
    monkeypatch.setattr(disk, "_exchanged", lambda first, second: False)
    aside = restore_store(tmp_path / "b", tmp_path / "r", force=True).moved_aside
    assert aside is not None
    with open_store(aside, config=Config()) as other:
        assert [session.name for session in other.sessions.list()] == ["mine"]
    assert check(tmp_path / "r") == rows(filled)


@pytest.mark.parametrize("name", ["letters", "letters/one.txt"])
def test_what_is_no_store_stays_where_it_is_by_force_too(filled: Store, tmp_path: Path, name: str) -> None:
    filled.upkeep.backup(tmp_path / "b")
    (tmp_path / "letters/blobs").mkdir(parents=True)
    (tmp_path / "letters/one.txt").write_text("here before")
    before = sorted(tmp_path.rglob("*"))
    for force in (False, True):
        with pytest.raises(StoreUnusable, match=r"not a folder|not empty, and no store: it has 'one.txt'"):
            restore_store(tmp_path / "b", tmp_path / name, force=force)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("names", [(), ("index.db",), ("index.db", "opening.lock", "scrub.lock")])
def test_a_store_that_has_lost_its_index_or_holds_other_files_is_moved_aside(
    filled: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    restore_store(tmp_path / "b", tmp_path / "r")
    for name in names:
        (tmp_path / "r" / name).unlink(missing_ok=True)
    if not names:
        (tmp_path / "r/notes.txt").write_text("mine")
    aside = restore_store(tmp_path / "b", tmp_path / "r", force=True).moved_aside
    assert aside is not None
    assert blobs(Path(aside)) == blobs(tmp_path / "r")
    assert os.path.exists(f"{aside}/notes.txt") is (not names)


def test_a_place_that_somebody_fills_meanwhile_is_left_as_it_is(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    (tmp_path / "r").mkdir()
    At(monkeypatch, "restore.index", (tmp_path / "r/one.txt").touch)
    with pytest.raises(StoreUnusable, match=r"it has 'one.txt'"):
        restore_store(tmp_path / "b", tmp_path / "r", force=True)
    assert os.listdir(tmp_path / "r") == ["one.txt"]


def test_a_store_made_in_the_place_meanwhile_is_not_replaced(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.upkeep.backup(tmp_path / "b")
    At(monkeypatch, "restore.index", lambda: open_store(tmp_path / "r", config=Config()).close())
    with pytest.raises(AlreadyExists):
        restore_store(tmp_path / "b", tmp_path / "r")
    with open_store(tmp_path / "r", config=Config()) as store:
        assert store.sessions.list() == []


def test_what_is_no_backup_is_not_restored(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        restore_store(tmp_path / "nothing", tmp_path / "r")
    filled.upkeep.backup(tmp_path / "b")
    for target in (tmp_path / "b", tmp_path / "b/inside", tmp_path):
        with pytest.raises(InvalidValue):
            restore_store(tmp_path / "b", target)


def test_a_backup_on_a_medium_that_cannot_be_written_to_is_restored(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    paths = [tmp_path / "b", *(tmp_path / "b").rglob("*")]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        restore_store(tmp_path / "b", tmp_path / "r")
    finally:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
    assert check(tmp_path / "r") == rows(filled)


@pytest.mark.parametrize("step", ["restore.create", "blob.create", "restore.rename"])
def test_what_a_restore_says_names_no_place_of_its_own(filled: Store, tmp_path: Path, step: str) -> None:
    filled.upkeep.backup(tmp_path / "b")

    def fail(name: str) -> None:
        if name == step:
            disk.hook = None
            building = next(path for path in tmp_path.iterdir() if "restoring" in path.name)
            raise OSError(errno.ENOSPC, "no space left on device", f"{building}/x")

    disk.hook = fail
    try:
        with pytest.raises((SpellError, OSError)) as caught:
            restore_store(tmp_path / "b", tmp_path / "r")
    finally:
        disk.hook = None
    assert "restoring" not in str(caught.value)
    assert os.listdir(tmp_path).count("r") == 0


def test_a_disk_that_is_full_of_the_index_is_the_one_restored_to(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b")

    def fail(name: str) -> None:
        if name == "restore.index":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    disk.hook = fail
    try:
        with pytest.raises(NoSpace, match=f"^no space left: {tmp_path}/r/index.db$"):
            restore_store(tmp_path / "b", tmp_path / "r")
    finally:
        disk.hook = None


def test_a_harmed_store_that_can_only_be_read_is_backed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        for number in range(3):
            store.artifacts.put("s", f"n{number}", os.urandom(90_000))
    one, two, _ = sorted(path.glob("blobs/*/*"))
    one.unlink()
    os.truncate(two, 100)
    monkeypatch.setattr(opening, "_why_read_only", lambda place: "a test" if place == path else None)
    with open_store(path, config=Config(), create=False) as store:
        assert store.read_only == "a test"
        assert told(store.upkeep.backup(tmp_path / "b")) == ((one.name,), (two.name,), ())
    assert (tmp_path / "b" / "index.db").exists()


def building(parent: Path) -> list[str]:
    return sorted(file.name for file in parent.iterdir() if "restoring" in file.name)


def restore_and_die(source: Path, target: Path) -> None:
    """Restore *source* to *target* in a child that is killed once the index is there."""
    pid = os.fork()
    if not pid:
        disk.hook = lambda name: os._exit(9) if name == "restore.fsync" else None
        restore_store(source, target)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_what_a_killed_restore_left_goes_with_the_next_to_that_place(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    restore_and_die(tmp_path / "b", tmp_path / "r")
    assert len(building(tmp_path)) == 1
    for name in (".other.restoring-00000000", ".r.restoring-mine", ".r.restoring-0000000g"):
        (tmp_path / name).mkdir()
    (tmp_path / ".r.restoring-11111111").symlink_to(tmp_path / "b")
    kept = [".other.restoring-00000000", ".r.restoring-0000000g", ".r.restoring-11111111", ".r.restoring-mine"]
    restore_store(tmp_path / "b", tmp_path / "r")
    assert building(tmp_path) == kept
    assert check(tmp_path / "r") == check(tmp_path / "b")


def test_what_a_living_restore_makes_is_left_to_it(filled: Store, tmp_path: Path) -> None:
    filled.upkeep.backup(tmp_path / "b", hardlink=False)
    with begun(tmp_path / "r") as other:
        restore_store(tmp_path / "b", tmp_path / "r")
        assert os.path.isdir(other)
    restore_store(tmp_path / "b", tmp_path / "r", force=True)
    assert building(tmp_path) == []
