"""Repairing trees: what is in no folder any more goes to a folder `lost+found` of its session, with events that say so.

A folder that is missing is made again under its own inode number, so that what is in it stays as it is and where it is:
one row, not one for each file. Parents of sessions that are not there, or go in a circle, become none.
"""

from __future__ import annotations

import os
from dataclasses import replace

from llmspellfs.model.artifact import Kind, Ownership
from llmspellfs.model.session import Session
from llmspellfs.service.check_rows import circles, is_endless
from llmspellfs.service.engine import Transaction
from llmspellfs.service.moves import NOUNS
from llmspellfs.service.paths import path_of
from llmspellfs.service.session_rules import put_row
from llmspellfs.service.versions import inserted, seal
from llmspellfs.storage import audit, audit_rows, entries, inodes, mending_history, mending_tree, sessions
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import Done
from llmspellfs.storage.sessions import SessionRow

LOST = "lost+found"
_MOST_CIRCLES = 1000


def mend_folders(tx: Transaction) -> list[Done]:
    """Give every live row a folder that leads to its session's top."""
    done = []
    for sid, ino in mending_tree.folders_missing(tx.db):
        session = sessions.load_any(tx.db, sid)
        if session is not None:
            done.append(_revived(tx, session, ino) or _remake(tx, session, ino))
    for eid in mending_tree.misplaced(tx.db):
        done += _move_row(tx, eid)
    for _ in range(_MOST_CIRCLES):
        first = mending_tree.one_in_a_circle(tx.db)
        if first is None:
            break
        done += _move_row(tx, first)
    for eid in mending_tree.misplaced(tx.db):  # last: a draft is sealed there, by the path that its folders make
        done += _move_row(tx, eid)
    return done


def _revived(tx: Transaction, session: Session, ino: int) -> Done | None:
    """Have the folder *ino* live on where it was, if no event ended it and its place is free; return what was done."""
    known = mending_tree.restore_folder(tx.db, ino)
    row = next(audit.entry_rows(tx.db, [known[0]]), None) if known is not None else None
    if row is None or row.entry is None or row.entry.sid != session.sid or not is_endless(row, audit.shifts(tx.db)):
        return None
    if not mending_tree.is_live_folder(tx.db, row.entry.folder):
        return None
    if entries.lookup(tx.db, row.entry.folder, row.name) is not None:
        return None
    mending_history.set_end(tx.db, row.eid, None)
    return Done("validity", f"the folder {row.name} has no end, not {row.entry.seq_to}", session.sid)


def _remake(tx: Transaction, session: Session, ino: int) -> Done:
    """Make the folder *ino* again in the session's lost+found, under the last name that is known of it."""
    known = mending_tree.restore_folder(tx.db, ino)
    home = _home(tx, session)
    name = _free(tx, home, known[2] if known else f"folder-{ino}")
    if inodes.load(tx.db, ino) is None:
        inodes.insert(tx.db, ino, _own().at(tx.now_ns))
    new = NewEntry(session.sid, home, name, ino, Kind.FOLDER)
    path = path_of(tx.db, session.ino, home, name)
    inserted(tx, new, tx.journal.append(session.sid, "folder.restored", new.state, name=path))
    return Done("folder", f"a missing folder is {path} now, with what was in it", session.sid)


def _move_row(tx: Transaction, eid: int) -> list[Done]:
    """Move the live row *eid* to its session's lost+found."""
    entry = entries.load(tx.db, eid)
    session = None if entry is None else sessions.load_any(tx.db, entry.sid)
    if entry is None or session is None:
        return []
    if entry.seq_from is None:
        entry = seal(tx, session, entry)
    home = _home(tx, session)
    new = replace(NewEntry.of(entry), folder=home, name=_free(tx, home, entry.name))
    if new.kind is Kind.FILE:
        new = replace(new, updated_ns=tx.now_ns)
    path = path_of(tx.db, session.ino, home, new.name)
    seq = tx.journal.append(
        session.sid, f"{NOUNS[entry.kind]}.renamed", new.state, name=path, sequence=new.sequence,
        hash=new.content_hash, size=new.size, **{"from": entry.name},
    )  # fmt: skip
    entries.end(tx.db, entry, seq)
    inserted(tx, new, seq)
    return [Done("folder", f"{entry.name}, in no folder of its session, is {path} now", session.sid)]


def _home(tx: Transaction, session: Session) -> int:
    """Return the ino of the session's folder `lost+found`, made where it is not there."""
    found = entries.lookup(tx.db, session.ino, LOST)
    if found is not None and found.kind is Kind.FOLDER:
        return found.ino
    new = NewEntry(session.sid, session.ino, _free(tx, session.ino, LOST), next(tx.inos), Kind.FOLDER)
    inodes.insert(tx.db, new.ino, _own().at(tx.now_ns))
    inserted(tx, new, tx.journal.append(session.sid, "folder.created", new.state, name=new.name))
    return new.ino


def _free(tx: Transaction, folder: int, name: str) -> str:
    names = (name if number == 1 else f"{name}~{number}" for number in range(1, 1 << 30))
    return next(name for name in names if entries.lookup(tx.db, folder, name) is None)


def _own() -> Ownership:
    return Ownership(0o700, os.geteuid(), os.getegid())


def mend_parents(tx: Transaction) -> list[Done]:
    """Make sessions roots whose parent is not there, and one session of each circle."""
    above = audit_rows.parents(tx.db)
    known = audit_rows.session_ids(tx.db)
    loose = {own for own, parent in above.items() if parent not in known} | set(circles(above))
    done = []
    for own in sorted(loose):
        session = sessions.by_id(tx.db, own)
        if session is not None:
            row = replace(SessionRow.of(session), parent=None)
            put_row(tx, session, row, "session.updated", name=row.dirname, fields=["parent"])
            done.append(Done("parent", f"{session.dirname} has no parent any more; it was {above[own]}", session.sid))
    return done
