"""Reading any range, sharing chunks, and never serving a byte that was not stored."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import random
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspellfs.errors import Corrupt
from llmspellfs.storage.blobs import BlobStore, FileBlobs, MemoryBlobs
from llmspellfs.storage.codec import PLAIN, encode
from llmspellfs.storage.content import ChunkCache, ChunkRef, ContentReader
from llmspellfs.storage.ingest import Staged, stage_bytes

CONTENT = random.Random(3).randbytes(3 << 20) + b"text that repeats " * 200_000 + bytes(1000)


def refs_of(staged: Staged) -> list[ChunkRef]:
    if staged.data is not None:
        return [ChunkRef(0, staged.size, 0, staged.hash, staged.codec or PLAIN, staged.data)]
    return [
        ChunkRef(chunk.start, chunk.size, number, chunk.hash, chunk.codec, chunk.data)
        for number, chunk in enumerate(staged.chunks)
    ]


def reader_of(data: bytes, cache: ChunkCache | None = None, blobs: BlobStore | None = None) -> ContentReader:
    blobs = blobs or MemoryBlobs()
    staged = stage_bytes(data, blobs, 10240)
    return ContentReader(refs_of(staged), staged.size, blobs, cache or ChunkCache())


def small_chunks(data: bytes, size: int, blobs: BlobStore) -> list[ChunkRef]:
    """Cut *data* every *size* bytes: alternately plain and compressed, inline and a blob."""
    refs = []
    for number, start in enumerate(range(0, len(data), size)):
        piece = data[start : start + size]
        codec, stored = encode(piece, len(data) if number % 2 else 0)
        digest = blake3(piece).digest()
        inline = number % 3 == 0
        if not inline:
            blobs.put(digest.hex(), stored)
        refs.append(ChunkRef(start, len(piece), number, digest, codec, bytes(stored) if inline else None))
    return refs


@pytest.mark.parametrize("data", [b"", b"x", b"abc" * 1000, bytes(60000), CONTENT])
def test_whole_content_comes_back_every_way(data: bytes) -> None:
    reader = reader_of(data)
    assert reader.read_at(0, len(data) + 10) == data
    assert b"".join(reader.blocks()) == data
    target = bytearray(len(data) + 10)
    assert reader.read_into(memoryview(target), 0) == len(data)
    assert target[: len(data)] == data


@given(st.data())
def test_any_range_of_any_cutting(data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=400))
    blobs = MemoryBlobs()
    refs = small_chunks(content, data.draw(st.integers(1, 100)), blobs)
    reader = ContentReader(refs, len(content), blobs, ChunkCache(data.draw(st.integers(0, 2000))))
    for _ in range(5):
        offset, size = data.draw(st.integers(0, 450)), data.draw(st.integers(0, 450))
        assert reader.read_at(offset, size) == content[offset : offset + size]
        target = bytearray(size)
        done = reader.read_into(memoryview(target), offset)
        assert bytes(target[:done]) == content[offset : offset + size]
        assert target[done:] == bytes(size - done)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(CONTENT)), st.integers(0, 3 << 20))
def test_any_range_of_a_large_content(offset: int, size: int) -> None:
    assert LARGE.read_at(offset, size) == CONTENT[offset : offset + size]


LARGE = reader_of(CONTENT)


@given(st.data())
def test_a_changed_byte_anywhere_is_never_served(data: st.DataObject) -> None:
    content = data.draw(st.binary(min_size=1, max_size=300))
    blobs = MemoryBlobs()
    refs = small_chunks(content, data.draw(st.integers(1, 300)), blobs)
    number = data.draw(st.integers(0, len(refs) - 1))
    ref = refs[number]
    stored = bytearray(blobs.get(ref.hash.hex()) if ref.data is None else ref.data)
    position = data.draw(st.integers(0, len(stored) - 1))
    stored[position] ^= data.draw(st.integers(1, 255))
    if ref.data is None:
        blobs.put(ref.hash.hex(), stored)
    else:
        refs[number] = dataclasses.replace(ref, data=bytes(stored))
    reader = ContentReader(refs, len(content), blobs, ChunkCache(0))
    if ref.codec == PLAIN:
        with pytest.raises(Corrupt, match=ref.hash.hex()):
            reader.read_at(ref.start, ref.size)
        return
    # A bit of a zstd frame's header may mean nothing.
    with contextlib.suppress(Corrupt):
        assert reader.read_at(ref.start, ref.size) == content[ref.start : ref.start + ref.size]


def test_corrupt_chunk_file_is_found_and_the_rest_still_reads(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    reader = reader_of(CONTENT, ChunkCache(0), blobs)
    first = reader.read_at(0, 100)
    victim = stage_bytes(CONTENT, blobs, 10240).chunks[0]
    path = tmp_path / "blobs" / victim.hash.hex()[:2] / victim.hash.hex()
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)
    assert first == CONTENT[:100]
    with pytest.raises(Corrupt, match=victim.hash.hex()):
        reader.read_at(0, 100)
    with pytest.raises(Corrupt):
        list(reader.blocks())
    with pytest.raises(Corrupt):
        reader.read_into(memoryview(bytearray(10)), 5)
    assert reader.read_at(victim.size, 1000) == CONTENT[victim.size : victim.size + 1000]
    path.unlink()
    with pytest.raises(Corrupt, match="missing"):
        reader.read_at(0, 1)


def test_chunks_that_do_not_make_up_the_size_are_corrupt() -> None:
    blobs = MemoryBlobs()
    refs = small_chunks(b"0123456789", 3, blobs)
    for wrong in ([], refs[1:], refs[:-1], [refs[0], refs[2]]):
        with pytest.raises(Corrupt):
            ContentReader(wrong, 10, blobs, ChunkCache())


@pytest.mark.parametrize("size", [5, 20])
def test_a_kept_chunk_is_not_served_by_a_size_that_is_not_its_own(size: int) -> None:
    cache = ChunkCache()
    assert b"".join(reader_of(b"0123456789", cache).blocks()) == b"0123456789"
    (ref,) = refs_of(stage_bytes(b"0123456789", MemoryBlobs(), 10240))
    reader = ContentReader([dataclasses.replace(ref, size=size)], size, MemoryBlobs(), cache)
    with pytest.raises(Corrupt, match="10 bytes, not"):
        reader.read_into(memoryview(bytearray(2)), 2)
    with pytest.raises(Corrupt, match="10 bytes, not"):
        list(reader.blocks())


def test_read_into_fills_foreign_buffers() -> None:
    buffer = (ctypes.c_char * 10)()
    assert reader_of(b"hello world").read_into(memoryview(buffer), 6) == 5
    assert buffer.raw == b"world" + bytes(5)


def test_negative_range_is_the_callers_mistake() -> None:
    for offset, size in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="0 or more"):
            reader_of(b"abc").read_at(offset, size)


class SlowBlobs(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.gets: list[str] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def get(self, hash_hex: str, offset: int = 0, size: int | None = None) -> bytes:
        self.gets.append(hash_hex)
        self.entered.set()
        assert self.go_on.wait(60)
        return super().get(hash_hex, offset, size)


def slow_reader(chunks: int, cache: ChunkCache) -> tuple[ContentReader, SlowBlobs, bytes]:
    content = random.Random(5).randbytes(1000 * chunks)
    blobs = SlowBlobs()
    refs = []
    for number in range(chunks):
        piece = content[number * 1000 : number * 1000 + 1000]
        blobs.put(blake3(piece).hexdigest(), piece)
        refs.append(ChunkRef(number * 1000, 1000, number, blake3(piece).digest(), PLAIN, None))
    return ContentReader(refs, len(content), blobs, cache), blobs, content


def test_two_readers_of_one_chunk_load_it_once_and_others_are_not_held_up() -> None:
    cache = ChunkCache()
    reader, blobs, content = slow_reader(1, cache)
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(reader.read_at(0, 1000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert blobs.entered.wait(60)
    assert reader_of(b"another content", cache).read_at(0, 7) == b"another"
    blobs.go_on.set()
    for thread in threads:
        thread.join()
    assert got == [content] * 4
    assert len(blobs.gets) == 1


def test_who_waits_for_a_load_that_fails_fails_too_and_the_next_tries_again() -> None:
    cache = ChunkCache()
    reader, blobs, content = slow_reader(1, cache)
    name = blobs.__dict__["_blobs"].copy()
    blobs.delete(blake3(content).hexdigest())
    errors: list[str] = []

    def read() -> None:
        with pytest.raises(Corrupt) as caught:
            reader.read_at(0, 1)
        errors.append(caught.value.message)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert blobs.entered.wait(60)
    blobs.go_on.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    blobs.__dict__["_blobs"].update(name)
    assert reader.read_at(0, 1000) == content


def test_reading_on_in_order_loads_the_next_chunk_ahead() -> None:
    cache = ChunkCache()
    reader, blobs, content = slow_reader(3, cache)
    blobs.go_on.set()
    assert reader.read_at(0, 100) == content[:100]
    assert len(blobs.gets) == 1
    assert reader.read_at(100, 100) == content[100:200]
    cache.close()
    assert len(blobs.gets) == 2
    assert reader.read_at(0, 3000) == content


def test_blocks_load_ahead_and_a_closed_cache_still_reads() -> None:
    cache = ChunkCache()
    reader, blobs, content = slow_reader(5, cache)
    blobs.go_on.set()
    assert b"".join(reader.blocks()) == content
    assert sorted(set(blobs.gets)) == sorted(blobs.gets)
    cache.close()
    assert b"".join(reader.blocks()) == content


def test_cache_keeps_the_recently_used_within_its_bytes() -> None:
    cache = ChunkCache(3 * (1000 + 256))
    reader, blobs, _ = slow_reader(4, cache)
    blobs.go_on.set()
    for start in (3000, 0, 2000, 3000, 1000, 3000):
        reader.read_at(start, 1)
        reader._end = -(1 << 30)
    assert len(blobs.gets) == 4
    reader.read_at(3000, 1)
    assert len(blobs.gets) == 4
    reader.read_at(0, 1)
    assert len(blobs.gets) == 5


def test_content_larger_than_the_cache_reads_and_is_not_kept() -> None:
    cache = ChunkCache(100)
    reader, blobs, content = slow_reader(2, cache)
    blobs.go_on.set()
    assert reader.read_at(0, 2000) == content
    assert reader.read_at(0, 2000) == content
    assert len(blobs.gets) == 4
    assert cache._bytes == 0


def test_many_threads_read_random_ranges() -> None:
    cache = ChunkCache(2 << 20)
    reader = reader_of(CONTENT, cache)
    wrong: list[int] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            offset = chance.randrange(len(CONTENT))
            if reader.read_at(offset, 131072) != CONTENT[offset : offset + 131072]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert wrong == []
    assert cache._bytes == 0
