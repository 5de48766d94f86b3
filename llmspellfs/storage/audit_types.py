"""Checking that the cells of an index hold what their columns are declared to hold.

SQLite takes values of any type into any column (https://sqlite.org/datatype3.html), and a changed byte in the header of
a row makes text of a number. NULL where none belongs is found by SQLite's own check.
"""
# ruff: noqa: S608 - queries are made of the schema's own words

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmspellfs.storage.index import Connection
from llmspellfs.storage.invariants import Flaw

_SHOWN = {"integer": "an integer", "real": "a fraction", "text": "text", "blob": "bytes"}
_HARMS = {"entry": "eid", "content": "content"}
"""Tables whose rows are artifacts or their content: what `Flaw.harms` calls their number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema, with its typed columns; *key* names a row."""

    name: str
    key: tuple[str, ...]
    types: dict[str, str]
    """By column `integer`, `text` or `blob`."""
    is_keyed: bool
    """Whether it is one WITHOUT ROWID."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A cell of another type than its *column* is declared to have; *row* has the values of the table's key."""

    table: Table
    column: str
    row: tuple[object, ...]
    has: str
    """The type that it has, as SQLite's `typeof` says it."""

    @property
    def flaw(self) -> Flaw:
        """What to tell of it."""
        word = _HARMS.get(self.table.name)
        what = f"its {self.column} is {_SHOWN[self.has]}, where {_SHOWN[self.table.types[self.column]]} belongs"
        where = f"{self.table.name} row {', '.join(map(_text, self.row))}"
        return Flaw("type", where, what, None if word is None else (word, self.row[0]))


def strays(db: Connection) -> Iterator[Stray]:
    """Yield every such cell of the index, table by table."""
    for table in _tables(db):
        names = list(table.types)
        asked = ", ".join([*table.key, *(f"typeof({name})" for name in names)])
        odd = " OR ".join(f"typeof({name}) NOT IN ('{kind}', 'null')" for name, kind in table.types.items())
        for row in db.execute(f"SELECT {asked} FROM {table.name} WHERE {odd}").fetchall():
            key, has = row[: len(table.key)], row[len(table.key) :]
            for name, found in zip(names, has, strict=True):
                if found not in {table.types[name], "null"}:
                    yield Stray(table, name, key, found)


def _tables(db: Connection) -> Iterator[Table]:
    """Yield the index's own tables that have typed columns besides the number of a row, but for full text's."""
    listed = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    for name, is_keyed in db.execute(f"{listed} AND name NOT LIKE '%sqlite\\_%' ESCAPE '\\' ORDER BY name").fetchall():
        info = db.execute("SELECT name, lower(type), pk FROM pragma_table_info(?)", (name,)).fetchall()
        numbers = {column for column, kind, pk in info if pk and kind == "integer" and not is_keyed}
        types = {column: kind for column, kind, _ in info if kind in _SHOWN and column not in numbers}
        if types:
            key = tuple(column for column, _, pk in info if pk) if is_keyed else ("rowid",)
            yield Table(name, key, types, bool(is_keyed))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
