"""How a session comes to be: what is said of it is checked first, then it is made in the caller's transaction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmspellfs.model.artifact import Ownership
from llmspellfs.model.names import from_view_name
from llmspellfs.model.session import Session, Status
from llmspellfs.model.values import check_metadata, check_tags, check_text
from llmspellfs.service.engine import Transaction
from llmspellfs.service.session_rules import Dirnames, check_limit, find_session, free_dirname, insert_session
from llmspellfs.storage.sessions import SessionRow


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be made, as `Sessions.create` takes it."""

    name: str | None = None
    description: str = ""
    tags: Iterable[str] = ()
    metadata: Mapping[str, Any] | None = None
    parent: str | None = None
    created_by: str | None = None
    dirname: str | None = None
    own: Ownership | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A session that can be made, but for what only the transaction knows."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    new: NewSession


def checked(new: NewSession, session_id: str) -> Checked:
    """Return *new*, to be called *session_id*, with its values checked; raise InvalidValue."""
    name = new.name if new.dirname is None else from_view_name(new.dirname)
    return Checked(
        session_id,
        f"session-{session_id[:8]}" if name is None else check_text(name, "name"),
        check_text(new.description, "description"),
        check_tags(new.tags),
        check_metadata(new.metadata or {}),
        new,
    )


def create(tx: Transaction, limit: int, ready: Checked, names: Dirnames | None = None) -> Session:
    """Make the session *ready*, called by *names* where several are made; *limit* is `max_sessions`.

    Raises as `Sessions.create`.
    """
    new = ready.new
    check_limit(tx, limit)
    above = find_session(tx.db, new.parent).id if new.parent else None
    directory = (names or Dirnames(tx)).free(ready.name) if new.dirname is None else free_dirname(tx, new.dirname)
    row = SessionRow(
        ready.name, directory, ready.description, Status.ACTIVE, ready.tags, ready.metadata, above, None, None
    )
    own = new.own or Ownership(0o755, os.getuid(), os.getgid())
    return insert_session(tx, ready.id, row, new.created_by, own)
