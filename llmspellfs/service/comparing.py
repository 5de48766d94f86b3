"""Comparing: two states of sessions, two versions of artifacts, and their text, line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator

from llmspellfs.errors import NotAFolder, NotFound
from llmspellfs.model.artifact import Artifact, ArtifactId, Entry, Kind
from llmspellfs.model.diff import (
    SESSION_FIELDS,
    ArtifactDiff,
    Change,
    SessionDiff,
    changed_fields,
    changes_between,
)
from llmspellfs.model.linediff import unified
from llmspellfs.model.names import split_path
from llmspellfs.model.point import parse_point
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Engine
from llmspellfs.service.moments import Moment, find_moment, resolve
from llmspellfs.service.reader import Reader
from llmspellfs.service.resolution import find_artifact
from llmspellfs.service.session_rules import find_place, find_session
from llmspellfs.service.states import entry_at, walk
from llmspellfs.storage import entries, past, sessions
from llmspellfs.storage.index import Connection

MAX_TEXT = 4 << 20
"""Bytes of a side beyond which no text diff is made: both are held whole."""


def diff_sessions(engine: Engine, old: str, new: str | None) -> SessionDiff:
    """Compare two moments; see `Past.diff`."""
    with engine.index.snapshot() as db:
        now = engine.now()
        before, then = find_moment(db, old, now)
        after, later = (before, None) if new is None else find_moment(db, new, now)
        if new is None and then is None:
            then = _last_checkpoint(db, before)
        old_tree = dict(walk(db, before.sid, before.ino, then))
        new_tree = dict(walk(db, after.sid, after.ino, later))
        old_session, new_session = _as_it_was(db, before, then), _as_it_was(db, after, later)
    same = before.sid == after.sid
    names = SESSION_FIELDS if same else ()
    fields = changed_fields(old_session, new_session, names)
    return SessionDiff(old_session, new_session, fields, changes_between(old_tree, new_tree, same_session=same))


def _last_checkpoint(db: Connection, session: Session) -> Moment:
    """Return the moment of the last checkpoint, else of the oldest state that is kept."""
    made = sessions.checkpoints(db, session.sid)
    if made:
        return Moment(session.sid, made[-1].seq, made[-1].at_ns)
    seq, at_ns = past.changes(db, session.sid)[0]
    return Moment(session.sid, seq, at_ns)


def _as_it_was(db: Connection, session: Session, moment: Moment | None) -> Session:
    if moment is None:
        return session
    found = past.session_at(db, session.sid, moment.seq)
    if found is None:
        raise NotFound("seq", moment.seq)
    return found


def diff_artifacts(engine: Engine, old: str, new: str | None) -> ArtifactDiff:
    """Compare two artifacts; see `Past.diff_artifacts`."""
    with engine.index.snapshot() as db:
        before = find_version(db, old, engine.now())
        if new is not None:
            return ArtifactDiff(old, new, Change(new, before, find_version(db, new, engine.now())))
        if before.seq_to is None:
            earlier = _version_before(db, before)
            return ArtifactDiff(f"{old} (version {earlier.facts.version})", old, Change(old, earlier, before))
        live = entries.live_of_sequence(db, before.sid, before.facts.sequence)
        if live is None:
            raise NotFound("artifact", old.rpartition("@")[0] or old)
        return ArtifactDiff(old, "now", Change(old, before, live))


def _version_before(db: Connection, entry: Entry) -> Entry:
    rows = entries.rows_of_sequence(db, entry.sid, entry.facts.sequence)
    older = [row for row in rows if row.facts.version < entry.facts.version]
    return older[-1] if older else entry


def find_version(db: Connection, text: str, now_ns: int) -> Entry:
    """Return the file that `SESSION:NAME` or an artifact id means, either of them with an `@POINT` or without.

    An artifact whose name holds an "@" comes first. Raises NotFound, InvalidValue.
    """
    before, at, point = text.rpartition("@")
    if at and ArtifactId.is_id(before):
        return _of_id_at(db, ArtifactId.parse(before), point, now_ns)
    try:
        return _row_of(db, find_artifact(db, *find_place(db, text)))
    except (NotFound, NotAFolder):
        if not at or ":" not in before:
            raise
    return find_past_file(db, before, point, now_ns)[1]


def _of_id_at(db: Connection, artifact: ArtifactId, point: str, now_ns: int) -> Entry:
    """Return what the artifact of the id *artifact*, whichever of its versions that names, was at *point*."""
    session = find_session(db, artifact.session_id)
    moment = resolve(db, session.sid, parse_point(point), now_ns)
    for row in entries.rows_of_sequence(db, session.sid, artifact.sequence):
        if row.seq_from is not None and row.seq_from <= moment.seq and (row.seq_to is None or row.seq_to > moment.seq):
            return row
    raise NotFound("artifact", f"{artifact}@{point}")


def find_past_file(db: Connection, text: str, point: str, now_ns: int) -> tuple[Session, Entry, str]:
    """Return the session, the row and the name of the file that *text*, `SESSION:NAME`, was at *point*.

    Raises NotFound, InvalidValue.
    """
    session, name = find_place(db, text)
    moment = resolve(db, session.sid, parse_point(point), now_ns)
    entry = entry_at(db, session.sid, session.ino, split_path(name), moment)
    if entry is None or entry.kind is not Kind.FILE:
        raise NotFound("artifact", f"{text}@{point}")
    return session, entry, name


def _row_of(db: Connection, artifact: Artifact) -> Entry:
    entry = entries.load(db, artifact.eid)
    assert entry is not None
    return entry


def text_diff(engine: Engine, change: Change, old_label: str, new_label: str) -> Iterator[str] | None:
    """Return a unified diff's lines; see `Past.text_diff`."""
    sides = [_lines(engine, entry) for entry in (change.old, change.new)]
    if sides[0] is None or sides[1] is None:
        return None
    return unified(sides[0], sides[1], old_label, new_label)


def _lines(engine: Engine, entry: Entry | None) -> list[str] | None:
    """Return the lines of *entry*'s text with their ends, none where there is no entry, None where it is no text."""
    if entry is None:
        return []
    if entry.file is None:
        return _split(entry.target or "")
    if entry.file.size > MAX_TEXT:
        return None
    content = Reader(engine, entry.file.content, entry.file.content_hash, entry.file.size).read_at(0, entry.file.size)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else _split(text)


def _split(text: str) -> list[str]:
    """Return the lines of *text* with their ends; only a newline ends one."""
    return io.StringIO(text, newline="\n").readlines()
