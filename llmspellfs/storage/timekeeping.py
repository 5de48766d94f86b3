"""The SQL of what a store remembers of runs by the clock, and what tells of its time without one.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from typing import Final

from llmspellfs.storage.index import Connection

RETAINED: Final = "retained_ns"
COLLECTED: Final = "collected_ns"


def last_run_ns(db: Connection, what: str) -> int | None:
    """Return when *what*, RETAINED or COLLECTED, last was, or None."""
    row = db.execute("SELECT value FROM store WHERE key = ?", (what,)).fetchone()
    return None if row is None else int(row[0])


def note_run(db: Connection, what: str, now_ns: int) -> None:
    """Note that *what* is at *now_ns*."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES (?, ?)", (what, now_ns))


def last_event_ns(db: Connection, before_ns: int) -> int | None:
    """Return the time of the last event of the session that was changed last before *before_ns*, or None."""
    last: int | None = db.execute("SELECT max(last_ns) FROM session WHERE last_ns < ?", (before_ns,)).fetchone()[0]
    return last
