"""Content on its way in, for every door: bytes at once, files block by block, a handle's bytes as they arrive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import BinaryIO

from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.service import unlinking
from llmspellfs.service.engine import Engine
from llmspellfs.service.incoming import Incoming
from llmspellfs.storage import contents, disk, following
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.disk import Buffer
from llmspellfs.storage.ingest import INLINE_LIMIT, Check, Ingest, Room, Staged, Written, stage_bytes, written
from llmspellfs.storage.lost import sync
from llmspellfs.storage.read_back import ReadBack
from llmspellfs.storage.spool import SpoolFile

_BLOCK = 1 << 20
_BUFFERS = (bytes, bytearray, memoryview)


class MemoryFile:
    """A spool file of a store in memory: there is nothing to salvage when its process ends."""

    path: str | None = None

    def __init__(self) -> None:
        """Make an empty file without a name."""
        self.fd = os.memfd_create("llmspellfs-spool", os.MFD_CLOEXEC)

    def write(self, data: Buffer, offset: int) -> None:
        """Write all of *data* at *offset*; raises OSError."""
        disk.pwrite("memory.write", self.fd, data, offset)

    def truncate(self, size: int) -> None:
        """Cut or extend it with zeros to *size* bytes; raises OSError."""
        disk.ftruncate("memory.truncate", self.fd, size)

    def mark_committed(self) -> None:
        """Need no mark."""

    def mark_dirty(self) -> None:
        """Need no mark."""

    def discard(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Intake:
    """Stages content: chunked, hashed, compressed and durable, before any transaction names it."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine
        self._read_back = ReadBack(engine.rooms.blobs)

    def stage(
        self, content: bytes | BinaryIO, progress: Callable[[int], None] | None = None, *, trusting: bool = True
    ) -> Staged:
        """Return *content* staged; a file is read in blocks and never held whole.

        Raises TooLarge, LimitExceeded, NoSpace.

        *trusting*: chunks that the store has already, and that read back, are not stored again; they may be purged
        before they are named.
        """
        config = self._engine.config
        if isinstance(content, _BUFFERS) and len(content) <= INLINE_LIMIT:
            return stage_bytes(
                content, self._engine.rooms.blobs, config.artifact_compression_threshold,
                max_size=config.max_artifact_size, known=self._known if trusting else None,
            )  # fmt: skip
        ingest = self.begin(trusting=trusting)
        try:
            for block in (content,) if isinstance(content, _BUFFERS) else _blocks(content):
                ingest.feed(block)
                if progress is not None:
                    progress(ingest.size)
            return ingest.finish()
        except BaseException:
            self.take_back(ingest.abandon())
            raise

    @contextmanager
    def together(self) -> Iterator[list[Staged]]:
        """Give the list in which contents are gathered that are staged one by one for a transaction.

        Where one of them is refused, what was written for those before it is unlinked.
        """
        gathered: list[Staged] = []
        try:
            yield gathered
        except BaseException:
            self.take_back(written(gathered))
            raise

    def take_back(self, chunks: Iterable[Written]) -> None:
        """Unlink the files of *chunks* that no row names, since what they were written for was abandoned.

        Who relies on one meanwhile finds that it is gone, and stores it anew; what cannot be unlinked is left to
        garbage collection.
        """
        with suppress(SpellError):
            unlinking.take_back(self._engine, chunks)

    def incoming(self) -> Incoming:
        """Return what has content, that is staged a second time, kept until it is named, whatever others take back."""
        return Incoming(self._engine)

    def begin(self, *, trusting: bool = True) -> Ingest:
        """Return an ingest to feed; one owner at a time. *trusting* as for `stage`."""
        config = self._engine.config
        return Ingest(
            self._engine.rooms.blobs,
            threshold=config.artifact_compression_threshold,
            max_size=config.max_artifact_size,
            known=self._known if trusting else None,
            room=self._room(),
        )

    def _room(self) -> Room | None:
        """Return what quotas leave for content that is stored before its transaction, if any are set."""
        quota = self._engine.quota
        return None if quota is None else quota.room(self._engine.index)

    @property
    def owner(self) -> str:
        """The name by which this process's drafts are known: its spool folder's."""
        spool = self._engine.rooms.spool
        return "memory" if spool is None else spool.name

    def spool_file(self, meant_for: Destination) -> SpoolFile | MemoryFile:
        """Return an empty file for bytes that are *meant_for*; raise NoSpace, and NotFound where that was purged."""
        spool = self._engine.rooms.spool
        if spool is None:
            return MemoryFile()
        file = spool.new()
        file.describe(meant_for)
        if (
            meant_for.sequence is not None and self._current(meant_for) is None
        ):  # a purge that comes later finds the file
            file.discard()
            raise NotFound("artifact", str(meant_for.name))
        return file

    def lose(self, source: str | bytes, meant_for: Destination, why: str) -> str | None:
        """Keep bytes, or a file of the spool (moved), in lost+found; return the item's id.

        It is said to be for what *meant_for* is by now. None in memory, and where the session, or the artifact, was
        purged: nothing of it is kept. Raises NoSpace, and LimitExceeded where lost+found holds as much as a quota
        allows.
        """
        lost, quota = self._engine.rooms.lost, self._engine.quota
        now_for = self._current(meant_for)
        if lost is None or now_for is None:
            return None
        if isinstance(source, str):
            sync(source)
        with nullcontext() if quota is None else lost.turn(self._engine.index.busy_seconds):
            if quota is not None:
                size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
                quota.check_lost(lost.list(), now_for.session, size)
            item = lost.add(source, now_for, why, self._engine.now(), is_synced=True)
        if self._current(now_for) is None:  # since: the purge may have looked before the item was there
            lost.wipe([item])
            return None
        return item

    def _current(self, told: Destination) -> Destination | None:
        """Return what *told* is by now, None where it is known that it was purged."""
        try:
            with self._engine.index.read() as db:
                return following.current(db, told)
        except SpellError:
            return told

    def _known(self, chunk_hash: bytes) -> Check | None:
        with self._engine.index.read() as db:
            chunk = contents.known_chunk(db, chunk_hash, self._engine.rooms.blobs)
        return None if chunk is None else partial(self._read_back.is_whole, chunk)


def _blocks(file: BinaryIO) -> Iterator[Buffer]:
    while block := file.read(_BLOCK):
        if not isinstance(block, _BUFFERS):
            raise InvalidValue("content", "expected a file of bytes, not of text")
        yield block
