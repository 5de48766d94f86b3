"""gzip, zlib, deflate and zstd on whole strings, bounded on the way out. Pure; any thread.

Formats: RFC 1952 (gzip), RFC 1950 (zlib), RFC 1951 (deflate), RFC 8878 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from llmspellfs.errors import InvalidValue

MAX_OUTPUT = 1 << 28
"""Bytes that decompression gives at most unless told otherwise."""
_WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}
"""zlib's wbits for its three formats."""
_FIRST_FEED, _FEED = 512, 1024
"""A block of zstd gives up to 128 KiB from 4 bytes; so this much input gives 32 MiB at the most."""
_LEVELS = {"gzip": (0, 9, 6), "zlib": (0, 9, 6), "deflate": (0, 9, 6), "zstd": (1, 22, 3)}
"""Lowest, highest and usual level."""
ALGORITHMS = tuple(_LEVELS)


def compress(algorithm: str, data: bytes, level: int | None = None) -> bytes:
    """Return *data* compressed with *algorithm*, the same bytes each time.

    Raises InvalidValue for an unknown *algorithm* or a *level* that it does not have.
    """
    lowest, highest, usual = _levels(algorithm)
    chosen = usual if level is None else level
    if not lowest <= chosen <= highest:
        raise InvalidValue("level", f"expected {lowest} to {highest} for {algorithm}, not {chosen}")
    if algorithm == "zstd":
        return zstandard.ZstdCompressor(level=chosen).compress(data)
    stream = zlib.compressobj(chosen, zlib.DEFLATED, _WBITS[algorithm])
    return stream.compress(data) + stream.flush()


def decompress(algorithm: str, data: bytes, limit: int = MAX_OUTPUT) -> bytes:
    """Return what *data* was before *algorithm* compressed it.

    Raises InvalidValue where *data* is damaged or cut short, or would give more than *limit* bytes.
    """
    _levels(algorithm)
    steps = _unzstd(data) if algorithm == "zstd" else _inflate(data, algorithm, limit)
    parts, size = [], 0
    try:
        for part in steps:
            parts.append(part)
            size += len(part)
            if size > limit:
                raise InvalidValue("input", f"more than {limit} bytes")
    except (zlib.error, zstandard.ZstdError):
        raise InvalidValue("input", f"not {algorithm} data, or damaged") from None
    return b"".join(parts)


def _levels(algorithm: str) -> tuple[int, int, int]:
    if algorithm not in _LEVELS:
        raise InvalidValue("algorithm", f"expected one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    return _LEVELS[algorithm]


def _inflate(data: bytes, algorithm: str, limit: int) -> Iterator[bytes]:
    # gzip data may be several members one after another; the others are one.
    rest = memoryview(data)
    while True:
        stream = zlib.decompressobj(_WBITS[algorithm])
        for feed in _pieces(rest):
            rest = rest[len(feed) :]
            yield stream.decompress(feed, limit + 1)
            if stream.eof:
                break
        _require(stream.eof)
        rest = memoryview(data)[len(data) - len(rest) - len(stream.unused_data) :]
        if not rest:
            return
        _require(algorithm == "gzip")


def _unzstd(data: bytes) -> Iterator[bytes]:
    rest = memoryview(data)
    _require(bool(rest))
    while rest:
        stream = zstandard.ZstdDecompressor().decompressobj()
        for feed in _pieces(rest):
            rest = rest[len(feed) :]
            yield stream.decompress(feed)
            if stream.eof:
                break
        _require(stream.eof)
        rest = memoryview(data)[len(data) - len(rest) - len(stream.unused_data) :]


def _pieces(data: memoryview) -> Iterator[memoryview]:
    """Yield *data* in pieces that begin small: what is behind the end of a member is copied with it."""
    start, size = 0, _FIRST_FEED
    while start < len(data):
        yield data[start : start + size]
        start, size = start + size, min(size * 2, _FEED)


def _require(whole: bool) -> None:
    if not whole:
        raise InvalidValue("input", "the data ends too early, or something follows it")
