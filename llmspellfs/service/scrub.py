"""Scrubbing: all content is read and hashed again in the course of time, so that harm is found before it is needed.

A pass goes over the contents within the index, then over the chunks, and remembers how far it is. What is harmed is
noted in the index, named once in the log, and cleared when it is read back well. `scrub` does so in the foreground,
`scrubber` behind a mount. One process of a store scrubs at a time.

Threading: reading, decompressing and hashing release the interpreter's lock; a step takes milliseconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from llmspellfs.errors import Corrupt, SpellError, StoreBusy
from llmspellfs.service.check_progress import Progress
from llmspellfs.service.engine import Engine
from llmspellfs.storage import contents, scrubbing, turns
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.content import ChunkRef
from llmspellfs.storage.scrubbing import Pass

_log = logging.getLogger(__name__)
_STEP_ITEMS, _STEP_BYTES, _SAVED_BYTES = 64, 1 << 20, 64 << 20
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub read: *checked* contents and chunks of so many stored *bytes*; artifacts it found *harmed*."""

    checked: int
    bytes: int
    harmed: tuple[str, ...]
    is_whole: bool
    """A pass ended: all content has been read since it began."""


@dataclass(frozen=True, slots=True)
class ScrubState:
    """How far the scrub is: *percent* of the stored bytes since *began_ns*, and how many artifacts are *harmed*."""

    percent: int
    began_ns: int | None
    ended_ns: int | None
    """When a pass last ended."""
    harmed: int


def scrub_state(engine: Engine) -> ScrubState:
    """Return how far the scrub of *engine*'s store is, and what it knows to be harmed."""
    with engine.index.snapshot() as db:
        state, total = scrubbing.load(db), contents.totals(db)[1]
        harmed = scrubbing.count_harmed_artifacts(db)
    if state is None:
        return ScrubState(0, None, None, harmed)
    return ScrubState(_percent(state.done, total), state.began_ns, state.ended_ns, harmed)


def scrub(engine: Engine, percent: float = 100.0, progress: Progress | None = None) -> ScrubReport:
    """Read *percent* of the content from where the scrub is, or all of it; raise StoreBusy where another does."""
    with _turn(engine, _PATIENCE):
        walk = Walk(engine, is_new=percent >= 100)
        goal = int(walk.total * percent / 100)
        while (percent >= 100 or walk.bytes < goal) and walk.step():
            if progress is not None:
                progress(walk.bytes, goal)
        walk.save()
        return walk.report()


@contextmanager
def _turn(engine: Engine, patience: float) -> Iterator[None]:
    """Hold the scrubber's place; raise StoreBusy where another holds it for longer than *patience* seconds."""
    deadline = time.monotonic() + patience
    while True:
        with turns.alone(engine.rooms.path, turns.SCRUBBING) as is_mine:
            if is_mine:
                yield
                return
        if time.monotonic() >= deadline:
            raise StoreBusy(patience)
        time.sleep(0.05)


class Walk:
    """Steps over the content of a store, from where the last walk ended; who makes one holds the scrubber's place."""

    def __init__(self, engine: Engine, total: int | None = None, *, is_new: bool = False) -> None:
        """Go on in *engine*'s store of *total* stored bytes, where that is known, or begin a pass that *is_new*."""
        self._engine = engine
        with engine.index.snapshot() as db:
            before = scrubbing.load(db) or Pass(engine.now())
            self.total = contents.totals(db)[1] if total is None else total
            self._harmed = scrubbing.harmed(db)
        self.state = Pass(engine.now(), ended_ns=before.ended_ns) if is_new else before
        self.bytes = self._checked = self._saved = 0
        self._found = dict[str, None]()
        self._is_whole = False

    def report(self) -> ScrubReport:
        """Return what the walk has found so far."""
        return ScrubReport(self._checked, self.bytes, tuple(self._found), self._is_whole)

    def step(self) -> bool:
        """Read about a megabyte; return False where that ended a pass: the next step begins another."""
        batch = self._next()
        if not batch:
            self._end()
            return False
        for number, stored, ref in batch:
            self._check(ref)
            place = {"kid": number} if ref.kid >= 0 else {"cid": number}
            self.state = replace(self.state, done=self.state.done + stored, **place)
            self.bytes += stored
            self._checked += _is_read(ref)
        if self.bytes - self._saved >= _SAVED_BYTES:
            self.save()
        return True

    def save(self) -> None:
        """Remember where the walk is; that it could not be is no reason to stop."""
        self._saved = self.bytes
        with suppress(SpellError), self._engine.index.write(patience=_PATIENCE, frees=True) as db:
            scrubbing.save(db, self.state)

    def _next(self) -> list[tuple[int, int, ChunkRef]]:
        with self._engine.index.snapshot() as db:
            if self.state.kid == 0 and (batch := _some(scrubbing.contents_after(db, self.state.cid))):
                return batch
            return _some(scrubbing.chunks_after(db, self.state.kid))

    def _end(self) -> None:
        now = self._engine.now()
        self.state = Pass(now, ended_ns=now)
        self._is_whole = True
        with suppress(SpellError), self._engine.index.write(patience=_PATIENCE, frees=True) as db:
            scrubbing.clear_gone(db)
            scrubbing.save(db, self.state)

    def _check(self, ref: ChunkRef) -> None:
        why = self._flaw(ref)
        if why is None:
            if ref.hash in self._harmed and not self._is_harmed_else(ref):
                self._note(ref.hash, None)
        elif (why := self._flaw(ref)) is not None and self._is_there(ref):  # neither purged nor mended meanwhile
            self._note(ref.hash, why)

    def _is_harmed_else(self, ref: ChunkRef) -> bool:
        """Tell whether *ref*, which is whole itself, may be harmed as a content that is one chunk, of the same hash."""
        with self._engine.index.read() as db:
            return scrubbing.is_chunk(db, ref.hash) if not _is_read(ref) else contents.is_lacking(db, ref.hash)

    def _flaw(self, ref: ChunkRef) -> str | None:
        if ref.kid < 0:
            with self._engine.index.read() as db:
                if contents.is_lacking(db, ref.hash):
                    return f"content {ref.hash.hex()} is not whole in the index"
        if not _is_read(ref):
            return None
        try:
            stored = self._engine.rooms.blobs.get(ref.hash.hex()) if ref.data is None else ref.data
            decode_checked(ref.codec, stored, ref.size, ref.hash)
        except Corrupt as error:
            return error.message
        return None

    def _is_there(self, ref: ChunkRef) -> bool:
        with self._engine.index.read() as db:
            return scrubbing.is_there(db, ref.hash)

    def _note(self, digest: bytes, why: str | None) -> None:
        """Remember that what has the hash *digest* is harmed, or where *why* is None that it no longer is."""
        with self._engine.index.write(frees=True) as db:
            if why is None:
                scrubbing.clear_harm(db, digest)
            else:
                scrubbing.note_harm(db, digest, self._engine.now())
        if why is None:
            self._harmed.discard(digest)
            _log.info("scrub: %s is whole again", digest.hex())
            return
        with self._engine.index.snapshot() as db:
            artifacts = scrubbing.artifacts_with(db, digest)
        self._found |= dict.fromkeys(artifacts)
        if digest not in self._harmed:
            _log.warning("scrub: %s; harmed: %s", why, ", ".join(artifacts) or "no artifact")
        self._harmed.add(digest)


def _some(rows: Iterator[tuple[int, int, ChunkRef]]) -> list[tuple[int, int, ChunkRef]]:
    batch, size = list[tuple[int, int, ChunkRef]](), 0
    for row in rows:
        batch.append(row)
        size += row[1]
        if len(batch) >= _STEP_ITEMS or size >= _STEP_BYTES:
            break
    return batch


def _is_read(ref: ChunkRef) -> bool:
    """Tell whether *ref* has bytes of its own: a content of chunks is only held against what the index says of it."""
    return ref.kid >= 0 or ref.data is not None


def _percent(done: int, total: int) -> int:
    return min(100, 100 * done // total) if total else 100
