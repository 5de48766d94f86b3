"""What an artifact's ref means, a name (its path) or an id: a row or a sequence of its session, live, past or gone.

Every function runs on the caller's connection.
"""

from __future__ import annotations

from llmspellfs.errors import AlreadyExists, Corrupt, InvalidValue, IsAFolder, NotAllowed, NotFound
from llmspellfs.model.artifact import Artifact, ArtifactId, Entry, Kind
from llmspellfs.model.event import read_line
from llmspellfs.model.session import Session
from llmspellfs.service.paths import find_entry, path_of, to_artifact, to_artifacts
from llmspellfs.storage import entries, journal
from llmspellfs.storage.index import Connection


def entry_named(db: Connection, session: Session, name: str) -> Entry | None:
    """Return the live entry called *name* in *session*, or None; raises NotAFolder and InvalidName."""
    try:
        return find_entry(db, session, name)
    except NotFound:
        return None


def _own_id(session: Session, ref: str) -> ArtifactId:
    parsed = ArtifactId.parse(ref)
    if parsed.session_id != session.id:
        raise NotAllowed(f"artifact {ref} belongs to another session than {session.dirname}")
    return parsed


def find_artifact(db: Connection, session: Session, ref: str) -> Artifact:
    """Return the artifact *ref* (a name or an id) of *session*; raises as `Artifacts.get`."""
    if not ArtifactId.is_id(ref):
        entry = find_entry(db, session, ref)
        if entry.kind is Kind.FOLDER:
            raise IsAFolder(f"{session.dirname}:{ref}")
        if entry.kind is Kind.SYMLINK:
            raise NotFound("artifact", f"{session.dirname}:{ref}")
        return to_artifact(session.id, ref, entry)
    parsed = _own_id(session, ref)
    live = entries.live_of_sequence(db, session.sid, parsed.sequence)
    if live is None or live.facts.content_hash != parsed.content_hash:
        live = older_row(db, session, parsed) if live is not None else None
    if live is None:
        raise NotFound("artifact", ref)
    return to_artifacts(db, session, [live])[0]


def older_row(db: Connection, session: Session, parsed: ArtifactId) -> Entry | None:
    """Return the newest row of the version that the id *parsed* names, while history keeps it, or None."""
    rows = entries.rows_of_sequence(db, session.sid, parsed.sequence)
    return next((row for row in reversed(rows) if row.facts.content_hash == parsed.content_hash), None)


def live_row(db: Connection, session: Session, ref: str) -> Entry:
    """Return the live row of the artifact *ref*, whichever of its versions an id names."""
    if not ArtifactId.is_id(ref):
        entry = find_entry(db, session, ref)
        if entry.kind is Kind.FILE:
            return entry
        raise (IsAFolder(ref) if entry.kind is Kind.FOLDER else NotFound("artifact", f"{session.dirname}:{ref}"))
    parsed = _own_id(session, ref)
    live = entries.live_of_sequence(db, session.sid, parsed.sequence)
    if live is None or (live.facts.content_hash != parsed.content_hash and older_row(db, session, parsed) is None):
        raise NotFound("artifact", ref)
    return live


def past_sequence(db: Connection, session: Session, ref: str) -> int:
    """Return the sequence of the artifact *ref*, live, or else the last that left that name and has a past."""
    if ArtifactId.is_id(ref):
        return _own_id(session, ref).sequence
    entry = entry_named(db, session, ref)
    if entry is not None and entry.kind is Kind.FILE:
        return entry.facts.sequence
    return _left_sequence(db, session, ref, journal.left(db, session.sid, ref))


def deleted_sequence(db: Connection, session: Session, ref: str) -> int:
    """Return the sequence of the artifact with the id *ref*, or of the last deleted under that name."""
    if ArtifactId.is_id(ref):
        return _own_id(session, ref).sequence
    gone = journal.left(db, session.sid, ref)
    return _left_sequence(db, session, ref, [one for one in gone if one[0] == "artifact.deleted"])


def purged_sequence(db: Connection, session: Session, ref: str) -> int:
    """Return the sequence of the artifact that a purge of *ref* erases, be it one of which only events are left.

    Raises NotFound, NotAllowed, and InvalidValue where *ref* is a name that the artifact had before its present one.
    """
    try:
        sequence = past_sequence(db, session, ref)
        is_there = entries.has_sequence(db, session.sid, sequence)
    except NotFound:
        is_there = False
    if not is_there:
        sequence = _lost_sequence(db, session, ref)
    _check_own_name(db, session, ref, sequence)
    return sequence


def _left_sequence(db: Connection, session: Session, ref: str, gone: list[tuple[str, int | None]]) -> int:
    """Return the first of the sequences *gone* from the name *ref* of which there are rows, or else the first."""
    if not gone:
        entry = find_entry(db, session, ref)
        raise AlreadyExists("artifact", f"{session.dirname}:{ref}") if entry.file else NotFound("artifact", ref)
    if gone[0][1] is None:
        raise Corrupt(f"the event by which {session.dirname}:{ref} left its name does not say its sequence")
    sequences = [sequence for _, sequence in gone if sequence is not None]
    return next((one for one in sequences if entries.has_sequence(db, session.sid, one)), sequences[0])


def _check_own_name(db: Connection, session: Session, ref: str, sequence: int) -> None:
    """Raise InvalidValue where the artifact *sequence* is live, and *ref* a name that it had before."""
    live = None if ArtifactId.is_id(ref) else entries.live_of_sequence(db, session.sid, sequence)
    here = None if live is None else entry_named(db, session, ref)
    if live is not None and (here is None or here.ino != live.ino):
        name = path_of(db, session.ino, live.folder, live.name)
        raise InvalidValue(ref, f"has another name now: {session.dirname}:{name}")


def _lost_sequence(db: Connection, session: Session, ref: str) -> int:
    """Return the sequence of the artifact *ref*, a name or an id, all of whose rows damage has taken."""
    from llmspellfs.service.check_rows import lost_events

    for event, _ in lost_events(db, session.sid):
        told = read_line(event.line)
        sequence = told.get("sequence")
        ids = f"{session.id}/{sequence}/{told.get('hash')}"
        if event.kind.startswith("artifact.") and ref in {told.get("name"), ids} and isinstance(sequence, int):
            return sequence
    raise NotFound("artifact", f"{session.dirname}:{ref}")
