"""Purging: what was stored is erased for good, while the audit trail stays and verifies.

A purge is decided by its first transaction, which erases as much as one of bounded length can; the rest follows in
others like it. Then the files of chunks go, the full text is merged and the index written anew, so that no word stays
in its pages, and the WAL is emptied. Where it is cut in between, the next to open the store or to collect garbage goes
on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from typing import TypeAlias

from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session, Status
from llmspellfs.service import clearing, remaining, unlinking
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.pacing import give_way, paced
from llmspellfs.service.purged import Gone, PurgeReport
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import (
    collecting,
    entries,
    erasing,
    following,
    forerunners,
    former,
    inodes,
    replay,
    search_text,
    sessions,
    spool,
    stale,
    state,
    traces,
    turns,
)
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.erasing import Purge
from llmspellfs.storage.forerunners import Renamed
from llmspellfs.storage.sessions import SessionRow

_log = logging.getLogger(__name__)
Found: TypeAlias = tuple[list[str], list[str]]
"""Items of lost+found that are gone, and files of the spool that living processes have open."""
_NOTING = 1 << 14
"""What noting an artifact's purge weighs in a transaction, as bytes of the index: some 64 go into one."""


def turn(engine: Engine) -> AbstractContextManager[None]:
    """Erase beside others who do, but beside nobody who goes on with a purge that was cut; raise StoreBusy."""
    return turns.shared(engine.rooms.path, turns.ERASING, engine.index.busy_seconds)


def purge_session(
    engine: Engine,
    session: Session,
    by: Origin | None,
    *,
    together: list[Purge] | None = None,
    first: Callable[[Transaction], None] = lambda _: None,
) -> PurgeReport:
    """Erase *session*'s rows and metadata, and content that nothing else uses; its trail stays.

    *first* is called in the transaction that decides it, and may refuse by raising. Where it is one of many, which it
    is then added to, *together*, the caller ends them behind the last (`end`). Raises NotFound, StoreBusy.
    """
    engine.check_writable()
    gone, rows, open_inos = Gone(), _row_ids(engine, session.sid, None), traces.open_inos(engine.rooms.path)
    with turn(engine):
        with engine.write(by, durable=True, frees=True) as tx:
            first(tx)
            found = sessions.load_any(tx.db, session.sid)
            if found is None or replay.is_purged(tx.db, session.sid):
                raise NotFound("session", session.dirname)
            if found.deleted_ns is None:
                seal_all(tx, found)
                sessions.note_listing(tx.db, tx.now_ns)
            known = former.known_inos(tx.db, session.sid, open_inos)
            purge = erasing.begin(tx.db, session.sid, None, keeps_content=False, known=known)
            gone.labels += _bury(tx, found)
            gone.messages += erasing.forget_messages(tx.db, found.id)
            _erase(tx, purge, next(paced(engine.index, rows), []), gone)
        return _go_to_the_end(engine, [purge], gone, together=together)


def purge_artifact(engine: Engine, session: Session, sequence: int, by: Origin | None) -> PurgeReport:
    """Erase every version of the artifact *sequence* of *session*, and content that nothing else uses.

    Those that were renamed over it go with it.
    """
    engine.check_writable()
    gone, rows = Gone(), _row_ids(engine, session.sid, {sequence})
    with turn(engine):
        batches = _batches_of_forerunners(engine, session.sid, {sequence})
        with engine.write(by, durable=True, frees=True) as tx:
            live = entries.live_of_sequence(tx.db, session.sid, sequence)
            if live is not None:
                inodes.touch(tx.db, live.folder, tx.now_ns)
            purges = _begin(tx, session, {sequence: None}, gone)
            purges += _begin_forerunners(tx, session, next(batches, []), gone)
            _erase(tx, purges[0], next(paced(engine.index, rows), []), gone)
        return _go_to_the_end(engine, purges, gone, by)


def _begin(tx: Transaction, session: Session, sequences: Mapping[int, int | None], gone: Gone) -> list[Purge]:
    """Note that *sequences* of *session* are purged, each because it went into another where one is given."""
    purges = []
    for sequence, into in sequences.items():
        tx.journal.append(session.sid, "artifact.purged", None, sequence=sequence, into=into)
        known = former.known(tx.db, session.sid, sequence)
        purges.append(erasing.begin(tx.db, session.sid, sequence, keeps_content=False, known=known))
    gone.messages += erasing.forget_messages(tx.db, session.id, sequences)
    return purges


def _batches_of_forerunners(
    engine: Engine, sid: int, sequences: Collection[int]
) -> Iterator[list[tuple[int, Renamed]]]:
    """Yield, as many as belong together, what was renamed over *sequences* of session *sid* and has left anything."""
    with engine.index.read() as db:
        found = forerunners.renamed_over(db, sid, sequences)
        left = forerunners.with_traces(db, sid, found)
    return paced(engine.index, [((sequence, found[sequence]), _NOTING) for sequence in left])


def _begin_forerunners(
    tx: Transaction, session: Session, batch: Iterable[tuple[int, Renamed]], gone: Gone
) -> list[Purge]:
    """Note that those of *batch* are purged too that nobody has brought back meanwhile."""
    into = {one: how.root for one, how in batch if not forerunners.went_on(tx.db, session.sid, one, how.seq)}
    gone.renamed += len(into)
    return _begin(tx, session, into, gone) if into else []


def expire_sessions(engine: Engine, before_ns: int) -> int:
    """Erase the rows of sessions deleted before *before_ns*, which cannot come back; return how many there were.

    Their content is left to garbage collection, since it may still be read.
    """
    with engine.index.read() as db:
        due = collecting.expired(db, before_ns)
    return sum(_expire(engine, sid, before_ns) for sid in due)


def _expire(engine: Engine, sid: int, before_ns: int) -> bool:
    with turn(engine):
        with engine.write(frees=True) as tx:
            session = sessions.load_any(tx.db, sid)
            if session is None or replay.is_purged(tx.db, sid):
                return False
            if not collecting.is_expired(tx.db, sid, before_ns):  # brought back, and deleted again maybe
                return False
            purge = erasing.begin(tx.db, sid, None, keeps_content=True)
            _bury(tx, session)
        _erase_rest(engine, [purge], Gone())
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


def _row_ids(engine: Engine, sid: int, sequences: Collection[int] | None) -> list[tuple[int, int]]:
    with engine.index.read() as db:
        if sequences is None:
            return erasing.row_ids(db, sid)
        return [row for sequence in sorted(sequences) for row in erasing.row_ids(db, sid, sequence)]


def _erase(tx: Transaction, purge: Purge, eids: list[int], gone: Gone) -> None:
    """Erase the rows *eids* and, unless it is kept, the content that only they had."""
    erased = erasing.erase_rows(tx.db, eids)
    tally = tx.journal.touch(purge.sid)
    tally.artifact_count -= erased.files
    tally.total_size -= erased.size
    gone.add_rows(erased)
    if not purge.keeps_content:
        gone.add_contents(erasing.erase_contents(tx.db, erased.cids, is_purge=True))


def _erase_rest(engine: Engine, purges: list[Purge], gone: Gone, by: Origin | None = None) -> Found:
    """Erase what the first transaction of *purges*, all of one session, has left; return what was in lost+found.

    What was renamed over their artifacts is added to *purges*; contents go that no row says were their own.
    """
    sid, keeps_content, sequences = purges[0].sid, purges[0].keeps_content, _sequences(purges)
    if sequences is not None:
        purges += _take_forerunners(engine, sid, sequences, gone, by)
        sequences = _sequences(purges)
    for eids in paced(engine.index, _row_ids(engine, sid, sequences)):
        with engine.write(durable=not keeps_content, frees=True) as tx:
            _erase(tx, purges[0], eids, gone)
    if keeps_content:
        return [], []
    with engine.index.read() as db:
        if sequences is not None:
            sequences = sequences | set(forerunners.renamed_over(db, sid, sequences))
        loose = [(cid, erasing.weight(size)) for cid, size in former.contents(db, sid, sequences)]
    for cids in paced(engine.index, loose):
        with engine.index.write(durable=True, frees=True) as db:
            gone.add_contents(erasing.erase_contents(db, cids, is_purge=True))
    return _forget_lost(engine, purges, sequences, gone)


def _sequences(purges: list[Purge]) -> set[int] | None:
    """Return which artifacts *purges* are of; None: the whole session."""
    sequences = {purge.sequence for purge in purges if purge.sequence is not None}
    return sequences if len(sequences) == len(purges) else None


def _take_forerunners(engine: Engine, sid: int, sequences: set[int], gone: Gone, by: Origin | None) -> list[Purge]:
    """Have what was renamed over *sequences* of session *sid* purged too, as far as it is not; return these purges."""
    purges: list[Purge] = []
    for batch in _batches_of_forerunners(engine, sid, sequences):
        with engine.write(by, durable=True, frees=True) as tx:
            session = sessions.load_any(tx.db, sid)
            if session is None or replay.is_purged(tx.db, sid):
                return purges
            purges += _begin_forerunners(tx, session, batch, gone)
    return purges


def _forget_lost(engine: Engine, purges: list[Purge], sequences: Collection[int] | None, gone: Gone) -> Found:
    """Remove from lost+found what was meant for what is purged; return it, and what is still open for writing.

    What a dead process has left in the spool comes there first. What was stored of either ahead of a commit, and no
    row names, goes with it.
    """
    lost, path = engine.rooms.lost, engine.rooms.path
    if lost is None or path is None:
        return [], []
    follow = partial(_follow, engine)
    spool.salvage(path, lost, follow, partial(traces.forget_ahead, engine.index, engine.rooms.blobs))
    with engine.index.read() as db:
        session = sessions.load_any(db, purges[0].sid)
        session_id = "" if session is None else session.id
        owner = former.owner(db, session_id, purges[0].sid, sequences, [purge.known for purge in purges])
    items = traces.lost(lost, owner)
    open_files = traces.erase_open_files(path, owner, follow)
    ahead = traces.chunks_ahead(path, lost, items, [name for name, is_sure in open_files.items() if is_sure])
    gone.files += unlinking.chunks(engine, sorted(c for c in ahead if engine.rooms.blobs.put_ns(c) is not None))
    lost.wipe(items)
    if any(purge.known is not None for purge in purges):
        with engine.index.write(frees=True) as db:
            erasing.forget_known(db, purges)
    return items, list(open_files)


def _follow(engine: Engine, told: Destination) -> Destination:
    with engine.index.read() as db:
        return following.follow(db, told)


def _go_to_the_end(
    engine: Engine,
    purges: list[Purge],
    gone: Gone,
    by: Origin | None = None,
    *,
    together: list[Purge] | None = None,
) -> PurgeReport:
    """Do all of *purges* that comes after their first transaction; what fails is left to who opens the store next.

    Where they are to end *together* with others, they are added to these.
    """
    is_ended, stale_for, lost, open_files = False, None, list[str](), list[str]()
    try:
        lost, open_files = _erase_rest(engine, purges, gone, by)
        if together is None:
            is_ended, stale_for = _settle(engine, purges, patience=clearing.WAL_PATIENCE)
        else:
            unlinking.doomed(engine)
            together += purges
    except SpellError as error:
        _log.warning("the next who opens the store goes on with the purge: %s", error.message)
    with engine.index.snapshot() as db:
        left = set(erasing.doomed(db))
        shared, pasts = remaining.tell(db, purges[0].sid, _sequences(purges), gone.cids)
    unlinked = tuple(chunk for chunk in gone.files if chunk not in left and engine.rooms.blobs.put_ns(chunk) is None)
    return PurgeReport(
        unlinked, gone.freed, tuple(gone.contents), shared,
        gone.rows, gone.labels, gone.words, gone.messages, tuple(lost), tuple(open_files),
        tuple(traces.copies(engine.rooms.path)), is_ended, stale_for, gone.renamed, pasts,
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
        groups = [list(group) for _, group in groupby(sorted(purges, key=_group), _group)]
        for group in groups:
            _erase_rest(engine, group, Gone())
        _, why = _settle(engine, [purge for group in groups for purge in group])
        if why is not None:
            _log.warning("words of what was purged may stand in unused bytes of the index until a gc: %s", why)


def _group(purge: Purge) -> tuple[int, bool, bool]:
    """Return what purges have in common that are gone on with together."""
    return purge.sid, purge.sequence is None, purge.keeps_content


def _is_unfinished(engine: Engine) -> bool:
    with engine.index.read() as db:
        return bool(erasing.unfinished(db) or erasing.doomed(db))


def end(engine: Engine, purges: list[Purge]) -> str | None:
    """Have *purges*, of which all else is done, end; return why words may stand in unused bytes of the index, or None.

    Until then who opens the store goes on with them.
    """
    if not purges:
        return None
    try:
        with turn(engine):
            is_ended, why = _settle(engine, purges, patience=clearing.WAL_PATIENCE)
    except SpellError as error:
        return error.message
    return why or (None if is_ended else clearing.HELD)


def _settle(engine: Engine, purges: list[Purge], *, patience: float = 0) -> tuple[bool, str | None]:
    """Unlink the files of doomed chunks, and have no word of *purges* left in pages; tell whether they have ended.

    The other is why the index was not written anew.
    """
    unlinking.doomed(engine)
    if not purges:
        return True, None
    drop_words(engine)
    _merge_words(engine)
    engine.rooms.cache.clear()
    noted, why = clearing.rewrite(engine, [purge.id for purge in purges])
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
