"""Chunks that the store has already: read back before they are relied on, and not again for some minutes.

What is stored is acknowledged, and must be readable then, whatever has become since of the bytes that it shares.

Threading: any thread may call; two that ask of one chunk at a time may both read it.
"""

from __future__ import annotations

import time

from llmspellfs.errors import Corrupt
from llmspellfs.storage.blobs import BlobStore
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.content import ChunkRef

_SECONDS = 600.0
"""How long a chunk that was read back well is believed: harm that comes later could as well come after the store."""
_MOST = 1 << 16


class ReadBack:
    """What has been read back of late from *blobs* and the index."""

    def __init__(self, blobs: BlobStore) -> None:
        """Begin with nothing."""
        self._blobs = blobs
        self._well: dict[bytes, tuple[int | None, float]] = {}
        """By hash, the mark of the bytes that were read, and when that was."""

    def is_whole(self, chunk: ChunkRef) -> bool:
        """Tell whether the bytes of *chunk* are there and have its hash."""
        mark, now = self._mark(chunk), time.monotonic()
        known, read_at = self._well.get(chunk.hash, (None, 0.0))
        if mark is not None and mark == known and now - read_at < _SECONDS:
            return True
        if not self._reads(chunk):
            return False
        if len(self._well) >= _MOST:
            self._well = {}
        self._well[chunk.hash] = mark, now
        return True

    def _mark(self, chunk: ChunkRef) -> int | None:
        """Return what another writing of the bytes changes."""
        return self._blobs.put_ns(chunk.hash.hex()) if chunk.data is None else hash((chunk.codec, chunk.data))

    def _reads(self, chunk: ChunkRef) -> bool:
        try:
            stored = self._blobs.get(chunk.hash.hex()) if chunk.data is None else chunk.data
            decode_checked(chunk.codec, stored, chunk.size, chunk.hash)
        except Corrupt:
            return False
        return True
