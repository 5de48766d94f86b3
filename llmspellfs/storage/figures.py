"""The SQL of figures: how much a store holds.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is; *logical_bytes* of all live artifacts."""

    artifacts: int
    versions: int
    events: int
    logical_bytes: int


def counts(db: Connection) -> Counts:
    """Return how much the index holds."""
    live = "SELECT coalesce(sum(artifact_count), 0), coalesce(sum(total_size), 0) FROM session WHERE deleted_ns IS NULL"
    artifacts, logical = db.execute(live).fetchone()
    versions = db.execute("SELECT count(*) FROM entry WHERE kind = 0").fetchone()[0]
    events = db.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
    return Counts(artifacts, versions, events, logical)


def by_status(db: Connection) -> dict[str, int]:
    """Return how many live sessions have each status."""
    return dict(
        db.execute("SELECT status, count(*) FROM session_row WHERE seq_to IS NULL GROUP BY status ORDER BY status")
    )


def index_size(db: Connection) -> int:
    """Return the bytes of the database."""
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return pages * size


def stored_bytes(db: Connection) -> int:
    """Return the stored bytes of everything kept; for statfs."""
    inline = "SELECT coalesce(sum(stored_size), 0) FROM content WHERE data IS NOT NULL"
    total: int = db.execute(inline).fetchone()[0]
    return total + int(db.execute("SELECT coalesce(sum(stored_size), 0) FROM chunk").fetchone()[0])


def count_files(db: Connection) -> int:
    """Return how many live artifacts there are."""
    count: int = db.execute("SELECT coalesce(sum(artifact_count), 0) FROM session WHERE deleted_ns IS NULL").fetchone()[
        0
    ]
    return count


def store_uuid(db: Connection) -> str:
    """Return the store's own UUID."""
    uuid: str = db.execute("SELECT value FROM store WHERE key = 'uuid'").fetchone()[0]
    return uuid
