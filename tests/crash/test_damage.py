"""Stores harmed on purpose: every harm that matters is found, nothing wrong is served, and a repair loses nothing."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, StoreUnusable
from llmspellfs.service import chains
from llmspellfs.storage import audit
from llmspellfs.storage.blobs import MemoryBlobs
from llmspellfs.storage.codec import PLAIN, ZSTD, decode_checked
from llmspellfs.storage.ingest import stage_bytes
from tests.crash import damage as harm
from tests.seeds import first_seed

TRUTH: dict[Path, dict[tuple[str, str], str | None]] = {}
"""What each artifact of a store reads as before it is harmed."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of everything, which no test changes."""
    path = tmp_path_factory.mktemp("damage") / "whole"
    harm.make_store(path)
    assert harm.checked(path).found == ()
    TRUTH[path] = harm.listed(harm.copied(path, path.with_name("probe")))
    return path


@pytest.mark.parametrize("codec", [PLAIN, ZSTD])
def test_every_changed_byte_of_a_chunk_is_found(codec: int, figures: Callable[[str], None]) -> None:
    plain = random.Random(1).randbytes(60_000) if codec == PLAIN else b"".join(b"%d\n" % n for n in range(2000))
    staged = stage_bytes(plain, MemoryBlobs(), 100)
    stored = bytearray(staged.data or b"")
    assert staged.codec == codec
    tried = 0
    for at in range(len(stored)):
        for mask in (1 << at % 8, 0xFF) if codec == ZSTD else (1 << at % 8,):
            stored[at] ^= mask
            with pytest.raises(Corrupt):
                decode_checked(codec, bytes(stored), len(plain), staged.hash)
            stored[at] ^= mask
            tried += 1
    assert decode_checked(codec, bytes(stored), len(plain), staged.hash) == plain
    figures(f"{tried} changes of a byte, all found")


def test_every_changed_byte_of_a_chunks_file_is_found_by_fsck(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", os.urandom(66_000))
    (blob,) = harm.blobs(tmp_path / "s")
    content = blob.read_bytes()
    with open_store(tmp_path / "s", config=Config()) as store:
        for at in [*range(64), *range(64, len(content), 997), len(content) - 1]:
            blob.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            report = store.upkeep.fsck()
            assert report.harmed == ("s:a",), at
            with pytest.raises(Corrupt):
                store.artifacts.read(store.artifacts.get("s", "a"))
            store.engine.rooms.cache.clear()
        blob.write_bytes(content)
        assert store.upkeep.fsck().ok


def test_every_changed_byte_of_every_event_line_is_found(
    whole: Path, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    path = harm.copied(whole, tmp_path / "s")
    tried = 0
    with closing(sqlite3.connect(path / "index.db", isolation_level=None)) as db, audit.lenient(db):
        db.execute("BEGIN")
        for number, sid, line in db.execute("SELECT id, sid, CAST(line AS BLOB) FROM event").fetchall():
            for at in range(len(line)):
                changed = line[:at] + bytes([line[at] ^ (1 << at % 8)]) + line[at + 1 :]
                db.execute("UPDATE event SET line = CAST(? AS TEXT) WHERE id = ?", (changed, number))
                assert chains.verify(db, sid)[0].problem is not None, (number, at)
                tried += 1
            db.execute("UPDATE event SET line = CAST(? AS TEXT) WHERE id = ?", (line, number))
        assert all(report.problem is None for report in chains.verify(db, None))
    figures(f"{tried} changes of a byte, all found")
    assert tried > 3000


@pytest.mark.parametrize("table", ["content", "chunk"])
def test_every_changed_byte_of_every_hash_is_found(whole: Path, tmp_path: Path, table: str) -> None:
    path = harm.copied(whole, tmp_path / "s")
    key = {"content": "cid", "chunk": "kid"}[table]
    changing = closing(sqlite3.connect(path / "index.db", isolation_level=None))
    with changing as db, open_store(path, config=Config()) as s:
        for number, digest in db.execute(f"SELECT {key}, hash FROM {table}").fetchall():
            for at in range(32):
                changed = digest[:at] + bytes([digest[at] ^ 1 << at % 8]) + digest[at + 1 :]
                db.execute(f"UPDATE {table} SET hash = ? WHERE {key} = ?", (changed, number))
                assert not s.upkeep.fsck(quick=True).ok, (number, at)
            db.execute(f"UPDATE {table} SET hash = ? WHERE {key} = ?", (digest, number))
        assert s.upkeep.fsck().ok


MAY_BE_NOTHING = {
    "bytes of the index changed", "a page of the index zeroed", "a page of the index overwritten by another",
    "a row edited", *(name for name in harm.DAMAGES if name.startswith("the WAL of a killed store")),
}  # fmt: skip
"""Damage that may meet a byte that nothing uses, or a column that no hash covers (`test_service_fsck_columns`)."""


def try_one(whole: Path, path: Path, seed: int, names: list[str], counts: Counter[str]) -> None:
    """Harm a copy of *whole*, and hold the repair to it: nothing lost that was there, nothing new, nothing twice."""
    chance, name = random.Random(seed), names[seed % len(names)]
    harm.copied(whole, path)
    harm.DAMAGES[name](path, chance)
    probe = harm.copied(path, path.with_name(f"{path.name}-probe"))
    before, listed = harm.readable(probe), harm.listed(probe)
    shutil.rmtree(probe)
    what = (seed, name, harm.LAST)
    counts["tried"] += 1
    try:
        report = harm.mended(path)
    except StoreUnusable:
        assert name in {"the header of the index destroyed", "the index cut off", "a page of the index zeroed"}, what
        counts["found"] += 1
        counts["beyond repair"] += 1
    else:
        after, truth = harm.readable(path), TRUTH[whole]
        assert before <= after, what
        for place, digest in harm.listed(path).items():
            assert digest in {None, truth.get(place, digest), listed.get(place, "")}, (place, what)
        is_found = any(not problem.is_note for problem in report.found)
        assert is_found or name in MAY_BE_NOTHING, what
        counts["found"] += is_found
        counts["repaired"] += report.ok and bool(report.repaired)
        assert set(harm.checked(path).problems) <= set(report.problems), what
        again = harm.mended(path)
        assert (again.repaired, set(again.problems)) == ((), set(report.problems)), what
    shutil.rmtree(path)


@pytest.mark.parametrize("name", harm.DAMAGES)
def test_a_repair_loses_nothing_that_could_be_read(
    whole: Path, tmp_path: Path, name: str, figures: Callable[[str], None]
) -> None:
    counts: Counter[str] = Counter()
    for seed in range(3):
        try_one(whole, tmp_path / str(seed), seed, [name], counts)
    figures(", ".join(f"{number} {what}" for what, number in counts.items()))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_random_damage_for_minutes(
    whole: Path, tmp_path: Path, soak_seconds: float, figures: Callable[[str], None]
) -> None:
    counts: Counter[str] = Counter()
    first, end = first_seed(), time.monotonic() + soak_seconds
    print(f"damage: seeds from {first}")
    seed = first
    while time.monotonic() < end:
        try_one(whole, tmp_path / "s", seed, list(harm.DAMAGES), counts)
        seed += 1
    figures(f"seeds from {first}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))


def test_a_schema_that_is_no_text_is_told_and_mended(whole: Path, tmp_path: Path) -> None:
    path = harm.copied(whole, tmp_path / "s")
    before = harm.readable(path)
    index = path / "index.db"
    index.write_bytes(index.read_bytes().replace(b"CREATE TABLE", b"CREATE \xf3ABLE", 1))
    with pytest.raises(StoreUnusable, match="malformed database schema"):
        open_store(path, config=Config())
    assert harm.mended(path).ok
    assert harm.readable(path) == before


def wal_store(whole: Path, path: Path) -> Path:
    """Return a copy of *whole* with commits that only its WAL has, as a process leaves it that was killed."""
    harm.copied(whole, path)
    with open_store(path, config=Config()) as store:
        for number in range(20):
            store.artifacts.put("work", f"wal/{number}", f"content {number}".encode())
        store.sync()
        killed = path.with_name(f"{path.name}-killed")
        harm.copied(path, killed)
    shutil.rmtree(killed / "spool")
    return killed


def test_commits_after_a_changed_byte_of_the_wal_come_back(whole: Path, tmp_path: Path) -> None:
    path = wal_store(whole, tmp_path / "s")
    size = (path / "index.db-wal").stat().st_size
    probe = harm.copied(path, tmp_path / "probe")
    expected = harm.readable(probe)
    harm.flip(path / "index.db-wal", 32 + (24 + 4096) * 5 + 1000, 0x10)
    assert size > 32 + 4120 * 8
    assert harm.readable(harm.copied(path, tmp_path / "hidden")) < expected
    report = harm.mended(path)
    assert "index: a byte of the WAL put back, by its checksums" in report.done
    assert report.quarantine is not None
    assert harm.readable(path) == expected
    assert (Path(report.quarantine) / "index.db-wal").stat().st_size == size


def test_a_wal_that_is_cut_off_costs_only_its_end(whole: Path, tmp_path: Path) -> None:
    path = wal_store(whole, tmp_path / "s")
    wal = path / "index.db-wal"
    os.truncate(wal, wal.stat().st_size - 5000)
    old = harm.readable(harm.copied(whole, tmp_path / "old"))
    assert harm.mended(path).ok
    assert old <= harm.readable(path)


def test_a_second_repair_ends_what_a_killed_one_began(whole: Path, tmp_path: Path) -> None:
    """A salvaged index that is ready takes its place at the next opening, by whomever."""
    from llmspellfs.storage.salvage import salvage

    path = harm.copied(whole, tmp_path / "s")
    expected = harm.readable(path)
    shutil.copy(path / "index.db", tmp_path / "copy.db")
    salvage(str(tmp_path / "copy.db"), str(path / "index.db.ready"), lambda *_: None)
    harm.flip(path / "index.db", 30, 0xFF)
    (path / "index.db-wal").write_bytes(b"x" * 5000)
    assert harm.readable(path) == expected
    assert harm.checked(path).ok
    assert not (path / "index.db.ready").exists()


def test_an_index_in_use_is_not_repaired(whole: Path, tmp_path: Path) -> None:
    path = harm.copied(whole, tmp_path / "s")
    with open_store(path, config=Config()), pytest.raises(StoreUnusable, match=f"process {os.getpid()} has it open"):
        harm.mended(path)
    assert harm.mended(path).found == ()
    assert not (path / "quarantine").exists()
