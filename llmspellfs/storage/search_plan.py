"""Where an artifact query starts: at its shortest term or, where all are long, in the order asked for.

A term's own index tells in microseconds whether it has few rows: at most FEW of them are read. Then those
are joined and sorted; else the index of the order is walked until the page is full. So neither is a scan,
and SQLite's planner, which keeps no statistics here, has nothing to choose. Reads only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.model import numbers
from llmspellfs.model.query import META, WORDS, Query, Term
from llmspellfs.model.query_values import Match
from llmspellfs.storage.search_sql import (
    SESSION_FIELDS,
    Sql,
    check_entry,
    check_session,
    entry_source,
    join,
    session_source,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

FEW = 10_000
"""Rows of one term that are joined and sorted rather than walked past: about 20 ms."""
ENOUGH = 200
"""Rows of one term that make it needless to look whether another has fewer."""
_PROBED = 50
"""Rows whose words are looked up one by one rather than all words' rows at once."""

OWNER = """CROSS JOIN session_row r ON r.sid = e.sid AND r.seq_to IS NULL
    CROSS JOIN session s ON s.sid = e.sid"""
"""What joins an entry `e` with its session, if that is live."""
_SOURCE_RANK = {"id": 0, "tag": 2, WORDS: 3, "session": 4, "size": 5, "created": 5, "updated": 5, "type": 6}


def read_page(limit: int | None, offset: int) -> tuple[int, int]:
    """Return *limit* (-1 for none) and *offset* for a statement; raise InvalidValue."""
    most, first = numbers.page(limit, offset)
    return -1 if most is None else most, first


def read_direction(order: str) -> str:
    """Return *order* (asc, desc) as SQL says it; raise InvalidValue."""
    if order not in {"asc", "desc"}:
        raise InvalidValue("order", f"expected asc or desc, not {order!r}")
    return order.upper()


def start(
    connection: sqlite3.Connection, query: Query, sid: int | None, index: str | None, *, is_page: bool
) -> tuple[Sql, Sql]:
    """Return the rows `e` to go through, and the condition that each must fulfil for *query* (and *sid*).

    *index* has the rows in the order asked for; without one, or without a limit (*is_page*), nothing is
    walked to where a term can tell.
    """
    few = few_eids(connection, sources(query.terms, sid), everything=index is None or not is_page)
    is_probed = is_page and (few is None or len(few) <= _PROBED)
    checks = [check_entry(term, is_probed=is_probed) for term in query.terms]
    if sid is not None:
        checks.append(Sql("e.sid = ?", (sid,)))
    rows = Sql(f"entry e INDEXED BY {index or 'entry_by_created'}") if few is None else listed(few)
    return rows, join("AND", [Sql("TRUE"), *checks])


def listed(eids: list[int]) -> Sql:
    """Return the rows `e` of *eids*."""
    return Sql("json_each(?) j CROSS JOIN entry e ON e.eid = j.value", (json.dumps(eids),))


def sources(terms: Sequence[Term], sid: int | None = None) -> list[Sql]:
    """Return the statements that find eids for *terms* by an index, the likely short ones first."""
    asked = [term for term in terms if not term.negated]
    found = [(_rank(term, sid), entry_source(term, sid)) for term in asked if term.field not in SESSION_FIELDS]
    of_session = [check_session(term) for term in asked if term.field in SESSION_FIELDS]
    if sid is not None:
        of_session.append(Sql("r.sid = ?", (sid,)))
    if of_session:
        found.append((_SOURCE_RANK["session"], session_source(join("AND", of_session))))
    return [source for _, source in sorted(found, key=lambda pair: pair[0])]


def is_exact(term: Term) -> bool:
    """Tell whether *term* asks for one of certain values, none of them a pattern."""
    return not term.negated and all(isinstance(value, Match) and not value.is_glob for value in term.values)


def _rank(term: Term, sid: int | None) -> int:
    if term.field == "type" and sid is not None and is_exact(term):
        return 0
    if term.field == "name":
        return 1 if is_exact(term) else 7
    if term.field.startswith(META):
        return 2
    return _SOURCE_RANK.get(term.field, 8)


def few_eids(connection: sqlite3.Connection, statements: Sequence[Sql], *, everything: bool) -> list[int] | None:
    """Return the eids of the shortest of *statements*, or None where all are long and a page is walked to."""
    best: list[int] | None = None
    for source in statements:
        most = FEW if best is None else len(best)
        rows = connection.execute(f"{source.text} LIMIT ?", (*source.params, most + 1)).fetchall()
        if len(rows) <= most:
            best = [row[0] for row in rows]
        if best is not None and len(best) <= ENOUGH:
            return best
    if best is None and statements and everything:
        return [row[0] for row in connection.execute(statements[0].text, statements[0].params)]
    return best
