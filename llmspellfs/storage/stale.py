"""Unused bytes of the index's pages in which words of what was purged may stand: when the index is to be written anew.

`secure_delete` zeroes what is deleted, but where SQLite moves cells between neighbouring pages it leaves copies of them
in the gap between a page's cell pointers and its cells (`rebuildPage` and `copyNodeContent` of its btree.c), from long
before a purge too. VACUUM copies the rows alone. That it is due stands in `store` as 'stale': the id of the last purge
that has begun since, negative once the rows are copied and only the WAL is to be folded.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection

from llmspellfs.errors import SpellError
from llmspellfs.storage import disk, figures
from llmspellfs.storage.index import Connection, Index

_RATE = 24 << 20
"""Bytes a second that are surely written anew: half of what was measured with a temporary file, 50 MB/s."""
_IN_MEMORY = 256 << 20
"""Bytes of an index whose copy is made in memory, three times as fast as in a temporary file."""
_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock: less than 1 ms."""


def note(db: Connection, purge: int) -> None:
    """Note that the purge *purge* has begun, so that the index is to be written anew."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('stale', ?)", (purge,))


def mark(db: Connection) -> int:
    """Return the note: positive where the index is to be written anew, negative where that is done, 0 for none."""
    row = db.execute("SELECT value FROM store WHERE key = 'stale'").fetchone()
    return 0 if row is None else int(row[0])


def note_rewritten(db: Connection, noted: int, own: Collection[int]) -> None:
    """Note that the index was written anew when *noted* stood there, unless a purge that is not in *own* goes on."""
    others = "SELECT 1 FROM purge WHERE NOT keeps_content AND id NOT IN (SELECT value FROM json_each(?))"
    query = f"UPDATE store SET value = -value WHERE key = 'stale' AND value = ? AND NOT EXISTS ({others})"  # noqa: S608 - a constant
    db.execute(query, (noted, json.dumps(sorted(own))))


def forget(db: Connection, noted: int) -> None:
    """Take back the note *noted*: what was written anew is in the pages, and the WAL is empty."""
    db.execute("DELETE FROM store WHERE key = 'stale' AND value = -?", (abs(noted),))


def rewrite(index: Index, *, is_alone: bool) -> str | None:
    """Write the whole of *index* anew, into its WAL; return None, or why that was not done.

    Other writers wait meanwhile: for less than they are ready to, unless nobody else is there (*is_alone*).
    """
    with index.read() as db:
        size = figures.index_size(db)
    if not is_alone and size > index.busy_seconds * _RATE:
        return f"the index is of {size >> 20} MiB, and others that have the store open would wait too long"
    if index.is_short(2 * size):
        return f"the disk has no room for it: it takes {max(1, -(-2 * size >> 20))} MiB for a while"
    try:
        with index.aside() as connection:
            connection.execute(f"PRAGMA temp_store = {'MEMORY' if size <= _IN_MEMORY else 'FILE'}")
            if not is_alone:
                give_up = time.monotonic() + index.busy_seconds / 2
                connection.set_progress_handler(lambda: time.monotonic() > give_up, _STEPS)
            disk.execute("index.rewrite", connection, "VACUUM")
    except SpellError as error:
        return error.message
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return "it took too long for others that have the store open"
    return None
