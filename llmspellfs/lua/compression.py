"""gzip, zlib and zstd on whole strings, bounded on the way out. Pure; any thread.

Formats: RFC 1952 (gzip), RFC 1950 (zlib), RFC 8878 (zstd).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import zstandard

from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_OUTPUT = 1 << 30
"""Bytes that decompression gives at most unless told otherwise."""
_GZIP, _ZLIB = 31, 15
"""zlib's wbits for the two formats."""
_ZSTD_FEED = 1024
"""A block of zstd gives up to 128 KiB from 4 bytes; so this much input gives 32 MiB at the most."""
_LEVELS = {"gzip": (0, 9, 6), "zlib": (0, 9, 6), "zstd": (1, 22, 3)}
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
    stream = zlib.compressobj(chosen, zlib.DEFLATED, _GZIP if algorithm == "gzip" else _ZLIB)
    return stream.compress(data) + stream.flush()


def decompress(algorithm: str, data: bytes, limit: int = MAX_OUTPUT) -> bytes:
    """Return what *data* was before *algorithm* compressed it.

    Raises InvalidValue where *data* is damaged or cut short, or would give more than *limit* bytes.
    """
    _levels(algorithm)
    steps: dict[str, Callable[[], Iterator[bytes]]] = {
        "gzip": lambda: _inflate(data, _GZIP, limit, members=True),
        "zlib": lambda: _inflate(data, _ZLIB, limit, members=False),
        "zstd": lambda: _unzstd(data),
    }
    parts, size = [], 0
    try:
        for part in steps[algorithm]():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise InvalidValue("decompress", f"more than {limit} bytes")
    except (zlib.error, zstandard.ZstdError):
        raise InvalidValue("decompress", f"not {algorithm} data, or damaged") from None
    return b"".join(parts)


def _levels(algorithm: str) -> tuple[int, int, int]:
    if algorithm not in _LEVELS:
        raise InvalidValue("algorithm", f"expected one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    return _LEVELS[algorithm]


def _inflate(data: bytes, wbits: int, limit: int, *, members: bool) -> Iterator[bytes]:
    # gzip data may be several members one after another; zlib data is one.
    while True:
        stream = zlib.decompressobj(wbits)
        yield stream.decompress(data, limit + 1)
        _require(stream.eof or bool(stream.unconsumed_tail))
        data = stream.unused_data
        if not data:
            return
        _require(members)


def _unzstd(data: bytes) -> Iterator[bytes]:
    _require(bool(data))
    stream, rest = zstandard.ZstdDecompressor().decompressobj(), memoryview(data)
    while rest:
        feed, rest = rest[:_ZSTD_FEED], rest[_ZSTD_FEED:]
        yield stream.decompress(feed)
        if stream.eof:
            rest = memoryview(stream.unused_data + bytes(rest))
            if rest:
                stream = zstandard.ZstdDecompressor().decompressobj()
    _require(stream.eof)


def _require(whole: bool) -> None:
    if not whole:
        raise InvalidValue("decompress", "the data ends too early, or something follows it")
