"""Garbage collection: history past its days is pruned, and content that nothing refers to goes, in two passes.

The order is what keeps content safe. A first run marks what no row refers to; a later one, past a grace, deletes
the rows of what nobody has open in a durable commit, and only then, under the write lock and looking once more, the
files. A writer looks under the same lock whether the chunks that it relies on are there.

What is due is found by reading. It is done in short transactions, with pauses between them, and each looks again: so
writers wait for one batch at most, and what comes into use again meanwhile is left alone. While an import is under way
no content is marked or taken away: rows refer to what it has brought, or relies on, when it ends. One that begins later
has nothing to fear of this run, which takes only what an earlier one has marked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from llmspellfs.model.times import NS
from llmspellfs.service import clearing, erasure
from llmspellfs.service.check_findings import Progress
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.messages import KEPT_NS
from llmspellfs.service.pacing import paced
from llmspellfs.service.timekeeping import check_clock
from llmspellfs.service.unplaced import is_importing
from llmspellfs.storage import collecting, contents, erasing, messages
from llmspellfs.storage.blobs import FileBlobs
from llmspellfs.storage.index import Connection
from llmspellfs.storage.timekeeping import COLLECTED, note_run

GRACE_SECONDS = 3600
"""How long condemned content stays, so that nobody who is about to open or to name it outlives it."""
IN_FLIGHT_SECONDS = 60
"""How long a chunk's file is its writer's without a row, whatever the grace."""


@dataclass(frozen=True, slots=True)
class GcReport:
    """What garbage collection did, or would do: rows of history *pruned*, contents *condemned* and *removed*."""

    pruned: int
    condemned: int
    removed: int
    freed: int
    """Stored bytes of content, and of orphans."""
    orphans: int
    """Files in `blobs` that no row named."""
    expired: int = 0
    """Deleted sessions that are gone for good."""
    files: int = 0
    """Files of chunks that were unlinked, orphans not counted."""
    index_freed: int = 0
    """Bytes of the index that hold nothing now: it is filled again before it grows."""
    stale: str | None = None
    """Why the index could not be written anew, which a purge has left due: words may stand in its unused bytes."""
    young: int = 0
    """Files in `blobs` that no row names and that stay: their writer may be about to name them."""
    young_bytes: int = 0
    kept_for: str | None = None
    """Why no content was collected, None where it was."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """The files in `blobs` that no row names, with their bytes: those past the grace, and how many others there are."""

    due: dict[str, int]
    young: int
    young_bytes: int


class Collection:
    """One run of garbage collection."""

    def __init__(self, engine: Engine, grace_seconds: float, progress: Progress | None = None) -> None:
        """Collect *engine*'s garbage: what was marked more than *grace_seconds* ago goes."""
        self._engine, self._index = engine, engine.index
        self._now = engine.now()
        self._before = self._now - int(grace_seconds * NS)
        self._history = self._now - engine.config.history_days * 86400 * NS
        self._leftover_seconds = max(grace_seconds, GRACE_SECONDS)
        """Files that others write are theirs for at least that long."""
        self._fleeting = self._now - int(self._leftover_seconds * NS)
        self._progress = progress
        self._kept_for = self._why_kept()
        self._done = self._total = 0

    def _why_kept(self) -> str | None:
        """Return why content is not to be collected now, None where it may be."""
        if is_importing(self._engine):
            return "an import is under way"
        with self._index.read() as db:
            if collecting.lacks_content(db):
                return "the index lacks content that it names: llmspellfs fsck --repair brings back what is there"
        return None

    @property
    def _keeps_content(self) -> bool:
        return self._kept_for is not None

    def check_clock(self) -> None:
        """Raise NotAllowed where the clock seems to have jumped ahead."""
        with self._index.read() as db:
            check_clock(db, COLLECTED, self._now)

    def collect(self) -> GcReport:
        """Do it."""
        erasure.finish(self._engine)
        with erasure.turn(self._engine):
            free = self._free()
            expired = erasure.expire_sessions(self._engine, self._history)
            pruned = self._prune() + self._prune_fleeting()
            erasure.drop_words(self._engine)
            self._pardon()
            condemned = 0 if self._keeps_content else self._condemn()
            removed, freed, files = (0, 0, 0) if self._keeps_content else self._remove()
            with self._index.write(frees=True) as db:
                messages.prune(db, 0, self._now - KEPT_NS)
                note_run(db, COLLECTED, self._now)
            found = self._orphans()
            gone = erasure.unlink_chunks(self._engine, found.due)
            self._remove_leftovers()
            freed += sum(found.due[chunk] for chunk in gone)
            reusable = max(0, self._free() - free)
            why = clearing.clear(self._engine, is_patient=True)
            return GcReport(
                pruned, condemned, removed, freed, len(gone), expired, files, reusable, why, found.young,
                found.young_bytes, self._kept_for,
            )  # fmt: skip

    def foretell(self) -> GcReport:
        """Return what `collect` would do now; only read."""
        with self._index.snapshot() as db:
            expired = collecting.expired(db, self._history)
            ended = collecting.ended_rows(db, collecting.horizons(db, self._history))
            fleeting = self._rows_of(db, collecting.fleeting(db, self._fleeting))
            pruned = {*fleeting, *(eid for each in ended for eid in each.eids)}
            buried = {eid for sid in expired for eid, _ in erasing.row_ids(db, sid)}
            keeps = self._keeps_content
            condemned = 0 if keeps else collecting.count_unused_without(db, sorted(pruned | buried))
            due = [] if keeps else self._unread([cid for cid, _ in collecting.due(db, self._before)])
            freed, files = collecting.freed_by(db, due), collecting.count_files(db, due)
        found = self._orphans()
        freed += sum(found.due.values())
        return GcReport(
            len(pruned - buried), condemned, len(due), freed, len(found.due), len(expired), files,
            young=found.young, young_bytes=found.young_bytes, kept_for=self._kept_for,
        )  # fmt: skip

    def _rows_of(self, db: Connection, artifacts: list[tuple[int, int]]) -> list[int]:
        return [eid for sid, sequence in artifacts for eid, _ in erasing.row_ids(db, sid, sequence)]

    def _free(self) -> int:
        with self._index.read() as db:
            return collecting.free_bytes(db)

    def _found(self, query: Callable[[Connection], list[tuple[int, int]]]) -> list[tuple[int, int]]:
        """Return what *query* finds, as work that is to be told of as it is done."""
        with self._index.snapshot() as db:
            found = query(db)
        self._total += len(found)
        return found

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _prune(self) -> int:
        """Prune rows that ended before history begins; return how many.

        A session's oldest go first, and its horizon follows them in the same transaction, so that no past looks whole
        that is not.
        """
        pruned = 0
        with self._index.snapshot() as db:
            due = collecting.horizons(db, self._history)
            found = collecting.ended_rows(db, due)
        self._total += len(found)
        for batch in paced(self._index, [(each, 256 * len(each.eids)) for each in found]):
            with self._engine.write(frees=True) as tx:
                self._move_horizons(tx, {each.sid: each.seq for each in batch})
                pruned += erasing.erase_rows(tx.db, [eid for each in batch for eid in each.eids]).rows
            self._advance(len(batch))
        for horizons in paced(self._index, [(each, 0) for each in due]):
            with self._engine.write(frees=True) as tx:
                self._move_horizons(tx, dict(horizons))
        return pruned

    def _move_horizons(self, tx: Transaction, horizons: dict[int, int]) -> None:
        for sid, horizon in horizons.items():
            tx.journal.touch(sid)
            collecting.move_horizon(tx.db, sid, horizon)

    def _prune_fleeting(self) -> int:
        """Forget the content of files that lived for less than a minute; return how many rows they had."""
        pruned, found = 0, self._found(lambda db: collecting.fleeting(db, self._fleeting))
        for artifacts in paced(self._index, [(each, 1024) for each in found]):
            with self._engine.write(frees=True) as tx:
                for sid, sequence in artifacts:
                    if collecting.is_fleeting(tx.db, sid, sequence, self._fleeting):  # nobody has brought it back
                        tx.journal.touch(sid)
                        pruned += erasing.erase_rows(tx.db, self._rows_of(tx.db, [(sid, sequence)])).rows
            self._advance(len(artifacts))
        return pruned

    def _pardon(self) -> None:
        with self._index.read() as db:
            is_late = collecting.is_marked_late(db, self._now)
        if is_late:
            with self._index.write(frees=True) as db:
                collecting.mark_anew(db, self._now)
        for cids in paced(self._index, self._found(collecting.wrongly_marked)):
            with self._index.write(frees=True) as db:
                collecting.pardon(db, cids)
            self._advance(len(cids))

    def _condemn(self) -> int:
        """Mark what nothing refers to; return how many contents that were."""
        marked = 0
        for cids in paced(self._index, self._found(collecting.unused)):
            with self._index.write(frees=True) as db:
                marked += collecting.mark(db, cids, self._now)
            self._advance(len(cids))
        return marked

    def _remove(self) -> tuple[int, int, int]:
        """Remove what was marked before the grace, rows first; return how many contents, bytes and files that were."""
        removed = freed = files = 0
        for cids in paced(self._index, self._found(lambda db: collecting.due(db, self._before))):
            with self._index.write(durable=True, frees=True) as db:
                erased = erasing.erase_contents(db, self._unread(collecting.still_due(db, cids, self._before)))
                gone_ns = time.time_ns()  # not the store's clock: files have the system's
            removed, freed = removed + len(erased.contents), freed + erased.freed
            files += len(erasure.unlink_chunks(self._engine, erased.files, put_before_ns=gone_ns))
            self._advance(len(cids))
        for kids in paced(self._index, self._found(collecting.loose_chunks)):
            with self._index.write(durable=True, frees=True) as db:
                loose, more = erasing.erase_loose(db, kids)
            freed += more
            files += len(erasure.unlink_chunks(self._engine, loose))
        return removed, freed, files

    def _unread(self, cids: list[int]) -> list[int]:
        """Return those of *cids* that nobody has open."""
        in_use = self._engine.rooms.reading.in_use(cids)
        return [cid for cid in cids if cid not in in_use]

    def _orphans(self) -> Orphans:
        """Return the chunks that are files and in no row; they are due once they are in nobody's hands."""
        blobs, due, young = self._engine.rooms.blobs, dict[str, int](), list[int]()
        before = min(self._before, self._now - IN_FLIGHT_SECONDS * NS)
        for chunk, size in () if self._keeps_content else blobs.iterate():
            with self._index.read() as db:
                is_known = contents.has_chunk(db, chunk)
            if is_known or (put_ns := blobs.put_ns(chunk)) is None:
                continue
            if put_ns < before:
                due[chunk] = size
            else:
                young.append(size)
        return Orphans(due, len(young), sum(young))

    def _remove_leftovers(self) -> None:
        rooms = self._engine.rooms
        if isinstance(rooms.blobs, FileBlobs):
            rooms.blobs.remove_leftovers(self._leftover_seconds)
        if rooms.lost is not None:
            rooms.lost.remove_leftovers(self._leftover_seconds)
