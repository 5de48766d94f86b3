"""Bringing a session, or one artifact, back to what it was: as new events, so that nothing of the way there is lost.

What is not in its place leaves with a `deleted` event, then what belongs there comes with a `restored` one, folders
first, and what stayed in place gets its old content and metadata. Sequences and inodes stay what they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.artifact import ArtifactId, Entry, Kind, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session
from llmspellfs.service import limits, moves, undelete, versions
from llmspellfs.service.comparing import find_past_file
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.moments import Moment, need_moment
from llmspellfs.service.paths import Place
from llmspellfs.service.session_rules import checked_parent, dirname_of, put_row
from llmspellfs.service.states import walk
from llmspellfs.storage import entries, inodes, past
from llmspellfs.storage.sessions import SessionRow

Key = tuple[Kind, int]
"""What an entry is through renames: a file its sequence, a folder or a symlink its inode."""


def rollback_session(engine: Engine, ref: str, by: Origin | None) -> Session:
    """Bring a session back; see `Past.rollback`."""
    with engine.write(by) as tx:
        session, moment = need_moment(tx.db, ref, tx.now_ns)
        tx.active_session(session.sid)
        versions.seal_all(tx, session)
        _Return(tx, session, moment).run(engine.config)
        row = _row_at(tx, session, moment)
        return put_row(tx, session, row, "session.rolled_back", name=row.dirname, to=moment.seq)


def _row_at(tx: Transaction, session: Session, moment: Moment) -> SessionRow:
    """Return what *session*'s fields are to be: those it had, but for the status, and a parent that is gone."""
    then, now = past.session_at(tx.db, moment.sid, moment.seq), SessionRow.of(session)
    if then is None:
        raise NotFound("seq", moment.seq)
    row = replace(now, description=then.description, tags=then.tags, metadata=then.metadata)
    if then.name != now.name:
        row = replace(row, name=then.name, dirname=dirname_of(tx, then.name, session.sid))
    if then.parent_session_id != now.parent:
        with suppress(NotFound, InvalidValue):
            row = replace(row, parent=checked_parent(tx.db, session, then.parent_session_id))
    return row


class _Return:
    """One session's way back to a moment, within one transaction."""

    def __init__(self, tx: Transaction, session: Session, moment: Moment) -> None:
        self._tx, self._session = tx, session
        self._live = {_key(entry): entry for _, entry in walk(tx.db, session.sid, session.ino)}
        self._wanted = [entry for _, entry in walk(tx.db, session.sid, session.ino, moment)]
        self._inos: dict[int, int] = {}
        """New inodes of folders whose own live on elsewhere."""

    def run(self, config: Config) -> None:
        """Make the session's entries what they were; raise LimitExceeded where it may not have so many."""
        before = self._tx.journal.touch(self._session.sid).artifact_count
        staying = {_key(entry): entry for entry in self._wanted if self._is_in_place(entry)}
        self._remove(entry for key, entry in self._live.items() if key not in staying)
        self._restore(entry for entry in self._wanted if _key(entry) not in staying)
        for key, entry in staying.items():
            if entry.kind is Kind.FILE:
                versions.take_back(self._tx, self._session, self._live[key], entry)
        after = self._tx.journal.touch(self._session.sid).artifact_count
        if after > before:
            limits.check_artifacts(config, after)

    def _is_in_place(self, entry: Entry) -> bool:
        live = self._live.get(_key(entry))
        return live is not None and (live.folder, live.name) == (entry.folder, entry.name)

    def _remove(self, leaving: Iterable[Entry]) -> None:
        """Take out *leaving*, which come folders before what is in them, the other way round."""
        for entry in reversed(list(leaving)):
            moves.take_out(self._tx, self._session, entry)

    def _restore(self, coming: Iterable[Entry]) -> None:
        for entry in coming:
            back = undelete.as_next(self._tx, self._session, entry) if entry.kind is Kind.FILE else entry
            if not self._keeps_ino(back):
                back = replace(back, ino=self._new_ino(back))
            folder = self._inos.get(entry.folder, entry.folder)
            undelete.bring_back(self._tx, self._session, back, Place(self._session.sid, folder, entry.name))

    def _keeps_ino(self, entry: Entry) -> bool:
        """Tell whether *entry*'s inode is free for it: not another artifact's by now.

        Nor a folder that another session has or had, and may bring back.
        """
        if _key(entry) in self._live:
            return True
        if entry.kind is Kind.FILE:
            return undelete.was_deleted(self._tx, self._session, entry)
        if entry.kind is Kind.SYMLINK:
            return False
        return not entries.is_folder_elsewhere(self._tx.db, self._session.sid, entry.ino)

    def _new_ino(self, entry: Entry) -> int:
        ino = next(self._tx.inos)
        inodes.insert(self._tx.db, ino, entry.attributes)
        if entry.kind is Kind.FOLDER:
            self._inos[entry.ino] = ino
        return ino


def _key(entry: Entry) -> Key:
    return entry.kind, entry.ino if entry.file is None else entry.file.sequence


def rollback_artifact(engine: Engine, ref: str, by: Origin | None) -> Entry:
    """Bring an artifact back; see `Past.rollback_artifact`."""
    before, at, point = ref.rpartition("@")
    if not at or ArtifactId.is_id(before):
        raise InvalidValue(ref, "expected SESSION:NAME@POINT, such as demo:a.txt@12")
    with engine.write(by) as tx:
        session, old, name = find_past_file(tx.db, before, point, tx.now_ns)
        tx.active_session(session.sid)
        own = Ownership(0o755, os.getuid(), os.getgid())
        place = undelete.make_place(tx, session, name, own)
        live = versions.live_file(tx, session, place)
        if live is not None:
            return versions.take_back(tx, session, live, old)
        is_copy = entries.live_of_sequence(tx.db, session.sid, old.facts.sequence) is not None
        return undelete.restore_artifact(tx, engine.config, session, old, name, own, is_copy=is_copy)
