"""Repairing the index as a database: bytes of its WAL put back, or all of it salvaged into a new one.

What SQLite takes for the index is believed, and where it is sound it stays, else rows are salvaged from it. There are
other readings: with the frames of the WAL behind the place at which SQLite stops; without the WAL, which may be cut off
and older than the database; with a WAL that an opening has kept (`storage/hidden.py`). Each may be of a time that was
given up, and is taken only where every trail goes on from what SQLite has, unbroken, and where no row that SQLite has
is lost by it (`storage/succession.py`). A WAL that was kept is older than what came after that opening; so it is taken
only where nothing has changed since that trails do not tell of, and no page has moved. What is not taken, and has
commits of its own, is kept as lost.

Threading: as `repair`, which has the store alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspellfs.errors import SpellError, StoreUnusable
from llmspellfs.service import chains
from llmspellfs.service.check_findings import Problem
from llmspellfs.storage import audit, disk, hidden, soundness, succession, uncovered
from llmspellfs.storage.backup import index_errors
from llmspellfs.storage.connections import look
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import Done
from llmspellfs.storage.opening import INDEX_NAME
from llmspellfs.storage.quarantine import Quarantine
from llmspellfs.storage.salvage import Salvaged, salvage
from llmspellfs.storage.salvage_wal import put_back
from llmspellfs.storage.swap import PART, finish_swap, make_ready

_BROKEN = "the frames of its WAL that can be read leave a broken trail"
_OLDER = "its WAL is harmed, and has older pages than the database"
_HIDDEN = "its WAL hid commits when it was opened after its process was killed"
_TRIAL = "hidden.wal.part"


@dataclass(frozen=True, slots=True)
class _View:
    """Another reading of the index than SQLite's: with the WAL *wal_path* ("" for none), and what is behind in that."""

    wrong: str
    """What is wrong where it is the better one."""
    wal_path: str | None = None
    is_beyond: bool = False
    hidden: str | None = None
    """The WAL that an opening has kept, of which *wal_path* is a copy."""
    is_later: bool = False
    """Whether checksums say that it goes on from what SQLite read of it, and so in what no event covers too."""


def sound_index(path: Path, quarantine: Quarantine) -> tuple[list[Problem], list[Done]]:
    """Have an index in the store at *path* that SQLite can use; return what was wrong, and what was done."""
    index = str(path / INDEX_NAME)
    if soundness.has_journal(index):
        quarantine.keep_index_files()
        soundness.roll_back(index)
    wrong, done = _whole_wal(index, quarantine)
    damage = soundness.damage(index)
    views = list(_views(path, quarantine, is_damaged=bool(damage)))
    found, in_store = None, set[str]()
    if damage or views:
        candidates = _Candidates(path, quarantine)
        found = candidates.best(views, is_damaged=bool(damage))
        damage += [view.wrong for view in candidates.taken]
        in_store = candidates.in_store
        if candidates.has_refused:
            hidden.settle(f"{quarantine.path}/{INDEX_NAME}-wal", hidden.LOST)
    if found is not None:
        wrong += [_problem(line) for line in damage]
        done += [Done("index", _salvaged(found))]
        with disk.disk_errors(path):
            make_ready(path)
            finish_swap(path)
    _settle(path, in_store)
    return wrong, done


def _views(path: Path, quarantine: Quarantine, *, is_damaged: bool) -> Iterator[_View]:
    """Yield what may have more than SQLite reads."""
    index = str(path / INDEX_NAME)
    is_broken = is_damaged or _has_broken_trail(index)
    if is_broken and soundness.has_frames_behind(index):
        yield _View(_BROKEN, is_beyond=True)
    if soundness.has_wal(index) and (is_damaged or _is_better_alone(index)):
        yield _View(_OLDER, wal_path="")
    for number, kept in enumerate(hidden.kept(path)):
        is_later = hidden.is_explained(kept)
        if is_broken or is_later:
            yield _View(_HIDDEN, f"{quarantine.path}/{number}-{_TRIAL}", is_broken, kept, is_later)


def _is_unchanged(index: str, own: str, kept: str) -> bool:
    """Tell whether pages are in *index*, and what no event covers in *own*, as they were when the WAL *kept* was."""
    seen = hidden.seen(kept)
    if seen is None or uncovered.layout(index) != seen.layout:
        return False
    try:
        with _looked_at(own) as db:
            return uncovered.seen(db).uncovered == seen.uncovered
    except SpellError:
        return False


def _settle(path: Path, in_store: set[str]) -> None:
    """Take note of which kept WALs need not be told of any more: what changed bytes explain was lost in any case."""
    for kept in hidden.kept(path):
        is_lost = kept not in in_store and hidden.is_explained(kept)
        hidden.settle(kept, hidden.LOST if is_lost else hidden.LOOKED_AT)


def _whole_wal(index: str, quarantine: Quarantine) -> tuple[list[Problem], list[Done]]:
    harmed = soundness.harmed_wal(index)
    if not harmed:
        return [], []
    quarantine.keep_index_files()
    put_back(f"{index}-wal", harmed)
    count = "a byte" if len(harmed) == 1 else f"{len(harmed)} bytes"
    what = f"{count} of the WAL changed, which hid the commits behind it"
    return [_problem(what)], [Done("index", f"index: {count} of the WAL put back, by its checksums")]


_Row = tuple[str, str, dict[str, Any]]
"""A row that does not fit: its table, why, its values."""


class _Candidates:
    """What may take the place of the index of the store at *path*, made as `PART`; the index itself is kept first.

    *taken* are the views that did, *in_store* the kept WALs whose commits the store has, by that or from before.
    *has_refused* tells whether there are commits that it has not, since their view lacks what others say.
    """

    def __init__(self, path: Path, quarantine: Quarantine) -> None:
        if not quarantine.has_index:
            quarantine.keep_index_files()
        self._path, self._quarantine = path, quarantine
        self._index, self._part, self._trial = str(path / INDEX_NAME), f"{path}/{PART}", f"{quarantine.path}/{PART}"
        self.taken, self.in_store, self.has_refused = list[_View](), set[str](), False

    def best(self, views: list[_View], *, is_damaged: bool) -> Salvaged | None:
        """Make the best that can be had, and return it, or None where that is the index as it is.

        Raises StoreUnusable where nothing can be read of a damaged index.
        """
        found, kept, refused = None, list[_Row](), list[_View]()
        if is_damaged:
            found, kept = self._made(self._part, None)
        for view in views:
            made, rows = self._made(self._trial, view)
            own, is_whole = self._index if found is None else self._part, not (made.unreadable or made.refused)
            is_current = view.hidden is None or _is_unchanged(self._index, own, view.hidden)
            is_better = is_current and _goes_on(own, self._trial, is_later=view.is_later and is_whole)
            if view.hidden is not None and (is_better or _has_all(own, self._trial, view.hidden)):
                self.in_store.add(view.hidden)
            if is_better:
                found, kept = made, rows
                with disk.disk_errors(self._part):
                    disk.rename("salvage.better", self._trial, self._part)
                self.taken.append(view)
            else:
                refused += [view] if view.hidden is None and _has_more(own, self._trial) else []
                disk.undo("salvage.undo", self._trial)
        self.has_refused = any(self._is_more(self._index if found is None else self._part, view) for view in refused)
        if found is not None and not found.rows["session"] and not found.rows["event"]:
            raise StoreUnusable(
                self._path, f"nothing can be read of its index, which is kept in {self._quarantine.path}"
            )
        self._keep(kept)
        return found

    def _is_more(self, own: str, view: _View) -> bool:
        """Tell whether *view*, which was refused, has commits that *own*, which was not, has not either."""
        self._made(self._trial, view)
        try:
            return _has_more(own, self._trial)
        finally:
            disk.undo("salvage.undo", self._trial)

    def _made(self, target: str, view: _View | None) -> tuple[Salvaged, list[_Row]]:
        rows: list[_Row] = []
        keep = lambda *row: rows.append(row)  # noqa: E731
        if view is None:
            return salvage(self._index, target, keep), rows
        with _put_back(view):
            found = salvage(self._index, target, keep, is_beyond=view.is_beyond, wal_path=view.wal_path)
        return found, rows

    def _keep(self, rows: list[_Row]) -> None:
        for table, why, row in rows:
            self._quarantine.keep_row(table, why, row)
        self._quarantine.write_rows()


@contextmanager
def _put_back(view: _View) -> Iterator[None]:
    """Have the copy of a kept WAL that *view* is of for the block, with the bytes that its checksums explain."""
    if view.hidden is None or view.wal_path is None:
        yield
        return
    with disk.disk_errors(view.wal_path):
        try:
            hidden.copy(view.hidden, view.wal_path)
            put_back(view.wal_path, hidden.explained(view.wal_path))
            yield
        finally:
            disk.undo("salvage.undo", view.wal_path)


def _goes_on(index: str, other: str, *, is_later: bool) -> bool:
    try:
        with _looked_at(index) as db, _looked_at(other) as another:
            return goes_on(db, another, is_later=is_later)
    except SpellError:
        return False


def _has_more(index: str, other: str) -> bool:
    """Tell whether the index *other* goes on from the *index* in its trails, whatever else it has lost."""
    try:
        with _looked_at(index) as db, _looked_at(other) as another:
            return _is_better(db, another) and not _has_trails(db, another)
    except SpellError:
        return False


def _has_all(index: str, other: str, kept: str) -> bool:
    """Tell whether the index has what the index *other* has by the WAL *kept*, as after a repair that was cut short."""
    seen = hidden.seen(kept)
    try:
        with _looked_at(index) as db, _looked_at(other) as another:
            now, then = uncovered.seen(db), uncovered.seen(another)
            has_more = seen is not None and then.events > seen.events
            return _has_trails(db, another) and (has_more or now.uncovered == then.uncovered)
    except SpellError:
        return False


def _is_better_alone(index: str) -> bool:
    """Tell whether the index without its WAL seems to go on from what SQLite reads: only a harmed WAL can be behind."""
    try:
        with _looked_at(index) as db, _looked_at(index, "immutable=1") as alone:
            return _is_better(db, alone)
    except SpellError:
        return False


def goes_on(db: Connection, other: Connection, *, is_later: bool = False) -> bool:
    """Tell whether the index *other* has each event and draft that *db* has, no trail broken besides, and is better.

    It is where it has more events, or fewer trails broken, or with as many more artifacts whose content is there; if it
    *is_later*, also where it is another in what no event covers. No row that *db* has may be lost by it.
    """
    return _is_better(db, other, is_later=is_later) and succession.loses(db, other, is_later=is_later) is None


def _is_better(db: Connection, other: Connection, *, is_later: bool = False) -> bool:
    count, more = audit.count_events(db), audit.count_events(other)
    before, after = _broken(db), _broken(other)
    if more < count or not after <= before:
        return False
    if more == count and after == before and audit.count_whole(other) <= audit.count_whole(db):
        is_other = is_later and uncovered.seen(other).uncovered != uncovered.seen(db).uncovered
        return is_other and _has_events(other, db)
    return _has_events(other, db)


def _has_trails(db: Connection, other: Connection) -> bool:
    """Tell whether the index *db* has each event and draft that *other* has."""
    return _has_events(db, other) and all(audit.has_draft(db, draft) for draft in audit.drafts(other))


def _has_events(db: Connection, other: Connection) -> bool:
    return all(
        audit.line(db, chain.sid, line.seq) == line
        for chain in audit.chains(other)
        for line in audit.lines(other, chain.sid)
    )


@contextmanager
def _looked_at(index: str, how: str = "mode=ro") -> Iterator[Connection]:
    with index_errors(index), closing(look(index, how)) as db, audit.lenient(db):
        yield db


def _has_broken_trail(index: str) -> bool:
    """Tell whether the index has a broken trail; one of an old schema is not asked, since it can be no other's."""
    try:
        with _looked_at(index) as db:
            return bool(_broken(db))
    except SpellError:
        return False


def _broken(db: Connection) -> set[int]:
    return {chain.sid for chain in audit.chains(db) if chains.verify_chain(db, chain).problem is not None}


def _problem(what: str) -> Problem:
    return Problem("index", "index", what)


def _salvaged(found: Salvaged) -> str:
    rows = sum(found.rows.values())
    lost = f"; {found.unreadable} could not be read" if found.unreadable else ""
    odd = f"; {found.refused} did not fit and are in the quarantine" if found.refused else ""
    return f"index: {rows} rows salvaged into a new one{lost}{odd}"
