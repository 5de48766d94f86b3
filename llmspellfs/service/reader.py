"""Reading a content: whole, by range, or straight into a buffer; every chunk checked before a byte of it is served."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from blake3 import blake3

from llmspellfs.errors import Corrupt
from llmspellfs.service.engine import Engine
from llmspellfs.storage import contents
from llmspellfs.storage.content import ContentReader


class Reader:
    """One content, opened; any thread may read. Reading raises Corrupt, never returns wrong or missing bytes."""

    def __init__(self, engine: Engine, cid: int, content_hash: str, size: int | None = None) -> None:
        """Open the content with the index's number *cid* and the BLAKE3 *content_hash*; raise Corrupt without it.

        It is so as well where its bytes are not as many as *size*, which is what listings say.
        """
        with engine.index.read() as db:
            size, refs = contents.load_refs(db, cid, content_hash, size)
        self._whole_hash = content_hash if len(refs) > 1 else None
        self.size = size
        """Bytes in all."""
        self._content = ContentReader(refs, size, engine.rooms.blobs, engine.rooms.cache)
        is_here = all(ref.data is not None for ref in refs)
        self._hold = None if is_here else engine.rooms.reading.hold(cid)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from byte *offset* on, fewer only at the end."""
        data = self._content.read_at(offset, size)
        if self._whole_hash is not None and len(data) == self.size and blake3(data).hexdigest() != self._whole_hash:
            raise self._other()
        return data

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from byte *offset* on; return how many bytes there were."""
        return self._content.read_into(view, offset)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content in order, about a megabyte at a time.

        The last is yielded once the whole is known to have the content's hash: that each chunk has its own, says
        nothing of their order.
        """
        if self._whole_hash is None:
            yield from self._content.blocks()
            return
        whole, held = blake3(), b""
        for block in self._content.blocks():
            if held:
                yield held
            whole.update(block)
            held = block
        if whole.hexdigest() != self._whole_hash:
            raise self._other()
        yield held

    def _other(self) -> Corrupt:
        return Corrupt(f"content {self._whole_hash}: its chunks are not those of its hash")

    def close(self) -> None:
        """Let go: garbage collection may have the content from now on, once nothing refers to it."""
        if self._hold is not None:
            self._hold.close()

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
