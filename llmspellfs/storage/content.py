"""Content on its way out: any range of it, decoding only the chunks that the range touches.

Every chunk's BLAKE3 is checked before a byte of it is served. What cannot be read back whole is Corrupt:
never short, never zeros. Decoded chunks are shared by all readers through one `ChunkCache`; whoever reads on
in order finds the next chunk already there.

Threading: everything here may be used from any thread at once. No lock is held while a chunk is loaded.
"""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from llmspellfs.errors import Corrupt
from llmspellfs.storage import inherited
from llmspellfs.storage.blobs import BlobStore
from llmspellfs.storage.codec import decode_checked

CACHE_BYTES = 64 << 20
_ENTRY_BYTES = 256
"""What a kept chunk costs beside its bytes, roughly: so that many small ones are bounded too."""
_AHEAD_THREADS = 2
_IN_ORDER = 1 << 19
"""Bytes by which a read may miss the end of the one before it and still be in order: what the kernel reads
ahead arrives through several threads."""


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """One chunk of a content, as the index has it; *data* as stored where it is small, else it is a blob."""

    start: int
    size: int
    kid: int
    hash: bytes
    """BLAKE3 of the plain bytes, 32 bytes."""
    codec: int
    data: bytes | None


class ChunkCache:
    """The decoded, checked chunks of one store, least recently used ones dropped beyond *max_bytes*."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        """Begin empty."""
        self._max_bytes = max_bytes
        self._turn = inherited.lock()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._loading: dict[bytes, Future[bytes]] = {}
        self._ahead = threading.BoundedSemaphore(2 * _AHEAD_THREADS)
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._pid = os.getpid()

    def get(self, digest: bytes, load: Callable[[], bytes]) -> bytes:
        """Return the chunk *digest*, from *load* where it is not kept; others wait for that one load."""
        with self._turn:
            kept = self._kept.get(digest)
            if kept is not None:
                self._kept.move_to_end(digest)
                return kept
            loading = self._loading.get(digest)
            if loading is None:
                mine = self._loading[digest] = Future()
        return loading.result() if loading is not None else self._load(digest, load, mine)

    def ahead(self, digest: bytes, load: Callable[[], bytes]) -> None:
        """Load the chunk *digest* in the background, unless it is there, on its way, or enough others are."""
        with self._turn:
            if self._closed or self._pid != os.getpid() or digest in self._kept or digest in self._loading:
                return
            if not self._ahead.acquire(blocking=False):
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AHEAD_THREADS, thread_name_prefix="read-ahead")
            self._pool.submit(self._load_ahead, digest, load)

    def clear(self) -> None:
        """Forget every chunk, as after a purge."""
        with self._turn:
            self._kept.clear()
            self._bytes = 0

    def close(self) -> None:
        """Forget every chunk and end the background threads; reading goes on without them."""
        with self._turn:
            self._closed, pool, self._pool = True, self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown()
        self.clear()

    def _load(self, digest: bytes, load: Callable[[], bytes], mine: Future[bytes]) -> bytes:
        try:
            data = load()
        except BaseException as error:
            with self._turn:
                del self._loading[digest]
            mine.set_exception(error)
            raise
        with self._turn:
            del self._loading[digest]
            self._keep(digest, data)
        mine.set_result(data)
        return data

    def _keep(self, digest: bytes, data: bytes) -> None:
        if len(data) + _ENTRY_BYTES > self._max_bytes:
            return
        self._kept[digest] = data
        self._bytes += len(data) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped) + _ENTRY_BYTES

    def _load_ahead(self, digest: bytes, load: Callable[[], bytes]) -> None:
        try:
            # Whoever comes to need the chunk gets the error again, at his own read.
            with suppress(Exception):
                self.get(digest, load)
        finally:
            self._ahead.release()


class ContentReader:
    """One content, open for reading."""

    def __init__(self, refs: Sequence[ChunkRef], size: int, blobs: BlobStore, cache: ChunkCache) -> None:
        """Read the *size* bytes that *refs* make up in their order; raises Corrupt where they do not."""
        self.size = size
        self._refs = [ref for ref in refs if ref.size]
        self._starts = [ref.start for ref in self._refs]
        self._blobs = blobs
        self._cache = cache
        self._end = -1
        self._fetched = 0
        self._check_refs()

    def _check_refs(self) -> None:
        end = 0
        for ref in self._refs:
            if ref.start != end:
                break
            end += ref.size
        if end != self.size:
            raise Corrupt(f"content of {self.size} bytes whose chunks break off at {end}")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*, fewer only at the content's end; raises Corrupt."""
        pieces = self._pieces(offset, size)
        first = next(pieces, None)
        if first is None:
            return b""
        chunk, begin, end = first
        if end - begin == min(size, self.size - offset):
            return chunk[begin:end]
        whole = io.BytesIO(chunk[begin:end])
        whole.seek(0, io.SEEK_END)
        for chunk, begin, end in pieces:
            whole.write(memoryview(chunk)[begin:end])
        return whole.getvalue()

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset*; return how many bytes, fewer only at the end. Raises Corrupt."""
        target = view if view.format == "B" else view.cast("B")
        done = 0
        for chunk, begin, end in self._pieces(offset, len(target)):
            target[done : done + end - begin] = memoryview(chunk)[begin:end]
            done += end - begin
        return done

    def blocks(self) -> Iterator[bytes]:
        """Yield the whole content, a chunk at a time; raises Corrupt."""
        for number in range(len(self._refs)):
            self._fetch_ahead(number + 1)
            yield self._chunk(number)

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield what makes up the range: a chunk, and where in it to begin and to end."""
        if offset < 0 or size < 0:
            raise ValueError("expected an offset and a size of 0 or more")
        end = min(offset + size, self.size)
        in_order = offset > 0 and abs(offset - self._end) <= _IN_ORDER
        self._end = end
        number = bisect_right(self._starts, offset) - 1
        while offset < end:
            ref = self._refs[number]
            if in_order:
                self._fetch_ahead(number + 1)
            stop = min(end - ref.start, ref.size)
            yield self._chunk(number), offset - ref.start, stop
            offset = ref.start + stop
            number += 1

    def _chunk(self, number: int) -> bytes:
        ref = self._refs[number]
        data = self._cache.get(ref.hash, lambda: self._load(ref))
        if len(data) != ref.size:  # kept since before the index was harmed, or for another row of that hash
            raise Corrupt(f"chunk {ref.hash.hex()}: {len(data)} bytes, not {ref.size} as the index says")
        return data

    def _fetch_ahead(self, number: int) -> None:
        if self._fetched < number < len(self._refs):
            self._fetched = number
            ref = self._refs[number]
            self._cache.ahead(ref.hash, lambda: self._load(ref))

    def _load(self, ref: ChunkRef) -> bytes:
        stored = self._blobs.get(ref.hash.hex()) if ref.data is None else ref.data
        return decode_checked(ref.codec, stored, ref.size, ref.hash)
