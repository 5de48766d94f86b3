"""What a query finds: live artifacts, a page at a time; and what the rooms beside know of searching.

Reads only, on the caller's connection, and never touches files; where a query has free words, `catch_up`
comes first, in a write transaction, if `is_behind` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.storage.search_plan import OWNER, read_direction, read_page, start
from llmspellfs.storage.search_sessions import find_entry_sessions, find_sessions
from llmspellfs.storage.search_sql import LIVE_FILE
from llmspellfs.storage.search_text import catch_up, is_behind
from llmspellfs.storage.search_views import (
    dirnames,
    list_tags,
    list_types,
    places,
    session_ids,
    sessions_in,
    sessions_with_tag,
)

if TYPE_CHECKING:
    import sqlite3

    from llmspellfs.model.query import Query

__all__ = [
    "catch_up",
    "dirnames",
    "find_entries",
    "find_entry_sessions",
    "find_placed",
    "find_sessions",
    "is_behind",
    "list_tags",
    "list_types",
    "places",
    "session_ids",
    "sessions_in",
    "sessions_with_tag",
]

_PATH = """(WITH RECURSIVE up(folder, path, seen) AS (
        SELECT e.folder, e.name, ' ' UNION ALL
        SELECT f.folder, f.name || '/' || up.path, up.seen || f.ino || ' ' FROM up
        JOIN entry f INDEXED BY entry_by_folder ON f.ino = up.folder AND f.kind = 1 AND f.seq_to IS NULL
        WHERE instr(up.seen, ' ' || f.ino || ' ') = 0)
    SELECT path FROM up ORDER BY length(path) DESC LIMIT 1)"""
"""A row's path, as far as the folders above it lead up; damage can have set them in a circle."""
_ENTRY_ORDERS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "created_at": (("e.created_ns", "e.eid"), "entry_by_created"),
    "updated_at": (("e.updated_ns", "e.eid"), "entry_by_updated"),
    "size": (("e.size", "e.eid"), "entry_by_size"),
    "type": (("e.type", "e.sid", "e.eid"), "entry_by_type"),
    "name": ((_PATH, "e.eid"), None),
}
"""The columns of each order, and the index that has the rows in it."""
_BY_SEQUENCE = (("e.sequence", "e.version"), "entry_by_sequence")


def find_entries(
    connection: sqlite3.Connection,
    query: Query,
    *,
    sid: int | None = None,
    sort_by: str | None = None,
    order: str = "asc",
    limit: int | None = None,
    offset: int = 0,
) -> list[int]:
    """Return the eids of the live artifacts that *query* finds, as `find_placed` does."""
    found = find_placed(connection, query, sid=sid, sort_by=sort_by, order=order, limit=limit, offset=offset)
    return [eid for eid, _ in found]


def find_placed(
    connection: sqlite3.Connection,
    query: Query,
    *,
    sid: int | None = None,
    sort_by: str | None = None,
    order: str = "asc",
    limit: int | None = None,
    offset: int = 0,
) -> list[tuple[int, int]]:
    """Return (eid, sid) of the live artifacts that *query* finds, in the session *sid* only if it is given.

    *sort_by* is name (the whole path), size, created_at, updated_at or type; without one, they come by their
    sequence in one session and by created_at over all. *order* is asc or desc. Raises InvalidValue.
    """
    page = read_page(limit, offset)
    columns, index = _entry_order(sort_by, sid)
    directed = ", ".join(f"{column} {read_direction(order)}" for column in columns)
    rows, check = start(connection, query, sid, index, is_page=limit is not None)
    statement = f"""SELECT e.eid, e.sid FROM {rows.text} {OWNER}
        WHERE {LIVE_FILE} AND {check.text} ORDER BY {directed} LIMIT ? OFFSET ?"""  # noqa: S608 - own words only
    return connection.execute(statement, (*rows.params, *check.params, *page)).fetchall()


def _entry_order(sort_by: str | None, sid: int | None) -> tuple[tuple[str, ...], str | None]:
    if sort_by is None:
        return _ENTRY_ORDERS["created_at"] if sid is None else _BY_SEQUENCE
    if sort_by not in _ENTRY_ORDERS:
        raise InvalidValue("sort_by", f"expected one of {', '.join(_ENTRY_ORDERS)}, not {sort_by!r}")
    return _ENTRY_ORDERS[sort_by]
