"""Chunking, hashing and compressing a file while it is still being written, off the writer's thread.

As long as bytes arrive in order, a worker follows the writer, so that little is left to do when the file is closed.
A write behind what the worker has taken ends that: the file is then taken whole at the commit.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from llmspellfs.errors import LimitExceeded

if TYPE_CHECKING:
    from llmspellfs.storage.ingest import Staged

BLOCK = 1 << 20
START = 4 << 20
"""Bytes that wait before a worker is put on them."""


class Ingest(Protocol):
    """What takes content in order; see `storage.ingest`."""

    @property
    def failure(self) -> BaseException | None:
        """Why the content will not be taken, whatever follows."""

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> Staged:
        """Return the content, durable."""

    def abandon(self) -> list[str]:
        """Take no more, and return the chunks whose files were written for it."""


class Follower:
    """Feeds the bytes of the spool file *fd* to *ingest*; the writer calls `wrote`, `broke` and `finish`."""

    def __init__(self, ingest: Ingest, fd: int, workers: ThreadPoolExecutor) -> None:
        """Begin with nothing taken."""
        self.ingest = ingest
        self._fd, self._workers = fd, workers
        self._turn = threading.Lock()
        self._block = bytearray(BLOCK)
        self._taken = 0
        self._end = 0
        self._running: Future[None] | None = None
        self.is_broken = False
        self._is_outdated = False

    @property
    def refusal(self) -> LimitExceeded | None:
        """The limit that what has come so far is beyond, whatever is written behind it."""
        failure = None if self._is_outdated else self.ingest.failure
        return failure if isinstance(failure, LimitExceeded) else None

    def wrote(self, offset: int, end: int) -> None:
        """Hear of bytes written from *offset* to *end*."""
        with self._turn:
            if offset < self._taken:
                self.is_broken = self._is_outdated = True
            self._end = max(self._end, end)
            if not self.is_broken and self._running is None and self._end - self._taken >= START:
                self._running = self._workers.submit(self._follow)

    def broke(self) -> None:
        """Hear that the content changed otherwise than by writing on."""
        with self._turn:
            self.is_broken = self._is_outdated = True

    def _follow(self) -> None:
        try:
            while (claim := self._claim(BLOCK)) is not None:
                self._feed(*claim)
        except Exception:
            with self._turn:
                self.is_broken = True
            raise

    def _claim(self, least: int) -> tuple[int, int] | None:
        with self._turn:
            start, size = self._taken, min(BLOCK, self._end - self._taken)
            if self.is_broken or size < least:
                self._running = None
                return None
            self._taken += size
            return start, size

    def _feed(self, start: int, size: int) -> None:
        with memoryview(self._block)[:size] as view:
            if os.preadv(self._fd, [view], start) < size:
                self.broke()  # cut meanwhile; what was claimed is not there any more
                return
            self.ingest.feed(view)

    def finish(self, size: int) -> bool:
        """Wait for the worker and take what is left up to *size*; tell whether the ingest has it all.

        Raises what the ingest raised.
        """
        with self._turn:
            running = self._running
        if running is not None and not running.cancel():  # what no worker has begun is done here
            running.result()
        with self._turn:
            self.is_broken = self.is_broken or self._taken > size
            self._end = size
        while not self.is_broken and (claim := self._claim(1)) is not None:
            self._feed(*claim)
        return not self.is_broken

    def abandon(self) -> list[str]:
        """Take no more, and return the chunks whose files were written so far: nobody will name them."""
        with self._turn:
            self.is_broken, running = True, self._running
        if running is not None and not running.cancel():
            wait([running])
        return self.ingest.abandon()
