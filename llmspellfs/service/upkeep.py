"""What keeps a store well: figures, garbage collection, checking, and what was lost and found; `store.upkeep`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.event import Origin
from llmspellfs.model.times import NS
from llmspellfs.service import checking, erasure
from llmspellfs.service.artifacts import Artifacts
from llmspellfs.service.checking import ChainReport, FsckReport, Progress
from llmspellfs.service.engine import Engine
from llmspellfs.service.messages import KEPT_NS
from llmspellfs.service.session_rules import find_trail
from llmspellfs.storage import contents, erasing, figures, messages
from llmspellfs.storage.blobs import FileBlobs
from llmspellfs.storage.lost import LostFound, LostItem

GRACE_SECONDS = 3600
"""How long condemned content stays, so that no reader or writer that holds on to it outlives it."""
_BLOCK = 1 << 20
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Stats:
    """A store in figures; sizes are bytes."""

    path: str | None
    sessions: dict[str, int]
    """Live sessions by status."""
    artifacts: int
    versions: int
    """Rows of files that history retains."""
    events: int
    logical_bytes: int
    """Of all live artifacts."""
    unique_bytes: int
    """Of all retained content, each chunk once."""
    stored_bytes: int
    """What that takes, compressed."""
    index_bytes: int
    lost: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What garbage collection did, or would do: rows of history *pruned*, contents *condemned* and *removed*."""

    pruned: int
    condemned: int
    removed: int
    freed: int
    """Stored bytes."""
    orphans: int
    """Files in `blobs` that no row named."""


class Upkeep:
    """The care of one store."""

    def __init__(self, engine: Engine, artifacts: Artifacts) -> None:
        """Work on *engine*'s store; what was lost is recovered as one of *artifacts*."""
        self._engine, self._artifacts = engine, artifacts

    def stats(self) -> Stats:
        """Return the store's figures."""
        with self._engine.index.snapshot() as db:
            unique, stored = contents.totals(db)
            counts = figures.counts(db)
            by_status = figures.by_status(db)
            size = figures.index_size(db)
        path = self._engine.rooms.path
        return Stats(
            None if path is None else str(path), by_status, counts.artifacts, counts.versions, counts.events,
            counts.logical_bytes, unique, stored, size, len(self.lost()),
        )  # fmt: skip

    def gc(
        self, *, grace_seconds: float = GRACE_SECONDS, dry_run: bool = False, progress: Progress | None = None
    ) -> GcReport:
        """Prune history older than `history_days`, mark what nothing refers to, and remove what was marked before.

        Sessions that were deleted longer ago than that are gone for good: only their trail stays. Files that were
        deleted within a minute of their creation, an hour ago or longer, are pruned too. Content goes only in a run
        that comes more than *grace_seconds* after the one that marked it: first its rows, durably, then its files.
        *dry_run* changes nothing, and tells only of what is marked already.
        """
        now = self._engine.now()
        before = now - int(grace_seconds * NS)
        if dry_run:
            with self._engine.index.read() as db:
                count, freed = contents.condemned(db, before)
            return GcReport(0, 0, count, freed, 0)
        pruned = self._prune(now) + self._prune_fleeting(now - int(max(grace_seconds, GRACE_SECONDS) * NS))
        with self._engine.index.write(durable=True) as db:
            condemned = contents.condemn(db, now)  # first: what is used again is pardoned before anything goes
            count, freed = contents.condemned(db, before)
            loose = contents.remove_condemned(db, before)
            messages.prune(db, 0, now - KEPT_NS)
        self._unlink(loose, progress)
        return GcReport(pruned, condemned, count, freed, self._remove_orphans(before, grace_seconds))

    def _prune(self, now_ns: int) -> int:
        horizon_ns = now_ns - self._engine.config.history_days * 86400 * NS
        erasure.expire_sessions(self._engine, horizon_ns)
        with self._engine.index.read() as db:
            due = erasing.horizons(db, horizon_ns)
        pruned = 0
        for sid, horizon in due:
            with self._engine.write() as tx:
                tx.journal.touch(sid)
                pruned += erasing.prune_rows(tx.db, sid, horizon)
        return pruned

    def _prune_fleeting(self, before_ns: int) -> int:
        """Forget the content of files that lived for less than a minute, a batch a transaction; count the rows."""
        pruned = 0
        while True:
            with self._engine.write() as tx:
                due = erasing.fleeting(tx.db, before_ns)[:_BATCH]
                for sid, sequence in due:
                    tx.journal.touch(sid)
                    pruned += erasing.prune_sequence(tx.db, sid, sequence)
            if len(due) < _BATCH:
                return pruned

    def _unlink(self, loose: list[str], progress: Progress | None) -> None:
        for start in range(0, len(loose), 64):
            erasure.unlink_chunks(self._engine, loose[start : start + 64])
            if progress is not None:
                progress(min(start + 64, len(loose)), len(loose))

    def _remove_orphans(self, before_ns: int, grace_seconds: float) -> int:
        blobs = self._engine.rooms.blobs
        orphans = []
        for chunk, _size in blobs.iterate():
            with self._engine.index.read() as db:
                known = contents.has_chunk(db, chunk)
            put_ns = blobs.put_ns(chunk)
            if not known and put_ns is not None and put_ns < before_ns:
                orphans.append(chunk)
        if isinstance(blobs, FileBlobs):
            blobs.remove_leftovers(grace_seconds)
        return len(erasure.unlink_chunks(self._engine, orphans))

    def fsck(self, *, progress: Progress | None = None) -> FsckReport:
        """Check the whole store: every chunk re-hashed, every reference resolved, every chain and row compared.

        Problems are reported, not raised; *progress* is called with what is done and what there is to do.
        """
        return checking.fsck(self._engine, progress)

    def verify(self, session: str | None = None) -> list[ChainReport]:
        """Check the audit chain of *session*, or of all, and name the first event that does not fit."""
        with self._engine.index.snapshot() as db:
            sid = None if session is None else find_trail(db, session).sid
            return checking.verify(db, sid)

    def lost(self) -> list[LostItem]:
        """Return what was written but could not be committed."""
        lost = self._engine.rooms.lost
        return [] if lost is None else lost.list()

    def read_lost(self, item_id: str) -> Iterator[bytes]:
        """Yield the bytes of the lost item *item_id*; raise NotFound."""
        with self._lost().open(item_id) as file:
            while block := file.read(_BLOCK):
                yield block

    def recover(
        self, item_id: str, session: str | None = None, name: str | None = None, *, by: Origin | None = None
    ) -> Artifact:
        """Store the lost item as the artifact *name* of *session*, by default where it was meant for, and remove it.

        Raises NotFound, InvalidValue where nothing says where to, and what `artifacts.put` raises.
        """
        item = self._lost().get(item_id)
        session, name = session or item.session, name or item.name
        if not session or not name:
            raise InvalidValue(item_id, "its session and name are not known: give both")
        with self._lost().open(item_id) as file:
            artifact = self._artifacts.put(session, name, file, by=by)
        self._lost().remove(item_id)
        return artifact

    def _lost(self) -> LostFound:
        if self._engine.rooms.lost is None:
            raise NotFound("lost item", "a store in memory has none")
        return self._engine.rooms.lost
