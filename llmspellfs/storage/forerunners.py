"""Which artifacts an artifact has been before: those renamed over it in its session, and those that it moved in from.

What saves by renaming a new file over the old one leaves each time an artifact behind that has the content in its past,
under a name that is gone. The trail tells of it. Every function takes a connection and only reads.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from llmspellfs.storage.index import Connection

_THESE = "IN (SELECT value FROM json_each(?))"
_LATER = "SELECT 1 FROM entry WHERE kind = 0 AND sid = ? AND sequence = ? AND (seq_to IS NULL OR seq_to > ?) LIMIT 1"


@dataclass(frozen=True, slots=True)
class Renamed:
    """How an artifact ended: in *root*, or in what went into that, by the event *seq*."""

    root: int
    seq: int


def renamed_over(db: Connection, sid: int, sequences: Collection[int]) -> dict[int, Renamed]:
    """Return the artifacts of session *sid* that went into one of *sequences*, or into one that did, and how.

    One that went on after it was renamed over another, since it was brought back, is not among them.
    """
    query = (
        "SELECT json_extract(line, '$.from_sequence') AS gone, json_extract(line, '$.sequence'), max(seq) FROM event"
        " WHERE sid = ? AND kind = 'artifact.renamed' AND json_valid(line) GROUP BY gone"
    )
    into: dict[int, list[tuple[int, int]]] = {}
    for gone, target, seq in db.execute(query, (sid,)):
        if isinstance(gone, int) and isinstance(target, int):
            into.setdefault(target, []).append((gone, seq))
    found, waiting = dict[int, Renamed](), [(one, one) for one in sequences]
    while waiting:
        target, root = waiting.pop()
        for gone, seq in into.get(target, ()):
            if gone not in found and gone not in sequences and not went_on(db, sid, gone, seq):
                found[gone] = Renamed(root, seq)
                waiting.append((gone, root))
    return found


def went_on(db: Connection, sid: int, sequence: int, seq: int) -> bool:
    """Tell whether the artifact *sequence* of session *sid* has rows from after the event *seq*."""
    return db.execute(_LATER, (sid, sequence, seq)).fetchone() is not None


def with_traces(db: Connection, sid: int, sequences: Iterable[int]) -> list[int]:
    """Return those artifacts *sequences* of session *sid* of which there are rows, or contents without a row."""
    rows = "SELECT 1 FROM entry e WHERE e.kind = 0 AND e.sid = ?1 AND e.sequence = s.value"
    noted = "SELECT sequence FROM former WHERE sid = ?1"
    query = f"SELECT s.value FROM json_each(?2) s WHERE EXISTS ({rows}) OR s.value IN ({noted})"
    return [row[0] for row in db.execute(query, (sid, json.dumps(sorted(sequences))))]


@dataclass(frozen=True, slots=True)
class Origin:
    """The artifact *sequence* of session *sid*, which moved away and is not there now; *parts* went into it before."""

    sid: int
    sequence: int
    parts: frozenset[int]

    @property
    def whole(self) -> frozenset[int]:
        """Its own sequence and those of its *parts*."""
        return self.parts | {self.sequence}


def origins(db: Connection, sid: int, sequences: Collection[int] | None) -> list[Origin]:
    """Return from where *sequences* of session *sid*, or all that was in it, moved in, and from where that did."""
    found, seen = list[Origin](), {(sid, one) for one in sequences or ()}
    waiting: list[tuple[int, Collection[int] | None]] = [(sid, sequences)]
    while waiting:
        for source, moved in _moved_in_from(db, *waiting.pop()).items():
            new = {one for one in moved if (source, one) not in seen} - _live(db, source, moved)
            if source == sid and sequences is None:
                continue
            parts = renamed_over(db, source, new)
            by_root: dict[int, set[int]] = {one: set() for one in new}
            for part, renamed in parts.items():
                by_root[renamed.root].add(part)
            found += [Origin(source, one, frozenset(its)) for one, its in sorted(by_root.items())]
            seen |= {(source, one) for one in moved | set(parts)}
            if new:
                waiting.append((source, new | set(parts)))
    return found


def _moved_in_from(db: Connection, sid: int, sequences: Collection[int] | None) -> dict[int, set[int]]:
    """Return the sequences that moved into session *sid*, as *sequences* of it, by the session they came from."""
    query = (
        "SELECT s.sid, json_extract(v.line, '$.from.sequence') FROM event v"
        " JOIN session s ON s.id = json_extract(v.line, '$.from.session')"
        " WHERE v.sid = ? AND v.kind = 'artifact.moved_in' AND json_valid(v.line)"
    )
    key: tuple[object, ...] = (sid,)
    if sequences is not None:
        query, key = f"{query} AND json_extract(v.line, '$.sequence') {_THESE}", (sid, json.dumps(sorted(sequences)))
    found: dict[int, set[int]] = {}
    for source, sequence in db.execute(query, key):
        if isinstance(sequence, int):
            found.setdefault(source, set()).add(sequence)
    return found


def _live(db: Connection, sid: int, sequences: Collection[int]) -> set[int]:
    query = f"SELECT sequence FROM entry WHERE kind = 0 AND sid = ? AND seq_to IS NULL AND sequence {_THESE}"
    return {row[0] for row in db.execute(query, (sid, json.dumps(sorted(sequences))))}


def in_rows(db: Connection, cids: Collection[int]) -> list[int]:
    """Return those of the contents *cids* that rows have."""
    there = "SELECT 1 FROM entry e WHERE e.content = c.value"
    query = f"SELECT c.value FROM json_each(?) c WHERE EXISTS ({there})"
    return [row[0] for row in db.execute(query, (json.dumps(sorted(cids)),))]


def held(db: Connection, origin: Origin, cids: Collection[int]) -> list[tuple[int, int]]:
    """Return the sequence, and an eid, of each of *origin*'s parts whose rows have any of the contents *cids*."""
    query = (
        f"SELECT sequence, max(eid) FROM entry WHERE kind = 0 AND sid = ? AND sequence {_THESE} AND content {_THESE}"
        " GROUP BY sequence ORDER BY sequence"
    )
    return db.execute(query, (origin.sid, json.dumps(sorted(origin.whole)), json.dumps(sorted(cids)))).fetchall()


def count_elsewhere(db: Connection, cids: Collection[int], among: Iterable[Origin]) -> int:
    """Return how many of the contents *cids* rows have that are of none of the artifacts *among*."""
    keys = [f"{origin.sid}/{sequence}" for origin in among for sequence in origin.whole]
    other = "e.content = c.value AND e.sid || '/' || e.sequence NOT IN (SELECT value FROM json_each(?))"
    query = f"SELECT count(*) FROM json_each(?) c WHERE EXISTS (SELECT 1 FROM entry e WHERE {other})"
    found: int = db.execute(query, (json.dumps(sorted(cids)), json.dumps(keys))).fetchone()[0]
    return found
