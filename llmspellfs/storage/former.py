"""What a session, or an artifact of it, once had: contents without a row, names, inodes; a purge goes by it.

Every function takes a connection and only reads.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from llmspellfs.storage.destination import Destination
from llmspellfs.storage.index import Connection

_HASH = re.compile(r"[0-9a-f]{64}")
_LOOSE = "NOT EXISTS (SELECT 1 FROM entry e WHERE e.content = c.cid)"
_THESE = "IN (SELECT value FROM json_each({}))"
_MOST_STEPS = 10_000
"""Folders that are looked at for paths: their number has no bound where many were renamed one within another."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose bytes are looked for: the session's (its id), or those of its artifacts *sequences*."""

    session: str
    sequences: Collection[int] | None = None
    names: Collection[str] = ()
    inos: Collection[int] = ()

    def owns_surely(self, bytes_of: Destination) -> bool:
        """Tell whether bytes that are meant for *bytes_of* are its own, whatever their name."""
        is_same = self.sequences is None or bytes_of.sequence in self.sequences
        return (is_same and bytes_of.session == self.session) or bytes_of.ino in self.inos

    def owns(self, bytes_of: Destination) -> bool:
        """Tell whether bytes that are meant for *bytes_of* are its own.

        A name may have been another artifact's too, so it counts only where nothing tells more.
        """
        is_named = bytes_of.session == self.session and bytes_of.sequence is None and bytes_of.name in self.names
        return is_named or self.owns_surely(bytes_of)


def is_erased(db: Connection, bytes_of: Destination) -> bool:
    """Tell whether the session, or the artifact, of *bytes_of* was purged; true as soon as no row of it is left."""
    row = db.execute("SELECT sid, purged_ns FROM session WHERE id = ?", (bytes_of.session,)).fetchone()
    if row is None or row[1] is not None or bytes_of.sequence is None:
        return row is not None and row[1] is not None
    key = (row[0], bytes_of.sequence)
    if db.execute("SELECT 1 FROM entry WHERE kind = 0 AND sid = ? AND sequence = ? LIMIT 1", key).fetchone():
        return False  # by an index; the trail may be long
    purged = "kind = 'artifact.purged' AND json_valid(line) AND json_extract(line, '$.sequence')"
    return db.execute(f"SELECT 1 FROM event WHERE sid = ? AND {purged} = ?", key).fetchone() is not None


def contents(db: Connection, sid: int, sequences: Collection[int] | None) -> list[tuple[int, int]]:
    """Return the contents (cids) that session *sid*, or its artifacts *sequences*, had, and that no row refers to.

    Beside each stand its bytes. They are noted in `former`; those whose rows were pruned before there were such notes
    are in the trail.
    """
    noted = f"SELECT cid FROM former WHERE sid = ?1 AND (?2 IS NULL OR sequence {_THESE.format('?2')})"
    query = f"SELECT c.cid, c.size FROM content c WHERE c.cid IN ({noted}) AND {_LOOSE}"
    found: dict[int, int] = dict(db.execute(query, (sid, _bound(sequences))).fetchall())
    by_hash = f"SELECT c.cid, c.size FROM content c WHERE c.hash = ? AND {_LOOSE}"
    for digest in filter(_HASH.fullmatch, _told(db, "hash", sid, sequences)):
        found |= dict(db.execute(by_hash, (bytes.fromhex(digest),)).fetchall())
    return sorted(found.items())


def known(db: Connection, sid: int, sequence: int) -> str:
    """Return what rows tell of the artifact *sequence* of session *sid*, by which its lost bytes are found; as JSON.

    An inode that has been another artifact since, by a move or in another's place, is that one's.
    """
    query = "SELECT DISTINCT folder, name, ino FROM entry WHERE kind = 0 AND sid = ? AND sequence = ?"
    rows = db.execute(query, (sid, sequence)).fetchall()
    names = _paths(db, sid, [(folder, name) for folder, name, _ in rows])
    inos = {row[2] for row in rows}
    return _as_json(names, {ino for ino in inos if last_of_ino(db, ino) == (sid, sequence)})


def known_inos(db: Connection, sid: int, inos: Iterable[int]) -> str | None:
    """Return those of *inos* that are files of session *sid*, or last were, as `known` does; None without any."""
    found = {ino for ino in inos if (last := last_of_ino(db, ino)) is not None and last[0] == sid}
    return _as_json((), found) if found else None


def last_of_ino(db: Connection, ino: int) -> tuple[int, int] | None:
    """Return the session (sid) and the sequence of the artifact that inode *ino* is, or last was."""
    query = "SELECT sid, sequence FROM entry WHERE kind = 0 AND ino = ? ORDER BY eid DESC LIMIT 1"
    row: tuple[int, int] | None = db.execute(query, (ino,)).fetchone()
    return row


def owner(
    db: Connection, session_id: str, sid: int, sequences: Collection[int] | None, said: Iterable[str | None]
) -> Owner:
    """Return session *sid*, or its artifacts *sequences*, of which was *said* what is `known`, as an owner of bytes."""
    more = [json.loads(one) for one in said if one is not None]
    names = set() if sequences is None else {name for one in more for name in one["names"]}
    names |= set() if sequences is None else set(_told(db, "name", sid, sequences))
    return Owner(session_id, sequences, names, frozenset(ino for one in more for ino in one["inos"]))


def _as_json(names: Iterable[str], inos: Iterable[int]) -> str:
    return json.dumps({"names": sorted(names), "inos": sorted(inos)})


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


def _told(db: Connection, field: str, sid: int, sequences: Collection[int] | None) -> list[str]:
    """Return the different values of *field* in a session's events, or in those of the artifacts *sequences*."""
    query = f"SELECT DISTINCT json_extract(line, '$.{field}') FROM event WHERE sid = ? AND json_valid(line)"
    key: tuple[object, ...] = (sid,)
    if sequences is not None:
        query = f"{query} AND json_extract(line, '$.sequence') {_THESE.format('?')}"
        key = (sid, _bound(sequences))
    return [row[0] for row in db.execute(query, key) if isinstance(row[0], str)]


def _bound(sequences: Collection[int] | None) -> str | None:
    return None if sequences is None else json.dumps(sorted(sequences))
