"""The SQL of bringing single rows back: what else may say what they were, and how they are written again.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from llmspellfs.model.artifact import Entry
from llmspellfs.model.session import Status
from llmspellfs.model.values import canonical
from llmspellfs.storage import entries
from llmspellfs.storage.audit import HARMED
from llmspellfs.storage.audit_rows import SPARE
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow

_ENDING = """('artifact.stored', 'artifact.updated', 'artifact.renamed', 'artifact.deleted', 'artifact.moved_out',
    'artifact.moved_in', 'artifact.restored')"""


def seq_of_state(db: Connection, sid: int, state: str, table: str = "entry") -> int | None:
    """Return the seq of the only event of session *sid* with that *state*, if no row of *table* begins there."""
    query = f"""
        SELECT v.seq FROM event v WHERE v.sid = ? AND instr(v.line, ?)
        AND NOT EXISTS (SELECT 1 FROM {table} e WHERE e.sid = v.sid AND e.seq_from = v.seq)
    """  # noqa: S608 - a word of the program
    rows = db.execute(query, (sid, f'"state":"{state}"')).fetchall()
    return rows[0][0] if len(rows) == 1 else None


def home_of_state(db: Connection, seq: int, state: str) -> int | None:
    """Return the only session (sid) whose event *seq* has that *state*, or None."""
    rows = db.execute("SELECT sid FROM event WHERE seq = ? AND instr(line, ?)", (seq, f'"state":"{state}"')).fetchall()
    return rows[0][0] if len(rows) == 1 else None


def set_nobodys(db: Connection, eid: int) -> bool:
    """Have the row *eid*, which begins at no seq, be a draft of no process, unless it names one; tell whether it is."""
    query = "UPDATE entry SET draft = '' WHERE eid = ? AND seq_from IS NULL AND draft IS NULL"
    return db.execute(query, (eid,)).rowcount == 1


def set_begin(db: Connection, eid: int, seq_from: int) -> None:
    """Have the row *eid* begin at *seq_from*."""
    db.execute("UPDATE entry SET seq_from = ? WHERE eid = ?", (seq_from, eid))


def set_session_begin(db: Connection, rid: int, seq_from: int) -> None:
    """Have the session row *rid* begin at *seq_from*, where no other of its session does."""
    db.execute("UPDATE OR IGNORE session_row SET seq_from = ? WHERE rid = ?", (seq_from, rid))


def kind_of(db: Connection, eid: int) -> object:
    """Return the kind that the row *eid* has, as a number."""
    return db.execute("SELECT kind FROM entry WHERE eid = ?", (eid,)).fetchone()[0]


def set_kind(db: Connection, eid: int, kind: object) -> None:
    """Have the row *eid* be of *kind*."""
    db.execute("UPDATE entry SET kind = ? WHERE eid = ?", (kind, eid))


def spare(db: Connection) -> list[int]:
    """Return the rows (eids) with values that their kind has no use for."""
    return [row[0] for row in db.execute(f"SELECT eid FROM entry WHERE {SPARE}").fetchall()]  # noqa: S608 - a constant


def unused_inodes(db: Connection, most: int = 16) -> list[int]:
    """Return at most *most* inodes that no row has: one whose number was altered had one of them."""
    query = """
        SELECT ino FROM inode WHERE ino NOT IN (SELECT ino FROM entry) AND ino NOT IN (SELECT ino FROM session) LIMIT ?
    """
    return [row[0] for row in db.execute(query, (most,)).fetchall()]


def folders(db: Connection, sid: int, most: int = 10_000) -> list[int]:
    """Return the top folder of session *sid* and at most *most* others that it has or had."""
    query = """
        SELECT ino FROM (SELECT ino FROM session WHERE sid = ?1)
        UNION SELECT ino FROM (SELECT ino FROM entry WHERE sid = ?1 AND kind = 1 LIMIT ?2)
    """
    return [row[0] for row in db.execute(query, (sid, most)).fetchall()]


def time_of(db: Connection, sid: int, seq: int | None) -> int | None:
    """Return when the event *seq* of session *sid* was, in ns, None where there is none."""
    row = db.execute("SELECT at_ns FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    return None if row is None else row[0]


def next_about(db: Connection, sid: int, sequence: int, after: int) -> int | None:
    """Return the first seq above *after* whose event ended the row that the artifact *sequence* had; None: none did."""
    query = f"""
        SELECT min(seq) FROM event WHERE sid = ?1 AND seq > ?2 AND kind IN {_ENDING}
        AND instr(line, 'sequence":' || ?3)
        AND json_valid(line) AND ?3 IN (json_extract(line, '$.sequence'), json_extract(line, '$.from_sequence'))
    """  # noqa: S608 - a constant; the text is looked at first, since reading JSON takes longer
    found: int | None = db.execute(query, (sid, after, sequence)).fetchone()[0]
    return found


def is_gone(db: Connection, entry: Entry, end: int | None) -> bool:
    """Tell whether no event is where *entry*'s row ends, though its session has had one there, and before *end*."""
    last = db.execute("SELECT seq FROM session WHERE sid = ?", (entry.sid,)).fetchone()
    begin, seq = entry.seq_from or 0, entry.seq_to
    if seq is None or last is None or not begin < seq <= last[0] or (end is not None and end < seq):
        return False
    return db.execute("SELECT 1 FROM event WHERE sid = ? AND seq = ?", (entry.sid, seq)).fetchone() is None


def followers(db: Connection, entry: Entry) -> list[int]:
    """Return the rows (eids) that begin after *entry*'s in its place, or are of its inode."""
    query = """
        SELECT eid FROM entry WHERE folder = ?1 AND name = ?2 AND sid = ?4 AND seq_from > ?5 UNION
        SELECT eid FROM entry WHERE ino = ?3 AND sid = ?4 AND seq_from > ?5
    """
    values = (entry.folder, entry.name, entry.ino, entry.sid, entry.seq_from)
    return [row[0] for row in db.execute(query, values).fetchall()]


def neighbours(db: Connection, entry: Entry) -> list[NewEntry]:
    """Return the rows of the same artifact or inode before and after *entry*'s, as they are."""
    query = f"{entries.SELECT} WHERE e.sid = ? AND e.eid != ? AND (e.ino = ? OR (e.kind = 0 AND e.sequence = ?))"
    sequence = entry.file.sequence if entry.file else None
    rows = db.execute(
        f"{query} ORDER BY abs(e.eid - ?) LIMIT 4", (entry.sid, entry.eid, entry.ino, sequence, entry.eid)
    )
    found = []
    for row in rows.fetchall():
        try:
            found.append(NewEntry.of(entries.to_entry(row)))
        except HARMED:
            continue
    return [new for new in found if new.kind is entry.kind]


def content_of(db: Connection, hash_hex: str) -> int | None:
    """Return the content (cid) of that hash, or None."""
    try:
        row = db.execute("SELECT cid FROM content WHERE hash = ?", (bytes.fromhex(hash_hex),)).fetchone()
    except ValueError:
        return None
    return None if row is None else row[0]


def rewrite(db: Connection, eid: int, new: NewEntry) -> bool:
    """Write *new* as the row *eid*, keeping its validity; tell whether its place was free."""
    is_file = new.sequence is not None
    try:
        db.execute(
            "UPDATE entry SET folder = ?, name = ?, ino = ?, kind = ?, target = ?, sequence = ?, version = ?,"
            " content = ?, size = ?, type = ?, mime_type = ?, description = ?, tags = ?, custom = ?,"
            " created_ns = ?, updated_ns = ?"
            " WHERE eid = ?",
            (
                new.folder, new.name, new.ino, int(new.kind), new.target, new.sequence, new.version, new.content,
                new.size, new.artifact_type, new.mime_type, new.description,
                canonical(list(new.tags)) if is_file else None,
                canonical(new.custom or {}) if is_file else None, new.created_ns, new.updated_ns, eid,
            ),
        )  # fmt: skip
    except sqlite3.IntegrityError:
        return False
    return True


def exchange(db: Connection, rows: dict[int, NewEntry]) -> list[int]:
    """Write *rows* (by eid), which have each other's places; return those (eids) whose place no other row keeps.

    All of them are written, or where one does not fit none is.
    """
    taken = _taken(db, rows)
    rows = {eid: new for eid, new in rows.items() if eid not in taken}
    db.execute("SAVEPOINT exchange")
    db.executemany("UPDATE entry SET folder = -eid WHERE eid = ?", [(eid,) for eid in rows])  # nobody's place
    fit = all(rewrite(db, eid, new) for eid, new in rows.items())
    if not fit:
        db.execute("ROLLBACK TO exchange")
    db.execute("RELEASE exchange")
    return list(rows) if fit else []


def _taken(db: Connection, rows: dict[int, NewEntry]) -> set[int]:
    """Return those (eids) of *rows* whose place stays a live row's that is none of the others, or that two are to have.

    The row that keeps a place may be one of *rows* that is among these itself.
    """
    query = "SELECT eid FROM entry WHERE folder = ? AND name = ? AND seq_to IS NULL"
    wanted = Counter((new.folder, new.name) for new in rows.values())
    todo, waiting = list[int](), dict[int, list[int]]()
    for eid, new in rows.items():
        place = (new.folder, new.name)
        owner = db.execute(query, place).fetchone()
        if wanted[place] > 1 or (owner is not None and owner[0] not in rows):
            todo.append(eid)
        elif owner is not None:
            waiting.setdefault(owner[0], []).append(eid)
    found = set[int]()
    while todo:
        eid = todo.pop()
        found.add(eid)
        todo += waiting.pop(eid, [])
    return found


def rewrite_session(db: Connection, rid: int, row: SessionRow) -> None:
    """Write *row* as the session row *rid*, keeping its validity, unless another session has its directory name."""
    try:
        db.execute(
            "UPDATE session_row SET name = ?, dirname = ?, description = ?, status = ?, tags = ?, metadata = ?,"
            " parent = ?, ended_ns = ?, failure_reason = ? WHERE rid = ?",
            (
                row.name, row.dirname, row.description, str(row.status), canonical(list(row.tags)),
                canonical(row.metadata), row.parent, row.ended_ns, row.failure_reason, rid,
            ),
        )  # fmt: skip
    except sqlite3.IntegrityError:
        return


def lost_contents(db: Connection) -> list[tuple[int, int | None, str]]:
    """Return each row (eid) whose content is not in the index, which that was, and its event's line."""
    query = """
        SELECT e.eid, e.content, v.line FROM entry e JOIN event v ON v.sid = e.sid AND v.seq = e.seq_from
        WHERE e.kind = 0 AND (e.content IS NULL OR e.content NOT IN (SELECT cid FROM content))
    """
    return list(db.execute(query))


def set_content(db: Connection, eid: int, cid: int) -> None:
    """Have the row *eid* refer to the content *cid*."""
    db.execute(
        "UPDATE entry SET content = ?1, size = (SELECT size FROM content WHERE cid = ?1) WHERE eid = ?2", (cid, eid)
    )


def told_hash(line: str) -> str | None:
    """Return the content's hash that an event's *line* tells, or None."""
    try:
        digest = json.loads(line)["hash"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def has_told(db: Connection, sid: int) -> bool:
    """Tell whether the trail of session *sid* says already that its chain is broken."""
    query = "SELECT 1 FROM event WHERE sid = ? AND kind = 'session.repaired' AND instr(line, '\"broken\":') LIMIT 1"
    return db.execute(query, (sid,)).fetchone() is not None


def size_of(db: Connection, cid: int) -> int:
    """Return the plain bytes of the content *cid*."""
    size: int = db.execute("SELECT size FROM content WHERE cid = ?", (cid,)).fetchone()[0]
    return size


def rows_of_sequence(db: Connection, sid: int, sequence: int) -> list[NewEntry]:
    """Return the rows that are left of the artifact *sequence*, oldest first, those that can be read."""
    query = f"{entries.SELECT} WHERE e.kind = 0 AND e.sid = ? AND e.sequence = ? ORDER BY e.seq_from"
    found = []
    for row in db.execute(query, (sid, sequence)).fetchall():
        try:
            found.append(NewEntry.of(entries.to_entry(row)))
        except HARMED:
            continue
    return found


def own_rows(db: Connection) -> list[tuple[int, SessionRow, int, str | None]]:
    """Return the rid, the row, the seq and its event's line of each row of sessions' own fields that can be read."""
    query = (
        "SELECT r.rid, r.name, r.dirname, r.description, r.status, r.tags, r.metadata, r.parent, r.ended_ns,"
        " r.failure_reason, r.seq_from, v.line FROM session_row r"
        " LEFT JOIN event v ON v.sid = r.sid AND v.seq = r.seq_from"
    )
    found = []
    for rid, name, dirname, text, status, tags, metadata, parent, ended, reason, seq, line in db.execute(query):
        try:
            row = SessionRow(
                name, dirname, text, Status(status), tuple(json.loads(tags)), json.loads(metadata), parent, ended,
                reason,
            )  # fmt: skip
        except (ValueError, TypeError, RecursionError):
            continue
        found.append((rid, row, seq, line))
    return found
