"""The SQL of repairs by the trail: what sessions, checkpoints and events say of themselves is what the events tell.

An event is believed where the next one, or the head, has its line's hash, and where the index agrees with its line.
Each function mends one kind of thing in the caller's transaction and says what it did.
"""

# ruff: noqa: S608 - queries are made of words of the program

from __future__ import annotations

from bisect import bisect_left

from llmspellfs.model.event import line_hash, read_line
from llmspellfs.model.times import iso
from llmspellfs.storage.audit_trail import ENDS, FIRST, NUMBERED, OUT_OF_ORDER
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import MOST_EVENTS, Done, Keep, keep_rows


def places(db: Connection, keep: Keep) -> list[Done]:
    """Have events stand where their lines say, if no other does and the line before or the one behind agrees.

    Else rows would be taken for those of an event elsewhere, and an artifact's end be looked for at the wrong one.
    """
    done, lost = list[Done](), db.execute(_MISPLACED).fetchall()
    while lost:
        ended = len(done)
        for number, sid, seq, line in (*lost, *reversed(lost)):  # what has its place is what others are beside
            done += _put(db, number, (sid, seq), line, keep)
        if len(done) == ended:
            break
        lost = db.execute(_MISPLACED).fetchall()
    return done


_MISPLACED = """
    SELECT id, sid, seq, line FROM event WHERE instr(line, '"seq":' || seq || ',') = 0
    OR sid NOT IN (SELECT sid FROM session) ORDER BY id
"""


def _put(db: Connection, number: int, was: tuple[int, int], line: str, keep: Keep) -> list[Done]:
    """Have the event *number*, which *was* said to be of a session at a seq, stand where *line* says, if it may be."""
    told = read_line(line)
    seq, before = told.get("seq"), told.get("prev")
    if not isinstance(seq, int) or not 0 < seq < MOST_EVENTS or not isinstance(before, str):
        return []
    for sid in _with_place(db, was[0], seq):
        if not _follows(db, sid, seq, before) and not _is_followed(db, sid, seq, line):
            continue
        keep_rows(db, "event", "id = ?", (number,), "its line has another place", keep)
        db.execute("UPDATE event SET sid = ?, seq = ? WHERE id = ?", (sid, seq, number))
        return [Done("event", f"event {seq} has its place again, which was {was[1]}", sid)]
    return []


def _with_place(db: Connection, sid: int, seq: int) -> list[int]:
    """Return the sessions that an event *seq* said to be of *sid* may be of, and that have none there."""
    query = """
        SELECT s.sid FROM session s WHERE (s.sid = ?1 OR ?1 NOT IN (SELECT sid FROM session))
        AND NOT EXISTS (SELECT 1 FROM event v WHERE v.sid = s.sid AND v.seq = ?2)
    """
    return [row[0] for row in db.execute(query, (sid, seq)).fetchall()]


def _follows(db: Connection, sid: int, seq: int, before: str) -> bool:
    row = db.execute("SELECT line FROM event WHERE sid = ? AND seq = ?", (sid, seq - 1)).fetchone()
    return row is not None and line_hash(row[0]) == before


def _is_followed(db: Connection, sid: int, seq: int, line: str) -> bool:
    row = db.execute("SELECT line FROM event WHERE sid = ? AND seq = ?", (sid, seq + 1)).fetchone()
    if row is not None:
        return read_line(row[0]).get("prev") == line_hash(line)
    return db.execute("SELECT 1 FROM session WHERE sid = ? AND head = ?", (sid, line_hash(line))).fetchone() is not None


def identities(db: Connection, keep: Keep) -> list[Done]:
    """Have sessions be called, made, deleted and purged as their events tell."""
    done = []
    for sid, was, made_ns, told, at_ns in db.execute(FIRST).fetchall():
        if (was, _micro(made_ns)) == (told, _micro(at_ns)) or not is_believed(db, sid, 1):
            continue
        session_id = told if isinstance(told, str) else was
        keep_rows(db, "session", "sid = ?", (sid,), "its first event tells another id or time", keep)
        db.execute("UPDATE OR IGNORE session SET id = ?, created_ns = ? WHERE sid = ?", (session_id, at_ns, sid))
        done.append(Done("identity", f"session {session_id} is as its first event says", sid))
    return done + _ends(db, keep)


def _micro(moment_ns: object) -> object:
    """Return the microsecond of a time, which is all that a line tells of it."""
    return moment_ns // 1000 if isinstance(moment_ns, int) else moment_ns


def _ends(db: Connection, keep: Keep) -> list[Done]:
    done = []
    query = f"""SELECT * FROM ({ENDS}) WHERE deleted_ns / 1000 IS NOT deleted / 1000
        OR purged_ns / 1000 IS NOT purged / 1000"""
    for sid, name, deleted_ns, purged_ns, deleted, purged, *seqs in db.execute(query).fetchall():
        now = [
            told if _may_be(db, sid, told, seq) else was
            for was, told, seq in ((deleted_ns, deleted, seqs[0]), (purged_ns, purged, seqs[1]))
        ]
        if now != [deleted_ns, purged_ns]:
            keep_rows(db, "session", "sid = ?", (sid,), "its events tell other times of its end", keep)
            db.execute("UPDATE session SET deleted_ns = ?, purged_ns = ? WHERE sid = ?", (*now, sid))
            done.append(Done("identity", f"session {name} ended when its events say", sid))
    return done


def _may_be(db: Connection, sid: int, told: int | None, seq: int | None) -> bool:
    """Tell whether session *sid* may have ended as *told* by the event *seq*; with neither, whether it lives."""
    if told is not None and seq is not None:
        return is_believed(db, sid, seq)
    return db.execute("SELECT 1 FROM session_row WHERE sid = ? AND seq_to IS NULL", (sid,)).fetchone() is not None


def is_believed(db: Connection, sid: int, seq: int) -> bool:
    """Tell whether the event *seq* of session *sid* is in its chain, and the index agrees with its line."""
    row = db.execute("SELECT kind, at_ns, line FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    after = db.execute("SELECT line FROM event WHERE sid = ? AND seq = ?", (sid, seq + 1)).fetchone()
    head = db.execute("SELECT head FROM session WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    if row is None or (after is None and head is None):
        return False
    told = read_line(row[2])
    following = head[0] if after is None else read_line(after[0]).get("prev")
    try:
        return (told.get("kind"), told.get("at"), line_hash(row[2])) == (row[0], iso(row[1]), following)
    except (TypeError, ValueError, OverflowError):
        return False


def checkpoints(db: Connection, keep: Keep) -> list[Done]:
    """Have the n-th checkpoint of a session be the one that its n-th `session.saved` made, at that event's time.

    Where that event is not believed, the checkpoint keeps the time that it has.
    """
    done = []
    wrong = f"SELECT DISTINCT sid FROM ({NUMBERED}) WHERE number IS NOT nth OR at_ns / 1000 IS NOT saved / 1000"
    for (sid,) in db.execute(wrong).fetchall():
        told = db.execute(f"SELECT number, nth, seq, at_ns, saved FROM ({NUMBERED}) WHERE sid = ?", (sid,)).fetchall()
        rows = [(nth, saved if is_believed(db, sid, seq) else was, seq) for _, nth, seq, was, saved in told]
        if rows == [(number, was, seq) for number, _, seq, was, _ in told]:
            continue
        labels = dict(db.execute("SELECT seq, label FROM checkpoint WHERE sid = ?", (sid,)))
        keep_rows(db, "checkpoint", "sid = ?", (sid,), "its events tell other numbers or times", keep)
        db.execute("DELETE FROM checkpoint WHERE sid = ?", (sid,))
        query = "INSERT OR IGNORE INTO checkpoint (sid, number, at_ns, seq, label) VALUES (?, ?, ?, ?, ?)"
        db.executemany(query, [(sid, nth, at_ns, seq, labels[seq]) for nth, at_ns, seq in rows])
        done.append(Done("checkpoint", "its checkpoints are numbered as its events are", sid))
    return done


def orders(db: Connection, keep: Keep) -> list[Done]:
    """Give the events whose numbers are not in the order of their trail numbers that are, where any are free."""
    done = []
    for sid in sorted({row[0] for row in db.execute(OUT_OF_ORDER).fetchall()}):
        rows = db.execute("SELECT seq, id FROM event WHERE sid = ? ORDER BY seq", (sid,)).fetchall()
        right = _rising([number for _, number in rows])
        before = 0
        for place, (seq, number) in enumerate(rows):
            if place in right:
                before = number
                continue
            after = next((rows[n][1] for n in range(place + 1, len(rows)) if n in right), None)
            free = db.execute(_FREE, {"before": before, "after": after}).fetchone()[0]
            if free is None:
                continue
            keep_rows(db, "event", "id = ?", (number,), "its number is out of order", keep)
            db.execute("UPDATE event SET id = ? WHERE id = ?", (free, number))
            done.append(Done("order", f"event {seq} has the number {free}, not {number}", sid))
            before = free
    return done


_FREE = """
    SELECT min(n) FROM (SELECT :before + 1 AS n UNION ALL SELECT id + 1 FROM event WHERE id > :before) c
    WHERE (:after IS NULL OR n < :after) AND NOT EXISTS (SELECT 1 FROM event v WHERE v.id = c.n)
"""


def _rising(numbers: list[int]) -> set[int]:
    """Return the places of a longest rising part of *numbers*, those from 1 on."""
    tails, last = list[int](), list[int]()
    before: dict[int, int | None] = {}
    for place, number in enumerate(numbers):
        if number < 1:
            continue
        at = bisect_left(tails, number)
        tails[at:], last[at:] = [number, *tails[at + 1 :]], [place, *last[at + 1 :]]
        before[place] = last[at - 1] if at else None
    found, here = set[int](), last[-1] if last else None
    while here is not None:
        found.add(here)
        here = before[here]
    return found
