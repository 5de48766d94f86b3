"""Repairing overlaps: no two rows are valid in one place, or of one inode, at the same time.

A row that has the hash of its event is what it was, and nothing but its end can be wrong: it ends where a later such
row begins. It never gives way to one that differs from its event: that one takes another name or inode number, stays
listed and is told as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count

from llmspellfs.model.artifact import Entry
from llmspellfs.service.check_rows import entry_state_hash, line_fields, session_state_hash
from llmspellfs.service.engine import Transaction
from llmspellfs.storage import audit, mending_history, mending_overlaps, mending_rows
from llmspellfs.storage.audit import SessionRowAt
from llmspellfs.storage.mending import Done, Keep, keep_rows
from llmspellfs.storage.schema import SUPERSEDED
from llmspellfs.storage.sessions import SessionRow


@dataclass(slots=True)
class _Row:
    """A row of the tree as it is by now; *told* is the name that its event tells."""

    entry: Entry
    told: str | None
    state: str | None
    is_covered: bool
    begin: int
    end: int


def mend_overlaps(tx: Transaction, keep: Keep) -> list[Done]:
    """Have no two rows of the tree be valid in one place, or of one inode, at the same time."""
    done: list[Done] = []
    for by in mending_overlaps.PLACES:
        for eids in mending_overlaps.groups(tx.db, by):
            done += _Group(tx, by, keep).apart(sorted(_rows(tx, eids), key=lambda row: (row.begin, row.entry.eid)))
    return done + _mend_session_overlaps(tx, keep)


def _rows(tx: Transaction, eids: list[int]) -> Iterator[_Row]:
    shifts = audit.shifts(tx.db)
    for row in audit.entry_rows(tx.db, eids):
        if row.entry is None:
            continue
        told, begin, end = line_fields(row.begins), row.entry.seq_from, row.entry.seq_to
        state, name = entry_state_hash(row.entry, shifts), told.get("name")
        name = name.rsplit("/", 1)[-1] if isinstance(name, str) else None
        is_covered = begin is None or told.get("state") == state
        begin, end = (SUPERSEDED if seq is None else seq for seq in (begin, end))
        yield _Row(row.entry, name, state, is_covered, begin, end)


class _Group:
    """Rows of one place, or of one inode, which *by* tells."""

    def __init__(self, tx: Transaction, by: str, keep: Keep) -> None:
        self._tx, self._by, self._keep = tx, by, keep

    def apart(self, rows: list[_Row]) -> Iterator[Done]:
        """Have each of *rows*, the earliest first, be over when the next begins, or be elsewhere."""
        left: list[_Row] = []
        for row in rows:
            for other in [other for other in left if other.end > row.begin]:
                if self._over(other, row):
                    yield self._ended(other, min(self._told_end(other) or row.begin, row.begin))
                    continue
                odd = other if row.is_covered and not other.is_covered else row
                yield self._given_way(odd)
                if odd is row:
                    break
                left.remove(other)
            else:
                left.append(row)

    def _over(self, earlier: _Row, later: _Row) -> bool:
        """Tell whether the *earlier* row ends where the *later* begins, which must not take what is listed from it."""
        if earlier.begin >= later.begin:
            return False
        if earlier.is_covered == later.is_covered and (later.is_covered or earlier.entry.seq_to is not None):
            return True
        told = self._told_end(earlier)
        is_told = earlier.is_covered and told is not None and told <= later.begin
        return is_told or (later.is_covered and earlier.entry.seq_to is not None)

    def _told_end(self, row: _Row) -> int | None:
        """Return where the trail says that *row*, if it is a file's, ends; None where it does not."""
        if row.entry.file is None:
            return None
        return mending_rows.next_about(self._tx.db, row.entry.sid, row.entry.file.sequence, row.begin)

    def _ended(self, row: _Row, end: int) -> Done:
        self._note(row, f"it went on beyond seq {end}")
        mending_history.set_end(self._tx.db, row.entry.eid, end)
        row.end = end
        what = f"the row of {row.entry.name} from seq {row.begin} ends at {end}, not at {row.entry.seq_to}"
        return Done("overlap", what, row.entry.sid)

    def _given_way(self, row: _Row) -> Done:
        """Have *row* be elsewhere, or of another inode, or begin where its hash says, if it is another's twin."""
        db, entry = self._tx.db, row.entry
        self._note(row, "another row, which agrees with its event, has its place or its inode")
        seq = mending_rows.seq_of_state(db, entry.sid, row.state or "") if row.is_covered else None
        if seq is not None:
            mending_rows.set_begin(db, entry.eid, seq)
            return Done("overlap", f"the row of {entry.name} begins at seq {seq}, not {row.begin}", entry.sid)
        if self._by == mending_overlaps.BY_INODE:
            ino = next(self._tx.inos)
            mending_overlaps.copy_inode(db, entry.ino, ino)
            mending_overlaps.set_inode(db, entry.eid, ino)
            return Done("overlap", f"the row of {entry.name} has inode {ino}, not {entry.ino}", entry.sid)
        names = chain([row.told or entry.name], (f"{entry.name}~{number}" for number in count(2)))
        name = next(name for name in names if mending_overlaps.is_free(db, entry.folder, name))
        mending_overlaps.set_name(db, entry.eid, name)
        return Done("overlap", f"the row of {entry.name} from seq {row.begin} is of {name}", entry.sid)

    def _note(self, row: _Row, why: str) -> None:
        keep_rows(self._tx.db, "entry", "eid = ?", (row.entry.eid,), why, self._keep)


def _mend_session_overlaps(tx: Transaction, keep: Keep) -> list[Done]:
    """Have no two rows of a session's own fields be valid at the same time; the live one, if it is right, stays."""
    done = []
    for sid, rids in mending_overlaps.session_groups(tx.db):
        rows = [row for row in audit.session_rows(tx.db) if row.rid in rids]
        covered = {row.rid for row in rows if _is_covered(row)}
        while found := mending_overlaps.session_overlaps(tx.db, sid):
            rid, follower, begin, is_live = found[0]
            if is_live and follower not in covered:
                keep_rows(tx.db, "session_row", "rid = ?", (follower,), "it differs from its event", keep)
                mending_overlaps.drop_session_row(tx.db, follower)
                done.append(Done("overlap", f"a row of its fields from seq {begin}, in no event, moved out", sid))
            else:
                mending_overlaps.end_session_row(tx.db, rid, begin)
                done.append(Done("overlap", f"its fields from before seq {begin} end there", sid))
    return done


def _is_covered(row: SessionRowAt) -> bool:
    told = line_fields(row.line).get("state")
    return row.session is not None and told == session_state_hash(SessionRow.of(row.session))
