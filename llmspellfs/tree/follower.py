"""Chunking, hashing and compressing a file while it is still being written, off the writer's thread.

As long as bytes arrive in order, a worker follows the writer, so that little is left to do when the file is closed.
A write behind what the worker has taken ends that: the file is then taken whole at the commit. `Followers` are those
of one open file.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from llmspellfs.errors import LimitExceeded
from llmspellfs.storage.ingest import written

if TYPE_CHECKING:
    from llmspellfs.service.intake import Intake
    from llmspellfs.storage.ingest import Staged, Written

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

    def abandon(self) -> list[Written]:
        """Take no more, and return the chunks whose files were put for it."""


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

    def abandon(self) -> list[Written]:
        """Take no more, and return the chunks whose files were put so far: no row will name them for it."""
        with self._turn:
            self.is_broken, running = True, self._running
        if running is not None and not running.cancel():
            wait([running])
        return self.ingest.abandon()


class Followers:
    """The followers of one open file: the one at work, and those that a change of the bytes has made useless.

    What those have stored stays until `take_back`, at a commit's end: what it commits may be the same. Threading: one
    thread at a time changes the bytes and calls `wrote`, `broke`, `take` or `abandon`; one at a time commits, and
    calls `finish`, `abandon` or `take_back`.
    """

    __slots__ = ("_abandoned", "_finished", "_intake", "_workers", "_working")

    def __init__(self, intake: Intake, workers: ThreadPoolExecutor) -> None:
        """Begin with none; they feed ingests of *intake*."""
        self._intake, self._workers = intake, workers
        self._working: Follower | None = None
        self._abandoned: list[Follower] = []
        self._finished: list[Staged] = []
        """What was staged beside those that were abandoned: it has put again what they had put."""

    def wrote(self, fd: int, offset: int, end: int) -> None:
        """Hear of bytes written to the spool file *fd* from *offset* to *end*; raise LimitExceeded if past a limit."""
        if self._working is None:
            self._working = Follower(self._intake.begin(), fd, self._workers)
        elif (refusal := self._working.refusal) is not None:
            raise refusal
        self._working.wrote(offset, end)

    def broke(self) -> None:
        """Hear that the content changed otherwise than by writing on."""
        if self._working is not None:
            self._working.broke()

    def take(self) -> Follower | None:
        """Return the one at work, for `finish`; what is written from now on is the next one's."""
        working, self._working = self._working, None
        return working

    def finish(self, follower: Follower | None, fd: int, size: int, *, trusting: bool) -> Staged | None:
        """Return the *size* bytes of *fd* staged, by *follower* as far as it has come; None where they were cut.

        *trusting* as for `Intake.stage`. Raises what an ingest raises.
        """
        if follower is not None and (not trusting or follower.is_broken):
            self._abandoned.append(follower)
            follower = None
        if follower is None:
            follower = Follower(self._intake.begin(trusting=trusting), fd, self._workers)
        self._abandoned.append(follower)
        if not follower.finish(size):
            return None
        staged = follower.ingest.finish()
        self._abandoned.remove(follower)
        if self._abandoned:
            self._finished.append(staged)
        return staged

    def abandon(self) -> None:
        """Give up the one at work: what it has taken will not be committed."""
        if self._working is not None:
            self._abandoned.append(self._working)
            self._working = None

    def take_back(self) -> None:
        """Have nothing stay of what was stored by those that were abandoned, but what is committed."""
        if self._abandoned:
            (abandoned, self._abandoned), (finished, self._finished) = (self._abandoned, []), (self._finished, [])
            chunks = dict.fromkeys(one for follower in abandoned for one in follower.abandon())
            names = {chunk for chunk, _ in chunks}
            self._intake.take_back([*chunks, *(one for one in written(finished) if one[0] in names)])
