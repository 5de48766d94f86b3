"""The SQL of the past: what a session was at one of its seqs.

A row is of the state at a seq when it is valid from that seq or before, to after it; drafts are in no past. Every
function takes a connection and runs in the caller's transaction. Whether history still has a seq whole, `is_kept` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.event import line_hash
from llmspellfs.model.permissions import Permissions
from llmspellfs.model.session import Session
from llmspellfs.model.stay import Stay
from llmspellfs.storage import sessions
from llmspellfs.storage.entries import COLUMNS, JOINED, to_entry
from llmspellfs.storage.index import Connection

_UNCHANGING = ("session.saved", "session.forked", "session.imported", "session.repaired", "artifact.purged")
"""Kinds of events that leave the session's state as it was."""

_TWIN = """
    LEFT JOIN entry f ON f.eid = (
        SELECT x.eid FROM entry x WHERE x.kind = 0 AND x.sid = e.sid AND x.sequence = e.sequence AND x.seq_to IS NULL
        AND x.version = (SELECT max(version) FROM entry WHERE kind = 0 AND sid = e.sid AND sequence = e.sequence))
    LEFT JOIN entry d ON d.kind = 1 AND d.ino = e.ino AND +d.sid = e.sid AND d.seq_to IS NULL
    LEFT JOIN inode j ON j.ino = coalesce(f.ino, d.ino)
"""
_WITH_TWIN = f"SELECT {COLUMNS}, coalesce(f.folder, d.folder), j.mode, j.uid, j.gid {JOINED} {_TWIN}"
_AT = "e.sid = :sid AND e.folder = :folder {name} AND e.seq_from <= :seq AND e.seq_to {ended}"
_LIVE, _ENDED = _AT.replace("{ended}", "IS NULL"), _AT.replace("{ended}", "> :seq")
_ROWS = f"{_WITH_TWIN} WHERE {_LIVE} UNION ALL {_WITH_TWIN} WHERE {_ENDED}"
_FOLDER = _ROWS.replace("{name}", "")
_PLACE = _ROWS.replace("{name}", "AND e.name = :name")
_NAMED = f"""
    {_WITH_TWIN} WHERE e.sid = :sid AND e.folder = :folder AND e.name = :name AND e.seq_from IS NOT NULL
        AND e.seq_to IS NULL
    UNION ALL {_WITH_TWIN} WHERE e.sid = :sid AND e.folder = :folder AND e.name = :name AND e.seq_from IS NOT NULL
        AND e.seq_to IS NOT NULL
"""
_NAMES = """
    SELECT name FROM entry WHERE sid = :sid AND folder = :folder AND kind < 2 AND seq_from < :last
        AND seq_to IS NULL
    UNION SELECT name FROM entry WHERE sid = :sid AND folder = :folder AND kind < 2 AND seq_from < :last
        AND seq_to > :first
"""
_COUNT = """
    SELECT count(*), coalesce(sum(size), 0) FROM entry
    WHERE kind = 0 AND sid = ? AND seq_from <= ? AND (seq_to IS NULL OR seq_to > ?)
"""


@dataclass(frozen=True, slots=True)
class Twin:
    """What a past file or folder is now: the ino of the folder it is in, and its own permissions."""

    folder: int
    permissions: Permissions


PastRow = tuple[Entry, Twin | None]
"""A row of the past, and what it is in the present; None where it is gone."""


def is_kept(db: Connection, sid: int, seq: int) -> bool:
    """Tell whether history shows session *sid* at *seq*: above its horizon, or at a checkpoint."""
    row = db.execute("SELECT horizon_seq, seq FROM session WHERE sid = ? AND purged_ns IS NULL", (sid,)).fetchone()
    if row is None or not 1 <= seq <= row[1]:
        return False
    query = "SELECT 1 FROM checkpoint WHERE sid = ? AND seq = ?"
    return seq >= row[0] or db.execute(query, (sid, seq)).fetchone() is not None


def changes(db: Connection, sid: int) -> list[tuple[int, int]]:
    """Return the seq and the time of each event that changed session *sid*'s state, as far as history goes back.

    The oldest state that is kept is among them, and checkpoints below it are too.
    """
    query = f"""
        SELECT v.seq, v.at_ns FROM event v JOIN session s ON s.sid = v.sid
        WHERE v.sid = ?1 AND v.seq >= s.horizon_seq AND (v.seq = s.horizon_seq OR v.kind NOT IN {_UNCHANGING})
          AND v.kind NOT GLOB 'run.*' AND v.kind NOT GLOB 'replay.*'
        UNION SELECT k.seq, k.at_ns FROM checkpoint k JOIN session s ON s.sid = k.sid
        WHERE k.sid = ?1 AND k.seq < s.horizon_seq
        ORDER BY 1
    """  # noqa: S608
    return list(db.execute(query, (sid,)))


def seq_at(db: Connection, sid: int, moment_ns: int) -> int:
    """Return the last seq of session *sid* at or before *moment_ns*, 0 where there is none, by bisection."""
    low, high = 0, int(db.execute("SELECT seq FROM session WHERE sid = ?", (sid,)).fetchone()[0])
    while low < high:
        middle = (low + high + 1) // 2
        at_ns = db.execute("SELECT at_ns FROM event WHERE sid = ? AND seq = ?", (sid, middle)).fetchone()[0]
        low, high = (middle, high) if at_ns <= moment_ns else (low, middle - 1)
    return low


def trail_size_at(db: Connection, sid: int, seq: int) -> int:
    """Return the bytes of session *sid*'s trail up to the event *seq*, which is there."""
    ends: int = db.execute("SELECT ends FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()[0]
    return ends


def time_of(db: Connection, sid: int, seq: int) -> int:
    """Return the time of the event *seq*, which is there, in nanoseconds."""
    at_ns: int = db.execute("SELECT at_ns FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()[0]
    return at_ns


def session_at(db: Connection, sid: int, seq: int) -> Session | None:
    """Return the session *sid* as it was at *seq*, its counters included, or None where history lacks that."""
    row = sessions.row_at(db, sid, seq)
    event = db.execute("SELECT at_ns, line FROM event WHERE sid = ? AND seq = ?", (sid, seq)).fetchone()
    if row is None or event is None:
        return None
    count, size = db.execute(_COUNT, (sid, seq, seq)).fetchone()
    return replace(
        row, seq=seq, updated_ns=event[0], head=line_hash(event[1]), deleted_ns=None,
        artifact_count=count, total_artifact_size=size,
    )  # fmt: skip


def folder_at(db: Connection, sid: int, folder: int, seq: int) -> list[PastRow]:
    """Return what was in *folder* (an ino) at *seq*, in one query."""
    return list(_rows(db, _FOLDER, {"sid": sid, "folder": folder, "seq": seq}))


def sequences_at(db: Connection, sid: int, seq: int) -> list[int]:
    """Return the sequences of the artifacts that session *sid* had at *seq*, in order."""
    query = (
        "SELECT sequence FROM entry WHERE kind = 0 AND sid = ?1 AND seq_from <= ?2 AND (seq_to IS NULL OR seq_to > ?2)"
        " ORDER BY sequence"
    )
    return [row[0] for row in db.execute(query, (sid, seq))]


def lookup_at(db: Connection, sid: int, folder: int, name: str, seq: int) -> PastRow | None:
    """Return what was *name* in *folder* at *seq*, or None."""
    return next(_rows(db, _PLACE, {"sid": sid, "folder": folder, "name": name, "seq": seq}), None)


def named(db: Connection, sid: int, stay: Stay, name: str) -> list[PastRow]:
    """Return every row of history that was *name* in the folder of *stay* during it, oldest first."""
    rows = _rows(db, _NAMED, {"sid": sid, "folder": stay.folder, "name": name})
    within = (row for row in rows if stay.meets(row[0]))
    return sorted(within, key=lambda row: row[0].seq_from or 0)


def names(db: Connection, sid: int, stays: Sequence[Stay]) -> list[str]:
    """Return the names of all files and folders that history has in the folders of *stays* during them, each once."""
    found: dict[str, None] = {}
    for stay in stays:
        values = {"sid": sid, "folder": stay.folder, "first": stay.first, "last": stay.last}
        found |= dict.fromkeys(row[0] for row in db.execute(_NAMES, values))
    return list(found)


def permissions_of(db: Connection, ino: int) -> Permissions | None:
    """Return the permissions of inode *ino*, or None."""
    row = db.execute("SELECT mode, uid, gid FROM inode WHERE ino = ?", (ino,)).fetchone()
    return None if row is None else Permissions(*row)


def folder_above(db: Connection, sid: int, ino: int) -> int | None:
    """Return the ino of the folder in which the live folder *ino* of session *sid* is, or None where it is gone."""
    query = "SELECT folder FROM entry WHERE ino = ? AND kind = 1 AND +sid = ? AND seq_to IS NULL"
    row = db.execute(query, (ino, sid)).fetchone()
    return None if row is None else int(row[0])


def _rows(db: Connection, query: str, values: dict[str, object]) -> Iterator[PastRow]:
    for row in db.execute(query, values):
        folder, *own = row[-4:]
        entry = to_entry(row[:-4])
        yield entry, None if folder is None or entry.kind is Kind.SYMLINK else Twin(folder, Permissions(*own))
