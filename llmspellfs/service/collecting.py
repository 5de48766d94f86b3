"""Garbage collection: history past its days is pruned, and content that nothing refers to goes, in two passes.

The order is what keeps content safe. A first run marks what no row refers to; a later one, past a grace, deletes
the rows of what nobody has open in a durable commit, and only then, under the write lock and looking once more, the
files. A writer looks under the same lock whether the chunks that it relies on are there.

What is due is found by reading. It is done in short transactions, with pauses between them, and each looks again: so
writers wait for one batch at most, and what comes into use again meanwhile is left alone. While an import is under way
no content is marked or taken away: rows refer to what it has brought, or relies on, when it ends. One that begins later
has nothing to fear of this run, which takes only what an earlier one has marked. While anything else comes in that may
take long, what has been marked, or put, since it began is not due. While commits that a WAL hid wait for a repair, no
row goes either, nor moves to another page: they are put back only over what they came after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llmspellfs.model.times import NS
from llmspellfs.service import clearing, erasure, unlinking
from llmspellfs.service.check_progress import Progress
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.incoming import earlier
from llmspellfs.service.kept import IMPORTING, UNCHANGED, Kept, waiting, why_kept
from llmspellfs.service.messages import KEPT_NS
from llmspellfs.service.pacing import paced
from llmspellfs.service.timekeeping import check_clock
from llmspellfs.service.unplaced import is_importing
from llmspellfs.storage import collecting, contents, erasing, hidden, messages, stale
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
    loose: int = 0
    """Chunks that no content had, and that are removed; those that are marked are among the *condemned*."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """The files in `blobs` that no row names, with their bytes: those past the grace, and how many others there are."""

    due: dict[str, int]
    young: int
    young_bytes: int


class Collection:
    """One run of garbage collection."""

    def __init__(
        self, engine: Engine, grace_seconds: float, progress: Progress | None = None, *, gives_up: bool = False
    ) -> None:
        """Collect *engine*'s garbage: what was marked more than *grace_seconds* ago goes.

        Where the index has lost events, that is only if it *gives_up* what they told of.
        """
        self._engine, self._index = engine, engine.index
        self._now = engine.now()
        self._before = earlier(engine, self._now - int(grace_seconds * NS))
        self._orphaned = min(self._before, self._now - IN_FLIGHT_SECONDS * NS)
        """Before which a file was put that is nobody's, if no row names it."""
        self._history = self._now - engine.config.history_days * 86400 * NS
        self._leftover_seconds = max(grace_seconds, GRACE_SECONDS)
        """Files that others write are theirs for at least that long."""
        self._fleeting = self._now - int(self._leftover_seconds * NS)
        self._progress = progress
        self._gives_up = gives_up
        self._kept = self._why_kept()
        self._waiting = waiting(engine.rooms.path)
        self._done = self._total = 0

    def _why_kept(self) -> Kept | None:
        """Return why content is not to be collected now, None where it may be."""
        if is_importing(self._engine):
            return IMPORTING
        with self._index.read() as db:
            return why_kept(db, self._engine.rooms.path, gives_up=self._gives_up)

    @property
    def _keeps_content(self) -> bool:
        return self._kept is not None

    @property
    def _keeps_rows(self) -> bool:
        return bool(self._waiting) and not self._gives_up

    @property
    def _kept_for(self) -> str | None:
        return None if self._kept is None else self._kept.why

    def check_clock(self) -> None:
        """Raise NotAllowed where the clock seems to have jumped ahead."""
        with self._index.read() as db:
            check_clock(db, COLLECTED, self._now)

    def collect(self) -> GcReport:
        """Do it."""
        erasure.finish(self._engine)
        with erasure.turn(self._engine):
            free = self._free()
            if self._gives_up:
                self._give_up_waiting()
            expired = 0 if self._keeps_rows else erasure.expire_sessions(self._engine, self._history)
            pruned = 0 if self._keeps_rows else self._prune() + self._prune_fleeting()
            erasure.drop_words(self._engine)
            self._pardon()
            condemned = 0 if self._keeps_content else self._condemn()
            removed, freed, files = (0, 0, 0) if self._keeps_content else self._remove()
            loose, of_loose, more = (0, 0, 0) if self._keeps_content else self._remove_loose()
            freed, files = freed + of_loose, files + more
            with self._index.write(frees=True) as db:
                if not self._keeps_content:
                    self._note_given_up(db)
                if not self._keeps_rows:
                    messages.prune(db, 0, self._now - KEPT_NS)
                note_run(db, COLLECTED, self._now)
            found = self._orphans()
            gone = self._unlink(found.due, self._orphaned)
            self._remove_leftovers()
            freed += sum(found.due[chunk] for chunk in gone)
            reusable = max(0, self._free() - free)
            why = self._clear()
            return GcReport(
                pruned, condemned, removed, freed, len(gone), expired, files, reusable, why, found.young,
                found.young_bytes, self._kept_for, loose,
            )  # fmt: skip

    def _give_up_waiting(self) -> None:
        """Have what WALs hid be lost, before anything goes that they came after."""
        for path in self._waiting:
            hidden.settle(path, hidden.LOST)

    def _clear(self) -> str | None:
        """Write the index anew where that is due; return why it was not, or None."""
        if not self._keeps_rows:
            return clearing.clear(self._engine, is_patient=True)
        with self._index.read() as db:
            return UNCHANGED if stale.mark(db) else None

    def _note_given_up(self, db: Connection) -> None:
        """Note how many lost events are given up: what has come back of them is waited for when it is lost again."""
        known = collecting.given_up(db)
        if self._gives_up or known:
            lost = collecting.lost_events(db)
            collecting.give_up(db, lost if self._gives_up else min(lost, known))

    def foretell(self) -> GcReport:
        """Return what `collect` would do now; only read."""
        with self._index.snapshot() as db:
            expired, ended, fleeting = ([], [], []) if self._keeps_rows else self._rows_due(db)
            pruned = {*fleeting, *(eid for each in ended for eid in each.eids)}
            buried = {eid for sid in expired for eid, _ in erasing.row_ids(db, sid)}
            keeps = self._keeps_content
            condemned = 0 if keeps else collecting.count_unused_without(db, sorted(pruned | buried))
            due = [] if keeps else self._unread([cid for cid, _ in collecting.due(db, self._before)])
            freed, files = collecting.freed_by(db, due), collecting.count_files(db, due)
            loose = [] if keeps else collecting.loose_chunks(db)
        going = [one for one in loose if one.condemned_ns is not None and one.condemned_ns < self._before]
        condemned += sum(one.condemned_ns is None for one in loose)
        found = self._orphans()
        freed += sum(found.due.values()) + sum(one.stored_size for one in going)
        files += sum(one.is_file for one in going)
        return GcReport(
            len(pruned - buried), condemned, len(due), freed, len(found.due), len(expired), files,
            young=found.young, young_bytes=found.young_bytes, kept_for=self._kept_for, loose=len(going),
        )  # fmt: skip

    def _rows_due(self, db: Connection) -> tuple[list[int], list[collecting.Ended], list[int]]:
        """Return the sessions (sids) whose rows are to go, the rows that have ended, and those of fleeting files."""
        ended = collecting.ended_rows(db, collecting.horizons(db, self._history))
        fleeting = self._rows_of(db, collecting.fleeting(db, self._fleeting))
        return collecting.expired(db, self._history), ended, fleeting

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
            is_late = collecting.is_marked_late(db, self._engine.now())
        if is_late:
            with self._index.write(frees=True) as db:
                collecting.mark_anew(db, self._engine.now())  # by now: another run may have marked since it was looked
        for cids in paced(self._index, self._found(collecting.wrongly_marked)):
            with self._index.write(frees=True) as db:
                collecting.pardon(db, cids)
            self._advance(len(cids))

    def _condemn(self) -> int:
        """Mark what nothing refers to; return how many contents, and chunks that no content has, that were.

        The mark is of its own moment, and not of when the run began: what has been coming in since between may rely on
        what was not marked yet.
        """
        marked = 0
        for cids in paced(self._index, self._found(collecting.unused)):
            with self._index.write(frees=True) as db:
                marked += collecting.mark(db, cids, self._engine.now())
            self._advance(len(cids))
        for kids in paced(self._index, self._found(lambda db: self._loose(db, is_marked=False))):
            with self._index.write(frees=True) as db:
                marked += collecting.mark_loose(db, kids, self._engine.now())
            self._advance(len(kids))
        return marked

    def _loose(self, db: Connection, *, is_marked: bool) -> list[tuple[int, int]]:
        """Return the chunks (kids) that no content has and that are marked, or are not, with their bytes in it."""
        loose = collecting.loose_chunks(db)
        return [(one.kid, one.in_index) for one in loose if (one.condemned_ns is not None) == is_marked]

    def _remove(self) -> tuple[int, int, int]:
        """Remove what was marked before the grace, rows first; return how many contents, bytes and files that were."""
        removed = freed = files = 0
        for cids in paced(self._index, self._found(lambda db: collecting.due(db, self._before))):
            with self._index.write(durable=True, frees=True) as db:
                erased = erasing.erase_contents(db, self._unread(collecting.still_due(db, cids, self._before)))
                gone_ns = time.time_ns()  # not the store's clock: files have the system's
            removed, freed = removed + len(erased.contents), freed + erased.freed
            files += len(self._unlink(erased.files, gone_ns))
            self._advance(len(cids))
        return removed, freed, files

    def _remove_loose(self) -> tuple[int, int, int]:
        """Remove chunks that no content has and that were marked before the grace; return what `_remove` does."""
        removed = freed = files = 0
        for kids in paced(self._index, self._found(lambda db: self._loose(db, is_marked=True))):
            with self._index.write(durable=True, frees=True) as db:
                erased = erasing.erase_loose(db, collecting.loose_due(db, kids, self._before))
                gone_ns = time.time_ns()
            removed, freed = removed + erased.many, freed + erased.freed
            files += len(self._unlink(erased.files, gone_ns))
            self._advance(len(kids))
        return removed, freed, files

    def _unlink(self, chunks: Iterable[str], before_ns: int) -> list[str]:
        """Unlink the files of *chunks* that nobody has put since *before_ns*, nor for what is coming in."""
        return unlinking.chunks(self._engine, chunks, put_before_ns=earlier(self._engine, before_ns))

    def _unread(self, cids: list[int]) -> list[int]:
        """Return those of *cids* that nobody has open."""
        in_use = self._engine.rooms.reading.in_use(cids)
        return [cid for cid in cids if cid not in in_use]

    def _orphans(self) -> Orphans:
        """Return the chunks that are files and in no row; they are due once they are in nobody's hands."""
        blobs, due, young = self._engine.rooms.blobs, dict[str, int](), list[int]()
        for chunk, size in () if self._keeps_content else blobs.iterate():
            with self._index.read() as db:
                is_known = contents.has_chunk(db, chunk)
            if is_known or (put_ns := blobs.put_ns(chunk)) is None:
                continue
            if put_ns < self._orphaned:
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
