"""Checking content: every byte of every chunk and content against its hash, or no more than what is there and how long.

A chunk is decoded once however many contents in a row share it. What a live store's `gc` or `purge` takes away while
the check reads its own, older, state is no problem: whatever is missing is looked for again in the store of now.
"""

from __future__ import annotations

from contextlib import closing

from blake3 import blake3

from llmspellfs.errors import Corrupt, SpellError
from llmspellfs.model.shown import count
from llmspellfs.service.check_findings import Findings
from llmspellfs.service.engine import Engine
from llmspellfs.storage import audit, audit_content, audit_files, contents
from llmspellfs.storage.audit_content import Whole
from llmspellfs.storage.audit_files import Blob, Orphan
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.content import ChunkCache, ChunkRef

_CACHE_BYTES = 16 << 20


class ContentCheck:
    """The check of one store's content; what is wrong goes to *found*."""

    def __init__(self, engine: Engine, found: Findings) -> None:
        """Check what *found*'s connection shows of *engine*'s store."""
        self._engine, self._found, self._db = engine, found, found.db
        self._bad: dict[int, str] = {}
        """What is wrong with a chunk, by its kid; less than 0: an inline content's cid."""
        self._told: set[int] = set()

    def everything(self) -> int:
        """Read all content; return how many contents there are."""
        with closing(ChunkCache(_CACHE_BYTES)) as cache:
            for whole in audit.told(audit_content.wholes(self._db), self._found.unreadable):
                self._content(whole, cache)
                self._found.course.advance(whole.size if isinstance(whole.size, int) else 0)
            for ref in audit.told(contents.loose_chunks(self._db), self._found.unreadable):
                self._loose(ref, cache)
        return self.count()

    def count(self) -> int:
        """Return how many contents there are, without reading any."""
        return audit_content.content_bytes(self._db)[0]

    def files(self) -> None:
        """Look which chunks' files are there, and what is there beside them; read only those of a wrong length."""
        path = self._engine.rooms.path
        if path is None:
            return
        orphans = list[Orphan]()
        for blob in audit.told(audit_files.blobs(self._db, str(path)), self._found.unreadable):
            if isinstance(blob, Orphan):
                orphans.append(blob)
            elif not isinstance(blob, Blob):
                self._found.add(blob.kind, blob.path, blob.what, is_note=True)
            elif blob.length is None or blob.length < 0:
                self._chunk_is_bad(
                    blob.kid, blob.hash, f"its file is {'missing' if blob.length is None else 'no file'}"
                )
            elif blob.length != blob.stored_size:
                self._other_length(blob, blob.length)

        self._note_orphans(orphans)

    def _note_orphans(self, orphans: list[Orphan]) -> None:
        """Note the files that no row names: a write that was cut short leaves dozens."""
        if orphans:
            where = orphans[0].path if len(orphans) == 1 else "blobs"
            files = "" if len(orphans) == 1 else f"{len(orphans)} files of "
            goes = self._found.goes("`gc` removes them, an hour old or as old as its --grace says")
            size = count(sum(one.length for one in orphans), "byte")
            self._found.add("orphan", where, f"{files}{size} that no row names: {goes}", is_note=True)

    def _other_length(self, blob: Blob, length: int) -> None:
        """Read a file of another length: it may have been written by a process with another threshold."""
        for ref in contents.chunk_refs(self._db, blob.kid):
            try:
                self._load(ref)
            except SpellError as error:
                self._chunk_is_bad(blob.kid, blob.hash, _why(error, blob.hash))
            else:
                what = f"its file has {length} bytes and the index says {blob.stored_size}; it reads well"
                self._found.add("encoding", f"chunk {blob.hash.hex()}", what, is_note=True, key=blob.kid)

    def _content(self, whole: Whole, cache: ChunkCache) -> None:
        digest, end, is_bad = blake3(), 0, False
        for piece in whole.pieces:
            data = self._plain(piece, cache)
            if data is None and piece.kid >= 0:
                self._chunk_is_bad(piece.kid, piece.hash, self._bad[piece.kid])
            elif data is None:
                self._harm(whole, self._bad[piece.kid])
            elif piece.start != end and not is_bad:
                self._harm(whole, f"its chunks break off at {end}")
            is_bad |= data is None or piece.start != end
            if data is not None and not is_bad:
                digest.update(data)
            end = piece.start + piece.size
        if not is_bad:
            self._judge(whole, end, digest.digest())

    def _judge(self, whole: Whole, end: int, digest: bytes) -> None:
        if end != whole.size:
            self._harm(whole, f"it lacks chunks in the index: they make up {end} bytes of {whole.size}")
        elif digest != whole.hash:
            self._harm(whole, "its bytes have another hash")

    def _harm(self, whole: Whole, what: str) -> None:
        if self._is_there(content=whole.cid):
            where = f"content {_hex(whole.hash)}"
            self._found.add("bytes", where, what, self._found.harmed_by("content", whole.cid), key=whole.cid)

    def _plain(self, piece: ChunkRef, cache: ChunkCache) -> bytes | None:
        """Return the bytes of *piece*, or None and why in `_bad`; an inline content is not kept in *cache*."""
        if piece.kid in self._bad:
            return None
        try:
            if piece.kid < 0:
                return self._load(piece)
            return cache.get(piece.hash, lambda: self._load(piece))
        except SpellError as error:
            self._bad[piece.kid] = _why(error, piece.hash)
            return None

    def _load(self, piece: ChunkRef) -> bytes:
        stored = self._engine.rooms.blobs.get(piece.hash.hex()) if piece.data is None else piece.data
        return decode_checked(piece.codec, stored, piece.size, piece.hash)

    def _loose(self, ref: ChunkRef, cache: ChunkCache) -> None:
        if self._plain(ref, cache) is None:
            self._chunk_is_bad(ref.kid, ref.hash, self._bad[ref.kid])

    def _chunk_is_bad(self, kid: int, digest: bytes, why: str) -> None:
        self._bad[kid] = why
        if kid in self._told or not self._is_there(chunk=kid):
            return
        self._told.add(kid)
        harmed = tuple(
            harm
            for cid in audit.told(contents.contents_with(self._db, kid), self._found.unreadable)
            for harm in self._found.harmed_by("content", cid)
        )
        self._found.add("chunk", f"chunk {_hex(digest)}", why, tuple(dict.fromkeys(harmed)), key=kid)

    def _is_there(self, *, content: int = 0, chunk: int = 0) -> bool:
        """Tell whether the store of now still has what the check found harmed."""
        with self._engine.index.read() as db:
            return audit_content.is_content(db, content) if content else audit_content.is_chunk(db, chunk)


def _why(error: SpellError, digest: bytes) -> str:
    """Return what is wrong with the chunk or the content *digest*, without naming it again."""
    said = error.what if isinstance(error, Corrupt) else error.message
    return said.removeprefix(f"chunk {_hex(digest)}").strip() or "its bytes are not those that were stored"


def _hex(digest: object) -> str:
    return digest.hex() if isinstance(digest, bytes) else repr(digest)
