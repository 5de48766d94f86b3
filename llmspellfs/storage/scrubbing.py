"""The SQL of scrubbing: what is to be read next, how far that is, and what was found harmed.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from llmspellfs.storage import audit_spots
from llmspellfs.storage.content import ChunkRef
from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Pass:
    """How far a pass over all content is: contents within the index to *cid*, then chunks to *kid*."""

    began_ns: int
    cid: int = 0
    kid: int = 0
    done: int = 0
    """Stored bytes."""
    ended_ns: int | None = None
    """When the pass before this one ended."""


def load(db: Connection) -> Pass | None:
    """Return how far the scrub is, or None where none has begun."""
    row = db.execute("SELECT value FROM store WHERE key = 'scrub'").fetchone()
    try:
        return None if row is None else Pass(**json.loads(row[0]))
    except (ValueError, TypeError):
        return None


def save(db: Connection, state: Pass) -> None:
    """Remember how far the scrub is."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('scrub', ?)", (json.dumps(asdict(state)),))


def contents_after(db: Connection, cid: int) -> Iterator[tuple[int, int, ChunkRef]]:
    """Yield contents from the one after *cid*: its number, its bytes stored in the row, and itself."""
    query = "SELECT cid, coalesce(length(data), 0), size, hash, codec, data FROM content WHERE cid > ? ORDER BY cid"
    for number, stored, size, digest, codec, data in db.execute(query, (cid,)):
        yield number, stored, ChunkRef(0, size, -number, digest, codec, data)


def chunks_after(db: Connection, kid: int) -> Iterator[tuple[int, int, ChunkRef]]:
    """Yield chunks, from the one after *kid*: its number, its stored bytes, and itself."""
    query = "SELECT kid, stored_size, size, hash, codec, data FROM chunk WHERE kid > ? ORDER BY kid"
    for number, stored, size, digest, codec, data in db.execute(query, (kid,)):
        yield number, stored, ChunkRef(0, size, number, digest, codec, data)


def is_chunk(db: Connection, digest: bytes) -> bool:
    """Tell whether a chunk of that hash is in the index."""
    return db.execute("SELECT 1 FROM chunk WHERE hash = ?", (digest,)).fetchone() is not None


def is_there(db: Connection, digest: bytes) -> bool:
    """Tell whether a chunk or a content of that hash is in the index."""
    query = "SELECT EXISTS (SELECT 1 FROM chunk WHERE hash = ?1) OR EXISTS (SELECT 1 FROM content WHERE hash = ?1)"
    return bool(db.execute(query, (digest,)).fetchone()[0])


def note_harm(db: Connection, digest: bytes, found_ns: int) -> None:
    """Remember that what has the hash *digest* is harmed, and since when that is known."""
    db.execute("INSERT OR IGNORE INTO harm (hash, found_ns) VALUES (?, ?)", (digest, found_ns))


def clear_harm(db: Connection, digest: bytes) -> None:
    """Forget that what has the hash *digest* was harmed."""
    db.execute("DELETE FROM harm WHERE hash = ?", (digest,))


def clear_gone(db: Connection) -> None:
    """Forget the harm of what is not in the index any more."""
    db.execute("DELETE FROM harm WHERE hash NOT IN (SELECT hash FROM chunk UNION ALL SELECT hash FROM content)")


def harmed(db: Connection) -> set[bytes]:
    """Return the hashes of what is known to be harmed."""
    return {row[0] for row in db.execute("SELECT hash FROM harm")}


def artifacts_with(db: Connection, digest: bytes) -> list[str]:
    """Return the artifacts, as `SESSION:NAME`, one of whose retained versions has the chunk or content *digest*.

    Such as are of the past are named with it, as `fsck` does.
    """
    found = dict[str, None]()
    for (cid,) in db.execute(_CONTENTS_WITH, (digest, digest)).fetchall():
        found |= dict.fromkeys(map(str, audit_spots.spots(db, "content", cid)))
    return list(found)


def count_harmed_artifacts(db: Connection) -> int:
    """Return how many artifacts have a version that is known to be harmed."""
    contents = _CONTENTS_WITH.replace("= ?", "IN (SELECT hash FROM harm)")
    query = f"SELECT count(*) FROM (SELECT DISTINCT sid, sequence FROM entry WHERE content IN ({contents}))"  # noqa: S608 - constants
    count: int = db.execute(query).fetchone()[0]
    return count


_CONTENTS_WITH = """
    SELECT cid FROM content WHERE hash = ? UNION
    SELECT m.cid FROM content_chunk m JOIN chunk k ON k.kid = m.kid WHERE k.hash = ?
"""
