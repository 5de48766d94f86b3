"""Repairing what rows are gone of: artifacts of which only events and content are left, and sessions without a name."""

from __future__ import annotations

import os
from dataclasses import replace

from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Entry, Kind, Ownership
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.session import EVENT_KINDS, TRANSITIONS, Session, Status
from llmspellfs.service import check_rows
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.check_rows import line_fields
from llmspellfs.service.engine import Transaction
from llmspellfs.service.paths import path_of
from llmspellfs.service.repair_regain import regain_rows
from llmspellfs.service.session_rules import dirname_of
from llmspellfs.service.undelete import make_place
from llmspellfs.service.versions import DEFAULT_TYPE, inserted
from llmspellfs.storage import audit, entries, inodes, mending_history, mending_rows, sessions
from llmspellfs.storage.audit import Uncovered
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import Done
from llmspellfs.storage.sessions import SessionRow


def mend_lost_rows(tx: Transaction, problems: tuple[Problem, ...]) -> list[Done]:
    """Bring back rows that are gone: as they were, or else artifacts anew, with the contents that their events tell."""
    if not any(problem.kind == "event" for problem in problems):
        return []
    done = regain_rows(tx, _lost(tx))
    artifacts: dict[tuple[int, int], list[Uncovered]] = {}
    for event in _lost(tx):
        sequence = line_fields(event.line).get("sequence")
        if event.kind.startswith("artifact.") and isinstance(sequence, int):
            artifacts.setdefault((event.sid, sequence), []).append(event)
    for (sid, sequence), events in artifacts.items():
        done += _bring_back(tx, sid, sequence, events)
    return done


def _lost(tx: Transaction) -> list[Uncovered]:
    return [event for event, replaced_by in check_rows.lost_events(tx.db) if replaced_by is None]


def _bring_back(tx: Transaction, sid: int, sequence: int, events: list[Uncovered]) -> list[Done]:
    """Give the artifact again the versions of *events* whose content is there, as its newest; then its live row's.

    Where there is none, an artifact that nothing lists any more is listed in the newest version that is left. One that
    was deleted or moved since stays so.
    """
    session, live = sessions.load_any(tx.db, sid), entries.live_of_sequence(tx.db, sid, sequence)
    if session is None or (live is not None and live.seq_from is None):
        return []
    if live is None and mending_rows.next_about(tx.db, sid, sequence, events[-1].seq) is not None:
        return []
    found = [(event, cid) for event in events if (cid := _content(tx, event)) is not None]
    if not found:
        return [] if live is not None else _list_last(tx, session, sequence, events[-1])
    name = str(line_fields(found[-1][0].line).get("name"))
    base = NewEntry.of(live) if live is not None else _base(tx, session, name, sequence, found[-1][0].at_ns)
    if base is None:
        return []
    path, last = name if live is None else path_of(tx.db, session.ino, live.folder, live.name), live
    for event, cid in found:
        told = line_fields(event.line)
        new = replace(
            base, version=told.get("version") or 1, content=cid, content_hash=told["hash"],
            size=mending_rows.size_of(tx.db, cid),
        )  # fmt: skip
        last = _added(tx, new, path, last, event.seq)
    if live is not None:
        _added(tx, replace(base, updated_ns=tx.now_ns), path, last, None)
    versions = ", ".join(str(line_fields(event.line).get("version")) for event, _ in found)
    return [Done("event", f"{path}, version {versions}, is there again with its content, its row was gone", sid)]


def _list_last(tx: Transaction, session: Session, sequence: int, event: Uncovered) -> list[Done]:
    """List the artifact again of which *event*, its last, has left nothing, in the newest version that is left."""
    rows = mending_rows.rows_of_sequence(tx.db, session.sid, sequence)
    name = str(line_fields(event.line).get("name"))
    base = _base(tx, session, name, sequence, event.at_ns) if rows and rows[-1].content else None
    if base is None:
        return []
    last = rows[-1]
    new = replace(
        base, version=last.version, content=last.content, content_hash=last.content_hash, size=last.size
    )  # fmt: skip
    _added(tx, new, name, None, None)
    return [Done("event", f"{name} is listed again, in version {last.version}, the last that is left", session.sid)]


def _content(tx: Transaction, event: Uncovered) -> int | None:
    digest = line_fields(event.line).get("hash")
    return mending_rows.content_of(tx.db, digest) if isinstance(digest, str) else None


def _base(tx: Transaction, session: Session, name: str, sequence: int, at_ns: int) -> NewEntry | None:
    """Return a new row for the artifact *sequence* at *name*, described as its other rows are; None: no place is free.

    Its inode is new, and its owner's alone.
    """
    try:
        place = make_place(tx, session, name, Ownership(0o700, os.geteuid(), os.getegid()))
    except SpellError:
        return None
    if entries.lookup(tx.db, place.folder, place.name) is not None:
        return None
    new = NewEntry(
        session.sid, place.folder, place.name, next(tx.inos), Kind.FILE, None, sequence, 1, None, None, 0,
        DEFAULT_TYPE, guess_mime(place.name), "", (), {}, at_ns, tx.now_ns,
    )  # fmt: skip
    for known in mending_rows.rows_of_sequence(tx.db, session.sid, sequence):
        new = replace(
            new, artifact_type=known.artifact_type, mime_type=known.mime_type, description=known.description,
            tags=known.tags, custom=known.custom, created_ns=known.created_ns,
        )  # fmt: skip
    inodes.insert(tx.db, new.ino, Ownership(0o600, os.geteuid(), os.getegid()).at(tx.now_ns))
    return new


def _added(tx: Transaction, new: NewEntry, path: str, before: Entry | None, instead_of: int | None) -> Entry:
    """Insert *new* with its event after the row *before*, which ends there."""
    seq = tx.journal.append(
        new.sid, "artifact.restored", new.state, name=path, sequence=new.sequence, version=new.version,
        hash=new.content_hash, size=new.size, instead_of=instead_of,
    )  # fmt: skip
    if before is not None:
        entries.end(tx.db, before, seq)
    return inserted(tx, new, seq)


def name_sessions(tx: Transaction) -> list[Done]:
    """Give sessions of which no row is left the name and the status that their events tell."""
    done = []
    for sid in mending_history.unnamed(tx.db):
        row = _row_by_events(tx, sid)
        seq = tx.journal.append(sid, "session.restored", row.state, name=row.dirname)
        sessions.insert_row(tx.db, sid, row, seq)
        sessions.set_deleted(tx.db, sid, None)
        done.append(Done("session", f"a session whose row was gone is called {row.dirname}", sid))
    sessions.note_listing(tx.db, tx.now_ns) if done else None
    return done


def _row_by_events(tx: Transaction, sid: int) -> SessionRow:
    name, status = f"session-{sid}", Status.ACTIVE
    after = {EVENT_KINDS[action]: set(steps.values()) for action, steps in TRANSITIONS.items()}
    for line in audit.lines(tx.db, sid):
        told = line_fields(line.text)
        if line.kind.startswith("session.") and isinstance(told.get("name"), str):
            name = told["name"]
        if line.kind in after and line.kind != "session.loaded":
            (status,) = after[line.kind]
    return SessionRow(name, dirname_of(tx, name, sid), "", status, (), {}, None, None, None)
