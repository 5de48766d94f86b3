"""Purging: what was stored is erased for good, while the audit trail stays and verifies.

A purge is decided by its first transaction, which erases as much as one of bounded length can; the rest follows in
others like it. Then the files of chunks go, the full text is merged and the index written anew, so that no word stays
in its pages, and the WAL is emptied. Where it is cut in between, the next to open the store or to collect garbage goes
on with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session, Status
from llmspellfs.service import clearing
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.pacing import give_way, paced
from llmspellfs.service.purged import Gone, PurgeReport
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import (
    collecting,
    contents,
    entries,
    erasing,
    former,
    replay,
    search_text,
    sessions,
    spool,
    stale,
    state,
    traces,
    turns,
)
from llmspellfs.storage.erasing import Purge
from llmspellfs.storage.sessions import SessionRow

_log = logging.getLogger(__name__)
_UNLINKED = 32
"""Files that are unlinked while the write lock is held."""


def turn(engine: Engine) -> AbstractContextManager[None]:
    """Erase beside others who do, but beside nobody who goes on with a purge that was cut; raise StoreBusy."""
    return turns.shared(engine.rooms.path, turns.ERASING, engine.index.busy_seconds)


def purge_session(
    engine: Engine,
    session: Session,
    by: Origin | None,
    *,
    is_one_of_many: bool = False,
    first: Callable[[Transaction], None] = lambda _: None,
) -> PurgeReport:
    """Erase *session*'s rows and metadata, and content that nothing else uses; its trail stays.

    *first* is called in the transaction that decides it, and may refuse by raising. Where it *is_one_of_many*, the
    caller has the index written anew behind the last (`clearing.clear`). Raises NotFound, StoreBusy.
    """
    engine.check_writable()
    gone, rows = Gone(), _row_ids(engine, session.sid, None)
    with turn(engine):
        with engine.write(by, durable=True, frees=True) as tx:
            first(tx)
            found = sessions.load_any(tx.db, session.sid)
            if found is None or replay.is_purged(tx.db, session.sid):
                raise NotFound("session", session.dirname)
            if found.deleted_ns is None:
                seal_all(tx, found)
                sessions.note_listing(tx.db, tx.now_ns)
            purge = erasing.begin(tx.db, session.sid, None, keeps_content=False)
            gone.labels += _bury(tx, found)
            gone.messages += erasing.forget_messages(tx.db, found.id)
            _erase(tx, purge, next(paced(engine.index, rows), []), gone)
        return _go_to_the_end(engine, purge, gone, rewrites=not is_one_of_many)


def purge_artifact(engine: Engine, session: Session, sequence: int, by: Origin | None) -> PurgeReport:
    """Erase every version of the artifact *sequence* of *session*, and content that nothing else uses."""
    engine.check_writable()
    gone, rows = Gone(), _row_ids(engine, session.sid, sequence)
    with turn(engine):
        with engine.write(by, durable=True, frees=True) as tx:
            live = entries.live_of_sequence(tx.db, session.sid, sequence)
            if live is not None:
                entries.touch_inode(tx.db, live.folder, tx.now_ns)
            tx.journal.append(session.sid, "artifact.purged", None, sequence=sequence)
            known = former.known(tx.db, session.sid, sequence)
            purge = erasing.begin(tx.db, session.sid, sequence, keeps_content=False, known=known)
            gone.messages += erasing.forget_messages(tx.db, f"{session.id}/{sequence}/")
            _erase(tx, purge, next(paced(engine.index, rows), []), gone)
        return _go_to_the_end(engine, purge, gone)


def expire_sessions(engine: Engine, before_ns: int) -> int:
    """Erase the rows of sessions deleted before *before_ns*, which cannot come back; return how many there were.

    Their content is left to garbage collection, since it may still be read.
    """
    with engine.index.read() as db:
        due = collecting.expired(db, before_ns)
    return sum(_expire(engine, sid) for sid in due)


def _expire(engine: Engine, sid: int) -> bool:
    with turn(engine):
        with engine.write(frees=True) as tx:
            session = sessions.load_any(tx.db, sid)
            if session is None or session.deleted_ns is None or replay.is_purged(tx.db, sid):
                return False
            purge = erasing.begin(tx.db, sid, None, keeps_content=True)
            _bury(tx, session)
        _erase_rest(engine, purge, Gone())
        with engine.index.write(frees=True) as db:
            erasing.end(db, [purge])
    return True


def _bury(tx: Transaction, session: Session) -> int:
    """Erase what *session* says of itself, and leave a stone in its place; return how many labels it had."""
    stone = SessionRow("", session.id, "", Status.COMPLETED, (), {}, None, None, None)
    seq = tx.journal.append(session.sid, "session.purged", stone.state, id=session.id)
    labels = erasing.erase_session_rows(tx.db, session.sid, tx.journal.last_ns(session.sid), seq)
    state.erase_session(tx.db, session.id)
    sessions.insert_row(tx.db, session.sid, stone, seq)
    sessions.end_row(tx.db, session.sid, seq + 1)
    return labels


def _row_ids(engine: Engine, sid: int, sequence: int | None) -> list[tuple[int, int]]:
    with engine.index.read() as db:
        return erasing.row_ids(db, sid, sequence)


def _erase(tx: Transaction, purge: Purge, eids: list[int], gone: Gone) -> None:
    """Erase the rows *eids* and, unless it is kept, the content that only they had."""
    erased = erasing.erase_rows(tx.db, eids)
    tally = tx.journal.touch(purge.sid)
    tally.artifact_count -= erased.files
    tally.total_size -= erased.size
    gone.add_rows(erased)
    if not purge.keeps_content:
        gone.add_contents(erasing.erase_contents(tx.db, erased.cids, is_purge=True))


def _erase_rest(engine: Engine, purge: Purge, gone: Gone) -> None:
    """Erase what the first transaction of *purge* has left, and contents that no row says were its own."""
    for eids in paced(engine.index, _row_ids(engine, purge.sid, purge.sequence)):
        with engine.write(durable=not purge.keeps_content, frees=True) as tx:
            _erase(tx, purge, eids, gone)
    if purge.keeps_content:
        return
    with engine.index.read() as db:
        loose = [(cid, erasing.IN_PAGES) for cid in former.contents(db, purge.sid, purge.sequence)]
    for cids in paced(engine.index, loose):
        with engine.index.write(durable=True, frees=True) as db:
            gone.add_contents(erasing.erase_contents(db, cids, is_purge=True)._replace(shared=0))


def _forget_lost(engine: Engine, purge: Purge) -> tuple[list[str], list[str]]:
    """Remove from lost+found what was meant for what is purged; return it, and what is still open for writing.

    What a dead process has left in the spool comes there first.
    """
    lost, path = engine.rooms.lost, engine.rooms.path
    if lost is None or path is None:
        return [], []
    spool.salvage(path, lost)
    with engine.index.read() as db:
        session = sessions.load_any(db, purge.sid)
        session_id = "" if session is None else session.id
        owner = former.owner(db, session_id, purge.sid, purge.sequence, purge.known)
    items = traces.lost(lost, owner)
    lost.wipe(items)
    traces.erase_open_files(path, owner)
    open_files = traces.open_files(path, owner)
    if purge.known is not None:
        with engine.index.write(frees=True) as db:
            erasing.forget_known(db, purge)
    return items, open_files


def _go_to_the_end(engine: Engine, purge: Purge, gone: Gone, *, rewrites: bool = True) -> PurgeReport:
    """Do all of *purge* that comes after its first transaction; what fails is left to who opens the store next."""
    is_ended, stale_for, lost, open_files = False, None, list[str](), list[str]()
    try:
        _erase_rest(engine, purge, gone)
        lost, open_files = _forget_lost(engine, purge)
        is_ended, stale_for = _settle(engine, [purge], patience=clearing.WAL_PATIENCE, rewrites=rewrites)
    except SpellError as error:
        _log.warning("the next who opens the store goes on with the purge: %s", error.message)
    with engine.index.read() as db:
        left = set(erasing.doomed(db))
    unlinked = tuple(chunk for chunk in gone.files if chunk not in left and engine.rooms.blobs.put_ns(chunk) is None)
    return PurgeReport(
        unlinked, gone.freed, tuple(gone.contents), gone.shared,
        gone.rows, gone.labels, gone.words, gone.messages, tuple(lost), tuple(open_files),
        tuple(traces.copies(engine.rooms.path)), is_ended, stale_for,
    )  # fmt: skip


def finish(engine: Engine) -> None:
    """Go on with purges that were cut short, unless their process still lives.

    Whoever opens the store does so, and whoever collects garbage. Raises Corrupt, NoSpace, StoreBusy.
    """
    if not _is_unfinished(engine):
        return
    with turns.alone(engine.rooms.path, turns.ERASING) as is_mine:
        if not is_mine:
            return
        with engine.index.read() as db:
            purges = erasing.unfinished(db)
        for purge in purges:
            _erase_rest(engine, purge, Gone())
            if not purge.keeps_content:
                _forget_lost(engine, purge)
        _, why = _settle(engine, purges)
        if why is not None:
            _log.warning("words of what was purged may stand in unused bytes of the index until a gc: %s", why)


def _is_unfinished(engine: Engine) -> bool:
    with engine.index.read() as db:
        return bool(erasing.unfinished(db) or erasing.doomed(db))


def _settle(
    engine: Engine, purges: list[Purge], *, patience: float = 0, rewrites: bool = True
) -> tuple[bool, str | None]:
    """Unlink the files of doomed chunks, and have no word of *purges* left in pages; tell whether they have ended.

    The other is why the index, which *rewrites* has written anew, was not.
    """
    unlink_doomed(engine)
    if not purges:
        return True, None
    drop_words(engine)
    _merge_words(engine)
    engine.rooms.cache.clear()
    noted, why = clearing.rewrite(engine, [purge.id for purge in purges]) if rewrites else (0, clearing.LATER)
    with engine.index.read() as db:
        is_empty = erasing.empty_wal(db, patience)
    # Durable: the WAL that was emptied is synced with this, so that no power loss brings back what was in it.
    with engine.write(durable=True, frees=True) as tx:
        erasing.end(tx.db, purges if is_empty else ())
        if is_empty:
            stale.forget(tx.db, noted)
    return is_empty, why


def drop_words(engine: Engine) -> None:
    """Take deleted rows out of the full text, in short transactions."""
    is_more = True
    while is_more:
        with engine.index.write(frees=True) as db:
            is_more = search_text.drop_gone(db)
        give_way(is_more)


def _merge_words(engine: Engine) -> None:
    is_more = is_first = True
    while is_more:
        with engine.index.write(frees=True) as db:
            is_more = search_text.merge(db, is_first=is_first)
        is_first = False
        give_way(is_more)


def unlink_doomed(engine: Engine) -> list[str]:
    """Delete the files of all doomed chunks; return those gone."""
    with engine.index.read() as db:
        chunks = erasing.doomed(db)
    return unlink_chunks(engine, chunks)


def _is_put_since(engine: Engine, chunk: str, since_ns: int | None) -> bool:
    """Tell whether *chunk* was put since *since_ns*; a time that has not come yet is a clock's that was set back."""
    put_ns = None if since_ns is None else engine.rooms.blobs.put_ns(chunk)
    return put_ns is not None and since_ns is not None and since_ns <= put_ns <= time.time_ns()


def unlink_chunks(engine: Engine, hashes: Iterable[str], *, put_before_ns: int | None = None) -> list[str]:
    """Delete the files of chunks that the index, looked at under the write lock, does not have; return those gone.

    Whoever needs one meanwhile looks under the same lock whether it is there. A file that was put at *put_before_ns* or
    later is left alone: somebody is about to name it. Those that were doomed are so no more, once their absence
    survives power loss, or since they are in use again.
    """
    gone, chunks = list[str](), list(hashes)
    if not chunks:
        return gone
    for start in range(0, len(chunks), _UNLINKED):
        with engine.index.write(frees=True) as db:
            for chunk in chunks[start : start + _UNLINKED]:
                if not contents.has_chunk(db, chunk) and not _is_put_since(engine, chunk, put_before_ns):
                    engine.rooms.blobs.delete(chunk)
                    gone.append(chunk)
    engine.rooms.blobs.sync()
    with engine.index.read() as db:
        done = set(chunks) & set(erasing.doomed(db))
    if done:
        with engine.index.write(frees=True) as db:
            erasing.undoom(db, done)
    return gone
