"""Which sessions a query finds, by what they are and by what artifacts they have.

Reads only, on the caller's connection. Sessions are few beside artifacts: they are gone through by their
index of creation, and free words are sought in their text itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.model.query import META, WORDS, Query, Term, labels
from llmspellfs.storage.search_plan import OWNER, few_eids, is_exact, listed, read_direction, read_page, sources
from llmspellfs.storage.search_sql import (
    ARTIFACT_FIELDS,
    LIVE_FILE,
    SESSION_FIELDS,
    Sql,
    check_entry,
    check_session,
    join,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_SESSION_ORDERS = {
    "created_at": "s.created_ns",
    "updated_at": "s.last_ns",
    "name": "r.name",
    "status": "r.status",
    "artifact_count": "s.artifact_count",
    "total_artifact_size": "s.total_size",
}
_LIVE_SESSION = "r.seq_to IS NULL"
_DELETED_SESSION = """s.deleted_ns IS NOT NULL AND s.purged_ns IS NULL
    AND r.seq_from = (SELECT max(x.seq_from) FROM session_row x WHERE x.sid = s.sid)"""


def find_sessions(
    connection: sqlite3.Connection,
    query: Query,
    *,
    deleted: bool = False,
    sort_by: str = "created_at",
    order: str = "asc",
    limit: int | None = None,
    offset: int = 0,
) -> list[int]:
    """Return the sids of the sessions that *query* finds: the live ones, or those *deleted* and not purged.

    Terms of type, mime and size ask for sessions with such an artifact (with none, where negated). *sort_by*
    is created_at, updated_at, name, status, artifact_count or total_artifact_size. Raises InvalidValue.
    """
    page = read_page(limit, offset)
    column = _SESSION_ORDERS.get(sort_by)
    if column is None:
        raise InvalidValue("sort_by", f"expected one of {', '.join(_SESSION_ORDERS)}, not {sort_by!r}")
    way = read_direction(order)
    check = _session_check(connection, query)
    with_labels = _deleted_labels(connection, query) if deleted else Sql("")
    statement = f"""{with_labels.text} SELECT s.sid FROM session s JOIN session_row r ON r.sid = s.sid
        WHERE {_DELETED_SESSION if deleted else _LIVE_SESSION} AND {check.text}
        ORDER BY {column} {way}, s.sid {way} LIMIT ? OFFSET ?"""  # noqa: S608 - own words only
    return [row[0] for row in connection.execute(statement, (*with_labels.params, *check.params, *page))]


def find_entry_sessions(connection: sqlite3.Connection, query: Query) -> list[int]:
    """Return the sids of the sessions where the artifact query *query* finds something, ascending."""
    check = _has_artifact(connection, query.terms, OWNER)
    statement = f"""SELECT s.sid FROM session s JOIN session_row r ON r.sid = s.sid
        WHERE {_LIVE_SESSION} AND {check.text} ORDER BY s.sid"""  # noqa: S608 - own words only
    return [row[0] for row in connection.execute(statement, check.params)]


def _session_check(connection: sqlite3.Connection, query: Query) -> Sql:
    checks = [check_session(term) for term in query.terms if term.field not in ARTIFACT_FIELDS]
    asked = [term for term in query.terms if term.field in ARTIFACT_FIELDS]
    together = [term for term in asked if not term.negated]
    if together:
        checks.append(_has_artifact(connection, together))
    for term in asked:
        if term.negated:
            without = _has_artifact(connection, [Term(term.field, term.values)])
            checks.append(Sql(f"NOT {without.text}", without.params))
    return join("AND", [Sql("TRUE"), *checks])


def _has_artifact(connection: sqlite3.Connection, terms: Sequence[Term], owner: str = "") -> Sql:
    """Return the condition that the session `s` has an artifact for which all *terms* hold.

    Few artifacts are looked at once for all sessions; of many, each session soon comes to one of its own.
    *owner* joins the artifact's session, where the terms ask for that too.
    """
    check = join("AND", [Sql("TRUE"), *(check_entry(term) for term in terms)])
    index = _index_with_session(terms)
    few = None if index else few_eids(connection, sources(terms), everything=_is_of_labels(terms))
    if few is None:
        own = f"SELECT 1 FROM entry e {index} WHERE e.sid = s.sid AND {LIVE_FILE} AND {check.text}"  # noqa: S608
        return Sql(f"EXISTS ({own})", check.params)
    rows = listed(few)
    text = f"SELECT e.sid FROM {rows.text} {owner} WHERE {LIVE_FILE} AND {check.text}"  # noqa: S608
    return Sql(f"s.sid IN ({text})", rows.params + check.params)


def _index_with_session(terms: Sequence[Term]) -> str:
    """Return the index that leads from a session to what it has of *terms* at once, if there is one."""
    if any(term.field == "type" and is_exact(term) for term in terms):
        return "INDEXED BY entry_by_type"
    if all(term.field in SESSION_FIELDS for term in terms):
        return "INDEXED BY entry_by_sequence"
    return ""


def _is_of_labels(terms: Sequence[Term]) -> bool:
    """Tell whether all artifacts that a term finds are fewer than those without it in sessions that have none."""
    asked = [term.field for term in terms if not term.negated]
    return any(field in {"tag", WORDS} or field.startswith(META) for field in asked)


def _deleted_labels(connection: sqlite3.Connection, query: Query) -> Sql:
    """Stand in for session_label, which has live sessions only, with the labels of the deleted ones."""
    if not any(term.field in {"tag", WORDS} or term.field.startswith(META) for term in query.terms):
        return Sql("")
    statement = f"""SELECT s.sid, r.tags, r.metadata FROM session s JOIN session_row r ON r.sid = s.sid
        WHERE {_DELETED_SESSION}"""  # noqa: S608 - own words only
    rows = [
        (key, value, sid)
        for sid, tags, metadata in connection.execute(statement)
        for key, value in labels(json.loads(tags), json.loads(metadata))
    ]
    columns = "value ->> 0 AS key, value ->> 1 AS value, value ->> 2 AS sid"
    text = f"WITH session_label AS MATERIALIZED (SELECT {columns} FROM json_each(?))"  # noqa: S608
    return Sql(text, (json.dumps(rows),))
