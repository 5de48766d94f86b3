"""Repairing a store: `llmspellfs fsck --repair`.

The store is taken for itself first. The index is copied to the quarantine before anything changes, and what is taken
out goes there too; a damaged index is salvaged into a new one. Then, until a check finds nothing more to mend: content
is put back or moved out, and rows are mended in one transaction that also writes into each trail what was done. Chains
are never rewritten. Each step leaves a store that opens, so that a repair which ends early can be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmspellfs.config import Config
from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.event import Origin
from llmspellfs.service.check_findings import FsckReport, Problem
from llmspellfs.service.check_progress import Progress
from llmspellfs.service.checking import fsck
from llmspellfs.service.engine import Engine
from llmspellfs.service.mending import Mending
from llmspellfs.service.repair_content import ContentRepair
from llmspellfs.service.repair_index import sound_index
from llmspellfs.storage import audit, mending, mending_types
from llmspellfs.storage.alone import alone
from llmspellfs.storage.index import BUSY_SECONDS
from llmspellfs.storage.mending import Done
from llmspellfs.storage.mending_files import mend_modes
from llmspellfs.storage.opening import INDEX_NAME, open_rooms
from llmspellfs.storage.quarantine import Quarantine
from llmspellfs.storage.remains import has_only_wal, stand_in
from llmspellfs.storage.swap import finish_swap

_MOST_ROUNDS = 6
_SAME_PLACE = frozenset({"chain", "index"})
"""Kinds of problems that are the same as long as they are in the same place, whatever words they are told in."""


def repair(
    path: Path,
    config: Config,
    *,
    origin: Origin,
    quick: bool = False,
    backup: Path | None = None,
    progress: Progress | None = None,
    now: Callable[[], int] = time.time_ns,
    busy_seconds: float = BUSY_SECONDS,
) -> FsckReport:
    """Check the store at *path*, mend what can be, check again, and return all that was found, and what was done.

    With *quick* no content is read, and so none repaired. Content that is lost is looked for in *backup* too, a copy
    of the store, of which nothing is believed without its hash. Raises NotFound where that is none; StoreUnusable
    where there is no store, a newer version made it, or somebody else has it open; NoSpace, with nothing changed.
    """
    if backup is not None and not (backup / INDEX_NAME).is_file():
        raise NotFound("backup", backup)
    with alone(path, busy_seconds):
        quarantine = Quarantine(path, now())
        finish_swap(path)
        stand_in(path / INDEX_NAME)
        before, done = sound_index(path, quarantine)
        rooms = open_rooms(
            path, busy_seconds=busy_seconds, create=False, is_alone=True, allow_network=config.allow_network_store
        )
        try:
            engine = Engine(rooms, config, origin, now, _no_id)
            return _rounds(_Repair(engine, quarantine, backup, quick=quick, progress=progress), before, done)
        finally:
            rooms.close()


def unopenable(path: Path, error: SpellError) -> FsckReport:
    """Return the report on a store at *path* that does not open for *error*; raise it where no index is there."""
    index = path / INDEX_NAME
    if not has_only_wal(index) and not (index.is_file() and index.stat().st_size):
        raise error
    hint = "" if "--repair" in error.message else " (--repair salvages what can be read)"
    return FsckReport((Problem("index", "index", f"{error.message}{hint}"),), 0, 0, 0, 0)


def _no_id() -> str:
    raise AssertionError("a repair makes no session")


class _Repair:
    """A store that is open for its repair."""

    def __init__(
        self, engine: Engine, quarantine: Quarantine, backup: Path | None, *, quick: bool, progress: Progress | None
    ) -> None:
        self._engine, self._quarantine, self._backup = engine, quarantine, backup
        self._quick, self._progress = quick, progress

    @property
    def kept(self) -> str | None:
        """Where what was taken out is, or None where nothing was."""
        return self._quarantine.path if self._quarantine.is_used else None

    def end(self, done: list[Done]) -> None:
        """Keep no copy of an index to which nothing was *done*."""
        if not done:
            self._quarantine.drop_index()

    def lines(self, done: list[Done]) -> tuple[str, ...]:
        """Return what was *done* in words, with the names of sessions, each once."""
        with self._engine.index.read() as db, audit.lenient(db):
            names = {chain.sid: chain.dirname for chain in audit.chains(db)}
        said = ((names.get(thing.sid) if thing.sid is not None else None, thing.what) for thing in done)
        return tuple(dict.fromkeys(what if name is None else f"{name}: {what}" for name, what in said))

    def check(self) -> FsckReport:
        """Return how the store is now."""
        return fsck(self._engine, self._progress, quick=self._quick)

    def mend(self, report: FsckReport) -> list[Done]:
        """Mend what of *report* can be; return what was done."""
        wrong = tuple(problem for problem in report.found if not problem.is_note or problem.kind == "encoding")
        if not wrong:
            return []
        if any(not problem.is_note for problem in wrong) and not self._quarantine.has_index:
            with self._engine.index.read() as db:
                self._quarantine.keep_index(db)
        if any(problem.kind == "type" for problem in wrong):
            return self._retype()
        done = mend_modes(str(self._engine.rooms.path)) if any(p.kind in {"mode", "owner"} for p in wrong) else []
        if not self._quick:
            done += ContentRepair(self._engine, self._quarantine, self._backup).run(wrong)
        return done + Mending(self._engine, self._quarantine, self._backup).run(wrong)

    def _retype(self) -> list[Done]:
        """Give the index's cells their columns' types, before anything is asked of what they say."""
        keep = self._quarantine.keep_row
        with self._engine.write(durable=True, frees=True) as tx, audit.lenient(tx.db):
            done = mending_types.retype(tx.db, mending.owner_of_this_process(), keep)
            self._quarantine.write_rows()
        return done


def _rounds(repair: _Repair, before: list[Problem], done: list[Done]) -> FsckReport:
    first = report = repair.check()
    for _ in range(_MOST_ROUNDS):
        more = repair.mend(report)
        if not more:
            break
        done = [*done, *more]
        report = repair.check()
    repair.end(done)
    return _told(report, [*before, *first.found], repair.lines(done), repair.kept)


def _told(last: FsckReport, before: list[Problem], done: tuple[str, ...], kept: str | None) -> FsckReport:
    """Return the *last* report with what was found *before* and is mended now."""
    left = {_key(problem) for problem in last.found}
    mended = (replace(p, repaired=True) for p in dict.fromkeys(before) if not p.is_note and _key(p) not in left)
    return replace(last, found=(*mended, *last.found), done=done, quarantine=kept, is_repair=True)


def _key(problem: Problem) -> tuple[str, ...]:
    same = (problem.kind, problem.where)
    return same if problem.kind in _SAME_PLACE or problem.key else (*same, problem.what)
