"""What a session, or an artifact of it, once had: contents without a row, names, inodes; a purge goes by it.

Every function takes a connection and only reads.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from llmspellfs.storage.index import Connection

_HASH = re.compile(r"[0-9a-f]{64}")
_LOOSE = "NOT EXISTS (SELECT 1 FROM entry e WHERE e.content = c.cid)"
_MOST_STEPS = 10_000
"""Folders that are looked at for paths: their number has no bound where many were renamed one within another."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose bytes are looked for: the session's (its id), or those of its artifact *sequence*."""

    session: str
    sequence: int | None = None
    names: Collection[str] = ()
    inos: Collection[int] = ()

    def owns_surely(self, told: dict[str, Any]) -> bool:
        """Tell whether bytes of which *told* is known are meant for it, whatever their name."""
        if self.sequence is None:
            return told.get("session") == self.session
        is_same = told.get("session") == self.session and told.get("sequence") == self.sequence
        return is_same or told.get("ino") in self.inos

    def owns(self, told: dict[str, Any]) -> bool:
        """Tell whether bytes of which *told* is known are meant for it.

        A name may have been another artifact's too, so it counts only where nothing tells more.
        """
        if self.owns_surely(told):
            return True
        if told.get("session") != self.session or self.sequence is None:
            return told.get("session") == self.session
        sequence = told.get("sequence")
        return told.get("name") in self.names if sequence is None else sequence == self.sequence


def is_erased(db: Connection, session_id: object, sequence: object) -> bool:
    """Tell whether the session, or its artifact *sequence*, was purged; true as soon as no row of it is left."""
    query = "SELECT sid, purged_ns FROM session WHERE id = ?"
    row = db.execute(query, (session_id,)).fetchone() if isinstance(session_id, str) else None
    if row is None or row[1] is not None or not isinstance(sequence, int) or not 0 < sequence < 1 << 63:
        return row is not None and row[1] is not None
    key = (row[0], sequence)
    if db.execute("SELECT 1 FROM entry WHERE kind = 0 AND sid = ? AND sequence = ? LIMIT 1", key).fetchone():
        return False  # by an index; the trail may be long
    purged = "kind = 'artifact.purged' AND json_valid(line) AND json_extract(line, '$.sequence')"
    return db.execute(f"SELECT 1 FROM event WHERE sid = ? AND {purged} = ?", key).fetchone() is not None


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


def known(db: Connection, sid: int, sequence: int) -> str:
    """Return what rows tell of the artifact *sequence* of session *sid*, by which its lost bytes are found; as JSON."""
    query = "SELECT DISTINCT folder, name, ino FROM entry WHERE kind = 0 AND sid = ? AND sequence = ?"
    rows = db.execute(query, (sid, sequence)).fetchall()
    names = _paths(db, sid, [(folder, name) for folder, name, _ in rows])
    return json.dumps({"names": sorted(names), "inos": sorted({row[2] for row in rows})})


def owner(db: Connection, session_id: str, sid: int, sequence: int | None, said: str | None) -> Owner:
    """Return session *sid*, or its artifact *sequence* of which `known` has *said* more, as an owner of bytes."""
    if sequence is None:
        return Owner(session_id)
    more = json.loads(said or '{"names": [], "inos": []}')
    names = {*more["names"], *_told(db, "name", sid, sequence)}
    return Owner(session_id, sequence, names, frozenset(more["inos"]))


def _paths(db: Connection, sid: int, places: list[tuple[int, str]]) -> set[str]:
    """Return the paths of *places*, a folder (an ino) and a name, by every name and place that each folder has had."""
    query = "SELECT DISTINCT folder, name FROM entry WHERE kind = 1 AND sid = ? AND ino = ?"
    top = db.execute("SELECT ino FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    found, todo, steps = set[str](), list(places), 0
    while todo and steps < _MOST_STEPS:
        folder, path = todo.pop()
        steps += 1
        if folder == top:
            found.add(path)
        else:
            todo += [(above, f"{name}/{path}") for above, name in db.execute(query, (sid, folder))]
    return found


def _told(db: Connection, field: str, sid: int, sequence: int | None) -> list[str]:
    """Return the different values of *field* in a session's events, or in those of the artifact *sequence*."""
    query = f"SELECT DISTINCT json_extract(line, '$.{field}') FROM event WHERE sid = ? AND json_valid(line)"
    key: tuple[int, ...] = (sid,)
    if sequence is not None:
        query, key = f"{query} AND json_extract(line, '$.sequence') = ?", (sid, sequence)
    return [row[0] for row in db.execute(query, key) if isinstance(row[0], str)]
