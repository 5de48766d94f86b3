"""Repairing what rows are gone of: artifacts of which only events and content are left, and sessions without a name."""

from __future__ import annotations

import os
from dataclasses import replace

from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Kind, Ownership
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.session import EVENT_KINDS, TRANSITIONS, Status
from llmspellfs.service.check_findings import Problem
from llmspellfs.service.check_rows import line_fields
from llmspellfs.service.engine import Transaction
from llmspellfs.service.session_rules import dirname_of
from llmspellfs.service.undelete import make_place
from llmspellfs.service.versions import DEFAULT_TYPE, inserted
from llmspellfs.storage import audit, entries, mending_history, mending_rows, sessions
from llmspellfs.storage.audit import Uncovered
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import Done
from llmspellfs.storage.sessions import SessionRow


def mend_lost_rows(tx: Transaction, problems: tuple[Problem, ...]) -> list[Done]:
    """Bring back artifacts whose last row is gone, with the content that their last event tells."""
    if not any(problem.kind == "event" for problem in problems):
        return []
    done = []
    for event in list(audit.uncovered_events(tx.db)):
        if event.kind.startswith("artifact.") and not audit.goings(tx.db, event.sid).excuses(
            line_fields(event.line).get("sequence"), event.seq, event.at_ns
        ):
            done += _bring_back(tx, event)
    return done


def _bring_back(tx: Transaction, event: Uncovered) -> list[Done]:
    told, session = line_fields(event.line), sessions.load_any(tx.db, event.sid)
    name, sequence, digest = told.get("name"), told.get("sequence"), told.get("hash")
    if session is None or not (isinstance(name, str) and isinstance(sequence, int) and isinstance(digest, str)):
        return []
    cid = mending_rows.content_of(tx.db, digest)
    if cid is None or mending_rows.next_about(tx.db, event.sid, sequence, event.seq) is not None:
        return []
    if entries.live_of_sequence(tx.db, event.sid, sequence) is not None:
        return []
    try:
        place = make_place(tx, session, name, Ownership(0o700, os.geteuid(), os.getegid()))
    except SpellError:
        return []
    if entries.lookup(tx.db, place.folder, place.name) is not None:
        return []
    new = NewEntry(
        event.sid, place.folder, place.name, next(tx.inos), Kind.FILE, None, sequence, told.get("version") or 1, cid,
        digest, mending_rows.size_of(tx.db, cid), DEFAULT_TYPE, guess_mime(place.name), "", (), {}, event.at_ns,
        tx.now_ns,
    )  # fmt: skip
    for known in mending_rows.rows_of_sequence(tx.db, event.sid, sequence):
        new = replace(
            new, artifact_type=known.artifact_type, mime_type=known.mime_type, description=known.description,
            tags=known.tags, custom=known.custom, created_ns=known.created_ns,
        )  # fmt: skip
    entries.insert_inode(tx.db, new.ino, Ownership(0o600, os.geteuid(), os.getegid()).at(tx.now_ns))
    seq = tx.journal.append(
        event.sid, "artifact.restored", new.state, name=name, sequence=sequence, version=new.version, hash=digest,
        size=new.size,
    )  # fmt: skip
    inserted(tx, new, seq)
    return [Done("event", f"{session.dirname}:{name} is there again, its row was gone", event.sid)]


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
