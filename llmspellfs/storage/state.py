"""The SQL of values that scripts keep: one row for each key of a scope, the value as JSON text."""

from __future__ import annotations

from llmspellfs.storage.index import Connection

SESSION = "session:"
"""What the scope that belongs to a session begins with; the rest is its id."""


def load(db: Connection, scope: str, key: str) -> str | None:
    """Return the value of *key* in *scope* as JSON text, or None."""
    row = db.execute("SELECT value FROM state WHERE scope = ? AND key = ?", (scope, key)).fetchone()
    return None if row is None else row[0]


def store(db: Connection, scope: str, key: str, value: str, now_ns: int) -> None:
    """Set *key* in *scope* to the JSON text *value*."""
    db.execute(
        "INSERT INTO state (scope, key, value, updated_ns) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, updated_ns = excluded.updated_ns",
        (scope, key, value, now_ns),
    )


def delete(db: Connection, scope: str, key: str) -> bool:
    """Delete *key* in *scope* and tell whether it was there."""
    return db.execute("DELETE FROM state WHERE scope = ? AND key = ?", (scope, key)).rowcount > 0


def keys(db: Connection, scope: str) -> list[str]:
    """Return the keys of *scope*, in order."""
    return [row[0] for row in db.execute("SELECT key FROM state WHERE scope = ? ORDER BY key", (scope,))]


def erase_session(db: Connection, session_id: str) -> None:
    """Delete the scope that belongs to the session with the id."""
    db.execute("DELETE FROM state WHERE scope = ?", (SESSION + session_id,))
