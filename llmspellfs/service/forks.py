"""Forking: a new session with what another has or had; rows are copied, content never."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from llmspellfs.model.artifact import Attributes, Entry, Kind, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session, Status
from llmspellfs.model.values import check_text
from llmspellfs.service import limits
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.moments import Moment, find_moment, present
from llmspellfs.service.session_rules import check_limit, dirname_of, fresh, insert_session
from llmspellfs.service.states import granted, walk
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import entries, inodes, past
from llmspellfs.storage.batches import NewFile, insert_files
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.sessions import SessionRow


def fork(engine: Engine, ref: str, name: str, created_by: str | None, by: Origin | None) -> Session:
    """Make a session *name* of another's state; see `Past.fork`."""
    session_id, name = engine.new_id(), check_text(name, "name")
    with engine.index.snapshot() as db:
        count = find_moment(db, ref, engine.now())[0].artifact_count
    with engine.write(by, inos=32 + count) as tx:
        check_limit(tx, engine.config.max_sessions)
        origin, moment = find_moment(tx.db, ref, tx.now_ns)
        if moment is None:
            seal_all(tx, origin)
            rows, moment = walk(tx.db, origin.sid, origin.ino), present(fresh(tx, origin.sid))
        else:
            rows = granted(tx.db, origin, moment)
        made = _make_session(tx, origin, moment, (session_id, name, created_by))
        copied = _copy_entries(tx, origin, rows, made)
        limits.check_artifacts(engine.config, copied)
        told = {"session": origin.id, "name": origin.dirname, "seq": moment.seq}
        tx.journal.append(made.sid, "session.forked", None, name=made.dirname, **{"from": told})
        return fresh(tx, made.sid)


def _make_session(tx: Transaction, origin: Session, moment: Moment, new: tuple[str, str, str | None]) -> Session:
    session_id, name, created_by = new
    then = past.session_at(tx.db, moment.sid, moment.seq) or origin
    row = SessionRow(
        name, dirname_of(tx, name), then.description, Status.ACTIVE, then.tags, then.metadata, origin.id, None, None
    )
    top = inodes.load(tx.db, origin.ino)
    own = Ownership(0o755, os.getuid(), os.getgid()) if top is None else Ownership(top.mode, top.uid, top.gid)
    return insert_session(tx, session_id, row, created_by, own)


def _copy_entries(tx: Transaction, origin: Session, rows: Iterator[tuple[str, Entry]], made: Session) -> int:
    """Copy *rows* of *origin* into *made*, artifacts in the order of their sequences; count these."""
    inos, paths = {origin.ino: made.ino}, {origin.ino: ""}
    files: list[Entry] = []
    for _, entry in rows:
        if entry.kind is Kind.FILE:
            files.append(entry)
            continue
        ino, path = next(tx.inos), paths[entry.folder] + entry.name
        if entry.kind is Kind.FOLDER:
            inos[entry.ino], paths[entry.ino] = ino, f"{path}/"
        copy = replace(NewEntry.of(entry), sid=made.sid, folder=inos[entry.folder], ino=ino)
        _insert(tx, copy, entry.attributes, path)
    files.sort(key=lambda entry: entry.facts.sequence)
    insert_files(
        tx.journal,
        made.sid,
        [_new_file(tx, entry, inos[entry.folder], paths[entry.folder] + entry.name) for entry in files],
    )
    return len(files)


def _new_file(tx: Transaction, entry: Entry, folder: int, path: str) -> NewFile:
    a, f = entry.attributes, entry.facts
    columns = (a.mode, a.uid, a.gid, a.mtime_ns, tx.now_ns, a.atime_ns)
    return NewFile(
        folder, entry.name, path, next(tx.inos), columns, f.content, f.content_hash, f.size, f.artifact_type,
        f.mime_type, f.description, f.tags, f.custom, f.created_ns,
    )  # fmt: skip


_KINDS = {Kind.FOLDER: "folder.created", Kind.SYMLINK: "symlink.created"}


def _insert(tx: Transaction, new: NewEntry, a: Attributes, path: str) -> None:
    own = Attributes(a.mode, a.uid, a.gid, a.mtime_ns, tx.now_ns, a.atime_ns)
    inodes.insert(tx.db, new.ino, own)
    seq = tx.journal.append(new.sid, _KINDS[new.kind], new.state, name=path)
    entries.insert(tx.db, new, seq)
