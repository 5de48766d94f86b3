"""Garbage collection among writers and readers: nothing that was acknowledged is lost, and nobody waits for long."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.model.event import Origin
from llmspellfs.service import erasure, unlinking
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.collecting import Collection, GcReport, Orphans
from llmspellfs.service.engine import Engine
from llmspellfs.service.pacing import paced
from llmspellfs.service.repair import repair
from llmspellfs.storage import collecting, disk, erasing
from llmspellfs.storage.blobs import FileBlobs
from tests.service import collecting_stress
from tests.tree.trees import Walker

HOUR = 3600 * 10**9
DAY = 24 * HOUR
BIG = 3 << 20
ROOT = Path(__file__).parents[2]


def child(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.service.collecting_stress", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def told(process: subprocess.Popen[bytes]) -> dict[str, int]:
    out, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint.decode()
    found: dict[str, int] = json.loads(out)
    return found


def stress(path: Path, seconds: float) -> str:
    """Run writers at every door and a collector for *seconds*, while readers go on; return the figures as a line.

    What is read is live, or the past that a checkpoint keeps.
    """
    pool = collecting_stress.contents()[:2]  # their chunks are others' too, who come and go
    with open_store(path, config=collecting_stress.CONFIG) as store:
        store.sessions.create("kept")
        store.artifacts.put("kept", "past", pool[1])
        store.sessions.save("kept")
        for name in ("live", "past"):
            store.artifacts.put("kept", name, pool[0])
        walker = Walker(store)
        versions = [store.artifacts.get("kept", "live"), store.artifacts.history("kept", "past")[0]]
        places = ["/sessions/kept/live", "/sessions/kept/.session/versions/past/1"]
        readers = [store.artifacts.open(each) for each in versions]
        handles = [walker.open(each, os.O_RDONLY) for each in places]
        roles = [("write", 1), ("write", 2), ("script", 3), ("command", 4), ("collect", 0)]
        children = [child(role, path, seconds, seed) for role, seed in roles]
        reads, block = 0, bytearray(4096)
        while any(process.poll() is None for process in children):
            for content, reader, handle in zip(pool, readers, handles, strict=True):
                store.engine.rooms.cache.clear()
                place = reads * 7919 % len(content)
                assert reader.read_at(place, 4096) == content[place : place + 4096]
                count = handle.read_into(memoryview(block), place)
                assert block[:count] == content[place : place + 4096]
                reads += 2
            time.sleep(0.01)
        figures = [told(process) for process in children]
        for handle in handles:
            handle.release()
        walker.tree.destroy()
        assert store.upkeep.fsck().problems == ()
    assert figures[-1]["files"] > 0, "nothing was collected: the test shows nothing"
    return f"{sum(f['acknowledged'] for f in figures[:-1])} contents read back, {reads} reads, {figures}"


def test_no_chunk_is_lost_among_writers_and_readers(tmp_path: Path, figures: Callable[[str], None]) -> None:
    figures(stress(tmp_path / "store", 4))


@pytest.mark.soak
def test_no_chunk_is_lost_in_the_long_run(tmp_path: Path, soak_seconds: float, figures: Callable[[str], None]) -> None:
    figures(stress(tmp_path / "store", soak_seconds))


def filled(store: Store, clock: list[int]) -> None:
    """Have something of all that is collected: old versions, fleeting files, a deleted session."""
    common = os.urandom(BIG)
    for ref in ("s", "t", "gone"):
        store.sessions.create(ref)
        store.artifacts.put(ref, "a", common + ref.encode())
        store.artifacts.put(ref, "a", ref.encode())
        store.artifacts.put(ref, "fleeting", b"fleeting" + ref.encode())
        store.artifacts.delete(ref, "fleeting")
    store.sessions.save("t")
    store.artifacts.put("t", "a", b"new")
    store.sessions.delete("gone")
    clock[0] += 31 * DAY
    store.artifacts.put("s", "b", common)


def test_a_dry_run_tells_what_a_run_then_does(store: Store, clock: list[int]) -> None:
    filled(store, clock)
    reports = []
    for _ in range(3):
        clock[0] += 10**9
        before = rows(store)
        expected = store.upkeep.gc(grace_seconds=0, dry_run=True)
        assert rows(store) == before
        done = store.upkeep.gc(grace_seconds=0)
        assert as_foretold(done) == expected
        reports.append(done)
    assert reports[0].pruned == 4
    assert reports[0].expired == 1
    assert (reports[0].condemned, reports[0].removed) == (7, 0)
    assert (reports[1].condemned, reports[1].removed) == (0, 7)
    assert reports[1].freed > 0
    assert reports[2] == GcReport(0, 0, 0, 0, 0)


@pytest.mark.parametrize("goes_well", [True, False])
def test_what_an_import_has_brought_is_not_collected_however_long_it_takes(
    tmp_path: Path, clock: list[int], goes_well: bool
) -> None:
    def opened(name: str) -> Store:
        return open_store(tmp_path / name, config=Config(), now=lambda: clock[0])

    archive = io.BytesIO()
    with opened("from") as origin:
        origin.sessions.create("s")
        for number in range(80):
            origin.artifacts.put("s", f"f{number}", b"%d" % number * (80_000 if number % 8 == 0 else 100))
        origin.archive.export(["s"], archive)
    archive.seek(0)
    told: list[GcReport] = []
    with opened("into") as store, opened("into") as other:
        store.sessions.create("t")
        store.artifacts.put("t", "known", b"1" * 100)
        store.artifacts.delete("t", "known")
        clock[0] += 2 * HOUR
        assert other.upkeep.gc().pruned == 1

        def collect(done: int, total: int) -> None:
            if done > total // 2:
                clock[0] += 2 * HOUR
                expected = other.upkeep.gc(dry_run=True)
                told.append(other.upkeep.gc())
                assert as_foretold(told[-1]) == expected
            if done == total and not goes_well:
                raise InterruptedError

        with nullcontext() if goes_well else pytest.raises(InterruptedError):
            store.archive.import_(archive, progress=collect)
        assert len(told) > 2
        assert {(one.condemned, one.removed, one.orphans) for one in told} == {(0, 0, 0)}
        if goes_well:
            assert len(store.artifacts.list("s")) == 80
            assert store.artifacts.read(store.artifacts.get("s", "f1")) == b"1" * 100
        clock[0] += 2 * HOUR
        marked = other.upkeep.gc().condemned
        clock[0] += 2 * HOUR
        assert (marked, other.upkeep.gc().removed) == ((0, 0) if goes_well else (1, 1))
        assert store.upkeep.fsck().problems == ()


class Pipe:
    """A source that cannot be read twice; after *pause* blocks something is *done* before it goes on."""

    def __init__(self, blocks: list[bytes], pause: int, done: Callable[[], object]) -> None:
        self.blocks, self.pause, self.done, self.reads = blocks, pause, done, 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        self.reads += 1
        if self.reads == self.pause:
            self.done()
        return self.blocks[self.reads - 1] if self.reads <= len(self.blocks) else b""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("goes_well", [True, False])
def test_what_a_pipe_brings_is_not_collected_however_long_it_takes(tmp_path: Path, goes_well: bool) -> None:
    config, later_ns, reports = Config(history_days=0), [0], list[GcReport]()
    blocks = [os.urandom(1 << 20) for _ in range(24)]

    def opened() -> Store:
        return open_store(tmp_path / "store", config=config, now=lambda: time.time_ns() + later_ns[0])

    with opened() as store, opened() as other:
        store.sessions.create("s")
        store.artifacts.put("s", "known", b"".join(blocks[:12]))

        def collect() -> None:
            other.artifacts.delete("s", "known")
            while not other.upkeep.gc(dry_run=True).young:  # until workers have written what is new of it
                time.sleep(0.01)
            for _ in range(3):
                later_ns[0] += 2 * HOUR
                reports.append(other.upkeep.gc(grace_seconds=0))
            if not goes_well:
                raise InterruptedError

        pipe = cast("BinaryIO", Pipe(blocks, 22, collect))
        with nullcontext() if goes_well else pytest.raises(InterruptedError):
            store.artifacts.put("s", "big", pipe)
        assert {(one.removed, one.orphans) for one in reports} == {(0, 0)}
        assert reports[0].young > 0
        if goes_well:
            assert store.artifacts.read(store.artifacts.get("s", "big")) == b"".join(blocks)
        later_ns[0] += 2 * HOUR
        assert other.upkeep.gc(grace_seconds=0).removed == 1
        assert store.upkeep.fsck().problems == ()


def as_foretold(report: GcReport) -> GcReport:
    return GcReport(
        report.pruned, report.condemned, report.removed, report.freed, report.orphans, report.expired, report.files,
        kept_for=report.kept_for, loose=report.loose,
    )  # fmt: skip


def rows(store: Store) -> list[Any]:
    tables = ("entry", "content", "chunk", "content_chunk", "inode", "session", "event", "doomed", "purge")
    with store.engine.index.snapshot() as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def test_what_was_freed_is_told(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    for number in range(20):
        store.artifacts.put("s", f"n{number}", os.urandom(50_000))
    store.artifacts.put("s", "big", os.urandom(BIG))
    for artifact in store.artifacts.list("s"):
        store.artifacts.delete("s", artifact.name)
    clock[0] += 31 * DAY
    assert store.upkeep.gc(grace_seconds=0).freed == 0
    clock[0] += 1
    seen: list[tuple[int, int]] = []
    report = store.upkeep.gc(grace_seconds=0, progress=lambda done, total: seen.append((done, total)))
    assert report.freed >= BIG + 20 * 50_000
    assert report.files >= 1
    assert report.index_freed >= 20 * 50_000
    assert seen[-1] == (21, 21)


def test_work_is_done_in_small_transactions(store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store.sessions.create("s")
    for number in range(1000):
        store.artifacts.put("s", f"n{number}", str(number).encode())
    store.sessions.delete("s")
    clock[0] += 31 * DAY
    erased = []
    erase_rows, erase_contents = erasing.erase_rows, erasing.erase_contents

    def noting_rows(db: Any, eids: list[int]) -> Any:
        erased.append(len(eids))
        return erase_rows(db, eids)

    def noting_contents(db: Any, cids: list[int], **how: Any) -> Any:
        erased.append(len(cids))
        return erase_contents(db, cids, **how)

    monkeypatch.setattr(erasing, "erase_rows", noting_rows)
    monkeypatch.setattr(erasing, "erase_contents", noting_contents)
    store.upkeep.gc(grace_seconds=0)
    clock[0] += 1
    assert store.upkeep.gc(grace_seconds=0).removed == 1000
    assert sum(erased) == 2000
    assert max(erased) <= 200


@pytest.mark.parametrize("way", ["gc", "purge", "purge of what no row has"])
def test_contents_of_many_chunks_go_a_few_at_a_time(
    clock: list[int], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    batches, contents = list[int](), erasing.erase_contents

    def noting(db: Any, cids: list[int], **how: Any) -> Any:
        batches.append(len(cids))
        return contents(db, cids, **how)

    monkeypatch.setattr(erasing, "erase_contents", noting)
    with open_store(backend="memory", config=Config(), now=lambda: clock[0]) as store:
        store.sessions.create("s")
        for number in range(8):
            store.artifacts.put("s", "f", f"{number}".encode() * 70_000)
        with store.engine.index.write() as db:  # as if they had 700 chunks each
            for table in ("content", "chunk", "entry"):
                db.execute(f"UPDATE {table} SET size = {700 << 20} WHERE size > 0")
            if way.endswith("has"):
                db.execute("DELETE FROM entry WHERE seq_to IS NOT NULL")
        if way == "gc":
            store.sessions.delete("s")
            clock[0] += 31 * DAY
            for _ in range(2):
                clock[0] += 1
                store.upkeep.gc(grace_seconds=0)
        else:
            store.artifacts.purge("s", "f")
    assert sum(batches) == 8
    assert max(batches) == 2


def test_notes_of_files_that_are_to_be_unlinked_go_a_few_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.sessions.create("s")
    store.artifacts.put_many("s", [NewArtifact(f"{n}", os.urandom(70_000)) for n in range(5)])
    batches, undoom = list[int](), erasing.undoom

    def noting(db: Any, chunks: list[str]) -> None:
        batches.append(len(chunks))
        undoom(db, chunks)

    monkeypatch.setattr(erasing, "undoom", noting)
    monkeypatch.setattr(unlinking, "_UNDOOMED", 2)
    assert len(store.sessions.purge("s").unlinked) == 5
    assert batches == [2, 2, 1]


def test_batches_are_bounded_by_count_and_by_bytes(store: Store) -> None:
    assert [len(batch) for batch in paced(store.engine.index, [(n, 0) for n in range(1000)])] == [200] * 5
    assert [len(batch) for batch in paced(store.engine.index, [(n, 1 << 19) for n in range(5)])] == [2, 2, 1]
    assert list(paced(store.engine.index, [])) == []


@contextmanager
def cut_before_unlinking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the process die, as it were, once rows are gone and before their files go."""

    def dies(*_: object, **__: object) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unlinking, "chunks", dies)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_a_run_that_was_cut_before_the_files_went_is_finished_by_the_next_to_open(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"

    def opened() -> Store:
        return open_store(path, config=Config(history_days=0), now=lambda: clock[0])

    with opened() as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", os.urandom(BIG))
        store.artifacts.delete("s", "a")
        clock[0] += 3 * 3600 * 10**9
        store.upkeep.gc(grace_seconds=0)
        clock[0] += 1
        with cut_before_unlinking(monkeypatch):
            store.upkeep.gc(grace_seconds=0)
        assert list(path.glob("blobs/*/*"))
    with opened() as store:
        assert list(path.glob("blobs/*/*")) == []
        assert store.upkeep.fsck().problems == ()


def test_files_go_after_their_rows_and_under_the_write_lock(
    sqlite_store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, gone = sqlite_store, []
    delete = FileBlobs.delete

    def looked_at(blobs: FileBlobs, chunk: str) -> None:
        with closing(sqlite3.connect(f"{store.path}/index.db", timeout=0, isolation_level=None)) as db:
            assert db.execute("SELECT 1 FROM chunk WHERE hash = ?", (bytes.fromhex(chunk),)).fetchone() is None
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                db.execute("BEGIN IMMEDIATE")
        gone.append(chunk)
        delete(blobs, chunk)

    monkeypatch.setattr(FileBlobs, "delete", looked_at)
    store.sessions.create("s")
    for number in range(2):
        store.artifacts.put("s", f"a{number}", os.urandom(BIG))
    store.artifacts.delete("s", "a0")
    clock[0] += 31 * DAY
    store.upkeep.gc(grace_seconds=0)
    clock[0] += 1
    assert store.upkeep.gc(grace_seconds=0).files == len(gone) > 0
    assert len(store.artifacts.purge("s", "a1").unlinked) > 0


def test_a_file_that_a_writer_has_put_since_its_rows_went_is_left_to_the_writer(
    sqlite_store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, content = sqlite_store, os.urandom(300_000)
    store.sessions.create("s")
    store.artifacts.put("s", "a", content)
    store.artifacts.delete("s", "a")
    clock[0] += 31 * DAY
    store.upkeep.gc(grace_seconds=0)
    clock[0] += 1
    unlink, staged = unlinking.chunks, []

    def staged_first(*words: Any, **how: Any) -> list[str]:
        time.sleep(0.02)  # files' times are only so fine
        staged.append(store.intake.stage(content))
        return unlink(*words, **how)

    monkeypatch.setattr(unlinking, "chunks", staged_first)
    monkeypatch.setattr(Collection, "_orphans", lambda _: Orphans({}, 0, 0))  # by the store's clock it is a month old
    assert store.upkeep.gc(grace_seconds=0).files == 0
    assert list((store.path or Path()).glob("blobs/*/*"))
    monkeypatch.undo()
    clock[0] = max(clock[0], time.time_ns()) + DAY  # the file has the system's time
    assert store.upkeep.gc(force=True).orphans == 1


def test_content_that_is_doomed_and_stored_again_stays(
    sqlite_store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, content = sqlite_store, os.urandom(BIG)
    store.sessions.create("s")
    store.artifacts.put("s", "a", content)
    store.artifacts.delete("s", "a")
    clock[0] += 31 * DAY
    store.upkeep.gc(grace_seconds=0)
    clock[0] += 1
    with cut_before_unlinking(monkeypatch):
        store.upkeep.gc(grace_seconds=0)
    store.artifacts.put("s", "b", content)
    store.upkeep.gc(grace_seconds=0)
    store.engine.rooms.cache.clear()
    assert store.artifacts.read(store.artifacts.get("s", "b")) == content
    with store.engine.index.read() as db:
        assert erasing.doomed(db) == []


def test_a_fleeting_file_that_is_brought_back_meanwhile_stays(
    store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"fleeting")
    store.artifacts.delete("s", "a")
    clock[0] += 2 * 3600 * 10**9

    def restores_first(index: Any, items: Any) -> Any:
        if items:
            store.artifacts.restore("s", "a")
        return paced(index, items)

    with store.engine.index.read() as db:
        found = collecting.fleeting(db, clock[0] - 3600 * 10**9)
    assert len(found) == 1
    monkeypatch.setattr(collecting, "fleeting", lambda *_: found)
    monkeypatch.setattr("llmspellfs.service.collecting.paced", restores_first)
    assert store.upkeep.gc().pruned == 0
    assert store.artifacts.read(store.artifacts.get("s", "a")) == b"fleeting"


def test_a_writer_waits_for_one_batch_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "store", config=Config(history_days=0)) as store:
        store.sessions.create("s")
        store.sessions.create("w")
        for number in range(3000):
            store.artifacts.put("s", f"n{number}", str(number).encode() * 20)
        store.sessions.delete("s")
        collector, batches = threading.current_thread(), list[str]()
        met, ended = list[int](), threading.Event()

        def hear(step: str) -> None:
            if step == "index.commit" and threading.current_thread() is collector:
                batches.append(step)

        def write() -> None:
            while not ended.is_set():
                before = len(batches)
                store.artifacts.put("w", f"w{len(met) % 10}", str(len(met)).encode())
                met.append(len(batches) - before)

        monkeypatch.setattr(disk, "hook", hear)
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(2):
            store.upkeep.gc(grace_seconds=0)
        ended.set()
        writer.join()
        assert len(batches) > 3000 // 200
        # Where the machine holds the writer up, between two steps of its own, it meets more.
        assert sorted(met)[len(met) * 9 // 10] <= 2, Counter(met)


LARGE = "SELECT cid FROM content WHERE data IS NULL"


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM chunk",
        "DELETE FROM content",
        "DELETE FROM content_chunk",
        "DELETE FROM content_chunk WHERE start = 0",
        "UPDATE content_chunk SET kid = kid + 1000",
        "UPDATE chunk SET size = size - 1",
        f"DELETE FROM content_chunk WHERE cid IN ({LARGE}) AND kid = (SELECT max(kid) FROM chunk)",
    ],
)
def test_nothing_is_collected_while_rows_name_content_that_the_index_lacks(
    tmp_path: Path, clock: list[int], loss: str
) -> None:
    noise = os.urandom(200_000)
    with open_store(tmp_path / "store", now=lambda: clock[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "large", noise)
        with store.engine.index.write() as db:
            db.execute(loss)
        clock[0] = time.time_ns() + 3 * 3600 * 10**9
        for _ in range(3):
            expected = store.upkeep.gc(grace_seconds=0, force=True, dry_run=True)
            report = store.upkeep.gc(grace_seconds=0, force=True)
            assert report == expected
            assert report.kept_for is not None
            clock[0] += 3600 * 10**9
        assert (report.removed, report.orphans, report.freed) == (0, 0, 0)
        assert not [note for note in store.upkeep.fsck().notes if "`gc` marks" in note or "`gc` removes" in note]
        [blob] = (path for path in (tmp_path / "store/blobs").rglob("*") if path.is_file())
        assert blob.name == blake3(noise).hexdigest()


def test_chunks_that_no_content_has_go_in_two_passes_and_a_dry_run_foretells_them(
    sqlite_store: Store, clock: list[int]
) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "large", os.urandom(200_000))
    store.artifacts.delete("s", "large")
    clock[0] += 31 * DAY
    store.upkeep.gc(grace_seconds=0)
    with store.engine.index.write() as db:  # nothing refers to the content by now
        db.execute("DELETE FROM content_chunk")
        db.execute("DELETE FROM content")
        db.execute("UPDATE chunk SET condemned_ns = NULL")
    assert [note for note in store.upkeep.fsck().notes if "1 chunk that no content has: `gc` marks it," in note]
    told = []
    for _ in range(3):
        clock[0] += 2 * HOUR
        expected = store.upkeep.gc(dry_run=True)
        told.append(store.upkeep.gc())
        assert as_foretold(told[-1]) == expected
    assert [(one.condemned, one.loose, one.files) for one in told] == [(1, 0, 0), (0, 1, 1), (0, 0, 0)]
    assert told[1].freed >= 200_000


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM event WHERE seq = 2",
        "DELETE FROM event WHERE id = (SELECT max(id) FROM event)",
        "DELETE FROM session",
        "DELETE FROM session; DELETE FROM event WHERE id < (SELECT max(id) FROM event)",
    ],
)
def test_content_that_no_row_refers_to_stays_while_a_trail_lacks_events_until_it_is_given_up(
    tmp_path: Path, clock: list[int], loss: str
) -> None:
    with open_store(tmp_path / "store", config=Config(), now=lambda: clock[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "large", os.urandom(200_000))
        store.artifacts.put("s", "small", b"some")
        with store.engine.index.write() as db:
            for statement in ("DELETE FROM entry", *loss.split("; ")):
                db.execute(statement)
        clock[0] = time.time_ns() + 3 * HOUR
        for _ in range(3):
            expected = store.upkeep.gc(grace_seconds=0, force=True, dry_run=True)
            report = store.upkeep.gc(grace_seconds=0, force=True)
            assert report == expected
            assert "gc --give-up" in str(report.kept_for)
            assert (report.condemned, report.removed, report.freed) == (0, 0, 0)
            clock[0] += HOUR
        found = store.upkeep.fsck()
        assert any("it collects no content" in note for note in found.notes)
        assert not any("`gc` marks" in note for note in found.notes)
        assert any("restore-store" in line for line in found.advice)
        assert store.upkeep.gc(grace_seconds=0, force=True, give_up=True).condemned == 2
        clock[0] += HOUR
        assert store.upkeep.gc(grace_seconds=0).removed == 2, "what was given up once stays so"


def test_more_loss_after_some_was_given_up_is_waited_for_again(tmp_path: Path, clock: list[int]) -> None:
    with open_store(tmp_path / "store", config=Config(), now=lambda: clock[0]) as store:
        for name in "abc":
            store.sessions.create(name)
        for seen in ("WHERE id = 1", "WHERE id = 2"):
            with store.engine.index.write() as db:
                db.execute(f"DELETE FROM event {seen}")
            assert store.upkeep.gc().kept_for is not None
            assert store.upkeep.gc(give_up=True).kept_for is None
            assert store.upkeep.gc().kept_for is None


def test_what_came_back_after_it_was_given_up_is_waited_for_when_it_is_lost_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", config=Config()) as store:
        for name in "ab":
            store.sessions.create(name)
        with store.engine.index.write() as db:
            row = db.execute("SELECT * FROM event WHERE id = 1").fetchone()
        for _ in range(2):
            with store.engine.index.write() as db:
                db.execute("DELETE FROM event WHERE id = 1")
            assert store.upkeep.gc().kept_for is not None
            assert store.upkeep.gc(give_up=True).kept_for is None
            with store.engine.index.write() as db:
                db.execute(f"INSERT INTO event VALUES ({','.join('?' * len(row))})", tuple(row))
            assert store.upkeep.gc().kept_for is None


def test_a_session_that_was_brought_back_and_deleted_again_meanwhile_does_not_expire(
    store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        store.sessions.create(name)
        store.sessions.delete(name)
    clock[0] += 31 * DAY
    turn = erasure.turn

    def late(engine: Engine) -> AbstractContextManager[None]:
        monkeypatch.undo()
        store.sessions.restore("a")
        store.sessions.delete("a")
        return turn(engine)

    with store.engine.index.read() as db:
        assert len(collecting.expired(db, clock[0] - 30 * DAY)) == 2
    monkeypatch.setattr(erasure, "turn", late)
    assert erasure.expire_sessions(store.engine, clock[0] - 30 * DAY) == 1
    assert store.sessions.restore("a").name == "a"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE session SET deleted_ns = 0",
        "UPDATE session SET deleted_ns = 1.5",
        "UPDATE entry SET seq_to = 0 WHERE kind = 0",
        "UPDATE entry SET seq_to = 1.5 WHERE kind = 1",
        "UPDATE entry SET content = NULL",
        "UPDATE entry SET content = 'x'",
    ],
)
def test_what_one_altered_value_says_is_over_outlives_a_collection(tmp_path: Path, statement: str) -> None:
    path, now = tmp_path / "store", [1_800_000_000 * 10**9]
    with open_store(path, config=Config(), now=lambda: now[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "d/large", os.urandom(200_000))
        expected = store.artifacts.read(store.artifacts.get("s", "d/large"))
        now[0] += 31 * DAY
        store.artifacts.put("s", "late", b"it has a history")
        with store.engine.index.write() as db:
            db.execute(statement)
        for _ in range(3):
            now[0] += 10**9
            store.upkeep.gc(grace_seconds=0)
    repair(path, Config(), origin=Origin("uid:1", "cli"))
    with open_store(path, config=Config(), now=lambda: now[0]) as store:
        assert store.artifacts.read(store.artifacts.get("s", "d/large")) == expected


def test_a_deleted_session_expires_by_its_event_whatever_the_index_says_of_when(tmp_path: Path) -> None:
    now = [1_800_000_000 * 10**9]
    with open_store(tmp_path / "store", config=Config(), now=lambda: now[0]) as store:
        store.sessions.create("s")
        now[0] += 31 * DAY
        store.sessions.delete("s")
        with store.engine.index.write() as db:
            db.execute("UPDATE session SET deleted_ns = 0")
        assert store.upkeep.gc(dry_run=True).expired == 0
        assert store.upkeep.gc().expired == 0
        now[0] += 31 * DAY
        assert store.upkeep.gc().expired == 1


def test_a_purge_erases_while_gc_keeps_content(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "large", os.urandom(200_000))
        store.sessions.create("t")
        with store.engine.index.write() as db:
            db.execute("DELETE FROM event WHERE id = (SELECT max(id) FROM event)")
        assert store.upkeep.gc().kept_for is not None
        store.artifacts.purge("s", "large")
        assert not [path for path in (tmp_path / "store/blobs").rglob("*") if path.is_file()]


def test_a_healthy_store_has_lost_no_event_whatever_was_done(store: Store, clock: list[int]) -> None:
    filled(store, clock)
    store.upkeep.gc(grace_seconds=0)
    archive = io.BytesIO()
    store.artifacts.put("s", "one more", b"x")
    store.archive.export(["s"], archive)
    archive.seek(0)
    store.archive.import_(archive, name="copy")
    store.sessions.purge("s")
    with store.engine.index.read() as db:
        assert collecting.lost_events(db) == 0
