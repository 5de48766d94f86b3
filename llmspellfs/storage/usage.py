"""The SQL of quotas: the stored bytes of the whole store, and those that one session's rows refer to, each part once.

A part is a content that the index holds, or a chunk. What is counted is remembered up to a number (`counted`), so that
a transaction looks at the rows it added and at no others; triggers, where the schema is, take off what is deleted, and
forget a session's count where rows of it are erased. Drafts change with every flush: they are looked at each time.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from llmspellfs.storage.index import Connection

_Counts: TypeAlias = dict[str, tuple[str, int, int]]
"""Rows of `counted` by their `what`."""
_CONTENT = "SELECT max(cid), sum(CASE WHEN codec IS NOT NULL THEN stored_size ELSE 0 END) FROM content WHERE cid > ?"
_CHUNK = "SELECT max(kid), sum(stored_size) FROM chunk WHERE kid > ?"
_QUESTIONS = {"content": _CONTENT, "chunk": _CHUNK}
_BOTH = (
    "SELECT (SELECT sum(stored_size) FROM content WHERE cid > ? AND codec IS NOT NULL),"
    " (SELECT sum(stored_size) FROM chunk WHERE kid > ?)"
)
_PUT = "INSERT OR REPLACE INTO counted (what, until, bytes) VALUES (?, ?, ?)"
_NEW = "SELECT sid, content FROM entry WHERE eid > ? AND eid <= ? AND content IS NOT NULL AND seq_from IS NOT NULL"
_SINCE = "SELECT sid, content, seq_from IS NOT NULL FROM entry WHERE eid > ? AND content IS NOT NULL"
_DUE = (  # CROSS: the few that are due come first, and not every entry
    "SELECT e.eid, e.sid, e.content FROM session_use_due d CROSS JOIN entry e ON e.eid = d.eid"
    " WHERE e.seq_from IS NOT NULL"
)
_DRAFTS = "SELECT eid, content FROM entry WHERE sid = ? AND seq_from IS NULL"
_SEALED = "SELECT DISTINCT content FROM entry WHERE sid = ? AND kind = 0 AND seq_from IS NOT NULL AND eid <= ?"
_NOT_DUE = "AND eid NOT IN (SELECT eid FROM session_use_due)"
_LACKS = "NOT EXISTS (SELECT 1 FROM session_part WHERE sid = ? AND part ="
_CONTENT_PART = f"SELECT codec IS NOT NULL, stored_size FROM content c WHERE cid = ? AND {_LACKS} -c.cid)"  # noqa: S608
_CHUNK_PARTS = (
    "SELECT k.kid, k.stored_size FROM content_chunk m JOIN chunk k ON k.kid = m.kid"  # noqa: S608
    f" WHERE m.cid = ? AND {_LACKS} k.kid)"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The last content, chunk and row that there were at a moment."""

    cid: int
    kid: int
    eid: int


def mark(db: Connection) -> Mark:
    """Return where the index stands; what is added later has higher numbers."""
    last = "SELECT (SELECT max(cid) FROM content), (SELECT max(kid) FROM chunk), (SELECT max(eid) FROM entry)"
    cid, kid, eid = db.execute(last).fetchone()
    return Mark(cid or 0, kid or 0, eid or 0)


def added(db: Connection, since: Mark) -> int:
    """Return the stored bytes of contents and chunks that were not there at *since*."""
    return sum(size or 0 for size in db.execute(_BOTH, (since.cid, since.kid)).fetchone())


def total(db: Connection) -> int:
    """Return the stored bytes of everything kept, each content and chunk once, unused ones included."""
    return sum(size for _, _, size in _totals(db, _counts(db)).values())


def count(db: Connection) -> int:
    """Return what `total` does, and remember it."""
    known = _counts(db)
    found = _totals(db, known)
    db.executemany(_PUT, [row for what, row in found.items() if row != known.get(what)])
    return sum(size for _, _, size in found.values())


def _totals(db: Connection, known: _Counts) -> _Counts:
    """Return the rows of `counted` for contents and chunks as they are to be: what is *known*, and what came since."""
    found: _Counts = {}
    for what, question in _QUESTIONS.items():
        _, until, size = known.get(what, (what, 0, 0))
        last, more = db.execute(question, (until,)).fetchone()
        found[what] = (what, last or until, size + (more or 0))
    return found


def _counts(db: Connection) -> _Counts:
    return {row[0]: row for row in db.execute("SELECT what, until, bytes FROM counted")}


def catch_up(db: Connection, until: int) -> None:
    """Count the rows up to the eid *until* that nobody has counted, of those sessions that are counted at all."""
    _, before, _ = _counts(db).get("entry", ("entry", 0, 0))
    due = db.execute(_DUE).fetchall()
    if before >= until and not due:
        return
    rows = db.execute(_NEW, (before, until)).fetchall() if before else []
    by_session: dict[int, set[int]] = {}
    for sid, cid in [*rows, *(row[1:] for row in due)]:
        by_session.setdefault(sid, set()).add(cid)
    for sid, cids in by_session.items():
        if _known(db, sid) is not None:
            _add(db, sid, cids)
    if not before:
        db.execute("DELETE FROM session_use")
    db.execute("DELETE FROM session_use_due")
    db.execute(_PUT, ("entry", until, 0))


def grown(db: Connection, since: Mark) -> dict[int, set[int]]:
    """Return the sids of the sessions that have rows of files since *since*, with the contents of those not drafts."""
    found: dict[int, set[int]] = {}
    for sid, cid, is_sealed in db.execute(_SINCE, (since.eid,)):
        its = found.setdefault(sid, set())
        if is_sealed:
            its.add(cid)
    return found


def count_session(
    db: Connection, sid: int, since: Mark, new: Iterable[int], amended: Mapping[int, int]
) -> tuple[int, int]:
    """Return the stored bytes of session *sid* as they were at *since* and as they are now, with the contents *new*.

    `catch_up` was called at *since*; *amended* gives the content that drafts, by their eid, had then. `settle` is to
    follow once all sessions are counted.
    """
    known = _known(db, sid)
    if known is None:
        db.execute("INSERT INTO session_use (sid, bytes) VALUES (?, 0)", (sid,))
        known = _add(db, sid, {row[0] for row in db.execute(f"{_SEALED} {_NOT_DUE}", (sid, since.eid))})
    due = [(eid, cid) for eid, its, cid in db.execute(_DUE) if its == sid]
    drafts = db.execute(_DRAFTS, (sid,)).fetchall()
    were = {amended.get(eid, cid) for eid, cid in [*drafts, *due] if eid <= since.eid}
    before = known + sum(_missing(db, sid, were).values())
    known = _add(db, sid, {*new, *(cid for _, cid in due)})
    db.executemany("DELETE FROM session_use_due WHERE eid = ?", [(eid,) for eid, _ in due])
    return before, known + sum(_missing(db, sid, {cid for _, cid in drafts}).values())


def settle(db: Connection) -> None:
    """Remember that every row that there is has been counted, or belongs to a session that is not."""
    last = db.execute("SELECT coalesce(max(eid), 0) FROM entry").fetchone()[0]
    db.execute(_PUT, ("entry", last, 0))


def session_bytes(db: Connection, sid: int) -> int:
    """Return the stored bytes of the distinct contents and chunks that session *sid*'s rows refer to, all of them read.

    Deleted and older ones that history retains are among them.
    """
    its = "SELECT content FROM entry WHERE sid = ? AND kind = 0"
    inline = f"SELECT sum(stored_size) FROM content WHERE codec IS NOT NULL AND cid IN ({its})"  # noqa: S608
    kids = f"SELECT kid FROM content_chunk WHERE cid IN ({its})"  # noqa: S608
    chunked = f"SELECT sum(stored_size) FROM chunk WHERE kid IN ({kids})"  # noqa: S608
    return sum(db.execute(query, (sid,)).fetchone()[0] or 0 for query in (inline, chunked))


def _known(db: Connection, sid: int) -> int | None:
    row = db.execute("SELECT bytes FROM session_use WHERE sid = ?", (sid,)).fetchone()
    return None if row is None else int(row[0])


def _add(db: Connection, sid: int, cids: Iterable[int]) -> int:
    """Count the contents *cids* as session *sid*'s; return its bytes then."""
    found = _missing(db, sid, cids)
    db.executemany("INSERT INTO session_part (sid, part) VALUES (?, ?)", [(sid, part) for part in found])
    query = "UPDATE session_use SET bytes = bytes + ? WHERE sid = ? RETURNING bytes"
    size: int = db.execute(query, (sum(found.values()), sid)).fetchone()[0]
    return size


def _missing(db: Connection, sid: int, cids: Iterable[int]) -> dict[int, int]:
    """Return the parts of the contents *cids* that are not counted as session *sid*'s, and the bytes of each."""
    found: dict[int, int] = {}
    for cid in cids:
        row = db.execute(_CONTENT_PART, (cid, sid)).fetchone()
        if row is None:
            continue
        found[-cid] = row[1] if row[0] else 0
        if not row[0]:
            found.update(db.execute(_CHUNK_PARTS, (cid, sid)))
    return found
