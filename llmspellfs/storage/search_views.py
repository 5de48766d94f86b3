"""What the mount's views list: the types and tags in use, the sessions of a tag or a status, names and places.

Each value costs one step down an index however many rows have it, so that a listing does not grow with the
store. Reads only, on the caller's connection; what is in deleted sessions does not count.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_TYPES = """WITH RECURSIVE known(value) AS (
        SELECT min(type) FROM entry WHERE kind = 0 AND seq_to IS NULL
        UNION ALL
        SELECT (SELECT min(type) FROM entry WHERE kind = 0 AND seq_to IS NULL AND type > known.value)
        FROM known WHERE known.value IS NOT NULL)
    SELECT value FROM known WHERE EXISTS (
        SELECT 1 FROM entry e CROSS JOIN session_row r ON r.sid = e.sid AND r.seq_to IS NULL
        WHERE e.kind = 0 AND e.seq_to IS NULL AND e.type = known.value)"""
_ARTIFACT_TAGS = """WITH RECURSIVE known(value) AS (
        SELECT min(value) FROM entry_label WHERE key = 'tag'
        UNION ALL
        SELECT (SELECT min(l.value) FROM entry_label l WHERE l.key = 'tag' AND l.value > known.value)
        FROM known WHERE known.value IS NOT NULL)
    SELECT value FROM known WHERE EXISTS (
        SELECT 1 FROM entry_label l CROSS JOIN entry e ON e.eid = l.eid AND e.kind = 0 AND e.seq_to IS NULL
        CROSS JOIN session_row r ON r.sid = e.sid AND r.seq_to IS NULL
        WHERE l.key = 'tag' AND l.value = known.value)"""
_SESSION_TAGS = """SELECT DISTINCT l.value FROM session_label l
    CROSS JOIN session_row r ON r.sid = l.sid AND r.seq_to IS NULL WHERE l.key = 'tag'"""
_TAGGED_SESSIONS = """SELECT r.dirname FROM session_label l
    CROSS JOIN session_row r ON r.sid = l.sid AND r.seq_to IS NULL
    WHERE l.key = 'tag' AND l.value = ? ORDER BY l.sid"""
_SESSIONS_IN = """SELECT dirname FROM session_row INDEXED BY session_row_by_status
    WHERE status = ? AND seq_to IS NULL ORDER BY sid"""
_IDS = """SELECT s.id, r.dirname FROM session s
    CROSS JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL ORDER BY s.sid"""
_DIRNAMES = """SELECT r.dirname FROM json_each(?) j
    CROSS JOIN session_row r ON r.sid = j.value AND r.seq_to IS NULL"""
_PLACES = "SELECT e.folder, e.name FROM json_each(?) j CROSS JOIN entry e ON e.eid = j.value"


def list_types(connection: sqlite3.Connection) -> list[str]:
    """Return the types that live artifacts have, in order."""
    return [row[0] for row in connection.execute(_TYPES)]


def list_tags(connection: sqlite3.Connection) -> list[str]:
    """Return the tags that live sessions and artifacts have, in order."""
    found = {row[0] for row in connection.execute(_ARTIFACT_TAGS)}
    return sorted(found | {row[0] for row in connection.execute(_SESSION_TAGS)})


def sessions_with_tag(connection: sqlite3.Connection, tag: str) -> list[str]:
    """Return the directory names of the live sessions that have *tag*, in the order of their making."""
    return [row[0] for row in connection.execute(_TAGGED_SESSIONS, (tag,))]


def sessions_in(connection: sqlite3.Connection, status: str) -> list[str]:
    """Return the directory names of the live sessions that are *status*, in the order of their making."""
    return [row[0] for row in connection.execute(_SESSIONS_IN, (status,))]


def session_ids(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the id and the directory name of each live session, in the order of their making."""
    return connection.execute(_IDS).fetchall()


def dirnames(connection: sqlite3.Connection, sids: list[int]) -> list[str]:
    """Return the directory names of the sessions *sids*, in that order."""
    return [row[0] for row in connection.execute(_DIRNAMES, (json.dumps(sids),))]


def places(connection: sqlite3.Connection, eids: list[int]) -> list[tuple[int, str]]:
    """Return the folder (an ino) and the name of each of *eids*, in that order."""
    return connection.execute(_PLACES, (json.dumps(eids),)).fetchall()
