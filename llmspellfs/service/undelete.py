"""The undoing of deletions: of one artifact, and of the run of deletions that ended a session.

Every function runs in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace

from llmspellfs.config import Config
from llmspellfs.errors import AlreadyExists, NotAFolder, NotFound
from llmspellfs.model.artifact import Entry, Kind, Ownership
from llmspellfs.model.names import split_path
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Transaction
from llmspellfs.service.moves import NOUNS
from llmspellfs.service.namespace import make
from llmspellfs.service.paths import Place, path_of
from llmspellfs.service.versions import check_room, inserted
from llmspellfs.storage import entries, inodes, journal
from llmspellfs.storage.entries import NewEntry

_DELETIONS = ("artifact.deleted", "folder.deleted", "symlink.deleted")
_PASSED = (*_DELETIONS, "run.started", "run.finished")
"""What may stand in a run of deletions: a script that deletes is recorded meanwhile."""


def restore_run(tx: Transaction, session: Session, before: int) -> None:
    """Bring back what the run of deletions right below the seq *before* took away, folders first."""
    first = before
    while first > 1:
        event = journal.events(tx.db, session.sid, after=first - 2, limit=1)
        if not event or event[0].kind not in _PASSED:
            break
        first -= 1
    for entry in entries.ended_between(tx.db, session.sid, first, before - 1):
        bring_back(tx, session, entry, Place(session.sid, entry.folder, entry.name))


def restore_artifact(
    tx: Transaction,
    config: Config,
    session: Session,
    entry: Entry,
    name: str | None,
    own: Ownership,
    *,
    is_copy: bool,
) -> Entry:
    """Bring the artifact of row *entry* back as it was there, under *name* or the one it had.

    With *is_copy* the artifact itself is not deleted, and a new one is made. Folders that are gone are made anew, with
    *own*'s user and group. Raises AlreadyExists where the name is taken.
    """
    path = name or _last_name(tx, session, entry)
    place = make_place(tx, session, path, own)
    if entries.lookup(tx.db, place.folder, place.name) is not None:
        raise AlreadyExists("artifact", f"{session.dirname}:{path}")
    check_room(tx, config, session)
    entry = _as_copy(tx, session, entry) if is_copy else as_next(tx, session, entry)
    if is_copy or not was_deleted(tx, session, entry):
        entry = replace(entry, ino=next(tx.inos))
        inodes.insert(tx.db, entry.ino, entry.attributes)
    return bring_back(tx, session, entry, place)


def _as_copy(tx: Transaction, session: Session, entry: Entry) -> Entry:
    """Return *entry* as the first version of a new artifact."""
    tally = tx.journal.touch(session.sid)
    tally.next_sequence += 1
    facts = replace(entry.facts, sequence=tally.next_sequence - 1, version=1, created_ns=tx.now_ns)
    return replace(entry, file=facts)


def as_next(tx: Transaction, session: Session, entry: Entry) -> Entry:
    """Return the file *entry* as the row after its sequence's last one: the next version for another content."""
    last = last_row(tx, session, entry.facts.sequence)
    version = last.facts.version + (last.facts.content != entry.facts.content)
    return replace(last, file=replace(entry.facts, version=version, created_ns=last.facts.created_ns))


def was_deleted(tx: Transaction, session: Session, entry: Entry) -> bool:
    """Tell whether *entry* was ended by its deletion: renamed over another or moved, its inode lives on there."""
    ended = journal.events(tx.db, session.sid, after=(entry.seq_to or 0) - 1, limit=1)
    return bool(ended) and ended[0].kind in _DELETIONS


def _last_name(tx: Transaction, session: Session, entry: Entry) -> str:
    """Return the name that the artifact of *entry* had when it was deleted, moved away or renamed over another."""
    last = last_row(tx, session, entry.facts.sequence)
    ended = journal.events(tx.db, session.sid, after=(last.seq_to or 0) - 1, limit=1) if last.seq_to else []
    told = ended[0].fields if ended else {}
    name = told.get("from") if ended and ended[0].kind == "artifact.renamed" else told.get("name")
    return name if isinstance(name, str) else path_of(tx.db, session.ino, last.folder, last.name)


def make_place(tx: Transaction, session: Session, path: str, own: Ownership) -> Place:
    """Return the place of *path* in *session*, making the folders on the way; raise NotAFolder, InvalidName."""
    *folders, name = split_path(path)
    folder = session.ino
    for depth, part in enumerate(folders, 1):
        entry = entries.lookup(tx.db, folder, part)
        if entry is None:
            above, here = Place(session.sid, folder, part), "/".join(folders[:depth])
            entry = make(tx, session, above, Kind.FOLDER, replace(own, mode=0o755), path=here)
        elif entry.kind is not Kind.FOLDER:
            raise NotAFolder(f"{session.dirname}:{'/'.join(folders[:depth])}")
        folder = entry.ino
    return Place(session.sid, folder, name)


def last_row(tx: Transaction, session: Session, sequence: int) -> Entry:
    """Return the newest row of the artifact *sequence*; raise NotFound where history has none."""
    rows = entries.rows_of_sequence(tx.db, session.sid, sequence)
    if not rows:
        raise NotFound(
            "artifact", f"{session.dirname}, number {sequence}: purged, or older than the history that is kept"
        )
    return rows[-1]


def bring_back(tx: Transaction, session: Session, entry: Entry, place: Place) -> Entry:
    """Insert *entry*'s row at *place*, which is free, with its `restored` event, and return it."""
    new = replace(NewEntry.of(entry), folder=place.folder, name=place.name)
    if entry.kind is Kind.FILE:
        new = replace(new, updated_ns=tx.now_ns)
        tally = tx.journal.touch(session.sid)
        tally.artifact_count += 1
        tally.total_size += entry.facts.size
    path = path_of(tx.db, session.ino, place.folder, place.name)
    seq = tx.journal.append(
        session.sid, f"{NOUNS[entry.kind]}.restored", new.state, name=path,
        sequence=new.sequence, version=new.version, hash=new.content_hash, size=new.size,
    )  # fmt: skip
    inodes.touch(tx.db, place.folder, tx.now_ns)
    return inserted(tx, new, seq)
