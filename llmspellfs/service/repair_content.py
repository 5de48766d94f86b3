"""Repairing content: bytes that are lost here and kept elsewhere are put back; what the index says of sound ones, set.

Nothing is believed without its hash. What cannot be put back stays listed and reads as an error, and its harmed file
goes to the quarantine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from llmspellfs.errors import SpellError
from llmspellfs.model.shown import count
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.engine import Engine
from llmspellfs.service.repair_chunks import Orphans, with_orphans
from llmspellfs.storage import contents, evidence, mending
from llmspellfs.storage.codec import PLAIN, ZSTD, decoded, encode, recover
from llmspellfs.storage.content import ChunkCache, ContentReader
from llmspellfs.storage.evidence import LostChunk
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import Done
from llmspellfs.storage.quarantine import Quarantine

_MOST_TRIED = 64
"""Orphans that are tried in the place of a chunk whose very hash may be wrong: each takes hashing the whole content."""
_CACHE_BYTES = 16 << 20


class ContentRepair:
    """The repair of one store's content."""

    def __init__(self, engine: Engine, quarantine: Quarantine, backup: Path | None = None) -> None:
        """Repair *engine*'s store; what is replaced goes to *quarantine*, what is lost may be in its *backup*."""
        self._engine, self._quarantine, self._backup = engine, quarantine, backup
        self._blobs, self._root = engine.rooms.blobs, str(engine.rooms.path)
        self._swapped: dict[bytes, bytes] = {}
        self._orphans = Orphans(self._root)
        self._threshold = engine.config.artifact_compression_threshold

    def run(self, problems: tuple[Problem, ...]) -> list[Done]:
        """Mend what of *problems* is about chunks and contents, each in a transaction of its own."""
        kids = [problem.key for problem in problems if problem.kind in {"chunk", "encoding"}]
        with self._engine.index.read() as db:
            lost = [chunk for chunk in (evidence.lost_chunk(db, kid) for kid in kids) if chunk is not None]
        self._swapped = evidence.misnamed(self._root, {chunk.hash for chunk in lost})
        done, harmed = [], []
        for chunk in lost:
            mended = self._chunk(chunk)
            done += mended
            harmed += [] if mended else [chunk]
        for chunk in harmed:
            if chunk.data is None and self._quarantine.take_blob(chunk.hash.hex()):
                done.append(Done("chunk", f"the harmed file of chunk {chunk.hash.hex()} moved out"))
        for cid in dict.fromkeys(problem.key for problem in problems if problem.kind == "bytes"):
            done += self._content(cid)
        return done

    def _chunk(self, lost: LostChunk) -> list[Done]:
        with self._engine.index.read() as db:
            found = self._own(lost) or self._elsewhere(db, lost)
            renamed = None if found else self._misnamed(db, lost)
        name = lost.hash.hex()
        if found is not None:
            codec, plain, stored, is_own = found
            if not is_own:
                codec, stored = self._place(lost, plain)
            data = stored if lost.data is not None else None
            self._set_chunk(lost, lost.hash, codec, len(plain), len(stored), data)
            how = "" if is_own else ": its bytes were found elsewhere"
            return [Done("chunk", f"chunk {name} reads again{how}")]
        if renamed is not None:
            digest, codec, size, length = renamed
            self._set_chunk(lost, digest, codec, size, length, lost.data)
            return [Done("chunk", f"chunk {name} is called {digest.hex()} again, as its bytes and its content say")]
        return []

    def _set_chunk(
        self, lost: LostChunk, digest: bytes, codec: int, size: int, stored: int, data: bytes | None
    ) -> None:
        with self._engine.index.write(durable=True) as db:
            evidence.set_chunk(db, lost.kid, digest, codec, size, stored, data)
            mending.sizes(db)
        self._engine.rooms.cache.clear()

    def _own(self, lost: LostChunk) -> tuple[int, bytes, bytes, bool] | None:
        """Return the chunk's codec, plain and stored bytes, if they are sound and the index is wrong of them."""
        try:
            stored = self._blobs.get(lost.hash.hex()) if lost.data is None else lost.data
        except SpellError:
            return None
        found = recover(stored, lost.hash)
        return None if found is None else (*found, stored, True)

    def _elsewhere(self, db: Connection, lost: LostChunk) -> tuple[int, bytes, bytes, bool] | None:
        for data in self._candidates(db, lost):
            found = recover(data, lost.hash)
            if found is not None:
                return (*found, data, False)
        return None

    def _candidates(self, db: Connection, lost: LostChunk) -> Iterator[bytes]:
        if lost.hash in self._swapped:
            yield self._swapped[lost.hash]
        for data in evidence.as_stored(db, self._root, lost.hash, self._backup):
            yield data
            yield data[: lost.stored_size]  # something may have been added to it
        yield from evidence.cuttings(self._root, (0, *lost.starts), lost.size if 0 < lost.size <= 4 << 20 else 0)

    def _place(self, lost: LostChunk, plain: bytes) -> tuple[int, bytes]:
        codec, packed = encode(plain, self._threshold)
        stored = bytes(packed)
        if lost.data is None:
            self._quarantine.take_blob(lost.hash.hex())
            self._blobs.put(lost.hash.hex(), stored)
            self._blobs.sync()
        return codec, stored

    def _misnamed(self, db: Connection, lost: LostChunk) -> tuple[bytes, int, int, int] | None:
        """Return the hash, codec, size and length of bytes that make the chunk's content whole under another name."""
        own = [("", lost.data)] if lost.data is not None else list(evidence.orphans(db, self._root))
        for _, data in own[:_MOST_TRIED]:
            for codec in (PLAIN, ZSTD):
                plain = decoded(codec, data or b"")
                if plain is not None and self._completes(db, lost, plain):
                    return blake3(plain).digest(), codec, len(plain), len(data or b"")
        return None

    def _completes(self, db: Connection, lost: LostChunk, plain: bytes) -> bool:
        for cid in contents.contents_with(db, lost.kid):
            whole, row = blake3(), evidence.inline(db, cid)
            try:
                for part in evidence.parts(db, cid):
                    whole.update(plain if part.kid == lost.kid else self._plain(db, part.kid))
            except SpellError:
                continue
            if row is not None and whole.digest() == row[0]:
                return True
        return False

    def _plain(self, db: Connection, kid: int) -> bytes:
        cache = ChunkCache(_CACHE_BYTES)
        (ref,) = contents.chunk_refs(db, kid)  # a ValueError where it is gone
        return b"".join(ContentReader([ref], ref.size, self._blobs, cache).blocks())

    def _content(self, cid: int) -> list[Done]:
        with self._engine.index.write(durable=True) as db:
            row = evidence.inline(db, cid)
            if row is None:
                return []
            done = self._inline(db, cid, *row) if isinstance(row[1], bytes) else self._chunked(db, cid, row[0])
        self._engine.rooms.cache.clear()
        return [Done("bytes", f"content {row[0].hex()}: {done}")] if done else []

    def _inline(self, db: Connection, cid: int, digest: bytes, data: bytes | None) -> str:
        for candidate in (
            data or b"",
            *evidence.as_stored(db, self._root, digest, self._backup),
            *evidence.cuttings(self._root, (0,), 1 << 16),
        ):
            found = recover(candidate, digest)
            if found is not None:
                evidence.set_inline(db, cid, found[0], candidate, len(found[1]))
                return "it reads again"
        for codec in (ZSTD, PLAIN):
            plain = decoded(codec, data or b"")
            real = None if plain is None else blake3(plain).digest()
            if plain is not None and real is not None and evidence.is_told(db, real.hex()):
                evidence.set_inline(db, cid, codec, data or b"", len(plain))
                evidence.set_content_hash(db, cid, real)
                return f"its hash is {real.hex()} again, as its bytes and the events say"
        return ""

    def _chunked(self, db: Connection, cid: int, digest: bytes) -> str:
        """Put the chunks of a content in order, or find which they were, or correct its hash: a hash proves each."""
        size, parts = evidence.content_size(db, cid), evidence.parts(db, cid)
        for order in (parts, *evidence.orders(db, cid, size, parts)):
            whole = self._hash(db, order)
            if whole == digest:
                evidence.set_parts(db, cid, order)
                return "its chunks are in order again"
            if whole is not None and order is parts and evidence.is_told(db, whole.hex()):
                evidence.set_parts(db, cid, order)
                evidence.set_content_hash(db, cid, whole)
                return f"its hash is {whole.hex()} again, as its bytes and the events say"
        return self._with_orphans(db, cid, digest)

    def whole_hash(self, db: Connection, cid: int) -> bytes | None:
        """Return the BLAKE3 of the chunks that are listed for the content *cid*, or None where there are none."""
        order = evidence.parts(db, cid)
        return self._hash(db, order) if order else None

    def _hash(self, db: Connection, order: list[evidence.Part]) -> bytes | None:
        whole = blake3()
        try:
            for part in order:
                whole.update(self._plain(db, part.kid))
        except (SpellError, ValueError):
            return None
        return whole.digest()

    def _with_orphans(self, db: Connection, cid: int, digest: bytes) -> str:
        """Make the rows of chunks again that are gone, of files that no row names."""
        made = with_orphans(db, cid, self._orphans, lambda: self._hash(db, evidence.parts(db, cid)) == digest)
        return f"{count(len(made), 'chunk')} of it in the index again, as the hash of the whole says" if made else ""
