"""The queries that hold what quotas have counted against what there is; they find nothing where no quota ever was set.

What is counted reaches up to a number (`counted`), and what came later is no part of it.
"""

# ruff: noqa: S608 - queries are made of constants of this module

from __future__ import annotations

from llmspellfs.storage.invariants import Invariant

_UNTIL = "(SELECT until FROM counted WHERE what = 'entry')"
_REAL = f"""
    of AS MATERIALIZED (SELECT DISTINCT e.sid, e.content AS cid FROM session_use u CROSS JOIN entry e ON e.sid = u.sid
        AND e.kind = 0 WHERE e.content IS NOT NULL AND e.seq_from IS NOT NULL AND e.eid <= {_UNTIL}
        AND e.eid NOT IN (SELECT eid FROM session_use_due)),
    real(sid, part) AS MATERIALIZED (SELECT of.sid, -of.cid FROM of JOIN content c ON c.cid = of.cid
        UNION SELECT of.sid, k.kid FROM of JOIN content c ON c.cid = of.cid AND c.codec IS NULL
        JOIN content_chunk m ON m.cid = of.cid JOIN chunk k ON k.kid = m.kid)
"""
"""The parts (as in `session_part`) of each session that is counted, read from its rows."""
_BYTES = """
    SELECT u.sid, u.bytes, coalesce((SELECT sum(CASE WHEN p.part > 0 THEN (SELECT stored_size FROM chunk WHERE kid =
        p.part) ELSE (SELECT stored_size FROM content WHERE cid = -p.part AND codec IS NOT NULL) END)
        FROM session_part p WHERE p.sid = u.sid), 0) AS real FROM session_use u
"""

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "quota", None, "quotas", "they count {1} bytes of {0}, and there are {2}",
        """SELECT q.what, q.bytes, coalesce(CASE q.what
           WHEN 'content' THEN (SELECT sum(stored_size) FROM content WHERE codec IS NOT NULL AND cid <= q.until)
           WHEN 'chunk' THEN (SELECT sum(stored_size) FROM chunk WHERE kid <= q.until) END, 0) AS real
           FROM counted q WHERE q.bytes IS NOT real""",
    ),
    Invariant(
        "quota", None, "quotas", "they count {0} up to number {1}, and the last is {2}",
        """SELECT q.what, q.until, coalesce(CASE q.what WHEN 'chunk' THEN (SELECT max(kid) FROM chunk)
           ELSE (SELECT seq FROM sqlite_sequence WHERE name = q.what) END, 0) AS last FROM counted q
           WHERE q.what NOT IN ('content', 'chunk', 'entry') OR q.until > last OR typeof(q.until) != 'integer'""",
    ),
    Invariant(
        "quota", None, "quotas", "they count {1} bytes of session {0}, and there are {2}",
        f"SELECT sid, bytes, real FROM ({_BYTES}) WHERE bytes IS NOT real",
    ),
    Invariant(
        "quota", None, "quotas", "they count other contents of session {0} than it has",
        f"""WITH {_REAL} SELECT DISTINCT sid FROM (SELECT * FROM (SELECT sid, part FROM real EXCEPT SELECT sid, part
            FROM session_part) UNION ALL SELECT * FROM (SELECT sid, part FROM session_part EXCEPT SELECT sid, part
            FROM real))""",
    ),
)  # fmt: skip
