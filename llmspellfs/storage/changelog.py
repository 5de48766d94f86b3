"""The SQL of change numbers: what every transaction gives to the sessions that it touches."""

from __future__ import annotations

from llmspellfs.storage.index import Connection


def last_change(db: Connection) -> int:
    """Return the number of the last transaction that touched a session."""
    last: int = db.execute("SELECT coalesce(max(change), 0) FROM session").fetchone()[0]
    return last


def changed_since(db: Connection, change: int) -> list[tuple[int, int]]:
    """Return the sid and the change number of each session touched after *change*."""
    return list(db.execute("SELECT sid, change FROM session WHERE change > ?", (change,)))
