"""Plain or zstd: round trips, what is worth it, and stored bytes that lie."""

from __future__ import annotations

import contextlib
import os

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import Corrupt
from llmspellfs.storage import codec
from llmspellfs.storage.codec import MAX_PLAIN, PLAIN, ZSTD, decode, decode_checked, encode

TEXT = b"a line that comes again and again, with a number\n" * 4000


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 400))
def test_round_trip(data: bytes, threshold: int, times: int) -> None:
    plain = data * times
    kind, stored = encode(memoryview(plain), threshold)
    assert len(stored) <= len(plain)
    assert decode(kind, bytes(stored), len(plain)) == plain


def test_nothing_up_to_the_threshold_is_compressed() -> None:
    assert encode(TEXT, len(TEXT))[0] == PLAIN
    assert encode(TEXT, len(TEXT) - 1)[0] == ZSTD


def test_what_does_not_compress_stays_plain_and_only_a_sample_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []
    compress = codec._compress

    def count(data: bytes) -> bytes:
        tried.append(len(data))
        return compress(data)

    monkeypatch.setattr(codec, "_compress", count)
    data = os.urandom(1 << 20)
    kind, stored = encode(data, 0)
    assert kind == PLAIN
    assert stored is data
    assert sum(tried) < 20000


def test_a_saving_below_a_tenth_is_not_kept() -> None:
    data = os.urandom(60000) + bytes(3000)
    assert encode(data, 0)[0] == PLAIN


@given(st.binary(max_size=200), st.integers(-1, 3), st.integers(-1, 300))
def test_any_bytes_decode_to_the_size_or_are_corrupt(data: bytes, kind: int, size: int) -> None:
    with contextlib.suppress(Corrupt):
        assert len(decode(kind, data, size)) == size


def test_a_bomb_is_corrupt() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    for size in (1000, 64 << 20):
        with pytest.raises(Corrupt):
            decode(ZSTD, bomb, size)


def test_frame_without_a_size_is_corrupt() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(Corrupt):
        decode(ZSTD, frame, len(TEXT))


def test_truncated_and_trailing_bytes_are_corrupt() -> None:
    _, stored = encode(TEXT, 0)
    for wrong in (bytes(stored)[:-1], bytes(stored) + b"x", b""):
        with pytest.raises(Corrupt):
            decode(ZSTD, wrong, len(TEXT))


def test_largest_chunk_round_trips() -> None:
    kind, stored = encode(bytes(MAX_PLAIN), 0)
    assert kind == ZSTD
    assert decode(kind, stored, MAX_PLAIN) == bytes(MAX_PLAIN)


def test_blob_written_by_a_process_with_another_threshold_reads() -> None:
    digest = blake3(TEXT).digest()
    _, stored = encode(TEXT, 0)
    assert decode_checked(PLAIN, stored, len(TEXT), digest) == TEXT
    assert decode_checked(ZSTD, TEXT, len(TEXT), digest) == TEXT


def test_other_bytes_than_the_hash_says_are_corrupt_by_name() -> None:
    digest = blake3(b"right").digest()
    with pytest.raises(Corrupt, match=digest.hex()):
        decode_checked(PLAIN, b"wrong", 5, digest)


def test_a_frame_has_a_seal_that_other_programs_pass_over() -> None:
    _, stored = encode(TEXT, 0)
    assert zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(bytes(stored)) == TEXT
    assert stored[-24:-20] == b"\x5e\x2a\x4d\x18"


def test_a_frame_of_an_earlier_version_has_no_seal() -> None:
    assert decode(ZSTD, zstandard.ZstdCompressor().compress(TEXT), len(TEXT)) == TEXT


@pytest.mark.parametrize("at", [4, -25, -24, -20, -17, -16, -1])
def test_a_changed_byte_of_a_frame_or_its_seal_is_corrupt(at: int) -> None:
    stored = bytearray(encode(TEXT, 0)[1])
    stored[at] ^= 0x08
    with pytest.raises(Corrupt):
        decode(ZSTD, bytes(stored), len(TEXT))
