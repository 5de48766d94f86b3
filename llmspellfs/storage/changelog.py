"""The SQL of change numbers: what every transaction gives to the sessions that it touches."""

from __future__ import annotations

from llmspellfs.storage.index import Connection

_MOST = 1 << 62
"""Above which a number is none that was ever given, nor is text; the next would not fit above the largest."""


def last_change(db: Connection) -> int:
    """Return the number of the last transaction that touched a session."""
    query = "SELECT CAST(coalesce(max(change), 0) AS INTEGER) FROM session WHERE change < ?"
    last: int = db.execute(query, (_MOST,)).fetchone()[0]
    return last


def changed_since(db: Connection, change: int) -> list[tuple[int, int]]:
    """Return the sid and the change number of each session touched after *change*."""
    return list(db.execute("SELECT sid, change FROM session WHERE change > ? AND change < ?", (change, _MOST)))
