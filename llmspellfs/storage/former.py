"""What a session, or an artifact of it, once had: contents without a row, and names; a purge goes by it.

Every function takes a connection and only reads.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

import re

from llmspellfs.storage.index import Connection

_HASH = re.compile(r"[0-9a-f]{64}")
_LOOSE = "NOT EXISTS (SELECT 1 FROM entry e WHERE e.content = c.cid)"


def contents(db: Connection, sid: int, sequence: int | None) -> list[int]:
    """Return the contents (cids) that session *sid*, or its artifact *sequence*, had, and that no row refers to.

    They are noted in `former`; those whose rows were pruned before there were such notes are in the trail.
    """
    noted = "SELECT cid FROM former WHERE sid = ?1 AND sequence = ifnull(?2, sequence)"
    query = f"SELECT c.cid FROM content c WHERE c.cid IN ({noted}) AND {_LOOSE}"
    found = {row[0] for row in db.execute(query, (sid, sequence))}
    by_hash = f"SELECT c.cid FROM content c WHERE c.hash = ? AND {_LOOSE}"
    for digest in filter(_HASH.fullmatch, _told(db, "hash", sid, sequence)):
        found.update(row[0] for row in db.execute(by_hash, (bytes.fromhex(digest),)))
    return sorted(found)


def names(db: Connection, sid: int, sequence: int) -> list[str]:
    """Return the names that the artifact *sequence* of session *sid* has had."""
    return _told(db, "name", sid, sequence)


def _told(db: Connection, field: str, sid: int, sequence: int | None) -> list[str]:
    """Return the different values of *field* in a session's events, or in those of the artifact *sequence*."""
    query = f"SELECT DISTINCT json_extract(line, '$.{field}') FROM event WHERE sid = ? AND json_valid(line)"
    key: tuple[int, ...] = (sid,)
    if sequence is not None:
        query, key = f"{query} AND json_extract(line, '$.sequence') = ?", (sid, sequence)
    return [row[0] for row in db.execute(query, key) if isinstance(row[0], str)]
