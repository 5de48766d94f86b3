"""What must hold among the index's rows, each with the query for whatever breaks it.

The tables of them are `audit_rows`, `audit_trail` and `audit_usage`. Every function takes a connection and reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmspellfs.storage.audit import told
from llmspellfs.storage.index import Connection


class Invariant(NamedTuple):
    """Something that must hold: what breaks it is of that *kind*, and is what the *query* finds.

    *where* and *what* are said of each row found, its columns as `{0}`, `{1}`, …; *harms* is the column in
    `Flaw.harms`, and the row's first is its value there.
    """

    kind: str
    harms: str | None
    where: str
    what: str
    query: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """What breaks an invariant: its *kind*, *where* it is and *what*; *harms* is a column of `entry` and its value.

    Two more words stand in for a column: `below` (all in the folder of that ino) and `session` (all of that sid).
    """

    kind: str
    where: str
    what: str
    harms: tuple[str, object] | None = None


def broken(db: Connection, invariants: Iterable[Invariant], failed: Callable[[str], None]) -> Iterator[Flaw]:
    """Yield what breaks *invariants*; *failed* is told of each that cannot be asked, since the index is damaged."""
    for one in invariants:
        for row in told(_rows(db, one.query), failed):
            key = None if one.harms is None else (one.harms, row[0])
            yield Flaw(one.kind, one.where.format(*row), one.what.format(*row), key)


def _rows(db: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    yield from db.execute(query)
