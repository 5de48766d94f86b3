"""How a session passes from one state to the next: when somebody says so, or when it has been idle for long.

Which state follows which is the table in `model.session`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from llmspellfs.model.event import Origin
from llmspellfs.model.session import EVENT_KINDS, FREEZING, Action, Session, Status, next_status
from llmspellfs.model.times import NS
from llmspellfs.model.values import check_text
from llmspellfs.service.engine import Engine
from llmspellfs.service.presence import present
from llmspellfs.service.session_rules import find_session, put_row
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import sessions
from llmspellfs.storage.audit import HARMED
from llmspellfs.storage.sessions import SessionRow

_log = logging.getLogger(__name__)


def change_state(engine: Engine, ref: str, action: Action, reason: str | None, by: Origin | None) -> Session:
    """Do *action* to the session *ref* and return it; *reason* is kept of a failure. Raises InvalidTransition."""
    if reason is not None:
        check_text(reason, "reason")
    if (witness := engine.witness) is not None and action in FREEZING:
        with engine.index.read() as db:
            found = find_session(db, ref)
        if found.is_active:
            witness.freezes(found)
    with engine.write(by) as tx:
        session = find_session(tx.db, ref)
        status = next_status(session.dirname, session.status, action)
        seal_all(tx, session)
        ended = tx.now_ns if status in {Status.COMPLETED, Status.FAILED} else None
        if status is session.status:
            ended = session.ended_ns
        row = replace(SessionRow.of(session), status=status, ended_ns=ended)
        if action is Action.FAIL:
            row = replace(row, failure_reason=reason)
        return put_row(tx, session, row, EVENT_KINDS[action], status=str(status))


def suspend_idle(engine: Engine, is_busy: Callable[[int], bool], *, dry_run: bool) -> list[Session]:
    """Suspend the sessions that are idle, but those of which *is_busy*(sid) says so; see `Sessions.suspend_idle`."""
    seconds = engine.config.session_timeout_seconds
    if not seconds:
        return []
    before = engine.now() - seconds * NS
    with engine.index.read() as db:
        idle = [sid for sid in sessions.idle(db, before) if not is_busy(sid)]
        if dry_run:
            left = present(engine)
            return [found for sid in idle if sid not in left and (found := sessions.load(db, sid)) is not None]
    return [session for sid in idle if (session := _suspend_whole(engine, sid, before)) is not None]


def _suspend_whole(engine: Engine, sid: int, before_ns: int) -> Session | None:
    """Suspend session *sid* where it is idle, unless it is harmed: every opening of the store asks for this."""
    try:
        return _suspend_if_idle(engine, sid, before_ns)
    except HARMED as error:
        _log.warning("session %d is not suspended, though idle: %s", sid, error)
        return None


def _suspend_if_idle(engine: Engine, sid: int, before_ns: int) -> Session | None:
    with engine.write() as tx:
        if sid not in sessions.idle(tx.db, before_ns) or sid in present(engine):
            return None
        session = tx.session(sid)
        row = replace(SessionRow.of(session), status=Status.SUSPENDED)
        told = {"status": str(row.status), "reason": "timeout"}
        return put_row(tx, session, row, EVENT_KINDS[Action.SUSPEND], **told)
