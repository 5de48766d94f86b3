"""What bytes on their way in are meant for by now: their file may have been renamed, or moved, since that was told.

What is told stands beside the bytes and is written once; where the file is, the index knows, through whichever door it
was moved. Every function takes a connection and only reads.
"""

from __future__ import annotations

from typing import TypeAlias

from llmspellfs.errors import Corrupt
from llmspellfs.model.event import read_line
from llmspellfs.storage import destination, entries, former
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED

_Key: TypeAlias = tuple[int, int]
"""A session (sid), and which artifact of it."""


def current(db: Connection, told: Destination) -> Destination | None:
    """Return what bytes that were meant for *told* are meant for by now, None where that was purged."""
    found = follow(db, told)
    return None if former.is_erased(db, found) else found


def follow(db: Connection, told: Destination) -> Destination:
    """Return what bytes that were meant for *told* are meant for by now, purged or not."""
    key, seen = _begin(db, told), set[_Key]()
    if key is None:
        return told
    while key not in seen:
        seen.add(key)
        key = _moved(db, key) or key
    return _destination(db, key, told)


def _begin(db: Connection, told: Destination) -> _Key | None:
    """Return the artifact that the inode was last, or else the one that is *told*; None where there is none yet."""
    if told.ino is not None and (last := former.last_of_ino(db, told.ino)) is not None:
        return last
    return _artifact(db, told)


def _moved(db: Connection, key: _Key) -> _Key | None:
    """Return which artifact *key* went on as, by the event that its last row ended with; None where it did not."""
    query = "SELECT max(ifnull(seq_to, ?)) FROM entry WHERE kind = 0 AND sid = ? AND sequence = ?"
    end = db.execute(query, (SUPERSEDED, *key)).fetchone()[0]
    if end is None or end >= SUPERSEDED:  # no row, or one that is live
        return None
    row = db.execute("SELECT line FROM event WHERE sid = ? AND seq = ?", (key[0], end)).fetchone()
    event = {} if row is None else read_line(row[0])
    if event.get("kind") == "artifact.renamed" and event.get("from_sequence") == key[1]:
        into = destination.of(event).sequence
        return None if into is None else (key[0], into)
    to = event.get("to") if event.get("kind") == "artifact.moved_out" and event.get("sequence") == key[1] else None
    return _artifact(db, destination.of(to)) if isinstance(to, dict) else None


def _artifact(db: Connection, told: Destination) -> _Key | None:
    row = db.execute("SELECT sid FROM session WHERE id = ?", (told.session,)).fetchone()
    return None if row is None or told.sequence is None else (row[0], told.sequence)


def _destination(db: Connection, key: _Key, told: Destination) -> Destination:
    session = db.execute("SELECT id, ino FROM session WHERE sid = ?", key[:1]).fetchone()
    if session is None:
        return told
    query = "SELECT folder, name FROM entry WHERE kind = 0 AND sid = ? AND sequence = ?"
    row = db.execute(f"{query} ORDER BY seq_to IS NOT NULL, eid DESC LIMIT 1", key).fetchone()
    name = told.name if row is None else _path(db, session[1], *row)
    return Destination(session[0], name, told.ino, key[1])


def _path(db: Connection, top: int, folder: int, name: str) -> str:
    try:
        way = [] if folder == top else list(entries.way_up(db, top, folder, name))
    except Corrupt:
        way = []
    return "/".join(part for _, part in reversed(way)) or name
