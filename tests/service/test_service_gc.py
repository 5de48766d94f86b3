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
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.service import erasure
from llmspellfs.service.collecting import Collection, GcReport, Orphans
from llmspellfs.service.pacing import paced
from llmspellfs.storage import collecting, erasing
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
    """Run writers and a collector for *seconds* while readers of live content go on; return the figures as a line."""
    pool = collecting_stress.contents()[:1]  # its chunks are a part of others', whose own come and go
    with open_store(path, config=collecting_stress.CONFIG) as store:
        store.sessions.create("kept")
        for number, content in enumerate(pool):
            store.artifacts.put("kept", f"k{number}", content)
        walker = Walker(store)
        readers = [store.artifacts.open(store.artifacts.get("kept", f"k{number}")) for number in range(len(pool))]
        handles = [walker.open(f"/sessions/kept/k{number}") for number in range(len(pool))]
        children = [child("write", path, seconds, seed) for seed in (1, 2)] + [child("collect", path, seconds, 0)]
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
    assert figures[2]["files"] > 0, "nothing was collected: the test shows nothing"
    return f"{sum(f['acknowledged'] for f in figures[:2])} contents read back, {reads} reads, {figures}"


def test_no_chunk_is_lost_among_writers_and_readers(tmp_path: Path) -> None:
    print(stress(tmp_path / "store", 4))


@pytest.mark.soak
def test_no_chunk_is_lost_in_the_long_run(tmp_path: Path) -> None:
    print(stress(tmp_path / "store", float(os.environ.get("LLMSPELLFS_SOAK_SECONDS", "60"))))


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


def as_foretold(report: GcReport) -> GcReport:
    return GcReport(
        report.pruned, report.condemned, report.removed, report.freed, report.orphans, report.expired, report.files,
        kept_for=report.kept_for,
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
        patched.setattr(erasure, "unlink_chunks", dies)
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
    unlink, staged = erasure.unlink_chunks, []

    def staged_first(*words: Any, **how: Any) -> list[str]:
        time.sleep(0.02)  # files' times are only so fine
        staged.append(store.intake.stage(content))
        return unlink(*words, **how)

    monkeypatch.setattr(erasure, "unlink_chunks", staged_first)
    monkeypatch.setattr(Collection, "_orphans", lambda _: Orphans({}, 0, 0))  # by the store's clock it is a month old
    assert store.upkeep.gc(grace_seconds=0).files == 0
    assert list((store.path or Path()).glob("blobs/*/*"))
    monkeypatch.undo()
    clock[0] += DAY
    assert store.upkeep.gc().orphans == 1


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


def test_a_writer_waits_for_one_batch_at_most(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", config=Config(history_days=0)) as store:
        store.sessions.create("s")
        store.sessions.create("w")
        for number in range(3000):
            store.artifacts.put("s", f"n{number}", str(number).encode() * 20)
        store.sessions.delete("s")
        waits, ended = [0.0], threading.Event()

        def write() -> None:
            number = 0
            while not ended.is_set():
                began = time.monotonic()
                store.artifacts.put("w", f"w{number % 10}", str(number).encode())
                waits.append(time.monotonic() - began)
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(2):
            store.upkeep.gc(grace_seconds=0)
        ended.set()
        writer.join()
        print(f"{len(waits)} writes, the longest {max(waits) * 1000:.0f} ms")
        assert max(waits) < 5


@pytest.mark.parametrize("table", ["chunk", "content"])
def test_nothing_is_collected_while_rows_name_content_that_the_index_lacks(
    tmp_path: Path, clock: list[int], table: str
) -> None:
    noise = os.urandom(200_000)
    with open_store(tmp_path / "store", now=lambda: clock[0]) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "large", noise)
        with store.engine.index.write() as db:
            db.execute(f"DELETE FROM {table}")
        clock[0] = time.time_ns() + 3 * 3600 * 10**9
        for _ in range(3):
            report = store.upkeep.gc(grace_seconds=0, force=True)
            assert report.kept_for is not None
            clock[0] += 3600 * 10**9
        assert (report.removed, report.orphans) == (0, 0)
        [blob] = (path for path in (tmp_path / "store/blobs").rglob("*") if path.is_file())
        assert blob.name == blake3(noise).hexdigest()
