"""What the mount's views list: the types and tags in use, and the sessions with a tag.

Each value costs one step down an index however many rows have it, so that a listing does not grow with the
store. Reads only, on the caller's connection; what is in deleted sessions does not count.
"""

from __future__ import annotations

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
_TAGGED_SESSIONS = """SELECT l.sid FROM session_label l
    CROSS JOIN session_row r ON r.sid = l.sid AND r.seq_to IS NULL
    WHERE l.key = 'tag' AND l.value = ? ORDER BY l.sid"""


def list_types(connection: sqlite3.Connection) -> list[str]:
    """Return the types that live artifacts have, in order."""
    return [row[0] for row in connection.execute(_TYPES)]


def list_tags(connection: sqlite3.Connection) -> list[str]:
    """Return the tags that live sessions and artifacts have, in order."""
    found = {row[0] for row in connection.execute(_ARTIFACT_TAGS)}
    return sorted(found | {row[0] for row in connection.execute(_SESSION_TAGS)})


def sessions_with_tag(connection: sqlite3.Connection, tag: str) -> list[int]:
    """Return the sids of the live sessions that have *tag*, in ascending order."""
    return [row[0] for row in connection.execute(_TAGGED_SESSIONS, (tag,))]
