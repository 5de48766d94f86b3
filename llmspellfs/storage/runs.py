"""The SQL of runs' records: where they are, and what events say that a run made.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from llmspellfs.storage.index import Connection


def record_contents(db: Connection, mime_type: str, most: int, sid: int | None = None) -> list[tuple[int, str]]:
    """Return the content (cid and hash) of each live artifact of *mime_type*, of session *sid* or of all, each once.

    Those of more than *most* bytes are none.
    """
    query = (
        "SELECT DISTINCT e.content, c.hash FROM entry e INDEXED BY entry_by_mime JOIN content c ON c.cid = e.content"
        " WHERE e.kind = 0 AND e.seq_to IS NULL AND e.mime_type = ? AND c.size <= ?"
    )
    bound = (mime_type, most)
    rows = db.execute(query, bound) if sid is None else db.execute(f"{query} AND e.sid = ?", (*bound, sid))
    return [(cid, digest.hex()) for cid, digest in rows]


def trail(db: Connection, sid: int | None = None) -> Iterator[tuple[int, int, str, int, str]]:
    """Yield sid, seq, kind, time and line of each event of a run, of session *sid* or of all, in order.

    Of all it looks at every event of the store once.
    """
    query = "SELECT sid, seq, kind, at_ns, line FROM event WHERE kind IN ('run.started', 'run.finished')"
    if sid is None:
        yield from db.execute(f"{query} ORDER BY sid, seq")
    else:
        yield from db.execute(f"{query} AND sid = ? ORDER BY seq", (sid,))


def content_of(db: Connection, content_hash: str) -> int | None:
    """Return the cid of the content with the hash (64 hex digits), or None."""
    row = db.execute("SELECT cid FROM content WHERE hash = ?", (bytes.fromhex(content_hash),)).fetchone()
    return None if row is None else int(row[0])


def id_of(db: Connection, sid: int) -> str:
    """Return the id of session *sid*, which is or was there."""
    found: str = db.execute("SELECT id FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    return found


def stored_between(db: Connection, sid: int, first: int, last: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield sequence, version, name and hash of what the `artifact.stored` events after *first* up to *last* tell."""
    query = "SELECT line FROM event WHERE sid = ? AND seq > ? AND seq <= ? AND kind = 'artifact.stored' ORDER BY seq"
    for (line,) in db.execute(query, (sid, first, last)):
        told = json.loads(line)
        yield told["sequence"], told["version"], told["name"], told["hash"]
