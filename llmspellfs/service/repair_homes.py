"""Repairing whose a row is and of what kind: the session and the kind are those with which an event has its hash."""

from __future__ import annotations

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.check_rows import line_fields, session_state_hash
from llmspellfs.service.engine import Transaction
from llmspellfs.service.repair_rows import row_hash
from llmspellfs.storage import audit, mending, mending_history, mending_rows, mending_trail
from llmspellfs.storage.audit import Shifts
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import Done, Keep
from llmspellfs.storage.numbering import Numbering


def mend_homes(tx: Transaction, problems: tuple[Problem, ...]) -> list[Done]:
    """Give rows that are of no event of their session to the one whose event has their hash."""
    kinds = {problem.kind for problem in problems}
    if not kinds & {"session", "row"}:
        return []
    done, shifts = [], audit.shifts(tx.db)
    wanted = None if "session" in kinds else [problem.key for problem in problems if problem.kind == "row"]
    for row in list(audit.entry_rows(tx.db, wanted)):
        if row.entry is None or row.entry.seq_from is None:
            continue
        if line_fields(row.begins).get("state") == row_hash(NewEntry.of(row.entry), row.entry, shifts):
            continue
        sid = _home(tx, row.entry, row.entry.seq_from, shifts)
        if sid is not None and mending_history.set_home(tx.db, "entry", "eid", row.eid, sid):
            done.append(Done("session", f"the row of {row.name} is its session's again", sid))
    for rid, session_row, seq, line in mending_rows.own_rows(tx.db):
        state = session_state_hash(session_row)
        if state is None or line_fields(line).get("state") == state:
            continue
        sid = _home_of_state(tx, seq, state)
        if sid is not None and mending_history.set_home(tx.db, "session_row", "rid", rid, sid):
            done.append(Done("session", f"the row of {session_row.dirname} is its session's again", sid))
    return done


def _home(tx: Transaction, entry: Entry, seq: int, shifts: Shifts) -> int | None:
    """Return the session (sid) whose event *seq* has the hash of *entry*, by its own numbers of inodes or imported."""
    ways = dict.fromkeys([Numbering(), *shifts.values()])
    states = dict.fromkeys(row_hash(NewEntry.of(entry), entry, {entry.sid: way}) for way in ways)
    homes = (_home_of_state(tx, seq, state) for state in states if state is not None)
    return next((sid for sid in homes if sid is not None), None)


def _home_of_state(tx: Transaction, seq: int, state: str) -> int | None:
    """Return the session whose event *seq* has *state*, unless that event may itself be another session's."""
    sid = mending_rows.home_of_state(tx.db, seq, state)
    return sid if sid is not None and mending_trail.is_believed(tx.db, sid, seq) else None


def mend_kinds(tx: Transaction, problems: tuple[Problem, ...], keep: Keep) -> list[Done]:
    """Have rows be of the kind with which they have their event's hash, and without what that has no use for."""
    done: list[Done] = []
    for eid in sorted({problem.key for problem in problems if problem.kind == "row"} | set(mending_rows.spare(tx.db))):
        was = mending_rows.kind_of(tx.db, eid) if eid else None
        if was is None or _is_covered(tx, eid):
            continue
        for kind in Kind:
            mending_rows.set_kind(tx.db, eid, int(kind))
            if _is_covered(tx, eid):
                done.append(Done("row", f"row {eid} is a {kind.name.lower()} again"))
                break
        else:
            mending_rows.set_kind(tx.db, eid, was)
    for eid in mending_rows.spare(tx.db):
        if _is_covered(tx, eid):
            mending.keep_rows(tx.db, "entry", "eid = ?", (eid,), "it has what its kind has no use for", keep)
            mending.clear_spare(tx.db, eid)
            done.append(Done("spare", f"row {eid} has only what its kind has a use for"))
    return done


def _is_covered(tx: Transaction, eid: int) -> bool:
    row = next(audit.entry_rows(tx.db, [eid]), None)
    if row is None or row.entry is None:
        return False
    return row_hash(NewEntry.of(row.entry), row.entry, audit.shifts(tx.db)) == line_fields(row.begins).get("state")
