"""How stored bytes are written: plain, or one zstd frame with a seal. Which of the two, is tried on a sample first.

A zstd frame has bits that mean nothing to its decoder. So that every changed byte is found, the first 16 bytes of the
frame's own BLAKE3 stand behind it, in a skippable frame (RFC 8878, section 3.1.2), which `zstd -d` passes over.

The hash of the plain bytes decides what a blob says; the codec in the index is what it was written with. Two
processes with different thresholds can write the same chunk differently, and the last rename wins; so a blob
that does not decode as the index says is tried the other way before it is called corrupt.

Threading: pure functions. A zstd context serves one call: contexts are not thread-safe, a new one costs 12 µs
(5 µs for decoding), and kept ones would hold some MiB for each thread.
"""

from __future__ import annotations

from blake3 import blake3

from llmspellfs.errors import Corrupt
from llmspellfs.storage.disk import Buffer

PLAIN, ZSTD = 0, 1
MAX_PLAIN = 4 << 20
"""Bytes of the largest chunk there is, and so the most that decoding ever allocates."""
_LEVEL = 3
_SAMPLE = 4096
_SAMPLED_ABOVE = 1 << 16
_SEAL, _SEAL_SIZE = b"\x5e\x2a\x4d\x18\x10\x00\x00\x00", 24
"""How the skippable frame of a seal begins, its magic number and its length, and how long it is in all."""
_WORTH = 0.9
"""Compressed bytes are kept where they are at most this part of the plain ones."""


def encode(data: Buffer, threshold: int) -> tuple[int, Buffer]:
    """Return the codec and the bytes to store for *data*; only more than *threshold* bytes are compressed.

    1 MiB that does not compress costs 35 µs here, against 330 µs for a whole attempt. Who keeps the result
    copies it: compressed bytes are a view of an object that holds as much memory as the plain ones.
    """
    size = len(data)
    if size <= threshold or (size > _SAMPLED_ABOVE and not _promising(data)):
        return PLAIN, data
    packed = _sealed(_compress(data))
    return (ZSTD, memoryview(packed)) if len(packed) <= size * _WORTH else (PLAIN, data)


def decode(codec: int, data: Buffer, size: int) -> bytes:
    """Return the *size* plain bytes that *data* stands for; raises Corrupt where they are not that many."""
    if codec == PLAIN and len(data) == size:
        return bytes(data)
    if codec != ZSTD or not 0 <= size <= MAX_PLAIN:
        raise Corrupt(f"{len(data)} stored bytes of codec {codec} that should be {size}")
    return _decompress(data, size)


def decode_checked(codec: int, data: Buffer, size: int, digest: bytes) -> bytes:
    """Return the plain bytes of *data*, whose BLAKE3 is *digest*; raises Corrupt where they are others."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise Corrupt(f"chunk {digest.hex()}")
    for attempt in (codec, ZSTD if codec == PLAIN else PLAIN):
        try:
            plain = decode(attempt, data, size)
        except Corrupt:
            continue
        if blake3(plain).digest() == digest:
            return plain
    raise Corrupt(f"chunk {digest.hex()}")


def recover(data: Buffer, digest: bytes) -> tuple[int, bytes] | None:
    """Return the codec and the plain bytes of *data* if they have the BLAKE3 *digest*, whatever else the index says."""
    for codec in (PLAIN, ZSTD):
        plain = decoded(codec, data)
        if plain is not None and blake3(plain).digest() == digest:
            return codec, plain
    return None


def decoded(codec: int, data: object) -> bytes | None:
    """Return what *data* says in *codec*, None where it says nothing; whether it is right, is not known."""
    if not isinstance(data, bytes | bytearray | memoryview):
        return None
    if codec == PLAIN:
        return bytes(data)
    from zstandard import ZstdError, get_frame_parameters

    try:
        return decode(ZSTD, data, get_frame_parameters(data).content_size)
    except (Corrupt, ZstdError):
        return None


def _promising(data: Buffer) -> bool:
    with memoryview(data) as view:
        starts = (0, (len(view) - _SAMPLE) // 2, len(view) - _SAMPLE)
        packed = sum(len(_compress(view[start : start + _SAMPLE])) for start in starts)
    return packed <= len(starts) * _SAMPLE * _WORTH


def _compress(data: Buffer) -> bytes:
    from zstandard import ZstdCompressor

    return ZstdCompressor(level=_LEVEL).compress(data)


def _sealed(frame: bytes) -> bytes:
    return b"".join((frame, _SEAL, blake3(frame).digest(length=16)))


def _unsealed(data: Buffer) -> Buffer:
    """Return the frame in *data*, which a store of an earlier version has no seal behind; raise Corrupt."""
    view = memoryview(data)
    frame, seal = view[:-_SEAL_SIZE], view[-_SEAL_SIZE:]
    if seal[: len(_SEAL)] != _SEAL:
        return data
    if blake3(frame).digest(length=16) != seal[len(_SEAL) :]:
        raise Corrupt(f"{len(data)} stored bytes: their seal is another's")
    return frame


def _decompress(data: Buffer, size: int) -> bytes:
    from zstandard import ZstdDecompressor, ZstdError, get_frame_parameters

    data = _unsealed(data)
    try:
        if get_frame_parameters(data).content_size != size:
            raise Corrupt(f"a frame that does not say {size} bytes")
        plain = ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except ZstdError as error:
        raise Corrupt(f"{len(data)} stored bytes: {error}") from None
    if len(plain) != size:
        raise Corrupt(f"a frame of {len(plain)} bytes that should be {size}")
    return plain
