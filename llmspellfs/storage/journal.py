"""The audit trail's SQL, and what one write transaction does to the sessions that it touches.

A Journal lives for one transaction on one connection. It reads a session's seq, head and counters inside the
transaction, appends events, and writes the numbers back once, in `finish`, with the store-wide change number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmspellfs.model.event import Event, Origin, compose_line, line_hash, state_hash
from llmspellfs.storage.changelog import last_change
from llmspellfs.storage.index import Connection

_STATE = (
    "SELECT id, seq, head, last_ns, trail_size, next_sequence, artifact_count, total_size,"
    " CAST(change AS INTEGER), horizon_seq FROM session WHERE sid = ?"
)
_MOST = (1 << 63) - 1
_INSERT = "INSERT INTO event (sid, seq, kind, at_ns, ends, line) VALUES (?, ?, ?, ?, ?, ?)"
_FINISH = (
    "UPDATE session SET seq = ?, head = ?, last_ns = ?, trail_size = ?, next_sequence = ?, artifact_count = ?,"
    " total_size = ?, change = ? WHERE sid = ?"
)


@dataclass(slots=True)
class Tally:
    """A touched session's numbers while the transaction runs."""

    id: str
    seq: int
    head: str
    last_ns: int
    trail_size: int
    next_sequence: int
    artifact_count: int
    total_size: int
    change: int
    """As it was before this transaction."""
    horizon_seq: int
    first: int = 0
    """Its seq before this transaction."""
    amended: dict[int, int] = field(default_factory=dict)
    """The content (cid) that drafts, by their eid, had before this transaction."""


class Journal:
    """The events and numbers of one write transaction at *now_ns* by *origin*."""

    def __init__(self, db: Connection, now_ns: int, origin: Origin) -> None:
        """Begin with no session touched."""
        self.db, self.now_ns, self.origin = db, now_ns, origin
        self.touched: dict[int, Tally] = {}
        self.change = 0
        self.herald: Callable[[int], None] | None = None
        """Called with the sid before a session that was there gets its first event of this transaction."""

    def touch(self, sid: int) -> Tally:
        """Return session *sid*'s numbers; it gets this transaction's change number."""
        tally = self.touched.get(sid)
        if tally is None:
            tally = self.touched[sid] = Tally(*self.db.execute(_STATE, (sid,)).fetchone())
            tally.first = tally.seq
        return tally

    def last_ns(self, sid: int) -> int:
        """Return the time of session *sid*'s last event, which is not before that of the one before it."""
        return self.touch(sid).last_ns

    def before_event(self, sid: int) -> Tally:
        """Return session *sid*'s numbers for its next event; the `herald` is told of the first."""
        tally = self.touch(sid)
        if self.herald is not None and 0 < tally.seq == tally.first:
            self.herald(sid)
        return tally

    def append(self, sid: int, kind: str, state: dict[str, Any] | None, **details: object) -> int:
        """Append an event with *details* (None values left out) to session *sid*'s trail; return its seq.

        *state* is the new row that the event leaves behind, None where it leaves none.
        """
        tally = self.before_event(sid)
        tally.seq += 1
        tally.last_ns = max(self.now_ns, tally.last_ns)
        kept = {key: value for key, value in details.items() if value is not None}
        hashed = None if state is None else state_hash(state)
        line = compose_line(tally.seq, tally.last_ns, kind, self.origin, tally.head, hashed, kept)
        tally.head = line_hash(line)
        tally.trail_size += len(line.encode("utf-8")) + 1
        self.db.execute(_INSERT, (sid, tally.seq, kind, tally.last_ns, tally.trail_size, line))
        return tally.seq

    def finish(self) -> None:
        """Write back the numbers of every touched session under the next change number."""
        if not self.touched:
            return
        self.change = last_change(self.db) + 1
        for sid, t in self.touched.items():
            numbers = (
                t.seq,
                t.head,
                t.last_ns,
                t.trail_size,
                t.next_sequence,
                t.artifact_count,
                t.total_size,
            )
            self.db.execute(_FINISH, (*numbers, self.change, sid))


def events(
    db: Connection,
    sid: int,
    *,
    after: int = 0,
    before: int | None = None,
    span_ns: tuple[int, int] | None = None,
    limit: int | None = None,
    kinds: tuple[str, ...] = (),
) -> list[Event]:
    """Return the events of session *sid* whose seq is above *after* and below *before*, oldest first.

    Of *kinds*, and within *span_ns* (first and last nanosecond), where given.
    """
    query = (
        "SELECT e.id, s.id, e.seq, e.kind, e.at_ns, e.line FROM event e JOIN session s ON s.sid = e.sid"
        " WHERE e.sid = ? AND e.seq > ?"
    )
    bound: list[object] = [sid, min(after, _MOST)]
    if before is not None:
        query += " AND e.seq < ?"
        bound.append(min(before, _MOST))
    if span_ns is not None:
        query += " AND e.at_ns BETWEEN ? AND ?"
        bound += span_ns
    if kinds:
        query += f" AND e.kind IN ({','.join('?' * len(kinds))})"
    rows = db.execute(f"{query} ORDER BY e.seq LIMIT ?", (*bound, *kinds, -1 if limit is None else limit))
    return [Event(*row) for row in rows]


def left(db: Connection, sid: int, name: str) -> list[tuple[str, int | None]]:
    """Return the kind and the sequence of each artifact that left the *name*, latest first, with how it did.

    That is by its deletion, a move to another session, or a rename, also one over another artifact. The sequence is
    None where the event is harmed.
    """
    told = "iif(json_valid(line), json_extract(line, '$.{}'), NULL)"
    named = f"iif(kind = 'artifact.renamed', {told.format('from')}, {told.format('name')})"
    query = (
        f"SELECT kind, coalesce({told.format('from_sequence')}, {told.format('sequence')}) FROM event"  # noqa: S608
        " WHERE sid = ? AND kind IN ('artifact.deleted', 'artifact.moved_out', 'artifact.renamed')"
        f" AND {named} = ? ORDER BY seq DESC"
    )
    rows = db.execute(query, (sid, name))
    return [(kind, sequence if isinstance(sequence, int) else None) for kind, sequence in rows]


def last_of(db: Connection, sid: int, kind: str) -> int:
    """Return the seq of the latest event of *kind* of session *sid*, 0 where there is none."""
    seq: int = db.execute("SELECT ifnull(max(seq), 0) FROM event WHERE sid = ? AND kind = ?", (sid, kind)).fetchone()[0]
    return seq


def trail_size(db: Connection, sid: int) -> int:
    """Return how many bytes session *sid*'s trail has, newlines included."""
    size: int = db.execute("SELECT trail_size FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    return size


def trail_bytes(db: Connection, sid: int, offset: int, size: int) -> bytes:
    """Return at most *size* bytes of session *sid*'s trail from *offset* on."""
    first = _event_at(db, sid, offset)
    rows = db.execute("SELECT ends, line FROM event WHERE sid = ? AND seq >= ? ORDER BY seq", (sid, first))
    parts: list[bytes] = []
    begins = end = 0
    for end, line in rows:
        data = line.encode("utf-8") + b"\n"
        if not parts:
            begins = end - len(data)
        parts.append(data)
        if end >= offset + size:
            break
    return b"".join(parts)[offset - begins : offset - begins + size] if end > offset else b""


def _event_at(db: Connection, sid: int, offset: int) -> int:
    """Return the seq of the event whose line holds byte *offset*, by bisection over `ends`."""
    low, high = 1, db.execute("SELECT seq FROM session WHERE sid = ?", (sid,)).fetchone()[0]
    while low < high:
        middle = (low + high) // 2
        ends = db.execute("SELECT ends FROM event WHERE sid = ? AND seq = ?", (sid, middle)).fetchone()[0]
        low, high = (middle + 1, high) if ends <= offset else (low, middle)
    return low
