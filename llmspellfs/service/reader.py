"""Reading a content: whole, by range, or straight into a buffer; every chunk checked before a byte of it is served."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from llmspellfs.service.engine import Engine
from llmspellfs.storage import contents
from llmspellfs.storage.content import ContentReader


class Reader:
    """One content, opened; any thread may read. Reading raises Corrupt, never returns wrong or missing bytes."""

    def __init__(self, engine: Engine, cid: int, content_hash: str) -> None:
        """Open the content with the index's number *cid* and the BLAKE3 *content_hash*; raise Corrupt without it."""
        with engine.index.read() as db:
            size, refs = contents.load_refs(db, cid, content_hash)
        self.size = size
        """Bytes in all."""
        self._content = ContentReader(refs, size, engine.rooms.blobs, engine.rooms.cache)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from byte *offset* on, fewer only at the end."""
        return self._content.read_at(offset, size)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from byte *offset* on; return how many bytes there were."""
        return self._content.read_into(view, offset)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content in order, about a megabyte at a time."""
        return self._content.blocks()

    def close(self) -> None:
        """Let go; nothing is held beyond the shared cache."""

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
