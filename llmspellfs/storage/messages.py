"""The SQL of what subscribers are told: events of all trails as they come, and what was published between them.

Writers take turns, so that ids of both tables grow in the order of commits; a published message knows the last event
before it, and that puts both in one order.
"""

from __future__ import annotations

import json

from llmspellfs.model.event import Event, Origin
from llmspellfs.model.message import Message
from llmspellfs.storage.index import Connection

_EVENTS = (
    "SELECT e.id, s.id, e.seq, e.kind, e.at_ns, e.line FROM event e JOIN session s ON s.sid = e.sid"
    " WHERE e.id > ? AND e.kind GLOB ? ORDER BY e.id LIMIT ?"
)
_MESSAGES = (
    "SELECT id, after_event, name, payload, at_ns, actor, door FROM message"
    " WHERE id > ? AND name GLOB ? ORDER BY id LIMIT ?"
)


def publish(db: Connection, name: str, payload: str, now_ns: int, origin: Origin) -> int:
    """Add a message with the JSON text *payload* and return its id."""
    cursor = db.execute(
        "INSERT INTO message (after_event, name, payload, at_ns, actor, door)"
        " VALUES ((SELECT coalesce(max(id), 0) FROM event), ?, ?, ?, ?, ?)",
        (name, payload, now_ns, origin.actor, origin.door),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def prune(db: Connection, up_to: int, before_ns: int) -> None:
    """Delete messages with an id of at most *up_to*, and those from before *before_ns*."""
    db.execute("DELETE FROM message WHERE id <= ?", (up_to,))
    db.execute("DELETE FROM message WHERE at_ns < ?", (before_ns,))


def tips(db: Connection) -> tuple[int, int]:
    """Return the ids of the last event and of the last message ever."""
    event: int = db.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
    return event, _last_message(db)


def pruned_to(db: Connection) -> int:
    """Return the id below which no message is kept any more."""
    kept: int | None = db.execute("SELECT min(id) FROM message").fetchone()[0]
    return _last_message(db) + 1 if kept is None else kept


def events_after(db: Connection, after: int, pattern: str, limit: int) -> list[Message]:
    """Return at most *limit* events with an id above *after* whose kind fits *pattern*, in order."""
    return [_told(Event(*row)) for row in db.execute(_EVENTS, (after, pattern, limit))]


def messages_after(db: Connection, after: int, pattern: str, limit: int) -> list[Message]:
    """Return at most *limit* messages with an id above *after* whose name fits *pattern*, in order."""
    rows = db.execute(_MESSAGES, (after, pattern, limit))
    return [
        Message(name, json.loads(payload), at_ns, actor, door, "published", (event, 1, message))
        for message, event, name, payload, at_ns, actor, door in rows
    ]


def _last_message(db: Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
    return 0 if row is None else int(row[0])


def _told(event: Event) -> Message:
    told = event.fields
    actor, door = (str(told.get(key, "")) for key in ("actor", "door"))
    return Message(
        event.kind, {**told, "session_id": event.session_id}, event.at_ns, actor, door, "store", (event.id, 0, 0)
    )
