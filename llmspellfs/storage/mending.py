"""The SQL of repairs: each function mends one kind of thing in the caller's transaction and says what it did.

A repair is the same whether it is the first or follows one that was cut short: what is right already stays as it is.
"""
# ruff: noqa: S608, ISC004 - queries are made of words of the program

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llmspellfs.model.query import labels
from llmspellfs.model.shown import count as plural
from llmspellfs.storage.audit_rows import NO_CHUNK_CODEC, NO_CODEC, OF_FILES
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import FIRST_INO

MOST_EVENTS = 1 << 53
"""Above which no session has had events, nor bytes of them: a larger number would leave none for the next."""
Keep = Callable[[str, str, dict[str, Any]], None]
"""Notes a row that is removed or changed: its table, why, and the row."""


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that a repair did, in words; *sid* is the session whose trail is to tell of it, or None."""

    kind: str
    what: str
    sid: int | None = None


def keep_rows(db: Connection, table: str, where: str, key: tuple[object, ...], why: str, keep: Keep) -> int:
    """Note the rows of *table* for which *where* (of the program) holds; return how many there are."""
    cursor = db.execute(f"SELECT * FROM {table} WHERE {where}", key)
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    for row in rows:
        keep(table, why, dict(zip(names, row, strict=True)))
    return len(rows)


def _remove(db: Connection, table: str, where: str, why: str, keep: Keep) -> int:
    count = keep_rows(db, table, where, (), why, keep)
    if count:
        db.execute(f"DELETE FROM {table} WHERE {where}")
    return count


def renumber(db: Connection) -> None:
    """Have SQLite give no number again that a row has, or refers to."""
    for table, most in (
        ("entry", "(SELECT coalesce(max(eid), 0) FROM entry)"),
        ("content", "max((SELECT coalesce(max(cid), 0) FROM content), (SELECT coalesce(max(content), 0) FROM entry))"),
        ("message", "(SELECT coalesce(max(id), 0) FROM message)"),
    ):
        number = db.execute(f"SELECT {most}").fetchone()[0]
        found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if found is None and number:
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        elif found is not None and not (isinstance(found[0], int) and found[0] >= number):
            db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, table))


def relabel(db: Connection) -> None:
    """Make the labels of live files and sessions anew."""
    db.execute("DELETE FROM entry_label")
    db.execute("DELETE FROM session_label")
    files = "SELECT eid, tags, custom FROM entry WHERE kind = 0 AND seq_to IS NULL AND (tags != '[]' OR custom != '{}')"
    db.executemany("INSERT OR IGNORE INTO entry_label (key, value, eid) VALUES (?, ?, ?)", _labels(db, files))
    live = "SELECT sid, tags, metadata FROM session_row WHERE seq_to IS NULL"
    db.executemany("INSERT OR IGNORE INTO session_label (key, value, sid) VALUES (?, ?, ?)", _labels(db, live))


def _labels(db: Connection, query: str) -> Iterator[tuple[str, str, int]]:
    for number, tags, metadata in db.execute(query).fetchall():
        try:
            pairs = labels(json.loads(tags), json.loads(metadata))
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
        yield from ((key, value, number) for key, value in pairs)


def retext(db: Connection) -> None:
    """Empty the full text, which is made anew when free words are next asked for."""
    db.execute("DROP TABLE entry_text")
    db.execute(
        "CREATE VIRTUAL TABLE entry_text"
        " USING fts5(name, description, tags, custom, tokenize = 'unicode61 remove_diacritics 2')"
    )
    db.execute("DELETE FROM entry_text_due")
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('indexed_eid', 0)")


def recounted(db: Connection, sid: int) -> tuple[int, int, int]:
    """Return how many live files session *sid* has, how many bytes they are, and the next sequence at least."""
    query = """
        SELECT count(*) FILTER (WHERE seq_to IS NULL), CAST(total(size) FILTER (WHERE seq_to IS NULL) AS INTEGER),
        1 + coalesce(max(sequence), 0) FROM entry WHERE sid = ? AND kind = 0
    """
    found: tuple[int, int, int] = db.execute(query, (sid,)).fetchone()
    return found


_HORIZON = """
    CASE WHEN horizon_seq BETWEEN 0 AND seq THEN min(horizon_seq, coalesce((SELECT min(e.seq_to) - 1 FROM entry e
    WHERE e.sid = s.sid AND e.seq_to <= s.horizon_seq AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = e.sid
    AND k.seq >= e.seq_from AND k.seq < e.seq_to)), horizon_seq)) ELSE 0 END
"""


def counters(db: Connection) -> list[Done]:
    """Count again what sessions and the store count; the numbers of events are `trails`'."""
    done = []
    for column, real, what in (
        ("artifact_count", "(SELECT count(*) FROM entry WHERE sid = s.sid AND kind = 0 AND seq_to IS NULL)",
         "its artifacts are counted anew"),
        ("total_size",
         "(SELECT CAST(total(size) AS INTEGER) FROM entry WHERE sid = s.sid AND kind = 0 AND seq_to IS NULL)",
         "its bytes are counted anew"),
        ("trail_size", _of_last_event("ends", "trail_size"), "its trail is {} bytes long, not {}"),
        ("last_ns", _of_last_event("at_ns", "last_ns"), "its last change was at the time of its last event"),
        ("horizon_seq", _HORIZON, "its history begins at event {}, not {}"),
    ):  # fmt: skip
        wrong = db.execute(f"SELECT sid, {column}, {real} FROM session s WHERE {column} IS NOT {real}").fetchall()
        for sid, was, now in wrong:
            db.execute(f"UPDATE session SET {column} = ? WHERE sid = ?", (now, sid))
            done.append(Done("counter", what.format(now, was), sid))
    renumber(db)
    return done + next_ino(db)


_MOST = 1 << 62
"""Above which there would be no number for the next."""


def _of_last_event(column: str, else_column: str) -> str:
    """Return what a session's last event has in *column*, else the session itself, as SQL for a number in any case.

    The next event goes on from it: what is no number would let none be written, not even that of the repair.
    """
    has, was = (f"typeof({name}) = 'integer' AND {name} BETWEEN 0 AND {_MOST}" for name in (column, else_column))
    return f"""coalesce((SELECT {column} FROM event WHERE sid = s.sid AND seq = s.seq AND {has}),
        CASE WHEN {was} THEN {else_column} END, 0)"""


def next_sequences(db: Connection) -> list[Done]:
    """Have each session's next artifact be one that it has not had."""
    query = """
        UPDATE session AS s SET next_sequence =
            (SELECT 1 + coalesce(max(sequence), 0) FROM entry WHERE sid = s.sid AND kind = 0)
        WHERE typeof(next_sequence) != 'integer' OR next_sequence < 1
        OR next_sequence <= (SELECT max(sequence) FROM entry WHERE sid = s.sid AND kind = 0)
    """
    count = db.execute(query).rowcount
    return (
        [Done("counter", f"the next artifact of {plural(count, 'session')} is one that it has not had")]
        if count
        else []
    )


def next_ino(db: Connection, least: int = FIRST_INO - 1) -> list[Done]:
    """Have the next inode be above *least* and every one there is."""
    query = """
        SELECT max(coalesce((SELECT max(ino) FROM inode WHERE ino < ?1), 0),
        coalesce((SELECT max(ino) FROM session WHERE ino < ?1), 0), ?2)
    """
    most = db.execute(query, (_MOST, least)).fetchone()[0]
    row = db.execute("SELECT value FROM store WHERE key = 'next_ino'").fetchone()
    if row is not None and isinstance(row[0], int) and row[0] > most:
        return []
    db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('next_ino', ?)", (most + 1,))
    return [Done("counter", "the next file gets a number that no other has")]


def sizes(db: Connection) -> list[Done]:
    """Bring sizes as stored into step with what is stored; those of rows with their content's."""
    done = [
        Done("size", f"{plural(n, 'row')} with the size of the content again")
        for n in [db.execute(_ROW_SIZES).rowcount]
        if n
    ]
    for query in _STORED_SIZES:
        count = db.execute(query).rowcount
        done += [Done("stored-size", f"{plural(count, 'stored size')} corrected")] if count else []
    return done


_ROW_SIZES = """
    UPDATE entry AS e SET size = (SELECT size FROM content WHERE cid = e.content)
    WHERE EXISTS (SELECT 1 FROM content c WHERE c.cid = e.content AND c.size IS NOT e.size)
"""
_REAL = "(SELECT sum(k.stored_size) FROM chunk k WHERE k.kid IN (SELECT kid FROM content_chunk WHERE cid = c.cid))"
_STORED_SIZES = (
    "UPDATE chunk SET stored_size = length(data) WHERE data IS NOT NULL AND stored_size IS NOT length(data)",
    "UPDATE content SET stored_size = length(data) WHERE data IS NOT NULL AND stored_size IS NOT length(data)",
    f"UPDATE content AS c SET stored_size = {_REAL} WHERE data IS NULL AND {_REAL} IS NOT NULL"
    f" AND stored_size != {_REAL}",
)


def inodes(db: Connection, now_ns: int, uid: int, gid: int, keep: Keep) -> list[Done]:
    """Give rows and sessions without an inode one of their own user's (files 0600, folders 0700); drop unused ones."""
    done = []
    insert = "INSERT OR IGNORE INTO inode (ino, mode, uid, gid, mtime_ns, ctime_ns) "
    for query in (
        f"{insert} SELECT ino, CASE kind WHEN 1 THEN 448 ELSE 384 END, ?1, ?2, coalesce(updated_ns, ?3), ?3 FROM entry"
        " WHERE ino NOT IN (SELECT ino FROM inode)",
        f"{insert} SELECT ino, 448, ?1, ?2, last_ns, ?3 FROM session WHERE ino NOT IN (SELECT ino FROM inode)",
    ):
        count = db.execute(query, (uid, gid, now_ns)).rowcount
        done += [Done("inode", f"{plural(count, 'inode')} made anew, for their owner alone")] if count else []
    unused = "ino NOT IN (SELECT ino FROM entry) AND ino NOT IN (SELECT ino FROM session)"
    count = _remove(db, "inode", unused, "no row has it", keep)
    bad = db.execute("UPDATE inode SET mode = 384 WHERE mode NOT BETWEEN 0 AND 4095 OR typeof(mode) != 'integer'")
    done += [Done("inode", f"{plural(bad.rowcount, 'mode')} set to 0600")] if bad.rowcount > 0 else []
    return done + ([Done("inode", f"{plural(count, 'inode')} of nothing moved out")] if count else [])


def spare_rows(db: Connection, keep: Keep) -> list[Done]:
    """Take out rows that belong to nothing: chunks of no content, rows and checkpoints of no session, dead values."""
    done = []
    for kind, table, where, why in (
        ("loose-part", "content_chunk", "cid NOT IN (SELECT cid FROM content)", "its content is not there"),
        ("state", "state", "scope LIKE 'session:%' AND substr(scope, 9) NOT IN"
         " (SELECT id FROM session WHERE purged_ns IS NULL)", "its session is gone"),
        ("checkpoint", "checkpoint", "sid NOT IN (SELECT sid FROM session)", "its session is gone"),
    ):  # fmt: skip
        count = _remove(db, table, where, why, keep)
        done += [Done(kind, f"{plural(count, 'row')} of {table} moved out: {why}")] if count else []
    return done


def codecs(db: Connection) -> list[Done]:
    """Have contents and chunks be written in one of the ways that there are; reading tries both."""
    count = 0
    for table, wrong in (("content", NO_CODEC), ("chunk", NO_CHUNK_CODEC)):
        plain = f"CASE WHEN data IS NULL AND '{table}' = 'content' THEN NULL ELSE 0 END"
        count += db.execute(f"UPDATE {table} SET codec = {plain} WHERE {wrong}").rowcount
    return (
        [Done("codec", f"{plural(count, 'piece')} of content marked as written in a way that there is")]
        if count
        else []
    )


def quotas(db: Connection) -> None:
    """Have what quotas count be counted anew, when a quota next asks."""
    for table in ("counted", "session_use", "session_part", "session_use_due"):
        db.execute(f"DELETE FROM {table}")


def clear_spare(db: Connection, eid: int) -> None:
    """Take from the row *eid* the values that its kind has no use for."""
    of_files = ", ".join(f"{name} = NULL" for name in (*OF_FILES, "content"))
    db.execute(f"UPDATE entry SET {of_files} WHERE eid = ? AND kind != 0", (eid,))
    db.execute("UPDATE entry SET target = NULL WHERE eid = ? AND kind != 2", (eid,))
    db.execute("UPDATE entry SET draft = NULL WHERE eid = ? AND seq_from IS NOT NULL", (eid,))


def owner_of_this_process() -> tuple[int, int]:
    """Return the user and the group that what is made anew belongs to."""
    return os.geteuid(), os.getegid()
