"""The SQL of retention: what it remembers of its last run, and what tells of the store's time without it.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from llmspellfs.storage.index import Connection


def last_run_ns(db: Connection) -> int | None:
    """Return when rules were last applied, or None."""
    row = db.execute("SELECT value FROM store WHERE key = 'retained_ns'").fetchone()
    return None if row is None else int(row[0])


def note_run(db: Connection, now_ns: int) -> None:
    """Note that rules are applied at *now_ns*."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('retained_ns', ?)", (now_ns,))


def last_event_ns(db: Connection, before_ns: int) -> int | None:
    """Return the time of the last event of the session that was changed last before *before_ns*, or None."""
    last: int | None = db.execute("SELECT max(last_ns) FROM session WHERE last_ns < ?", (before_ns,)).fetchone()[0]
    return last
