"""The queries that hold what sessions, checkpoints and events say of themselves against the events that tell it.

Times are held to the microsecond: the events of an imported session have what their lines tell, which is no more.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

from llmspellfs.storage.invariants import Invariant

ENDS = """
    SELECT s.sid, s.id, s.deleted_ns, s.purged_ns,
        coalesce(CASE g.kind WHEN 'session.deleted' THEN g.at_ns END, p.at_ns) AS deleted,
        p.at_ns AS purged, coalesce(CASE g.kind WHEN 'session.deleted' THEN g.seq END, p.seq) AS deleted_seq,
        p.seq AS purged_seq
    FROM session s
    LEFT JOIN (SELECT sid, kind, at_ns, max(seq) AS seq FROM event WHERE kind IN ('session.deleted', 'session.restored')
               GROUP BY sid) g ON g.sid = s.sid
    LEFT JOIN (SELECT sid, at_ns, max(seq) AS seq FROM event WHERE kind = 'session.purged' GROUP BY sid) p
        ON p.sid = s.sid
"""
"""When each session was deleted and purged, as its row says, and as its events do."""
NUMBERED = """
    SELECT k.sid, k.number, k.seq, k.at_ns, v.nth, v.at_ns AS saved FROM checkpoint k JOIN (SELECT sid, seq, at_ns,
        row_number() OVER (PARTITION BY sid ORDER BY seq) AS nth FROM event WHERE kind = 'session.saved') v
    ON v.sid = k.sid AND v.seq = k.seq
"""
"""Each checkpoint that is of an event: its number and time, and the event's: the n-th makes the n-th checkpoint."""
OUT_OF_ORDER = """
    SELECT sid, seq, id FROM (SELECT sid, seq, id, lag(id) OVER (PARTITION BY sid ORDER BY seq) AS before FROM event)
    WHERE id <= before OR id < 1
"""
"""Events whose number is not above the one before theirs in its session."""
FIRST = """
    SELECT s.sid, s.id, s.created_ns, json_extract(v.line, '$.id') AS told, v.at_ns FROM session s
    JOIN event v ON v.sid = s.sid AND v.seq = 1 AND v.kind = 'session.created' AND json_valid(v.line)
"""
"""What each session is called and when it was made, as its row says, and as its first event does."""

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "identity", "session", "session {1}", "its id is {2}, as its first event says",
        f"SELECT sid, id, told FROM ({FIRST}) WHERE typeof(told) = 'text' AND told IS NOT id",
    ),
    Invariant(
        "identity", None, "session {0}", "it was made at {2} ns, and the index says {1}",
        f"SELECT id, created_ns, at_ns FROM ({FIRST}) WHERE created_ns / 1000 IS NOT at_ns / 1000",
    ),
    Invariant(
        "identity", None, "session {0}", "it was deleted at {2} ns, and the index says {1}",
        f"SELECT id, deleted_ns, deleted FROM ({ENDS}) WHERE deleted_ns / 1000 IS NOT deleted / 1000",
    ),
    Invariant(
        "identity", "session", "session {1}", "it was purged at {3} ns, and the index says {2}",
        f"SELECT sid, id, purged_ns, purged FROM ({ENDS}) WHERE purged_ns / 1000 IS NOT purged / 1000",
    ),
    Invariant(
        "checkpoint", None, "checkpoint {1} of session {0}", "it was saved by event {2}, which makes it number {3}",
        f"SELECT sid, number, seq, nth FROM ({NUMBERED}) WHERE number IS NOT nth",
    ),
    Invariant(
        "checkpoint", None, "checkpoint {1} of session {0}", "it was made at {3} ns, and the index says {2}",
        f"SELECT sid, number, at_ns, saved FROM ({NUMBERED}) WHERE at_ns / 1000 IS NOT saved / 1000",
    ),
    Invariant(
        "order", None, "event {1} of session {0}", "its number {2} is not above that of the event before it",
        OUT_OF_ORDER,
    ),
)  # fmt: skip
