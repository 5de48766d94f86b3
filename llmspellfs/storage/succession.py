"""Whether one reading of an index may take the place of another: nothing that has a row in this is lost by it.

Every row is there in the other too, or the other tells why it is not: an event that ended or purged it, a horizon that
has passed it, a content that nothing refers to. Trails themselves are not compared here, nor what is made anew from
other rows. What no event covers may be another's only where its own clock says that it is later, or where checksums say
that the whole reading is (*is_later*). Both are read in order and side by side, whatever their number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.storage import audit
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.endings import Facts
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED

Row = tuple[Any, ...]


def loses(db: Connection, other: Connection, *, is_later: bool = False) -> str | None:
    """Return what the index *other* has lost of *db*: the first table of which it has less, None where it has all."""
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    with audit.lenient(db), audit.lenient(other):
        facts = Facts(other, is_later=is_later)
        lost = (one.name for one in _TABLES if one.name in there and not _has_all(facts, db, other, one))
        return next(lost, None)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table whose rows are compared: of each as many columns as *keys* say which one it is."""

    name: str
    query: str
    """Reads them in the order of their first columns."""
    keys: int
    explains: Callable[[Facts, Row, Row | None], bool]
    """Tells whether nothing is lost where a row is another in the other reading, or is not there (None)."""


def _has_all(facts: Facts, db: Connection, other: Connection, table: _Table) -> bool:
    try:
        return all(table.explains(facts, row, their) for row, their in _differing(db, other, table))
    except (TypeError, ValueError, AttributeError):  # a damaged row, of which nothing can be told
        return False


def _differing(db: Connection, other: Connection, table: _Table) -> Iterator[tuple[Row, Row | None]]:
    """Yield each row of *table* that is not the same in *other*, with what is there in its stead, or None."""
    theirs = other.execute(table.query)
    their: Row | None = theirs.fetchone()
    for row in db.execute(table.query):
        key = row[: table.keys]
        while their is not None and their[: table.keys] < key:
            their = theirs.fetchone()
        if row != their:
            yield row, their if their is not None and their[: table.keys] == key else None


def _store(_: Facts, row: Row, their: Row | None) -> bool:
    return their is not None and bool(their[1] < row[1])  # else it is this one that was given a name anew


def _session(_: Facts, row: Row, their: Row | None) -> bool:
    *same, horizon, is_purged = row
    return their is not None and list(their[:5]) == same and their[5] >= horizon and their[6] >= is_purged


def _session_row(facts: Facts, row: Row, their: Row | None) -> bool:
    sid, begin, end, *rest = row
    if their is None:
        last = facts.next_of_session(sid, begin) if end is None else end
        return facts.is_purged(sid) or facts.is_past(sid, begin, last)
    return list(their[3:]) == rest and facts.has_ended(sid, end, their[2])


def _entry(facts: Facts, row: Row, their: Row | None) -> bool:
    _, sid, begin, end, sequence, updated_ns, *rest = row
    if their is None:
        if end is None or end == SUPERSEDED:
            end = facts.next_about(sid, sequence, row[7], begin)
        return facts.is_purged(sid) or facts.is_past(sid, begin, end) or facts.is_erased(sid, sequence, begin)
    if begin is None:  # a draft, which is amended until it is sealed
        return bool(their[1] == sid and their[5] >= updated_ns)
    is_same = [*their[1:3], *their[4:]] == [sid, begin, sequence, updated_ns, *rest]
    return is_same and facts.has_ended(sid, end, their[3])


def _content(facts: Facts, row: Row, their: Row | None) -> bool:
    return (their is not None and their[1] == row[1] and _is_as_good(row[1:], their[1:])) or not facts.refers_to(row[0])


def _piece(facts: Facts, row: Row, _: Row | None) -> bool:
    return not facts.refers_to(row[0])


def _chunk(_: Facts, row: Row, their: Row | None) -> bool:
    return their is None or _is_as_good(row, their)  # where one is gone, contents want pieces


def _is_as_good(row: Row, their: Row) -> bool:
    """Tell whether the hash, size, codec and data of *their* say what those of *row* do."""
    digest, size, codec, data = their
    if size != row[1]:
        return False
    try:
        return (data is None and row[3] is None) or len(decode_checked(codec, data, size, digest)) == size
    except Corrupt:
        return False


def _former(facts: Facts, row: Row, their: Row | None) -> bool:
    cid, sid, sequence = row
    return their is None and (not facts.has_content(cid) or facts.is_purged(sid) or facts.is_erased(sid, sequence))


def _purge(facts: Facts, row: Row, their: Row | None) -> bool:
    _, sid, sequence, *_ = row
    return their is None and (facts.is_later or facts.is_purged(sid) or facts.is_erased(sid, sequence))


def _of_session(facts: Facts, row: Row, their: Row | None) -> bool:
    return their is None and facts.is_purged(row[0])


def _inode(facts: Facts, row: Row, their: Row | None) -> bool:
    if their is None:
        return not facts.uses(row[0])
    return facts.is_later or bool(their[1] > row[1])


def _state(facts: Facts, row: Row, their: Row | None) -> bool:
    if their is None:
        return facts.is_later or facts.is_purged(row[2].removeprefix("session:"))
    return facts.is_later or bool(their[3] > row[3])


def _message(facts: Facts, row: Row, their: Row | None) -> bool:
    return their is None and (facts.is_later or facts.has_pruned(row[0], row[1]))


def _never(_: Facts, __: Row, ___: Row | None) -> bool:
    return False


_VALUE = "SELECT value FROM store WHERE key ="
_TABLES = (
    _Table("store", f"SELECT 1, ({_VALUE} 'created_ns'), ({_VALUE} 'uuid')", 1, _store),
    _Table(
        "session",
        "SELECT sid, id, ino, created_ns, created_by, horizon_seq, purged_ns IS NOT NULL FROM session ORDER BY sid",
        1,
        _session,
    ),
    _Table(
        "session_row",
        "SELECT sid, seq_from, seq_to, name, dirname, description, status, tags, metadata, parent, ended_ns,"
        " failure_reason FROM session_row ORDER BY sid, seq_from",
        2,
        _session_row,
    ),
    _Table(
        "entry",
        "SELECT eid, sid, seq_from, seq_to, sequence, updated_ns, folder, name, ino, kind, target, version, content,"
        " size, type, mime_type, description, tags, custom, created_ns FROM entry ORDER BY eid",
        1,
        _entry,
    ),
    _Table("checkpoint", "SELECT sid, number, seq, label, at_ns FROM checkpoint ORDER BY sid, number", 2, _of_session),
    _Table("numbering", "SELECT sid, until, shift FROM numbering ORDER BY sid, until", 2, _never),
    _Table("content", "SELECT cid, hash, size, codec, data FROM content ORDER BY cid", 1, _content),
    _Table(
        "content_chunk",
        "SELECT p.cid, p.start, k.hash, k.size FROM content_chunk p JOIN chunk k ON k.kid = p.kid"
        " ORDER BY p.cid, p.start",
        2,
        _piece,
    ),
    _Table("chunk", "SELECT hash, size, codec, data FROM chunk ORDER BY hash", 1, _chunk),
    _Table("former", "SELECT cid, sid, sequence FROM former ORDER BY cid, sid, sequence", 3, _former),
    _Table("purge", "SELECT id, sid, sequence, keeps_content FROM purge ORDER BY id", 1, _purge),
    _Table("inode", "SELECT ino, ctime_ns, mode, uid, gid, mtime_ns, atime_ns FROM inode ORDER BY ino", 1, _inode),
    _Table(
        "state",
        "SELECT CAST(scope AS BLOB), CAST(key AS BLOB), scope, updated_ns, value FROM state ORDER BY scope, key",
        2,
        _state,
    ),
    _Table(
        "message",
        "SELECT id, payload, after_event, name, at_ns, actor, door FROM message ORDER BY id",
        1,
        _message,
    ),
)
"""Those without `doomed` and `harm`, of which only work is told that is done again: files, a scrub."""
