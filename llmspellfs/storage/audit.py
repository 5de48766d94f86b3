"""The SQL of checking: trails as stored, rows with the events at which they begin and end, and what SQLite finds.

Every function takes a connection, reads only, and streams: no query for each row where a join does it. Under
`lenient` text that is no UTF-8 any more is read all the same, its bytes kept as lone surrogates.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Entry
from llmspellfs.model.session import Session
from llmspellfs.storage import entries, sessions
from llmspellfs.storage.erasing import FLEETING_NS
from llmspellfs.storage.index import Connection
from llmspellfs.storage.numbering import Numbering

HARMED = (Corrupt, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What use of a damaged row may raise."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Chain:
    """What the index says of a session's trail."""

    sid: int
    id: str
    dirname: str
    seq: int
    head: str


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the index has it."""

    seq: int
    kind: str
    at_ns: int
    ends: int
    text: str


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A row of `entry`, None where it cannot be read, and the events at which it begins and ends, as far as there."""

    eid: int
    name: str
    entry: Entry | None
    begins: str | None
    ends: str | None


@dataclass(frozen=True, slots=True)
class SessionRowAt:
    """A row of `session_row` as the session it was, None where it cannot be read; its seqs, and its event's line."""

    rid: int
    sid: int
    dirname: str
    session: Session | None
    seq_from: int
    line: str | None


@contextmanager
def lenient(db: Connection) -> Iterator[Connection]:
    """Have *db* give damaged text with its bytes kept, where it would raise."""
    before = db.text_factory
    db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield db
    finally:
        db.text_factory = before


def told(rows: Iterator[R], failed: Callable[[str], None]) -> Iterator[R]:
    """Yield *rows* as far as they can be read; *failed* is called with what SQLite says where they cannot."""
    try:
        yield from rows
    except sqlite3.Error as error:
        failed(str(error))


Shifts: TypeAlias = dict[int, Numbering]
"""Of each imported session (sid)."""


def shifts(db: Connection) -> Shifts:
    """Return how the events of imported sessions number inodes."""
    found: Shifts = {}
    for sid, until, shift in db.execute("SELECT sid, until, shift FROM numbering ORDER BY sid, until"):
        known = found.get(sid, Numbering())
        found[sid] = Numbering((*known.until, until), (*known.shifts, shift))
    return found


def chains(db: Connection, sid: int | None = None) -> list[Chain]:
    """Return the chain of session *sid*, or of every session that ever was."""
    query = (
        "SELECT s.sid, s.id, coalesce((SELECT dirname FROM session_row WHERE sid = s.sid ORDER BY seq_from DESC"
        " LIMIT 1), s.id), s.seq, s.head FROM session s"
    )
    if sid is None:
        return [Chain(*row) for row in db.execute(f"{query} ORDER BY s.sid")]
    return [Chain(*row) for row in db.execute(f"{query} WHERE s.sid = ?", (sid,))]


BYTES = "CAST(total(size) AS INTEGER)"
"""The sum of sizes that may be any value: `sum` fails where it is too large, and is no integer where one is none."""


def count_checked(db: Connection) -> tuple[int, int]:
    """Return how many rows a check goes through one by one, and the bytes of all content, 0 where no one can say.

    The rows are those of trails, of trees, and of sessions' own fields.
    """
    try:
        rows = "(SELECT count(*) FROM event) + (SELECT count(*) FROM entry) + (SELECT count(*) FROM session_row)"
        found = db.execute(f"SELECT {rows}, {BYTES} FROM content").fetchone()  # noqa: S608 - words of the program
    except sqlite3.Error:
        return 0, 0
    return found[0], found[1]


def lines(db: Connection, sid: int) -> Iterator[Line]:
    """Yield the events of session *sid* in order."""
    for row in db.execute(f"{_LINE} ORDER BY seq", (sid,)):
        yield _line(*row)


def line(db: Connection, sid: int, seq: int) -> Line | None:
    """Return the event *seq* of session *sid*, or None."""
    row = db.execute(f"{_LINE} AND seq = ?", (sid, seq)).fetchone()
    return None if row is None else _line(*row)


def count_events(db: Connection) -> int:
    """Return how many events there are of sessions that are there."""
    count: int = db.execute("SELECT count(*) FROM event WHERE sid IN (SELECT sid FROM session)").fetchone()[0]
    return count


def count_whole(db: Connection) -> int:
    """Return how many rows of artifacts have a content that is there, each chunk's row too."""
    query = (
        "SELECT count(*) FROM entry e JOIN content c ON c.cid = e.content WHERE c.data IS NOT NULL OR c.size ="
        " (SELECT sum(k.size) FROM content_chunk p JOIN chunk k ON k.kid = p.kid WHERE p.cid = c.cid)"
    )
    count: int = db.execute(query).fetchone()[0]
    return count


def drafts(db: Connection) -> list[tuple[int, int, int | None]]:
    """Return the row, the session and the content of each draft."""
    return db.execute("SELECT eid, sid, content FROM entry WHERE seq_from IS NULL").fetchall()


def has_draft(db: Connection, draft: tuple[int, int, int | None]) -> bool:
    """Tell whether *draft* is there, sealed since or not."""
    query = "SELECT 1 FROM entry WHERE eid = ? AND sid = ? AND content IS ?"
    return db.execute(query, draft).fetchone() is not None


_LINE = "SELECT seq, CAST(kind AS BLOB), at_ns, ends, CAST(line AS BLOB) FROM event WHERE sid = ?"


def _line(seq: int, kind: object, at_ns: int, ends: int, text: object) -> Line:
    return Line(seq, _text(kind), at_ns, ends, _text(text))


def _text(data: object) -> str:
    """Return text whose bytes may not be any: those are kept as lone surrogates."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else str(data)


def integrity(db: Connection, *, quick: bool = False) -> list[str]:
    """Return what SQLite finds wrong with the database's pages and, unless *quick*, with its indexes."""
    try:
        found = [str(row[0]) for row in db.execute(f"PRAGMA {'quick' if quick else 'integrity'}_check(100)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


_BEGINS = "LEFT JOIN event v ON v.sid = e.sid AND v.seq = e.seq_from"
_ENDS = "LEFT JOIN event w ON w.sid = e.sid AND w.seq = e.seq_to"


def entry_rows(db: Connection, eids: Sequence[int] | None = None) -> Iterator[EntryRow]:
    """Yield the rows *eids* of `entry`, or every one, in order, with the lines of its events."""
    query = f"SELECT v.line, w.line, {entries.COLUMNS} {entries.JOINED} {_BEGINS} {_ENDS}"
    if eids is not None:
        query += " WHERE e.eid IN (SELECT value FROM json_each(?))"
    for row in db.execute(f"{query} ORDER BY e.eid", () if eids is None else (json.dumps(list(eids)),)):
        yield EntryRow(row[2], str(row[5]), _parsed(entries.to_entry, row[2:]), row[0], row[1])


def session_rows(db: Connection) -> Iterator[SessionRowAt]:
    """Yield every row of `session_row` in order, with its event's line."""
    query = f"SELECT r.rid, r.sid, r.dirname, r.seq_from, v.line, {sessions.COLUMNS} {_OF_SESSION} ORDER BY r.rid"
    for row in db.execute(query):
        yield SessionRowAt(row[0], row[1], str(row[2]), _parsed(sessions.to_session, row[5:]), row[3], row[4])


_OF_SESSION = """
    FROM session_row r JOIN session s ON s.sid = r.sid LEFT JOIN event v ON v.sid = r.sid AND v.seq = r.seq_from
"""


def _parsed(parse: Any, row: tuple[Any, ...]) -> Any:
    try:
        return parse(row)
    except HARMED:
        return None


@dataclass(frozen=True, slots=True)
class Uncovered:
    """An event that left a row behind which is not there."""

    sid: int
    session_id: str
    seq: int
    kind: str
    at_ns: int
    line: str


def uncovered_events(db: Connection, sid: int | None = None) -> Iterator[Uncovered]:
    """Yield events above their session's horizon whose row is not there; it may have been purged, or be fleeting.

    With *sid* those of that session alone.
    """
    query = """
        WITH covered AS MATERIALIZED (SELECT DISTINCT sid, seq_from FROM entry WHERE seq_from IS NOT NULL)
        SELECT e.sid, s.id, e.seq, e.kind, e.at_ns, e.line FROM event e JOIN session s ON s.sid = e.sid
        LEFT JOIN covered c ON c.sid = e.sid AND c.seq_from = e.seq
        WHERE e.seq > s.horizon_seq AND s.purged_ns IS NULL AND c.sid IS NULL
          AND NOT EXISTS (SELECT 1 FROM session_row r WHERE r.sid = e.sid AND r.seq_from = e.seq)
          AND instr(e.line, '"state":"') AND e.sid = ifnull(?, e.sid)
        ORDER BY e.sid, e.seq
    """
    for row in db.execute(query, (sid,)):
        yield Uncovered(*row)


@dataclass(frozen=True, slots=True)
class Goings:
    """What a session's events say of artifacts that went: their sequences, and when (ns) the deleted ones did."""

    purged: frozenset[int]
    deleted: dict[int, list[tuple[int, int]]]
    replaced: dict[int, int]
    """Events whose rows are gone, and those by which a repair has brought back what they stored."""

    def excuses(self, sequence: object, seq: int, at_ns: int) -> bool:
        """Tell whether the row of *sequence* from event *seq* of *at_ns* may be gone: purged, or soon deleted."""
        if not isinstance(sequence, int):
            return False
        soon = (seq < gone and gone_ns - at_ns < FLEETING_NS for gone, gone_ns in self.deleted.get(sequence, ()))
        return sequence in self.purged or any(soon)


def goings(db: Connection, sid: int) -> Goings:
    """Return which artifacts of session *sid* were purged and deleted, as its events tell."""
    purged, deleted, replaced = set(), dict[int, list[tuple[int, int]]](), dict[int, int]()
    query = (
        "SELECT kind, seq, at_ns, json_extract(line, '$.sequence'), json_extract(line, '$.instead_of') FROM event"
        " WHERE sid = ? AND json_valid(line) AND kind IN ('artifact.purged', 'artifact.deleted', 'artifact.restored')"
    )
    for kind, seq, at_ns, sequence, instead_of in db.execute(query, (sid,)):
        if kind == "artifact.purged":
            purged.add(sequence)
        elif kind == "artifact.deleted":
            deleted.setdefault(sequence, []).append((seq, at_ns))
        elif isinstance(instead_of, int) and instead_of < seq:
            replaced[instead_of] = seq
    return Goings(frozenset(purged), deleted, replaced)


NOTHING_GONE = Goings(frozenset(), {}, {})


def horizon(db: Connection, sid: int) -> int:
    """Return the seq below which session *sid* shows nothing but checkpoints."""
    found: int = db.execute("SELECT horizon_seq FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    return found
