"""What keeps a store well: figures, garbage collection, checking, and what was lost and found; `store.upkeep`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model import numbers
from llmspellfs.model.anchors import Anchors
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.event import Origin
from llmspellfs.service import chains, checking
from llmspellfs.service.artifacts import Artifacts
from llmspellfs.service.chains import ChainReport
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.check_progress import Progress
from llmspellfs.service.collecting import GRACE_SECONDS, Collection, GcReport
from llmspellfs.service.engine import Engine
from llmspellfs.service.scrub import ScrubReport, ScrubState, scrub, scrub_state
from llmspellfs.service.scrubber import Scrubber
from llmspellfs.service.session_rules import find_trail
from llmspellfs.storage import audit, contents, figures, sessions
from llmspellfs.storage.lost import LostFound, LostItem

if TYPE_CHECKING:
    from llmspellfs.service.backup import BackupReport

_BLOCK = 1 << 20


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
    """Items of lost+found."""
    lost_bytes: int
    scrub: ScrubState
    storage_quota: int = 0
    """Of the stored bytes; 0: none."""


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
        path, lost = self._engine.rooms.path, self.lost()
        return Stats(
            None if path is None else str(path), by_status, counts.artifacts, counts.versions, counts.events,
            counts.logical_bytes, unique, stored, size, len(lost), sum(item.size for item in lost),
            scrub_state(self._engine), self._engine.config.storage_quota,
        )  # fmt: skip

    def gc(
        self,
        *,
        grace_seconds: float = GRACE_SECONDS,
        dry_run: bool = False,
        force: bool = False,
        give_up: bool = False,
        progress: Progress | None = None,
    ) -> GcReport:
        """Prune history older than `history_days`, mark what nothing refers to, and remove what was marked before.

        Sessions that were deleted longer ago than that are gone for good: only their trail stays. Files that were
        deleted within a minute of their creation, an hour ago or longer, are pruned too. Content goes only in a run
        that comes more than *grace_seconds* after the one that marked it: first its rows, durably, then its files.
        While an import is under way, and while the index lacks content that it names, all content stays; so it does
        where the index has lost events, or a harmed WAL hides commits, until a run says *give_up*; for these history
        stays too. *dry_run* only reads, and tells what a run would do. Others may read and write meanwhile. Raises
        StoreBusy, NoSpace, Corrupt, InvalidValue; NotAllowed where the clock seems to have jumped, unless *force* is
        given.
        """
        if not dry_run:
            self._engine.check_writable()
        collection = Collection(
            self._engine, numbers.seconds("grace_seconds", grace_seconds), progress, gives_up=give_up
        )
        if not force:
            collection.check_clock()
        return collection.foretell() if dry_run else collection.collect()

    def scrub(self, percent: float = 100.0, *, progress: Progress | None = None) -> ScrubReport:
        """Read and hash all content again, or *percent* of it from where the scrub is; note what is harmed.

        Raises StoreBusy where another process scrubs at the same time, ReadOnly where nothing can be noted,
        InvalidValue.
        """
        if not 0 < percent <= 100:
            raise InvalidValue("percent", f"expected more than 0 and at most 100, not {percent!r}")
        self._engine.check_writable()
        return scrub(self._engine, percent, progress)

    def scrubber(self) -> Scrubber:
        """Return a scrub in the background, as the configuration's `scrub_days` says; it is to be closed."""
        return Scrubber(self._engine)

    def fsck(self, *, progress: Progress | None = None, quick: bool = False) -> FsckReport:
        """Check the whole store: every chunk re-hashed, every reference resolved, every chain and row compared.

        With *quick* no content is read: of chunks it is looked only whether they are there, and how long. Problems are
        reported, not raised; *progress* is called with what is done and what there is to do.
        """
        return checking.fsck(self._engine, progress, quick=quick)

    def verify(self, session: str | None = None, *, against: Anchors | None = None) -> list[ChainReport]:
        """Check the audit chain of *session*, or of all, and name the first event that does not fit.

        With *against*, heads that were kept elsewhere, a chain that was cut or rewritten since is found too, and a
        session that is gone. Raises InvalidValue where they are another store's.
        """
        with self._engine.index.snapshot() as db:
            sid = None if session is None else find_trail(db, session).sid
            with audit.lenient(db):
                return chains.verify(db, sid, against)

    def anchors(self) -> Anchors:
        """Return the heads of all chains, to be kept elsewhere and given to `verify`."""
        with self._engine.index.snapshot() as db:
            return chains.anchors(db, self._engine.now())

    def backup(
        self, target: str | os.PathLike[str], *, hardlink: bool = True, progress: Progress | None = None
    ) -> BackupReport:
        """Make the folder *target* a copy of the store as it is at one moment, while others go on writing.

        *target* is new, empty, or an earlier backup of this store: then only what is new is brought, and what is no
        longer referred to goes, last. With *hardlink* false chunks are copied even on one file system. Raises
        InvalidValue for another folder, NotSupported for a store in memory, StoreUnusable where a backup is in use as a
        store, NoSpace; the backup that was there is whole then.
        """
        from llmspellfs.service.backup import back_up  # most uses of a store need none

        return back_up(self._engine, target, hardlink=hardlink, progress=progress)

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
        with self._engine.write(durable=True):
            pass  # what was lost is durable where it lies: so it is where it comes to, before it goes there
        self._lost().remove(item_id)
        return artifact

    def discard_lost(self, item_id: str) -> None:
        """Remove the lost item *item_id* for good; raise NotFound, and ReadOnly where nothing can be written."""
        self._engine.check_writable()
        self._lost().remove(item_id)

    def meant_for(self, item: LostItem) -> str | None:
        """Return the directory name of the session that *item* was meant for, None where there is none any more."""
        with self._engine.index.read() as db:
            session = sessions.by_id(db, item.session or "", deleted=True)
        return None if session is None else session.dirname

    def _lost(self) -> LostFound:
        if self._engine.rooms.lost is None:
            raise NotFound("lost item", "a store in memory has none")
        return self._engine.rooms.lost
