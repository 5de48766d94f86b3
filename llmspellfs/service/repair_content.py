"""Repairing content: bytes that are lost here and kept elsewhere are put back; what the index says of sound ones, set.

Nothing is believed without its hash. What cannot be put back stays listed and reads as an error, and its harmed file
goes to the quarantine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from blake3 import blake3

from llmspellfs.errors import SpellError
from llmspellfs.model.shown import count
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.engine import Engine
from llmspellfs.service.repair_chunks import Orphans, as_one, filled
from llmspellfs.service.repair_mixups import is_right, unmix
from llmspellfs.storage import contents, evidence, mending
from llmspellfs.storage.codec import PLAIN, ZSTD, decoded, encode, recover
from llmspellfs.storage.content import ChunkCache, ContentReader
from llmspellfs.storage.evidence import MOST_INLINE, LostChunk, Part
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
        cids = list(dict.fromkeys(problem.key for problem in problems if problem.kind == "bytes"))
        self._swapped = evidence.misnamed(self._root, {chunk.hash for chunk in lost})
        done, read = self._unmix(cids, lost)
        harmed = []
        for chunk in [chunk for chunk in lost if chunk.kid not in read]:
            mended = self._chunk(chunk)
            done += mended
            harmed += [] if mended else [chunk]
        for chunk in harmed:
            if chunk.data is None and self._quarantine.take_blob(chunk.hash.hex()):
                done.append(Done("chunk", f"the harmed file of chunk {chunk.hash.hex()} moved out"))
        for cid in cids:
            done += self._content(cid)
        return done

    def _unmix(self, cids: list[int], lost: list[LostChunk]) -> tuple[list[Done], set[int]]:
        if not cids and all(chunk.data is None for chunk in lost):
            return [], set()
        with self._engine.index.write(durable=True) as db:
            done, read = unmix(db, cids, lost, self._hash, self._completes)
            mending.sizes(db) if done else None
        self._engine.rooms.cache.clear()
        return done, read

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
                if plain is not None and self._completes(db, lost, plain) and not self._is_anothers(db, lost, plain):
                    return blake3(plain).digest(), codec, len(plain), len(data or b"")
        return None

    def _is_anothers(self, db: Connection, lost: LostChunk, plain: bytes) -> bool:
        return evidence.kid_of(db, blake3(plain).digest()) not in {None, lost.kid}

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
            if row is None or not is_right(db, cid, row[0]):
                return []
            digest, data = row
            if data is None:
                done = self._chunked(db, cid, digest)
            else:
                done = self._inline(db, cid, digest, data) or self._sized(db, cid)
        self._engine.rooms.cache.clear()
        return [Done("bytes", f"content {digest.hex()}: {done}")] if done else []

    def _inline(self, db: Connection, cid: int, digest: bytes, data: bytes | None) -> str:
        """Put the bytes of the hash *digest* into the row of a small content."""
        for candidate in (
            data,
            *evidence.as_stored(db, self._root, digest, self._backup),
            *evidence.cuttings(self._root, (0,), MOST_INLINE),
        ):
            found = None if candidate is None or len(candidate) > MOST_INLINE else recover(candidate, digest)
            if candidate is not None and found is not None:
                evidence.set_inline(db, cid, found[0], candidate, len(found[1]))
                return "it reads again"
        return ""

    def _chunked(self, db: Connection, cid: int, digest: bytes) -> str:
        """Find which chunks a content is, and in which order: the hash of the whole proves it."""
        sizes, parts = evidence.sizes_of(db, cid), evidence.parts(db, cid)
        whole = evidence.whole_chunk(db, digest)
        runs = (order for size in sizes for order in evidence.orders(db, cid, size, parts))
        for order in chain((parts, whole), runs):
            if self._hash(db, order) == digest:
                evidence.set_parts(db, cid, order)
                return "its chunks are in order again"
        for size in sizes:
            order, made = filled(db, cid, size, self._orphans, lambda order: self._hash(db, order) == digest)
            if order:
                evidence.set_parts(db, cid, order)
                rows = f"{count(made, 'chunk')} of it in the index again" if made else "its chunks are in order again"
                return f"{rows}, as the hash of the whole says"
            if not whole and (order := as_one(db, digest, size, self._orphans)):
                evidence.set_parts(db, cid, order)
                return "1 chunk of it in the index again, as the hash of the whole says"
        return self._from_backup(db, cid, digest) or self._bare(db, cid, digest, parts)

    def _bare(self, db: Connection, cid: int, digest: bytes, parts: list[Part]) -> str:
        """Mend what can be of a content whose bytes are not found among chunks: it may have been a small one."""
        done = "" if parts else self._inline(db, cid, digest, None)
        return done or self._sized(db, cid)

    def _sized(self, db: Connection, cid: int) -> str:
        """Have a content that cannot be read be of the size that events tell, to which its rows are held."""
        told = evidence.told_sizes(db, cid)
        if len(told) != 1 or told == {evidence.content_size(db, cid)}:
            return ""
        (size,) = told
        evidence.set_size(db, cid, size)
        return f"it is of {count(size, 'byte')}, as the events say, and is lost"

    def _from_backup(self, db: Connection, cid: int, digest: bytes) -> str:
        """Have the content be of the chunks that it is of in the backup, which are brought where they are missing."""
        chunks = evidence.chunks_of_backup(self._backup, digest) if self._backup is not None else []
        found = [(name, data, recover(data or b"", name)) for name, data in chunks]
        whole = blake3()
        for _, _, read in found:
            whole.update(read[1] if read is not None else b"")
        if not found or whole.digest() != digest:
            return ""
        order = []
        for name, data, read in found:
            assert data is not None  # else the whole had another hash
            assert read is not None
            kid = evidence.kid_of(db, name)
            if kid is None:
                self._blobs.put(name.hex(), data)
                kid = evidence.add_chunk(db, None, name, read[0], len(read[1]), len(data))
            order.append(Part(kid, len(read[1])))
        self._blobs.sync()
        evidence.set_parts(db, cid, order)
        return "its chunks are those that it has in the backup"

    def whole_hash(self, db: Connection, cid: int) -> bytes | None:
        """Return the BLAKE3 of the chunks that are listed for the content *cid*, or None where there are none."""
        return self._hash(db, evidence.parts(db, cid))

    def _hash(self, db: Connection, order: list[Part]) -> bytes | None:
        """Return the BLAKE3 of the chunks *order*, None where they cannot be read: no chunks are no bytes."""
        if not order:
            return None
        whole = blake3()
        try:
            for part in order:
                whole.update(self._plain(db, part.kid))
        except (SpellError, ValueError):
            return None
        return whole.digest()
