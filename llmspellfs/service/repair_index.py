"""Repairing the index as a database: bytes of its WAL put back, or all of it salvaged into a new one.

What SQLite takes for the index is believed, and where it is sound it stays. Else rows are salvaged from it, and once
more with the frames of the WAL behind the place at which SQLite stops reading. Those may be of a time that was given
up: they are taken only where every trail goes on from what SQLite has, unbroken.

Threading: as `repair`, which has the store alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llmspellfs.errors import SpellError, StoreUnusable
from llmspellfs.service import chains
from llmspellfs.service.check_findings import Problem
from llmspellfs.storage import audit, disk, soundness
from llmspellfs.storage.backup import index_errors
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import Done
from llmspellfs.storage.opening import INDEX_NAME
from llmspellfs.storage.quarantine import Quarantine
from llmspellfs.storage.salvage import Salvaged, salvage
from llmspellfs.storage.salvage_wal import put_back
from llmspellfs.storage.swap import PART, finish_swap, make_ready

_BROKEN = "the frames of its WAL that can be read leave a broken trail"


def sound_index(path: Path, quarantine: Quarantine) -> tuple[list[Problem], list[Done]]:
    """Have an index in the store at *path* that SQLite can use; return what was wrong, and what was done."""
    index = str(path / INDEX_NAME)
    wrong, done = _whole_wal(index, quarantine)
    damage = soundness.damage(index)
    is_behind = soundness.has_frames_behind(index)
    found: Salvaged | None = None
    if damage:
        found = _Candidates(path, quarantine).best(is_behind=is_behind)
    elif is_behind and _has_broken_trail(index):
        damage, found = [_BROKEN], _Candidates(path, quarantine).beyond()
    if found is None:
        return wrong, done
    with disk.disk_errors(path):
        make_ready(path)
        finish_swap(path)
    return wrong + [_problem(line) for line in damage], [*done, Done("index", _salvaged(found))]


def _whole_wal(index: str, quarantine: Quarantine) -> tuple[list[Problem], list[Done]]:
    harmed = soundness.harmed_wal(index)
    if not harmed:
        return [], []
    quarantine.keep_index_files()
    put_back(f"{index}-wal", harmed)
    count = "a byte" if len(harmed) == 1 else f"{len(harmed)} bytes"
    what = f"{count} of the WAL changed, which hid the commits behind it"
    return [_problem(what)], [Done("index", f"index: {count} of the WAL put back, by its checksums")]


class _Candidates:
    """What may take the place of the index of the store at *path*, made as `PART`; the index itself is kept first."""

    def __init__(self, path: Path, quarantine: Quarantine) -> None:
        if not quarantine.has_index:
            quarantine.keep_index_files()
        self._path, self._quarantine = path, quarantine
        self._index, self._part = str(path / INDEX_NAME), f"{path}/{PART}"
        self._rows: list[tuple[str, str, dict[str, Any]]] = []
        """What does not fit into the candidate that was made last."""

    def best(self, *, is_behind: bool) -> Salvaged:
        """Make the best that can be had of a damaged index; raise StoreUnusable where that is nothing."""
        found = self._made(self._part)
        if is_behind and self._is_better_beyond(self._part):
            found = self._made(self._part, is_beyond=True)
        if not found.rows["session"] and not found.rows["event"]:
            kept = self._quarantine.path
            raise StoreUnusable(self._path, f"nothing can be read of its index, which is kept in {kept}")
        self._keep()
        return found

    def beyond(self) -> Salvaged | None:
        """Make what the frames behind a broken trail have; return None where they do not go on from it."""
        if not self._is_better_beyond(self._index):
            return None
        found = self._made(self._part, is_beyond=True)
        self._keep()
        return found

    def _made(self, target: str, *, is_beyond: bool = False) -> Salvaged:
        self._rows.clear()
        return salvage(self._index, target, lambda *row: self._rows.append(row), is_beyond=is_beyond)

    def _is_better_beyond(self, than: str) -> bool:
        trial = f"{self._quarantine.path}/{PART}"
        rows, self._rows = self._rows, []
        self._made(trial, is_beyond=True)
        self._rows = rows
        with _looked_at(than) as db, _looked_at(trial) as other:
            is_better = goes_on(db, other)
        disk.undo("salvage.undo", trial)
        return is_better

    def _keep(self) -> None:
        for table, why, row in self._rows:
            self._quarantine.keep_row(table, why, row)
        self._quarantine.write_rows()


def goes_on(db: Connection, other: Connection) -> bool:
    """Tell whether the index *other* has each event and draft that *db* has, no trail broken besides, and is better.

    It is where it has more events, or fewer trails broken.
    """
    lines = [(chain.sid, line) for chain in audit.chains(db) for line in audit.lines(db, chain.sid)]
    count = sum(1 for chain in audit.chains(other) for _ in audit.lines(other, chain.sid))
    before, after = _broken(db), _broken(other)
    return (
        after <= before
        and (after != before or count > len(lines))
        and all(audit.line(other, sid, line.seq) == line for sid, line in lines)
        and all(audit.has_draft(other, draft) for draft in audit.drafts(db))
    )


@contextmanager
def _looked_at(index: str) -> Iterator[Connection]:
    with index_errors(index), closing(soundness.look(index)) as db, audit.lenient(db):
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
