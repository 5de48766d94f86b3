"""What becomes of the parents of sessions that came in together: all in the transaction that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmspellfs.model.session import Session
from llmspellfs.service.engine import Transaction
from llmspellfs.storage import sessions
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow


def settle_parents(tx: Transaction, made: Sequence[Session]) -> None:
    """Leave sessions of *made* without a parent where that one is not here, and the first of each circle.

    No session is looked at twice, however long the way up is.
    """
    here = {session.id: session for session in made}
    ranks = {session.id: rank for rank, session in enumerate(made)}
    settled: set[str] = set()
    for session in made:
        way = _way_up(tx.db, session, here, settled)
        last = way[-1]
        if last.parent_session_id in {one.id for one in way}:
            circle = way[[one.id for one in way].index(last.parent_session_id or "") :]
            _part(tx, min((one for one in circle if one.id in here), key=lambda one: ranks[one.id], default=session))
        settled.update(one.id for one in way)
    for session in made:
        if session.parent_session_id is not None and _find(tx.db, session.parent_session_id, here) is None:
            _part(tx, session)


def _way_up(db: Connection, session: Session, here: dict[str, Session], settled: set[str]) -> list[Session]:
    """Return *session* and those above it, as far as they are not *settled* and none comes twice."""
    way = {session.id: session}
    above: Session | None = session
    while above is not None and above.parent_session_id not in settled and above.parent_session_id not in way:
        above = _find(db, above.parent_session_id, here)
        if above is not None:
            way[above.id] = above
    return list(way.values())


def _find(db: Connection, session_id: str | None, here: dict[str, Session]) -> Session | None:
    if session_id is None:
        return None
    return here.get(session_id) or sessions.by_id(db, session_id, deleted=True)


def _part(tx: Transaction, session: Session) -> None:
    """Have *session* without a parent, by an event."""
    row = replace(SessionRow.of(session), parent=None)
    seq = tx.journal.append(session.sid, "session.updated", row.state, name=row.dirname, fields=["parent"])
    sessions.end_row(tx.db, session.sid, seq)
    sessions.insert_row(tx.db, session.sid, row, seq)
