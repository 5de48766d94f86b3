"""The SQL of archives: a session's rows as records, and records as the rows of a session that came with its past.

Records are dicts as `model.archive` has their shapes, and columns come in those orders. Every function takes a
connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from llmspellfs.model.archive import CHECKPOINT, FILE, FOLDER, INODE, ROW, SYMLINK
from llmspellfs.model.query import labels
from llmspellfs.storage import numbering
from llmspellfs.storage.index import Connection
from llmspellfs.storage.numbering import Numbering
from llmspellfs.storage.schema import SUPERSEDED

Record: TypeAlias = dict[str, Any]

_LIVE = f"(seq_to IS NULL OR seq_to = {SUPERSEDED})"
_WHICH = "sid = ? AND seq_from IS NOT NULL"
_ENDS = f"nullif(seq_to, {SUPERSEDED})"
_FACTS = "id, ino, created_ns, created_by, seq, head, last_ns, horizon_seq, next_sequence"
_ENTRIES = f"""
    SELECT e.kind, e.folder, e.name, e.ino, e.seq_from, {_ENDS}, e.target, e.sequence, e.version, hex(c.hash), e.size,
        e.type, e.mime_type, e.description, e.tags, e.custom, e.created_ns, e.updated_ns
    FROM entry e LEFT JOIN content c ON c.cid = e.content WHERE e.{_WHICH}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Exported:
    """Which rows of session *sid* an archive takes: all of history, or the live ones; inodes get *shift* added."""

    sid: int
    history: bool
    shift: int

    @property
    def where(self) -> str:
        """The condition on rows."""
        return _WHICH if self.history else f"{_WHICH} AND {_LIVE}"


def session(db: Connection, of: Exported, ranges: Sequence[tuple[int | None, int]]) -> Record:
    """Return the record of what a session has once; *ranges* are its numbering in the archive."""
    values = db.execute(f"SELECT {_FACTS} FROM session WHERE sid = ?", (of.sid,)).fetchone()  # noqa: S608
    said = dict(zip(_FACTS.split(", "), values, strict=True))
    said["ino"] += of.shift
    return said | {"numbering": [{"until": until, "shift": shift} for until, shift in ranges]}


def ranges(known: Numbering, seq: int) -> tuple[int, list[tuple[int | None, int]]]:
    """Return the shift from numbers here to an archive's, and the archive's own numbering to the event *seq*.

    In the archive inodes have the numbers that the first events hashed.
    """
    parts: list[tuple[int | None, int]] = [*zip(known.until, known.shifts, strict=True), (None, 0)]
    first = parts[0][1]
    found: list[tuple[int | None, int]] = []
    for until, shift in parts:
        is_last = until is None or until >= seq
        found.append((None if is_last else until, shift - first))
        if is_last:
            break
    return first, found


def rows(db: Connection, of: Exported) -> Iterator[Record]:
    """Yield the records of the session's own fields, oldest first."""
    query = f"SELECT {', '.join(ROW)} FROM session_row WHERE {of.where} ORDER BY seq_from"  # noqa: S608
    for values in db.execute(query, (of.sid,)):
        yield dict(zip(ROW, values, strict=True))


def entries(db: Connection, of: Exported) -> Iterator[Record]:
    """Yield the records of files, folders and symlinks, in the order in which they came to be."""
    live = "" if of.history else f" AND (e.seq_to IS NULL OR e.seq_to = {SUPERSEDED})"
    for kind, folder, name, ino, first, last, target, sequence, version, digest, *rest in db.execute(
        f"{_ENTRIES}{live} ORDER BY e.eid", (of.sid,)
    ):
        common = (kind, folder + of.shift, name, ino + of.shift, first, last)
        if kind == 0:
            yield dict(zip(FILE, (*common, sequence, version, digest and digest.lower(), *rest), strict=True))
        elif kind == 1:
            yield dict(zip(FOLDER, common, strict=True))
        else:
            yield dict(zip(SYMLINK, (*common, target), strict=True))


def inodes(db: Connection, of: Exported) -> Iterator[Record]:
    """Yield the records of POSIX attributes, by number: of all that the entries have, and of the top folder."""
    query = f"""
        SELECT ino, mode, uid, gid, mtime_ns, ctime_ns, atime_ns FROM inode
        WHERE ino IN (SELECT ino FROM entry WHERE {of.where}) OR ino = (SELECT ino FROM session WHERE sid = ?)
        ORDER BY ino
    """  # noqa: S608
    for ino, *values in db.execute(query, (of.sid, of.sid)):
        yield dict(zip(INODE, (ino + of.shift, *values), strict=True))


def events(db: Connection, sid: int) -> Iterator[str]:
    """Yield the lines of a trail, as written, without their newlines."""
    for (line,) in db.execute("SELECT line FROM event WHERE sid = ? ORDER BY seq", (sid,)):
        yield line


def checkpoints(db: Connection, sid: int) -> Iterator[Record]:
    """Yield the records of checkpoints, first to last."""
    query = f"SELECT {', '.join(CHECKPOINT)} FROM checkpoint WHERE sid = ? ORDER BY number"  # noqa: S608
    for values in db.execute(query, (sid,)):
        yield dict(zip(CHECKPOINT, values, strict=True))


def content_of(db: Connection, exported: Sequence[Exported]) -> list[tuple[str, int, int]]:
    """Return the hash (hex), the size and the cid of each content that the rows of *exported* have, by hash."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS exported (cid INTEGER PRIMARY KEY)")
    try:
        for of in exported:
            query = f"INSERT OR IGNORE INTO exported SELECT content FROM entry WHERE {of.where} AND kind = 0"  # noqa: S608
            db.execute(query, (of.sid,))
        query = "SELECT lower(hex(c.hash)), c.size, c.cid FROM exported x JOIN content c USING (cid) ORDER BY c.hash"
        return list(db.execute(query))
    finally:
        db.execute("DROP TABLE exported")


@dataclass(frozen=True, slots=True)
class Arrived:
    """The rows of one session out of an archive, checked; inode numbers are the archive's, and get *shift* added."""

    facts: Record
    shift: int
    numbering: Numbering
    trail_size: int
    artifact_count: int
    total_size: int


def insert_session(db: Connection, new: Arrived) -> int:
    """Insert the session *new* without rows yet; return its sid."""
    f = new.facts
    numbers = (new.trail_size, f["horizon_seq"], f["next_sequence"], new.artifact_count, new.total_size)
    cursor = db.execute(
        "INSERT INTO session (id, ino, created_ns, created_by, seq, head, last_ns, trail_size, horizon_seq,"
        " next_sequence, artifact_count, total_size, change) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (f["id"], f["ino"] + new.shift, f["created_ns"], f["created_by"], f["seq"], f["head"], f["last_ns"], *numbers),
    )
    assert cursor.lastrowid is not None
    numbering.insert(db, cursor.lastrowid, new.numbering)
    return cursor.lastrowid


def insert_rows(db: Connection, sid: int, records: Iterable[Record]) -> None:
    """Insert the rows of the session's own fields, the live one with its labels."""
    marks = ", ".join("?" * (len(ROW) + 1))
    for record in records:
        db.execute(f"INSERT INTO session_row (sid, {', '.join(ROW)}) VALUES ({marks})", (sid, *record.values()))  # noqa: S608
        if record["seq_to"] is None:
            found = labels(json.loads(record["tags"]), json.loads(record["metadata"]))
            query = "INSERT OR IGNORE INTO session_label (key, value, sid) VALUES (?, ?, ?)"
            db.executemany(query, [(*label, sid) for label in found])


def insert_events(db: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert events: sid, seq, kind, at_ns, ends, and the line."""
    query = "INSERT INTO event (sid, seq, kind, at_ns, ends, line) VALUES (?, ?, ?, ?, ?, ?)"
    db.executemany(query, rows)


def insert_checkpoints(db: Connection, sid: int, records: Iterable[tuple[int, int, str | None, int]]) -> None:
    """Insert checkpoints: number, seq, label, at_ns."""
    query = "INSERT INTO checkpoint (sid, number, seq, label, at_ns) VALUES (?, ?, ?, ?, ?)"
    db.executemany(query, ((sid, *record) for record in records))


def insert_inodes(db: Connection, records: Iterable[tuple[Any, ...]]) -> None:
    """Insert POSIX attributes in the columns' order, numbers as they are here."""
    query = "INSERT INTO inode (ino, mode, uid, gid, mtime_ns, ctime_ns, atime_ns) VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.executemany(query, records)


_ENTRY = """
    INSERT INTO entry (eid, sid, folder, name, ino, kind, seq_from, seq_to, target, sequence, version, content, size,
        type, mime_type, description, tags, custom, created_ns, updated_ns)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def last_entry(db: Connection) -> int:
    """Return the highest eid that was ever given."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
    return 0 if row is None else int(row[0])


def insert_entries(db: Connection, rows: Iterable[tuple[Any, ...]], labelled: Iterable[tuple[int, str, str]]) -> None:
    """Insert entries, *rows* in the columns' order; *labelled*: the eid, tags and custom metadata of those with any."""
    db.executemany(_ENTRY, rows)
    found = ((*label, eid) for eid, tags, custom in labelled for label in labels(json.loads(tags), json.loads(custom)))
    db.executemany("INSERT OR IGNORE INTO entry_label (key, value, eid) VALUES (?, ?, ?)", found)
