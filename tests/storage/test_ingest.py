"""Content on its way in: cuts, hashes, what is written and what is not."""

from __future__ import annotations

import io
import os
import random
import threading
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3
from fastcdc.fastcdc_cy import fastcdc_cy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs.errors import NoSpace, TooLarge
from llmspellfs.storage.blobs import FileBlobs, MemoryBlobs, Put
from llmspellfs.storage.codec import PLAIN, ZSTD, decode_checked
from llmspellfs.storage.disk import Buffer
from llmspellfs.storage.ingest import (
    AVERAGE_CHUNK,
    INLINE_LIMIT,
    KNOWN,
    MAX_CHUNK,
    MIN_CHUNK,
    Ingest,
    Staged,
    chunk_hashes,
    hasher,
    stage_bytes,
)

THRESHOLD = 10240
RANDOM = random.Random(7).randbytes(9 << 20)
ZEROS = bytes(9 << 20)
MIXED = RANDOM[: 3 << 20] + ZEROS[: 5 << 20] + RANDOM[: 3 << 20]


class CountingBlobs(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []
        self.syncs = 0

    def put(self, hash_hex: str, data: Buffer) -> Put:
        self.puts.append(hash_hex)
        return super().put(hash_hex, data)

    def sync(self) -> None:
        self.syncs += 1


def whole(staged: Staged, blobs: MemoryBlobs | FileBlobs) -> bytes:
    if staged.data is not None:
        assert staged.codec is not None
        return decode_checked(staged.codec, staged.data, staged.size, staged.hash)
    parts = []
    for chunk in staged.chunks:
        stored = blobs.get(chunk.hash.hex()) if chunk.data is None else chunk.data
        assert len(stored) == chunk.stored_size
        parts.append(decode_checked(chunk.codec, stored, chunk.size, chunk.hash))
    return b"".join(parts)


def feed_in(data: bytes, blobs: MemoryBlobs, cuts: list[int]) -> Staged:
    ingest = Ingest(blobs, threshold=THRESHOLD)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        ingest.feed(memoryview(data)[start:end])
    return ingest.finish()


@pytest.mark.parametrize("size", [0, 1, 1024, THRESHOLD, THRESHOLD + 1, INLINE_LIMIT])
@pytest.mark.parametrize("source", [RANDOM, ZEROS])
def test_small_content_is_one_inline_piece(source: bytes, size: int) -> None:
    data, blobs = source[:size], CountingBlobs()
    staged = stage_bytes(data, blobs, THRESHOLD)
    assert staged == feed_in(data, blobs, [size // 2])
    assert staged.chunks == ()
    assert staged.hash == blake3(data).digest()
    assert staged.codec == (ZSTD if source is ZEROS and size > THRESHOLD else PLAIN)
    assert whole(staged, blobs) == data
    assert (blobs.puts, blobs.syncs) == ([], 0)


@pytest.mark.parametrize(
    "data",
    [
        RANDOM[: INLINE_LIMIT + 1],
        RANDOM,
        ZEROS,
        MIXED,
        ZEROS[:MAX_CHUNK],
        RANDOM[:MAX_CHUNK],
        ZEROS[: MAX_CHUNK + 1],
        ZEROS[: INLINE_LIMIT + 1],
        ZEROS[: 2 * MAX_CHUNK],
    ],
)
def test_large_content_is_chunks_that_make_it_up(data: bytes) -> None:
    blobs = CountingBlobs()
    staged = stage_bytes(data, blobs, THRESHOLD)
    assert (staged.codec, staged.data, staged.size) == (None, None, len(data))
    assert staged.hash == blake3(data).digest()
    assert [chunk.start for chunk in staged.chunks] == [
        sum(chunk.size for chunk in staged.chunks[:number]) for number in range(len(staged.chunks))
    ]
    assert all(MIN_CHUNK <= chunk.size <= MAX_CHUNK for chunk in staged.chunks[:-1])
    assert whole(staged, blobs) == data


def test_cuts_are_those_of_fastcdc_over_the_whole() -> None:
    expected = [chunk.length for chunk in fastcdc_cy(MIXED, MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK)]
    assert [chunk.size for chunk in stage_bytes(MIXED, MemoryBlobs(), THRESHOLD).chunks] == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, len(MIXED)), max_size=12))
def test_slicing_makes_no_difference(cuts: list[int]) -> None:
    assert feed_in(MIXED, MemoryBlobs(), cuts) == stage_bytes(MIXED, MemoryBlobs(), THRESHOLD)


def test_small_slices_make_no_difference() -> None:
    data = MIXED[(2 << 20) : (7 << 20)]
    cuts = list(range(0, len(data), 4099))
    assert feed_in(data, MemoryBlobs(), cuts) == stage_bytes(data, MemoryBlobs(), THRESHOLD)


def test_an_insertion_changes_few_chunks() -> None:
    before = {chunk.hash for chunk in stage_bytes(RANDOM, MemoryBlobs(), THRESHOLD).chunks}
    after = {chunk.hash for chunk in stage_bytes(RANDOM[:1000] + b"x" + RANDOM[1000:], MemoryBlobs(), THRESHOLD).chunks}
    assert len(after - before) <= 2


def test_chunks_small_as_stored_are_inline_and_others_files(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    staged = stage_bytes(data := MIXED + ZEROS, blobs, THRESHOLD)
    assert any(chunk.data is not None for chunk in staged.chunks)
    assert any(chunk.data is None for chunk in staged.chunks)
    for chunk in staged.chunks:
        assert (chunk.data is None) == blobs.exists(chunk.hash.hex()) == (chunk.stored_size > INLINE_LIMIT)
    assert whole(staged, blobs) == data


def test_equal_chunks_are_written_once_and_counted_once() -> None:
    blobs = CountingBlobs()
    staged = stage_bytes(ZEROS, blobs, threshold=len(ZEROS))
    assert len(staged.chunks) == 3
    assert len(blobs.puts) == len({chunk.hash for chunk in staged.chunks}) == 2
    assert staged.stored_size == MAX_CHUNK + (1 << 20)
    assert blobs.syncs == 1


def test_known_chunks_are_not_written_again() -> None:
    blobs = CountingBlobs()
    first = stage_bytes(RANDOM, blobs, THRESHOLD)
    blobs.puts.clear()
    has = {chunk.hash for chunk in first.chunks}
    ingest = Ingest(blobs, threshold=THRESHOLD, known=lambda digest: (lambda: True) if digest in has else None)
    ingest.feed(RANDOM)
    again = ingest.finish()
    assert (blobs.puts, blobs.syncs) == ([], 1)
    assert again.hash == first.hash
    assert {chunk.codec for chunk in again.chunks} == {KNOWN}
    assert [(chunk.hash, chunk.start, chunk.size) for chunk in again.chunks] == [
        (chunk.hash, chunk.start, chunk.size) for chunk in first.chunks
    ]


def test_known_chunks_that_do_not_read_back_are_written_again() -> None:
    blobs = CountingBlobs()
    first = stage_bytes(RANDOM, blobs, THRESHOLD)
    blobs.puts.clear()
    assert stage_bytes(RANDOM, blobs, THRESHOLD, known=lambda _: lambda: False) == first
    assert sorted(blobs.puts) == sorted(chunk.hash.hex() for chunk in first.chunks if chunk.data is None)


@pytest.mark.parametrize("limit", [10, INLINE_LIMIT, 1 << 20])
def test_more_than_the_limit_is_refused_when_it_comes(limit: int) -> None:
    ingest = Ingest(MemoryBlobs(), threshold=THRESHOLD, max_size=limit)
    ingest.feed(RANDOM[:limit])
    with pytest.raises(TooLarge, match=f"max_artifact_size = {limit} bytes"):
        ingest.feed(b"x")
    with pytest.raises(TooLarge):
        stage_bytes(RANDOM[: limit + 1], MemoryBlobs(), THRESHOLD, max_size=limit)
    assert stage_bytes(RANDOM[:limit], MemoryBlobs(), THRESHOLD, max_size=limit).size == limit


def test_memory_stays_bounded_for_any_length(tmp_path: Path) -> None:
    line = b'{"level":"info","message":"request served","number":%d}\n'
    block = b"".join(line % number for number in range(20000))
    ingest = Ingest(FileBlobs(tmp_path), threshold=THRESHOLD)
    tracemalloc.start()
    try:
        for number in range(64):
            ingest.feed(block + b"%d" % number)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    staged = ingest.finish()
    assert staged.size > 60 << 20
    assert peak < 24 << 20
    assert sum(len(chunk.data or b"") for chunk in staged.chunks) <= 4 << 20


def test_small_chunks_beyond_the_budget_become_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmspellfs.storage.ingest._INLINE_BUDGET", 50_000)
    data = b"".join(b'{"message":"request served","number":%d}\n' % number for number in range(800_000))
    blobs = CountingBlobs()
    staged = stage_bytes(data, blobs, THRESHOLD)
    inline = [chunk.stored_size for chunk in staged.chunks if chunk.data is not None]
    assert 0 < sum(inline) <= 50_000
    assert any(chunk.stored_size <= INLINE_LIMIT for chunk in staged.chunks if chunk.data is None)
    assert whole(staged, blobs) == data


class SlowBlobs(CountingBlobs):
    def put(self, hash_hex: str, data: Buffer) -> Put:
        time.sleep(0.05)
        return super().put(hash_hex, data)

    def sync(self) -> None:
        super().sync()
        assert len(self.puts) == 1


def test_finish_waits_for_what_is_still_being_written() -> None:
    blobs = SlowBlobs()
    staged = stage_bytes(ZEROS[: 2 * MAX_CHUNK], blobs, threshold=len(ZEROS))
    assert (len(staged.chunks), blobs.syncs) == (2, 1)


class FullBlobs(CountingBlobs):
    full_after = 2

    def put(self, hash_hex: str, data: Buffer) -> Put:
        if len(self.puts) >= self.full_after:
            raise NoSpace("blobs")
        return super().put(hash_hex, data)


def test_a_full_disk_is_told_and_never_forgotten() -> None:
    ingest = Ingest(FullBlobs(), threshold=THRESHOLD)
    ingest.feed(RANDOM[: 8 << 20])
    for _ in range(2):
        with pytest.raises(NoSpace):
            ingest.finish()


class HalfFullBlobs(CountingBlobs):
    """Refuses the first blob at once, and takes a while for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def put(self, hash_hex: str, data: Buffer) -> Put:
        with self._turn:
            self.refused += 1
            number = self.refused
        if number == 1:
            raise NoSpace("blobs")
        time.sleep(0.2)
        return super().put(hash_hex, data)


def test_what_is_abandoned_tells_of_what_others_stored_after_a_failure() -> None:
    blobs = HalfFullBlobs()
    ingest = Ingest(blobs, threshold=THRESHOLD)
    ingest.feed(RANDOM[: 3 << 20])
    with pytest.raises(NoSpace):
        ingest.finish()
    told = {chunk for chunk, _ in ingest.abandon()}
    assert blobs.puts
    assert told == set(blobs.puts)
    time.sleep(0.5)
    assert told == set(blobs.puts)


def test_a_full_disk_stops_what_is_still_fed() -> None:
    ingest = Ingest(FullBlobs(), threshold=THRESHOLD)
    with pytest.raises(NoSpace):
        ingest.feed(RANDOM * (1 + (40 << 20) // len(RANDOM)))


def test_a_forked_child_ingests_too() -> None:
    expected = stage_bytes(RANDOM, MemoryBlobs(), THRESHOLD)
    child = os.fork()
    if child == 0:
        os._exit(0 if stage_bytes(RANDOM, MemoryBlobs(), THRESHOLD) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_several_ingests_share_a_blob_store_in_parallel(tmp_path: Path) -> None:
    blobs, results = FileBlobs(tmp_path), []

    def ingest_one() -> None:
        results.append(stage_bytes(MIXED, blobs, THRESHOLD))

    threads = [threading.Thread(target=ingest_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]
    assert whole(results[0], blobs) == MIXED


def test_one_hasher_hashes_one_content_after_another() -> None:
    digest = hasher()
    assert [digest(data) for data in (b"one", b"", MIXED, b"one")] == [
        blake3(data).digest() for data in (b"one", b"", MIXED, b"one")
    ]


@pytest.mark.parametrize("size", [0, 10, 70_000, 8 << 20, (8 << 20) + 1, (17 << 20) + 12345])
@pytest.mark.parametrize("is_random", [True, False])
def test_the_chunks_of_a_file_are_told_as_they_are_cut(size: int, is_random: bool) -> None:
    data = os.urandom(size) if is_random else bytes(size)
    ingest = Ingest(MemoryBlobs(), threshold=1 << 40)
    for start in range(0, size, 1_000_000):
        ingest.feed(data[start : start + 1_000_000])
    staged = ingest.finish()
    whole = [] if not size else [staged.hash.hex()]
    assert list(chunk_hashes(io.BytesIO(data))) == ([chunk.hash.hex() for chunk in staged.chunks] or whole)
