"""Repairing rows: a row that its event's `state` does not cover is brought back to what the hash says it was.

What it may have been is tried: what the event's own line and time tell, what the rows before and after it in history
have, what the full text kept, each folder of its session, and every change of a single bit. Only a row that has the
hash of its event is written; what no try explains stays as it is, and is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.event import state_hash
from llmspellfs.model.session import Status
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.check_rows import as_hashed, entry_state_hash, line_fields, session_state_hash
from llmspellfs.service.engine import Transaction
from llmspellfs.storage import audit, mending, mending_history, mending_rows
from llmspellfs.storage.audit import EntryRow, Shifts
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import MOST_EVENTS, Done, Keep
from llmspellfs.storage.schema import SUPERSEDED
from llmspellfs.storage.sessions import SessionRow

Row = TypeVar("Row", NewEntry, SessionRow)
_TEXTS = ("name", "target", "artifact_type", "mime_type", "description")
_NUMBERS = ("folder", "ino", "sequence", "version", "created_ns", "updated_ns")
_MOST_BITS = 4096 * 8
"""Bits of one text that are turned one at a time: each takes some 20 µs."""


def mend_rows(tx: Transaction, problems: tuple[Problem, ...], keep: Keep) -> list[Done]:
    """Bring back the rows of *problems* that can be, and the seqs at which they begin and end."""
    wanted = {problem.key for problem in problems if problem.kind in {"row", "validity", "overlap", "event"}}
    if not wanted:
        return []
    done, shifts, waiting = [], audit.shifts(tx.db), dict[int, tuple[NewEntry, Done]]()
    for row in [row for row in audit.entry_rows(tx.db) if row.eid in wanted or row.entry is None]:
        if row.entry is not None and row.entry.seq_from is None:
            done += _mend_no_draft(tx, row.entry, shifts, keep) if row.eid in wanted else []
        elif row.entry is not None:
            done += _mend_row(tx, row, row.entry, shifts, keep, waiting)
    free = mending_rows.exchange(tx.db, {eid: new for eid, (new, _) in waiting.items()})
    return done + [waiting[eid][1] for eid in free]


def _mend_row(
    tx: Transaction, row: EntryRow, entry: Entry, shifts: Shifts, keep: Keep, waiting: dict[int, tuple[NewEntry, Done]]
) -> list[Done]:
    """Mend one row; what it was goes to *waiting* where another row has its place, which may be such a one too."""
    told = line_fields(row.begins)
    now = NewEntry.of(entry)
    is_covered = row_hash(now, entry, shifts) == told.get("state")
    if not is_covered:
        seq = mending_rows.seq_of_state(tx.db, entry.sid, row_hash(now, entry, shifts) or "")
        if seq is not None:
            mending.keep_rows(tx.db, "entry", "eid = ?", (entry.eid,), f"it began at seq {entry.seq_from}", keep)
            mending_rows.set_begin(tx.db, entry.eid, seq)
            return [Done("row", f"the row of {entry.name} begins at seq {seq} again, not {entry.seq_from}", entry.sid)]
        for candidate in _candidates(tx, entry, now, told) if isinstance(told.get("state"), str) else ():
            if replace(candidate, content_hash=now.content_hash) == now:
                continue
            if row_hash(candidate, entry, shifts) == told.get("state"):
                mending.keep_rows(tx.db, "entry", "eid = ?", (entry.eid,), f"event {entry.seq_from} has another", keep)
                mended = Done("row", f"the row of {candidate.name} is as event {entry.seq_from} says", entry.sid)
                if mending_rows.rewrite(tx.db, entry.eid, candidate):
                    return [mended]
                waiting[entry.eid] = candidate, mended
    return _mend_end(tx, row, entry, None if is_covered else told, keep)


def _mend_no_draft(tx: Transaction, entry: Entry, shifts: Shifts, keep: Keep) -> list[Done]:
    """Have a row that begins at no seq, and is no draft, begin at the event that tells of it.

    A file that none tells of is a draft of nobody, for the next to open the store to seal.
    """
    seq = None
    for begins in (0, MOST_EVENTS):  # of an imported session, where what came with it and what came since differ
        hashed = row_hash(NewEntry.of(entry), replace(entry, seq_from=begins), shifts)
        seq = seq or mending_rows.seq_of_state(tx.db, entry.sid, hashed or "")
    if seq is None:
        is_file = entry.kind is Kind.FILE and entry.seq_to is None
        is_nobodys = is_file and mending_rows.set_nobodys(tx.db, entry.eid)
        return [Done("row", f"{entry.name} is a draft of nobody", entry.sid)] if is_nobodys else []
    mending.keep_rows(tx.db, "entry", "eid = ?", (entry.eid,), "it begins at no seq", keep)
    mending_rows.set_begin(tx.db, entry.eid, seq)
    return [Done("row", f"the row of {entry.name} begins at seq {seq}", entry.sid)]


def row_hash(new: NewEntry, entry: Entry, shifts: Shifts) -> str | None:
    """Return the hash that *new*, in place of the row *entry*, would have; None where it has none."""
    try:
        return state_hash(as_hashed(new, entry.seq_from or 0, shifts))
    except (ValueError, TypeError, RecursionError):
        return None


def _mend_end(tx: Transaction, row: EntryRow, entry: Entry, told: dict[str, Any] | None, keep: Keep) -> list[Done]:
    """Have a file's row end where the next event about its artifact is, which may be nowhere.

    *told* is what its event tells where the row differs from that: then it is not sure whose row it is, and it lives on
    if it lives. An event that is gone may have ended it; and it ends before what `repair_overlaps` has it end for.
    """
    if entry.file is None or entry.seq_from is None or entry.seq_to == SUPERSEDED:
        return []
    if told is not None and entry.seq_to is None:
        return []
    sequence = entry.file.sequence if told is None else told.get("sequence")
    sequence = sequence if isinstance(sequence, int) else entry.file.sequence
    end = mending_rows.next_about(tx.db, entry.sid, sequence, entry.seq_from)
    if row.ends is None and mending_rows.is_gone(tx.db, entry, end):
        return []
    begins = () if end == entry.seq_to else _begins_after(tx, entry, is_covered=told is None)
    end = min((seq for seq in (end, *begins) if seq is not None), default=None)
    if end == entry.seq_to or (end is None and mending_history.has_live_twin(tx.db, entry.eid)):
        return []
    mending.keep_rows(tx.db, "entry", "eid = ?", (entry.eid,), f"it ended at {entry.seq_to}", keep)
    mending_history.set_end(tx.db, entry.eid, end)
    return [Done("validity", f"the row of {entry.name} ends at {end or 'no seq'}, not {entry.seq_to}", entry.sid)]


def _begins_after(tx: Transaction, entry: Entry, *, is_covered: bool) -> list[int]:
    """Return where rows begin that have the place or the inode of *entry* after it, and to which it gives way."""
    shifts, begins = audit.shifts(tx.db), list[int]()
    for row in audit.entry_rows(tx.db, mending_rows.followers(tx.db, entry)):
        if row.entry is None or row.entry.seq_from is None:
            continue
        if not is_covered or line_fields(row.begins).get("state") == entry_state_hash(row.entry, shifts):
            begins.append(row.entry.seq_from)
    return begins


def _candidates(tx: Transaction, entry: Entry, now: NewEntry, told: dict[str, Any]) -> Iterator[NewEntry]:
    by_line = _by_line(tx, now, told)
    yield by_line
    for other in mending_rows.neighbours(tx.db, entry):
        yield from _mixed(now, other)
        yield from _mixed(by_line, other)
    for ino in mending_rows.unused_inodes(tx.db):
        yield replace(now, ino=ino)
        yield replace(by_line, ino=ino)
    for folder in mending_rows.folders(tx.db, entry.sid):
        yield replace(by_line, folder=folder)
    at_ns = mending_rows.time_of(tx.db, entry.sid, entry.seq_from)
    if at_ns is not None and now.kind is Kind.FILE:
        yield replace(by_line, updated_ns=at_ns)
        yield replace(by_line, created_ns=at_ns)
    for base in dict.fromkeys((repr(by_line), repr(now))):
        yield from _turned(by_line if base == repr(by_line) else now)


def _by_line(tx: Transaction, now: NewEntry, told: dict[str, Any]) -> NewEntry:
    """Return *now* with what its event's line tells of it."""
    name, digest = told.get("name"), told.get("hash")
    if isinstance(name, str):
        now = replace(now, name=name.rsplit("/", 1)[-1])
    if now.kind is not Kind.FILE:
        return now
    sequence, version = told.get("sequence", now.sequence), told.get("version", now.version)
    now = replace(now, sequence=sequence, version=version, size=told.get("size", now.size))
    if isinstance(digest, str) and digest != now.content_hash:
        now = replace(now, content_hash=digest, content=mending_rows.content_of(tx.db, digest) or now.content)
    return now


def _mixed(now: NewEntry, other: NewEntry) -> Iterator[NewEntry]:
    """Yield *now* with one of its fields, or all of its metadata, from *other*."""
    for name in (*_TEXTS, *_NUMBERS, "tags", "custom"):
        if getattr(other, name) != getattr(now, name):
            yield _with(now, name, getattr(other, name))
    yield replace(
        now, artifact_type=other.artifact_type, mime_type=other.mime_type, description=other.description,
        tags=other.tags, custom=other.custom, created_ns=other.created_ns,
    )  # fmt: skip


def _turned(now: NewEntry) -> Iterator[NewEntry]:
    """Yield *now* with each single bit of it turned."""
    for name in _TEXTS:
        for text in _texts(getattr(now, name)):
            yield _with(now, name, text)
    for name in _NUMBERS:
        number = getattr(now, name)
        if isinstance(number, int):
            yield from (_with(now, name, number ^ 1 << bit) for bit in range(63))
    for tags in _documents(list(now.tags), list):
        yield replace(now, tags=tuple(tags))
    for custom in _documents(now.custom or {}, dict):
        yield replace(now, custom=custom)


def _with(now: Row, name: str, value: object) -> Row:
    changed: dict[str, Any] = {name: value}
    return replace(now, **changed)


def _texts(text: object) -> Iterator[str]:
    if not isinstance(text, str):
        return
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    for bit in range(min(len(data) * 8, _MOST_BITS)):
        data[bit // 8] ^= 1 << bit % 8
        with suppress(UnicodeDecodeError):
            yield data.decode("utf-8")
        data[bit // 8] ^= 1 << bit % 8


def _documents(value: Any, kind: type) -> Iterator[Any]:
    if not value:
        return
    for text in _texts(json.dumps(value, separators=(",", ":"), sort_keys=True)):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, kind) and (kind is dict or _is_tags(found)):
            yield found


def _is_tags(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def mend_session_rows(tx: Transaction, problems: tuple[Problem, ...], keep: Keep) -> list[Done]:
    """Bring back the rows of sessions' own fields of which one bit was turned, and where they begin."""
    if not any(problem.kind == "row" for problem in problems):
        return []
    done = []
    for row in list(audit.session_rows(tx.db)):
        told = line_fields(row.line).get("state")
        if row.session is None:
            continue
        state = session_state_hash(SessionRow.of(row.session))
        if state == told:
            continue
        seq = mending_rows.seq_of_state(tx.db, row.sid, state or "", "session_row")
        if seq is not None:
            mending_rows.set_session_begin(tx.db, row.rid, seq)
            done.append(Done("row", f"the fields of {row.dirname} begin at seq {seq}, not {row.seq_from}", row.sid))
            continue
        ended_ns = mending_rows.time_of(tx.db, row.sid, row.seq_from)
        for candidate in _session_candidates(SessionRow.of(row.session), ended_ns) if told is not None else ():
            if session_state_hash(candidate) == told:
                mending.keep_rows(
                    tx.db, "session_row", "rid = ?", (row.rid,), f"event {row.seq_from} has another", keep
                )
                mending_rows.rewrite_session(tx.db, row.rid, candidate)
                done.append(Done("row", f"the fields of {candidate.dirname} are as event {row.seq_from} says", row.sid))
                break
    return done


def _session_candidates(now: SessionRow, ended_ns: int | None) -> Iterator[SessionRow]:
    for end in (ended_ns, None):
        yield replace(now, ended_ns=end)
    for name in ("name", "dirname", "description", "parent", "failure_reason"):
        for text in _texts(getattr(now, name)):
            yield _with(now, name, text)
    for status in Status:
        yield replace(now, status=status)
    for bit in range(63) if now.ended_ns is not None else ():
        yield replace(now, ended_ns=(now.ended_ns or 0) ^ 1 << bit)
    for tags in _documents(list(now.tags), list):
        yield replace(now, tags=tuple(tags))
    for metadata in _documents(now.metadata, dict):
        yield replace(now, metadata=metadata)
