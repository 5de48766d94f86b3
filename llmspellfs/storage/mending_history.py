"""The SQL of repairs to history: trails, sessions, checkpoints, and the seqs at which rows begin and end.

Each function mends one kind of thing in the caller's transaction and says what it did.
"""

# ruff: noqa: S608 - queries are made of words of the program

from __future__ import annotations

import json
import re

from llmspellfs.model.event import line_hash
from llmspellfs.storage.changelog import last_change
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import MOST_EVENTS, Done, Keep, keep_rows, next_ino
from llmspellfs.storage.schema import FIRST_INO, SUPERSEDED


def trails(db: Connection) -> list[Done]:
    """Bring each session's numbers up to the last event that it has, so that the next one has a place.

    Its head stays what it is, unless there are events after the one that it is of, or it is no hash at all.
    """
    done = []
    for sid, was, head, seq, line in db.execute(_LAST_LINES).fetchall():
        known = was if isinstance(was, int) and was < MOST_EVENTS else 0
        if seq > known or known != was or not re.fullmatch("[0-9a-f]{64}", str(head)):
            numbers = (max(seq, known), line_hash(line), sid)
            db.execute("UPDATE session SET seq = ?, head = ? WHERE sid = ?", numbers)
            done.append(Done("chain", f"its head is that of its last event, {seq}, again", sid))
    return done


_LAST_LINES = """
    SELECT s.sid, s.seq, s.head, v.seq, v.line FROM session s JOIN event v ON v.sid = s.sid
    AND v.seq = (SELECT max(seq) FROM event WHERE sid = s.sid)
"""


def lost_sessions(db: Connection) -> list[Done]:
    """Make the row of each session again that has events and is not there; its first event tells its id."""
    done = []
    query = "SELECT sid, line, at_ns FROM event WHERE kind = 'session.created' AND sid NOT IN (SELECT sid FROM session)"
    for sid, line, at_ns in db.execute(query).fetchall():
        try:
            session_id = json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            continue
        if (
            isinstance(session_id, str)
            and not db.execute("SELECT 1 FROM session WHERE id = ?", (session_id,)).fetchone()
        ):
            change = last_change(db) + 1
            row = (sid, session_id, _top(db, sid), at_ns, at_ns, change)
            db.execute(_INSERT_SESSION, row)
            done.append(Done("session", f"session {session_id} is there again", sid))
    return done


_INSERT_SESSION = """
    INSERT INTO session (sid, id, ino, created_ns, seq, head, last_ns, trail_size, horizon_seq, next_sequence,
    artifact_count, total_size, change) VALUES (?, ?, ?, ?, 0, '', ?, 0, 0, 1, 0, 0, ?)
"""


def _top(db: Connection, sid: int) -> int:
    """Return the inode of the top of session *sid*, whose row is gone: the folder of its rows that is none of them."""
    query = """
        SELECT folder FROM entry WHERE sid = ? AND folder NOT IN (SELECT ino FROM entry)
        AND folder NOT IN (SELECT ino FROM session) GROUP BY folder ORDER BY count(*) DESC LIMIT 1
    """
    found = db.execute(query, (sid,)).fetchone()
    if found is not None:
        return int(found[0])
    most = db.execute("SELECT max((SELECT max(ino) FROM inode), (SELECT max(ino) FROM session), ?)", (FIRST_INO,))
    ino = (most.fetchone()[0] or FIRST_INO) + 1
    next_ino(db, ino)
    return int(ino)


def tops(db: Connection, keep: Keep) -> list[Done]:
    """Have sessions be the tops that their rows are in: no row ever was in the one that they say, and no row is it.

    It has attributes: else what the rows say may be what is wrong.
    """
    done = []
    for sid, was, top in db.execute(_TOPS).fetchall():
        keep_rows(db, "session", "sid = ?", (sid,), f"its rows are in the folder {top}", keep)
        db.execute("UPDATE OR IGNORE session SET ino = ? WHERE sid = ?", (top, sid))
        done.append(Done("session", f"its top is inode {top}, not {was}", sid))
    return done


_TOPS = """
    SELECT s.sid, s.ino, min(e.folder) FROM session s JOIN entry e ON e.sid = s.sid
    WHERE s.ino NOT IN (SELECT folder FROM entry) AND e.folder NOT IN (SELECT ino FROM entry)
    AND e.folder NOT IN (SELECT ino FROM session) AND e.folder IN (SELECT ino FROM inode)
    GROUP BY s.sid HAVING count(DISTINCT e.folder) = 1
"""


def session_ends(db: Connection) -> list[Done]:
    """Have sessions be deleted or listed, as the last of their events that is about it says."""
    done = []
    for sid, purged_ns in db.execute(_NEITHER).fetchall():
        last = db.execute(_LAST_ABOUT, (sid,)).fetchone()
        if purged_ns is not None or (last is not None and last[0] == "session.deleted"):
            seq, at_ns = (last[1], last[2]) if last is not None else (1, purged_ns)
            db.execute("UPDATE session SET deleted_ns = coalesce(deleted_ns, ?) WHERE sid = ?", (at_ns, sid))
            db.execute("UPDATE session_row SET seq_to = ? WHERE sid = ? AND seq_to IS NULL", (seq, sid))
            done.append(Done("session", "it is deleted, as its trail says", sid))
        else:
            db.execute("UPDATE session SET deleted_ns = NULL WHERE sid = ?", (sid,))
            db.execute(_REVIVE, (sid, sid))
            done.append(Done("session", "it is listed, as its trail says", sid))
    return done


_NEITHER = """
    SELECT sid, purged_ns FROM session s WHERE sid IN (SELECT sid FROM session_row) AND (s.deleted_ns IS NULL)
    != EXISTS (SELECT 1 FROM session_row r WHERE r.sid = s.sid AND r.seq_to IS NULL)
"""
_LAST_ABOUT = """
    SELECT kind, seq, at_ns FROM event WHERE sid = ? AND kind IN ('session.deleted', 'session.restored')
    ORDER BY seq DESC LIMIT 1
"""
_REVIVE = """
    UPDATE OR IGNORE session_row SET seq_to = NULL
    WHERE rid = (SELECT rid FROM session_row WHERE sid = ? ORDER BY seq_from DESC LIMIT 1)
    AND NOT EXISTS (SELECT 1 FROM session_row WHERE sid = ? AND seq_to IS NULL)
"""


def unnamed(db: Connection) -> list[int]:
    """Return the sids of sessions without a row that says what they are called."""
    query = "SELECT sid FROM session WHERE sid NOT IN (SELECT sid FROM session_row) AND purged_ns IS NULL"
    return [row[0] for row in db.execute(query).fetchall()]


def checkpoints(db: Connection, keep: Keep) -> list[Done]:
    """Put checkpoints back to the event that made them: the n-th is the n-th `session.saved`; else take them out."""
    done = []
    for sid, number, seq in db.execute(_STRAY_CHECKPOINTS).fetchall():
        saved = db.execute(_NTH_SAVED, (sid, number - 1)).fetchone() if isinstance(number, int) and number > 0 else None
        taken = saved and db.execute("SELECT 1 FROM checkpoint WHERE sid = ? AND seq = ?", (sid, saved[0])).fetchone()
        key = (sid, number)
        keep_rows(db, "checkpoint", "sid = ? AND number = ?", key, f"no session.saved at seq {seq}", keep)
        if saved is None or taken:
            db.execute("DELETE FROM checkpoint WHERE sid = ? AND number = ?", key)
            done.append(Done("checkpoint", f"checkpoint {number}, of an event that is not there, moved out", sid))
        else:
            db.execute("UPDATE checkpoint SET seq = ? WHERE sid = ? AND number = ?", (saved[0], *key))
            done.append(Done("checkpoint", f"checkpoint {number} is of seq {saved[0]} again, not {seq}", sid))
    for sid, seq, at_ns in db.execute(_UNNOTED).fetchall():
        number = db.execute(
            "SELECT count(*) FROM event WHERE sid = ? AND kind = 'session.saved' AND seq <= ?", (sid, seq)
        )
        row = (sid, number.fetchone()[0], seq, at_ns)
        db.execute("INSERT OR IGNORE INTO checkpoint (sid, number, seq, at_ns) VALUES (?, ?, ?, ?)", row)
        done.append(Done("checkpoint", f"checkpoint {row[1]}, of seq {seq}, is there again, without its label", sid))
    return done


_UNNOTED = """
    SELECT v.sid, v.seq, v.at_ns FROM event v JOIN session s ON s.sid = v.sid WHERE v.kind = 'session.saved'
    AND s.purged_ns IS NULL AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = v.sid AND k.seq = v.seq)
"""
_STRAY_CHECKPOINTS = """
    SELECT sid, number, seq FROM checkpoint k WHERE NOT EXISTS
    (SELECT 1 FROM event v WHERE v.sid = k.sid AND v.seq = k.seq AND v.kind = 'session.saved')
    AND sid IN (SELECT sid FROM session)
"""
_NTH_SAVED = "SELECT seq FROM event WHERE sid = ? AND kind = 'session.saved' ORDER BY seq LIMIT 1 OFFSET ?"


def drafts(db: Connection) -> list[Done]:
    """Let rows live again that wait for a draft which is not there, where nothing else has their place."""
    query = f"""
        SELECT e.eid, e.sid, e.name FROM entry e WHERE e.seq_to = {SUPERSEDED} AND NOT EXISTS (SELECT 1 FROM entry d
        WHERE d.kind = 0 AND d.sid = e.sid AND d.sequence = e.sequence AND (d.seq_from IS NULL OR d.seq_to IS NULL))
        AND NOT EXISTS (SELECT 1 FROM entry d WHERE d.folder = e.folder AND d.name = e.name AND d.seq_to IS NULL)
    """
    done = []
    for eid, sid, name in db.execute(query).fetchall():
        db.execute("UPDATE entry SET seq_to = NULL WHERE eid = ?", (eid,))
        done.append(Done("validity", f"{name} is there again", sid))
    return done


def set_end(db: Connection, eid: int, seq_to: int | None) -> None:
    """Have the row *eid* end before *seq_to*, or live."""
    db.execute("UPDATE entry SET seq_to = ? WHERE eid = ?", (seq_to, eid))


def has_live_twin(db: Connection, eid: int) -> bool:
    """Tell whether another live row has the place or the sequence of the row *eid*."""
    query = """
        SELECT 1 FROM entry e JOIN entry o ON o.eid != e.eid AND o.seq_to IS NULL AND ((o.folder = e.folder AND
        o.name = e.name) OR (o.kind = 0 AND o.sid = e.sid AND o.sequence = e.sequence)) WHERE e.eid = ? LIMIT 1
    """
    return db.execute(query, (eid,)).fetchone() is not None


def readable(db: Connection, keep: Keep) -> list[Done]:
    """Replace what cannot be read in rows and would keep their whole folder from being listed."""
    done = []
    for table, key, column, empty, is_bad in _READABLE:
        for number, sid in db.execute(f"SELECT {key}, sid FROM {table} WHERE {is_bad}").fetchall():
            keep_rows(db, table, f"{key} = ?", (number,), f"its {column} cannot be read", keep)
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (empty, number))
            done.append(Done("row", f"{column} of a row of {table} could not be read: {empty!r} now", sid))
    return done


def set_home(db: Connection, table: str, key: str, number: int, sid: int) -> bool:
    """Have the row *number* of *table* belong to session *sid*, unless another row has its place; tell whether."""
    query = f"UPDATE OR IGNORE {table} SET sid = ? WHERE {key} = ?"
    return db.execute(query, (sid, number)).rowcount == 1


_IS_NO = "CASE json_valid({0}) WHEN 1 THEN json_type({0}) != '{1}' ELSE 1 END"
_IS_NO_TAGS = f"""{_IS_NO.format("tags", "array")}
    OR EXISTS (SELECT 1 FROM json_each(iif(json_valid(tags), tags, '[]')) t WHERE t.type != 'text')"""
_READABLE: tuple[tuple[str, str, str, object, str], ...] = (
    ("entry", "eid", "tags", "[]", f"kind = 0 AND ({_IS_NO_TAGS})"),
    ("entry", "eid", "custom", "{}", "kind = 0 AND " + _IS_NO.format("custom", "object")),
    ("entry", "eid", "type", "", "kind = 0 AND type IS NULL"),
    ("entry", "eid", "created_ns", 0, "kind = 0 AND created_ns IS NULL"),
    ("entry", "eid", "updated_ns", 0, "kind = 0 AND updated_ns IS NULL"),
    ("session_row", "rid", "tags", "[]", _IS_NO_TAGS),
    ("session_row", "rid", "metadata", "{}", _IS_NO.format("metadata", "object")),
    ("entry", "eid", "kind", 0, "kind NOT IN (0, 1, 2) AND content IS NOT NULL"),
    ("session_row", "rid", "status", "completed", "status NOT IN ('active', 'suspended', 'completed', 'failed')"),
)
