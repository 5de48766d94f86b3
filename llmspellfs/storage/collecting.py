"""The SQL of garbage collection: what history no longer keeps, and content that no row refers to.

What is due is found by reading alone. Every function that writes takes a few of these, looks again whether they still
are, and runs in the caller's transaction, so that a large store is collected in many short ones. Lists of numbers are
bound as JSON.
"""

# ruff: noqa: S608 - queries are made of constants of this module and the schema

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby

from llmspellfs.storage.erasing import FLEETING_NS, FOR_CHUNKS
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED

_THESE = "IN (SELECT value FROM json_each(?))"
_REFERRED = "EXISTS (SELECT 1 FROM entry e WHERE e.content = c.cid)"


def horizons(db: Connection, before_ns: int) -> list[tuple[int, int]]:
    """Return for each session with history from before *before_ns* its sid and the seq it has reached then."""
    query = (
        "SELECT s.sid, max(e.seq) FROM session s JOIN event e ON e.sid = s.sid WHERE e.at_ns < ?"
        " AND e.seq > s.horizon_seq GROUP BY s.sid"
    )
    return list(db.execute(query, (before_ns,)))


def move_horizon(db: Connection, sid: int, horizon: int) -> None:
    """Have nothing of session *sid* shown below *horizon* but checkpoints; rows of its own fields go at once."""
    db.execute("UPDATE session SET horizon_seq = ? WHERE sid = ? AND horizon_seq < ?", (horizon, sid, horizon))
    db.execute(_PRUNE_SESSION_ROWS, (sid, horizon))


@dataclass(frozen=True, slots=True)
class Ended:
    """The rows (*eids*) of session *sid* that ended at one seq."""

    sid: int
    seq: int
    eids: list[int]


def ended_rows(db: Connection, due: list[tuple[int, int]]) -> list[Ended]:
    """Return the rows that ended at or before their session's horizon, and that no checkpoint shows, in that order.

    One that ends before it begins may live, and is left to a repair. The horizons are those the sessions have, or the
    higher ones of *due* (sid and seq).
    """
    rows = db.execute(_ENDED, (json.dumps(due),))
    return [Ended(sid, seq, [row[2] for row in those]) for (sid, seq), those in groupby(rows, lambda row: row[:2])]


def expired(db: Connection, before_ns: int) -> list[int]:
    """Return the sids of sessions deleted before *before_ns* and not purged.

    What goes cannot come back, so that one altered value is not believed: they have no live row, and the last event of
    their deletion, where it is there, was before that too.
    """
    return [row[0] for row in db.execute(_EXPIRED.format(only=""), (before_ns, before_ns))]


def is_expired(db: Connection, sid: int, before_ns: int) -> bool:
    """Tell whether session *sid* is one of those."""
    return db.execute(_EXPIRED.format(only="AND sid = ?"), (before_ns, before_ns, sid)).fetchone() is not None


_EXPIRED = """
    SELECT sid FROM session s WHERE deleted_ns < ? AND purged_ns IS NULL
    AND NOT EXISTS (SELECT 1 FROM session_row r WHERE r.sid = s.sid AND r.seq_to IS NULL)
    AND coalesce((SELECT max(at_ns) FROM event v WHERE v.sid = s.sid AND v.kind = 'session.deleted'), 0) < ? {only}
"""


def fleeting(db: Connection, before_ns: int) -> list[tuple[int, int]]:
    """Return the sid and the sequence of artifacts that lived for less than a minute, deleted before *before_ns*.

    Editors' swap and lock files are such; one that a checkpoint shows is not. Both the first event and the creation
    count: events go by one clock in a session, creation comes along into a fork, by whatever clock that was.
    """
    return db.execute(_FLEETING.format(only=""), (before_ns, FLEETING_NS)).fetchall()


def is_fleeting(db: Connection, sid: int, sequence: int, before_ns: int) -> bool:
    """Tell whether the artifact *sequence* of session *sid* is still one of those."""
    only = "AND sid = ? AND sequence = ?"
    return db.execute(_FLEETING.format(only=only), (sid, sequence, before_ns, FLEETING_NS)).fetchone() is not None


def unused(db: Connection) -> list[tuple[int, int]]:
    """Return the contents (cids) that no row refers to and that are not marked yet, with what is written for each."""
    found = f"SELECT c.cid FROM content c WHERE NOT {_REFERRED}"  # the smallest index of content will do for this
    marked = "SELECT cid FROM content WHERE condemned_ns IS NOT NULL"
    return db.execute(f"{_WEIGHED} WHERE c.cid IN ({found}) AND c.cid NOT IN ({marked})").fetchall()


def lacks_content(db: Connection) -> bool:
    """Tell whether rows name contents, or chunks, of which the index has no row: what they name may be there yet.

    So it is where a content that a row refers to has not the chunks that make up its size, and where a file names none.
    The sizes are read from an index of contents in chunks, since rows with small contents are pages apart; files and
    those that name a content are counted in one index each, since only files do.
    """
    files = (
        "SELECT 1 WHERE (SELECT count(*) FROM entry WHERE kind = 0)"
        " > (SELECT count(*) FROM entry WHERE content IS NOT NULL)"
    )
    entries = "SELECT 1 FROM entry e WHERE e.content IS NOT NULL AND e.content NOT IN (SELECT cid FROM content)"
    pieces = "SELECT 1 FROM content_chunk m WHERE m.kid NOT IN (SELECT kid FROM chunk)"
    made = "SELECT coalesce(sum(k.size), 0) FROM content_chunk m JOIN chunk k ON k.kid = m.kid WHERE m.cid = c.cid"
    sizes = f"SELECT 1 FROM content c WHERE c.data IS NULL AND c.size IS NOT ({made}) AND {_REFERRED}"
    return any(db.execute(f"{query} LIMIT 1").fetchone() is not None for query in (entries, pieces, files, sizes))


def lost_events(db: Connection) -> int:
    """Return how many events the index has lost for all that can be counted, without reading one.

    Their ids have no gaps, as no event is ever deleted, and a session's `seq` counts its own.
    """
    counts = "SELECT (SELECT count(*) FROM event), (SELECT max(id) FROM event), (SELECT total(seq) FROM session)"
    there, last, told = (number or 0 for number in db.execute(counts).fetchone())
    return int(max(last - there, abs(told - there)))


def given_up(db: Connection) -> int:
    """Return how many lost events have been given up."""
    row = db.execute("SELECT value FROM store WHERE key = 'given_up'").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def give_up(db: Connection, lost: int) -> None:
    """Note that *lost* events are given up, with what they told of."""
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('given_up', ?)", (lost,))


def count_unused_without(db: Connection, eids: list[int]) -> int:
    """Return how many contents would be marked, were the rows *eids* gone."""
    kept = f"SELECT 1 FROM entry e WHERE e.content = c.cid AND e.eid NOT {_THESE}"
    marked = "SELECT cid FROM content WHERE condemned_ns IS NOT NULL"
    query = f"SELECT count(*) FROM content c WHERE NOT EXISTS ({kept}) AND c.cid NOT IN ({marked})"
    count: int = db.execute(query, (json.dumps(eids),)).fetchone()[0]
    return count


def mark(db: Connection, cids: list[int], now_ns: int) -> int:
    """Condemn those of *cids* that no row refers to, and chunks that only condemned contents have; count contents."""
    these = json.dumps(cids)
    query = f"UPDATE content AS c SET condemned_ns = ? WHERE cid {_THESE} AND condemned_ns IS NULL AND NOT {_REFERRED}"
    count = db.execute(query, (now_ns, these)).rowcount
    used = (
        "SELECT 1 FROM content_chunk m JOIN content c ON c.cid = m.cid WHERE m.kid = k.kid AND c.condemned_ns IS NULL"
    )
    of_these = f"SELECT kid FROM content_chunk WHERE cid {_THESE}"
    db.execute(
        f"UPDATE chunk AS k SET condemned_ns = ? WHERE condemned_ns IS NULL AND kid IN ({of_these})"
        f" AND NOT EXISTS ({used})",
        (now_ns, these),
    )
    return count


def wrongly_marked(db: Connection) -> list[tuple[int, int]]:
    """Return the condemned contents (cids) that a row refers to all the same, with what is written for each."""
    return db.execute(f"{_WEIGHED} WHERE c.condemned_ns IS NOT NULL AND {_REFERRED}").fetchall()


def is_marked_late(db: Connection, now_ns: int) -> bool:
    """Tell whether anything was marked by a clock that was ahead of *now_ns*."""
    return db.execute("SELECT 1 FROM content WHERE condemned_ns > ? LIMIT 1", (now_ns,)).fetchone() is not None


def mark_anew(db: Connection, now_ns: int) -> None:
    """Let the grace of what was marked later than *now_ns* begin now: the clock was ahead by who knows how much."""
    for table in ("content", "chunk"):
        db.execute(f"UPDATE {table} SET condemned_ns = ?1 WHERE condemned_ns > ?1", (now_ns,))


def pardon(db: Connection, cids: list[int]) -> None:
    """Take the marks from the contents *cids* and from their chunks."""
    these = (json.dumps(cids),)
    db.execute(f"UPDATE content SET condemned_ns = NULL WHERE cid {_THESE}", these)
    of_these = f"SELECT kid FROM content_chunk WHERE cid {_THESE}"
    db.execute(f"UPDATE chunk SET condemned_ns = NULL WHERE condemned_ns IS NOT NULL AND kid IN ({of_these})", these)


def due(db: Connection, before_ns: int) -> list[tuple[int, int]]:
    """Return the contents (cids) that were condemned before *before_ns*, with what is written for each."""
    return db.execute(f"{_WEIGHED} WHERE c.condemned_ns < ? AND NOT {_REFERRED}", (before_ns,)).fetchall()


def still_due(db: Connection, cids: list[int], before_ns: int) -> list[int]:
    """Return those of *cids* that are condemned since before *before_ns*: the others have been pardoned meanwhile."""
    query = f"SELECT cid FROM content WHERE cid {_THESE} AND condemned_ns < ?"
    return [row[0] for row in db.execute(query, (json.dumps(cids), before_ns))]


def freed_by(db: Connection, cids: list[int]) -> int:
    """Return the stored bytes that would be freed, were the contents *cids* gone."""
    these = json.dumps(cids)
    inline = f"SELECT coalesce(sum(length(data)), 0) FROM content WHERE cid {_THESE}"
    others = f"SELECT 1 FROM content_chunk m WHERE m.kid = k.kid AND m.cid NOT {_THESE}"
    of_these = f"SELECT kid FROM content_chunk WHERE cid {_THESE}"
    chunks = f"SELECT coalesce(sum(stored_size), 0) FROM chunk k WHERE kid IN ({of_these}) AND NOT EXISTS ({others})"
    first, second = db.execute(inline, (these,)).fetchone(), db.execute(chunks, (these, these)).fetchone()
    return int(first[0] + second[0])


def count_files(db: Connection, cids: list[int]) -> int:
    """Return how many files of chunks would go, were the contents *cids* gone."""
    others = f"SELECT 1 FROM content_chunk m WHERE m.kid = k.kid AND m.cid NOT {_THESE}"
    of_these = f"SELECT kid FROM content_chunk WHERE cid {_THESE}"
    query = f"SELECT count(*) FROM chunk k WHERE data IS NULL AND kid IN ({of_these}) AND NOT EXISTS ({others})"
    count: int = db.execute(query, (json.dumps(cids), json.dumps(cids))).fetchone()[0]
    return count


@dataclass(frozen=True, slots=True)
class Loose:
    """A chunk that no content has: its bytes as stored and those of the index, and when it was condemned, if it is."""

    kid: int
    stored_size: int
    in_index: int
    condemned_ns: int | None
    is_file: bool


def loose_chunks(db: Connection) -> list[Loose]:
    """Return the chunks that no content has: a content stored anew, or a repair, has left them."""
    query = "SELECT k.kid FROM chunk k WHERE NOT EXISTS (SELECT 1 FROM content_chunk m WHERE m.kid = k.kid)"
    fields = "kid, stored_size, coalesce(length(data), 0), condemned_ns, data IS NULL"
    return [Loose(*row) for row in db.execute(f"SELECT {fields} FROM chunk WHERE kid IN ({query})")]


def mark_loose(db: Connection, kids: list[int], now_ns: int) -> int:
    """Condemn those of the chunks *kids* that no content has; return how many that were."""
    unused = "NOT EXISTS (SELECT 1 FROM content_chunk m WHERE m.kid = chunk.kid)"
    query = f"UPDATE chunk SET condemned_ns = ? WHERE kid {_THESE} AND condemned_ns IS NULL AND {unused}"
    return db.execute(query, (now_ns, json.dumps(kids))).rowcount


def loose_due(db: Connection, kids: list[int], before_ns: int) -> list[int]:
    """Return those of *kids* that are condemned since before *before_ns*."""
    query = f"SELECT kid FROM chunk WHERE kid {_THESE} AND condemned_ns < ?"
    return [row[0] for row in db.execute(query, (json.dumps(kids), before_ns))]


def free_bytes(db: Connection) -> int:
    """Return the bytes of the index's pages that hold nothing, and are filled again before it grows."""
    count: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return count * size


_WEIGHED = f"SELECT c.cid, coalesce(length(c.data), c.size / {FOR_CHUNKS}) FROM content c"
_ENDED = """
    SELECT e.sid, e.seq_to, e.eid FROM entry e JOIN session s ON s.sid = e.sid
    LEFT JOIN (SELECT json_extract(value, '$[0]') AS sid, json_extract(value, '$[1]') AS horizon FROM json_each(?)) d
        ON d.sid = e.sid
    WHERE e.seq_to > e.seq_from AND e.seq_to <= max(s.horizon_seq, coalesce(d.horizon, 0)) AND NOT EXISTS (
        SELECT 1 FROM checkpoint k WHERE k.sid = e.sid AND k.seq >= e.seq_from AND k.seq < e.seq_to)
    ORDER BY e.sid, e.seq_to
"""
_FLEETING = f"""
    WITH gone AS (
        SELECT sid, sequence, min(seq_from) AS first, max(seq_to) AS last, min(created_ns) AS created_ns FROM entry
        WHERE kind = 0 {{only}} GROUP BY sid, sequence
        HAVING count(seq_from) = count(*) AND count(seq_to) = count(*) AND max(seq_to) < {SUPERSEDED})
    SELECT g.sid, g.sequence FROM gone g
    JOIN event b ON b.sid = g.sid AND b.seq = g.first
    JOIN event v ON v.sid = g.sid AND v.seq = g.last AND v.kind = 'artifact.deleted'
    WHERE v.at_ns < ? AND v.at_ns - min(b.at_ns, g.created_ns) < ?
      AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = g.sid AND k.seq >= g.first AND k.seq < g.last)
"""
_PRUNE_SESSION_ROWS = """
    DELETE FROM session_row AS r WHERE r.sid = ? AND r.seq_to <= ? AND r.seq_to > r.seq_from
    AND r.seq_from < (SELECT max(seq_from) FROM session_row WHERE sid = r.sid)
    AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = r.sid AND k.seq >= r.seq_from AND k.seq < r.seq_to)
"""
