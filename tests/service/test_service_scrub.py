"""Scrubbing: harm is found without anybody reading, named once, and forgotten when it is mended."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import StoreBusy
from llmspellfs.service.scrub import ScrubReport, Walk
from llmspellfs.service.scrubber import Scrubber
from llmspellfs.storage import contents, turns
from tests.steady import steady_clock

DAY = 86400 * 10**9


@pytest.fixture
def filled(tmp_path: Path, clock: list[int]) -> Iterator[Store]:
    """A store of two sessions that share a large content, with small ones beside it."""
    with open_store(tmp_path / "made", config=Config(), now=lambda: clock[0]) as store:
        big = Random(1).randbytes(3 << 20)  # three chunks
        for ref in "st":
            store.sessions.create(ref)
            store.artifacts.put(ref, "big", big)
            for number in range(100):
                store.artifacts.put(ref, f"n{number}", f"{ref}{number}".encode() * 9)
        yield store


def blobs(store: Store) -> list[Path]:
    return sorted((store.path or Path()).glob("blobs/*/*"))


def pieces(store: Store) -> int:
    with store.engine.index.read() as db:
        return 200 + contents.count_chunks(db)


def harm(path: Path) -> bytes:
    """Change one byte of *path*; return what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    return whole


def test_a_sound_store_is_read_whole(filled: Store) -> None:
    seen: list[tuple[int, int]] = []
    report = filled.upkeep.scrub(progress=lambda done, total: seen.append((done, total)))
    stored = filled.upkeep.stats().stored_bytes
    assert report == ScrubReport(pieces(filled), stored, (), is_whole=True)
    assert seen[-1] == (stored, stored)
    state = filled.upkeep.stats().scrub
    assert (state.percent, state.ended_ns, state.harmed) == (0, filled.engine.now(), 0)


def test_harm_is_noted_named_once_and_cleared(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    path = blobs(filled)[0]
    whole = harm(path)
    for _ in range(2):
        assert filled.upkeep.scrub().harmed == ("s:big", "t:big")
    assert filled.upkeep.stats().scrub.harmed == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "s:big, t:big" in warnings[0]
    path.write_bytes(whole)
    assert filled.upkeep.scrub().harmed == ()
    assert filled.upkeep.stats().scrub.harmed == 0


def test_harm_within_the_index_and_missing_files_are_found(filled: Store) -> None:
    blobs(filled)[0].unlink()
    with closing(sqlite3.connect(f"{filled.path}/index.db")) as db, db:
        where = "cid = (SELECT content FROM entry WHERE name = 'n7' AND sid = 1)"
        db.execute(f"UPDATE content SET data = CAST('X' || substr(data, 2) AS BLOB) WHERE {where}")
    assert set(filled.upkeep.scrub().harmed) == {"s:n7", "s:big", "t:big"}
    for ref in "st":
        filled.artifacts.purge(ref, "big")
    filled.artifacts.purge("s", "n7")
    assert filled.upkeep.scrub().harmed == ()
    with filled.engine.index.read() as db:
        assert db.execute("SELECT count(*) FROM harm").fetchone() == (0,)


def test_harm_in_the_past_is_named_with_its_version(filled: Store) -> None:
    filled.artifacts.put("t", "big", b"another")
    path = blobs(filled)[0]
    whole = harm(path)
    assert filled.upkeep.scrub().harmed == ("s:big", "t:big (version 1)")
    assert set(filled.upkeep.scrub().harmed) == set(map(str, filled.upkeep.fsck().harms))
    path.write_bytes(whole)


def test_a_share_goes_on_where_the_last_one_ended(filled: Store) -> None:
    first = filled.upkeep.scrub(40)
    assert 0 < first.bytes < filled.upkeep.stats().stored_bytes
    percent = filled.upkeep.stats().scrub.percent
    assert 40 <= percent < 100
    second = filled.upkeep.scrub(99)
    assert first.checked + second.checked == pieces(filled)
    assert second.is_whole


def test_what_is_purged_between_being_found_and_being_read_is_not_harmed(filled: Store) -> None:
    walk = Walk(filled.engine, is_new=True)
    found = walk._next

    def purged_first() -> list[object]:
        batch = found()
        for artifact in filled.artifacts.list("s"):
            filled.artifacts.purge("s", artifact.name)
        for artifact in filled.artifacts.list("t"):
            filled.artifacts.purge("t", artifact.name)
        return batch  # type: ignore[return-value]

    with filled.engine.index.snapshot() as db:
        db.execute("SELECT 1 FROM chunk").fetchone()
    walk.state = type(walk.state)(0, cid=10**9)
    walk._next = purged_first  # type: ignore[assignment,method-assign]
    while walk.step():
        pass
    assert walk.report().harmed == ()


def wait_until(is_so: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_the_background_scrub_follows_its_schedule(filled: Store, clock: list[int]) -> None:
    harm(blobs(filled)[-1])
    scrubber = Scrubber(filled.engine, tick=0.01, is_busy=lambda: False)
    try:
        wait_until(lambda: filled.upkeep.stats().scrub.began_ns is not None)
        assert filled.upkeep.stats().scrub.percent == 0
        clock[0] += 15 * DAY
        wait_until(lambda: filled.upkeep.stats().scrub.percent >= 50)
        time.sleep(0.1)
        assert filled.upkeep.stats().scrub.ended_ns is None
        clock[0] += 16 * DAY
        wait_until(lambda: filled.upkeep.stats().scrub.ended_ns is not None)
        assert filled.upkeep.stats().scrub.harmed == 2
    finally:
        scrubber.close()


def test_a_busy_process_is_not_scrubbed_and_ends_at_once(filled: Store, clock: list[int]) -> None:
    scrubber = Scrubber(filled.engine, tick=0.01, is_busy=lambda: True)
    try:
        wait_until(lambda: filled.upkeep.stats().scrub.began_ns is not None)
        clock[0] += 40 * DAY
        time.sleep(0.2)
        assert filled.upkeep.stats().scrub.percent == 0
    finally:
        with steady_clock() as seconds:
            scrubber.close()
            took = seconds()
    assert took < 5


def test_one_process_scrubs_at_a_time(filled: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmspellfs.service.scrub._PATIENCE", 0.05)
    with turns.alone(filled.path, turns.SCRUBBING) as is_mine:
        assert is_mine
        with pytest.raises(StoreBusy):
            filled.upkeep.scrub()
        scrubber = Scrubber(filled.engine, tick=0.01, is_busy=lambda: False)
        clock[0] += 40 * DAY
        time.sleep(0.2)
        scrubber.close()
        assert filled.upkeep.stats().scrub.began_ns is None
    assert filled.upkeep.scrub().is_whole


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with open_store(tmp_path / "made", config=Config(scrub_days=0)) as store:
        scrubber = Scrubber(store.engine)
        assert scrubber._thread is None
        scrubber.close()


def test_a_store_in_memory_can_be_read_whole_too() -> None:
    with open_store(backend="memory", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", os.urandom(3 << 20))
        assert store.upkeep.scrub().is_whole
