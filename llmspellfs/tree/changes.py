"""Changes of a session that several nodes offer: its fields, and its state."""

from __future__ import annotations

from typing import Any

from llmspellfs.errors import InvalidValue, SessionBusy
from llmspellfs.model.session import Session, parse_status
from llmspellfs.tree.api import Caller
from llmspellfs.tree.node import Context, origin_of


def update_session(ctx: Context, session: Session, caller: Caller, **fields: Any) -> None:
    """Change *fields* of *session* and forget what was remembered of it."""
    ctx.store.sessions.update(session.id, **fields, by=origin_of(caller))
    ctx.cache.drop(session.sid)


def set_status(ctx: Context, session: Session, text: str, caller: Caller) -> None:
    """Bring *session* to the state that *text* says, `failed: why` with a reason.

    Raises InvalidValue, InvalidTransition, and SessionBusy where files in it hold bytes not yet committed.
    """
    word, colon, reason = text.strip().partition(":")
    status = parse_status(word.strip())
    if colon and status != "failed":
        raise InvalidValue("status", "only failed takes a reason")
    if status is not session.status and not ctx.opened.wait_until_clean(session.sid):
        raise SessionBusy(session.dirname)
    ctx.store.sessions.set_status(session.id, status, reason.strip() or None, by=origin_of(caller))
    ctx.cache.drop(session.sid)
