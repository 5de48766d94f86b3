"""Contents and chunks as rows: each once, looked for under the lock, condemned and removed in two passes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

import pytest

from llmspellfs.errors import Corrupt, Vanished
from llmspellfs.storage import collecting, contents, erasing
from llmspellfs.storage.blobs import MemoryBlobs
from llmspellfs.storage.content import ChunkCache, ContentReader
from llmspellfs.storage.ingest import KNOWN, Check, stage_bytes
from llmspellfs.storage.migrations import migrate

BIG = os.urandom(5 << 20)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, None)
    yield connection
    connection.close()


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


def place(db: sqlite3.Connection, blobs: MemoryBlobs, data: bytes) -> contents.Placed:
    return contents.place(db, stage_bytes(data, blobs, 1024), blobs)


def refer(db: sqlite3.Connection, cid: int) -> None:
    db.execute("INSERT INTO entry (sid, folder, name, ino, kind, content) VALUES (1, 1, ?, 1, 0, ?)", (str(cid), cid))


def read(db: sqlite3.Connection, blobs: MemoryBlobs, cid: int) -> bytes:
    cache = ChunkCache()
    size, refs = contents.load_refs(db, cid)
    data = ContentReader(refs, size, blobs, cache).read_at(0, size)
    cache.close()
    return data


@pytest.mark.parametrize("data", [b"", b"x", bytes(60_000), os.urandom(65_536), bytes(9 << 20), BIG])
def test_what_is_placed_reads_back_and_is_kept_once(db: sqlite3.Connection, blobs: MemoryBlobs, data: bytes) -> None:
    first = place(db, blobs, data)
    assert place(db, blobs, data) == first
    assert read(db, blobs, first.cid) == data
    assert first.size == len(data)
    stored = db.execute("SELECT stored_size FROM content").fetchall()
    assert stored == [(first.stored_size,)]
    kept = contents.totals(db)[1]
    assert kept == sum(size for _, size in blobs.iterate()) + sum(
        row[0] for table in ("content", "chunk") for row in db.execute(f"SELECT coalesce(length(data), 0) FROM {table}")
    )


def condemn(db: sqlite3.Connection, now_ns: int) -> int:
    return collecting.mark(db, [cid for cid, _ in collecting.unused(db)], now_ns)


def remove(db: sqlite3.Connection, before_ns: int) -> list[str]:
    """Remove what was condemned before; return the chunks whose files are to go."""
    due = [cid for cid, _ in collecting.due(db, before_ns)]
    files = erasing.erase_contents(db, collecting.still_due(db, due, before_ns)).files
    assert erasing.doomed(db) == sorted(files)
    erasing.undoom(db, files)
    return files


def test_chunks_are_shared(db: sqlite3.Connection, blobs: MemoryBlobs) -> None:
    first = place(db, blobs, BIG)
    second = place(db, blobs, BIG + b"tail")
    assert first.cid != second.cid
    assert contents.totals(db)[0] < 2 * len(BIG)
    assert read(db, blobs, second.cid) == BIG + b"tail"


def test_a_chunk_that_vanished_while_it_was_staged_is_refused(db: sqlite3.Connection, blobs: MemoryBlobs) -> None:
    staged = stage_bytes(BIG, blobs, 1024)
    blobs.delete(staged.chunks[0].hash.hex())
    with pytest.raises(Vanished):
        contents.place(db, staged, blobs)
    known = stage_bytes(BIG, blobs, 1024, known=lambda _: lambda: True)
    assert {chunk.codec for chunk in known.chunks} == {KNOWN}
    with pytest.raises(Vanished):
        contents.place(db, known, blobs)


def test_known_chunks_take_the_rows_that_are_there(db: sqlite3.Connection, blobs: MemoryBlobs) -> None:
    place(db, blobs, BIG)

    def known(digest: bytes) -> Check | None:
        return (lambda: True) if contents.known_chunk(db, digest, blobs) is not None else None

    more = stage_bytes(BIG + b"tail", blobs, 1024, known=known)
    assert KNOWN in {chunk.codec for chunk in more.chunks}
    assert read(db, blobs, contents.place(db, more, blobs).cid) == BIG + b"tail"


def test_what_nothing_refers_to_goes_in_the_second_pass(db: sqlite3.Connection, blobs: MemoryBlobs) -> None:
    kept, loose = place(db, blobs, BIG + b"kept"), place(db, blobs, BIG)
    small = place(db, blobs, b"small")
    refer(db, kept.cid)
    assert condemn(db, 100) == 2
    assert condemn(db, 200) == 0
    assert collecting.due(db, 100) == []
    assert len(collecting.due(db, 101)) == 2
    gone = remove(db, 101)
    shared = {ref.hash.hex() for ref in contents.load_refs(db, kept.cid)[1]}
    assert not shared & set(gone)
    left = [row[0].hex() for row in db.execute("SELECT hash FROM content")]
    assert loose.hash not in left
    assert small.hash not in left
    assert all(not contents.has_chunk(db, chunk) for chunk in gone)
    assert read(db, blobs, kept.cid) == BIG + b"kept"
    assert contents.count_chunks(db) == len(shared)


def test_condemned_content_is_pardoned_by_being_stored_or_used_again(
    db: sqlite3.Connection, blobs: MemoryBlobs
) -> None:
    first, second, third = (place(db, blobs, data) for data in (BIG, b"small", b"used"))
    condemn(db, 100)
    assert contents.known_chunk(db, contents.load_refs(db, first.cid)[1][0].hash, blobs) is None
    assert place(db, blobs, BIG) == first
    assert place(db, blobs, b"small") == second
    refer(db, third.cid)
    assert [cid for cid, _ in collecting.wrongly_marked(db)] == [third.cid]
    assert remove(db, 101) == []
    collecting.pardon(db, [third.cid])
    assert collecting.wrongly_marked(db) == []
    condemn(db, 150)
    assert remove(db, 101) == []
    assert [read(db, blobs, each.cid) for each in (first, second, third)] == [BIG, b"small", b"used"]


def test_content_that_is_not_whole_in_the_index_is_corrupt(db: sqlite3.Connection, blobs: MemoryBlobs) -> None:
    placed = place(db, blobs, BIG)
    with pytest.raises(Corrupt, match="not in the index"):
        contents.load_refs(db, placed.cid + 1)
    db.execute("DELETE FROM content_chunk WHERE start > 0")
    with pytest.raises(Corrupt, match="lacks chunks"):
        contents.load_refs(db, placed.cid)
    assert len(list(contents.loose_chunks(db))) == contents.count_chunks(db) - 1


def test_a_number_is_never_given_again_and_stands_for_its_content_only(
    db: sqlite3.Connection, blobs: MemoryBlobs
) -> None:
    gone = place(db, blobs, b"secret")
    db.execute("DELETE FROM content WHERE cid = ?", (gone.cid,))
    other = place(db, blobs, b"others")
    assert other.cid > gone.cid
    assert contents.load_refs(db, other.cid, other.hash)[0] == 6
    for cid in (gone.cid, other.cid):
        with pytest.raises(Corrupt, match=gone.hash):
            contents.load_refs(db, cid, gone.hash)
