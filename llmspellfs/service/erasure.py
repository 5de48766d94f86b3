"""Purging: what was stored is erased for good, while the audit trail stays and verifies."""

from __future__ import annotations

from dataclasses import dataclass

from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session, Status
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import contents, entries, erasing, sessions, state
from llmspellfs.storage.sessions import SessionRow


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge took away: the hashes of chunks whose files are gone, and the stored bytes *freed*."""

    unlinked: tuple[str, ...]
    freed: int


def purge_session(engine: Engine, session: Session, by: Origin | None) -> PurgeReport:
    """Erase *session*'s rows and metadata, and content that nothing else uses; its trail stays."""
    with engine.write(by, durable=True) as tx:
        if session.deleted_ns is None:
            seal_all(tx, session)
            sessions.note_listing(tx.db, tx.now_ns)
        cids = _erase_rows(tx, session)
        loose, freed = erasing.erase_contents(tx.db, cids)
    return _unlink(engine, loose, freed)


def expire_sessions(engine: Engine, before_ns: int) -> int:
    """Erase the rows of sessions deleted before *before_ns*, which cannot come back; return how many there were.

    Their content is left to garbage collection, since it may still be read.
    """
    with engine.index.read() as db:
        due = erasing.expired(db, before_ns)
    for sid in due:
        with engine.write() as tx:
            session = sessions.load_any(tx.db, sid)
            if session is not None and session.deleted_ns is not None:
                _erase_rows(tx, session)
    return len(due)


def _erase_rows(tx: Transaction, session: Session) -> list[int]:
    """Erase all rows of *session* but its trail, and leave a stone in their place; return the contents they had."""
    stone = SessionRow("", session.id, "", Status.COMPLETED, (), {}, None, None, None)
    seq = tx.journal.append(session.sid, "session.purged", stone.state, id=session.id)
    cids = erasing.erase_entries(tx.db, session.sid)
    erasing.erase_session_rows(tx.db, session.sid, tx.now_ns, seq)
    state.erase_session(tx.db, session.id)
    sessions.insert_row(tx.db, session.sid, stone, seq)
    sessions.end_row(tx.db, session.sid, seq + 1)
    tally = tx.journal.touch(session.sid)
    tally.artifact_count = tally.total_size = 0
    return cids


def purge_artifact(engine: Engine, session: Session, sequence: int, by: Origin | None) -> PurgeReport:
    """Erase every version of the artifact *sequence* of *session*, and content that nothing else uses."""
    with engine.write(by, durable=True) as tx:
        _uncount(tx, session, sequence)
        tx.journal.append(session.sid, "artifact.purged", None, sequence=sequence)
        cids = erasing.erase_entries(tx.db, session.sid, sequence)
        loose, freed = erasing.erase_contents(tx.db, cids)
    return _unlink(engine, loose, freed)


def _uncount(tx: Transaction, session: Session, sequence: int) -> None:
    live = entries.live_of_sequence(tx.db, session.sid, sequence)
    if live is not None:
        tally = tx.journal.touch(session.sid)
        tally.artifact_count -= 1
        tally.total_size -= live.facts.size
        entries.touch_inode(tx.db, live.folder, tx.now_ns)


def _unlink(engine: Engine, loose: list[str], freed: int) -> PurgeReport:
    unlinked = tuple(unlink_chunks(engine, loose))
    engine.rooms.cache.clear()
    with engine.index.read() as db:
        erasing.fold_wal(db)
    return PurgeReport(unlinked, freed)


def unlink_chunks(engine: Engine, hashes: list[str]) -> list[str]:
    """Delete the files of chunks that the index, looked at under the write lock, does not have; return those gone."""
    gone = []
    for start in range(0, len(hashes), 64):
        with engine.index.write() as db:
            for chunk in hashes[start : start + 64]:
                if not contents.has_chunk(db, chunk):
                    engine.rooms.blobs.delete(chunk)
                    gone.append(chunk)
    return gone
