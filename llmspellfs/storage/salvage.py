"""A new index out of the pages of a damaged one.

Rows are read page by page without SQLite (`salvage_pages`): first from the trees that the schema leads to, then from
every page that no tree leads to any more, whose rows are told by their shape. What is derived (labels, full text, the
database's own indexes) is not read but made anew; what does not fit into the new index is handed back.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from llmspellfs.storage import disk
from llmspellfs.storage.alone import connect_alone
from llmspellfs.storage.backup import index_errors
from llmspellfs.storage.disk import disk_errors
from llmspellfs.storage.ingest import INLINE_LIMIT
from llmspellfs.storage.mending import relabel, renumber
from llmspellfs.storage.migrations import migrate
from llmspellfs.storage.salvage_pages import Cell, Pages, Value
from llmspellfs.storage.schema import FIRST_INO

_DERIVED = (
    "entry_text", "entry_label", "session_label", "counted", "session_use", "session_part", "sqlite_", "_sqlite_",
)  # fmt: skip
_ALIKE = frozenset({"numbering", "former"})
"""Tables whose rows are known by their tree alone."""
_STORE_KEYS = frozenset({"uuid", "created_ns", "next_ino", "synced_ns", "listed_ns"})
_TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "TEXT": (str,), "BLOB": (bytes,)}

Keep = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema: its columns as a row's record has them."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[tuple[type, ...], ...]
    needed: tuple[bool, ...]
    rowid: int | None
    """Which column stands for the rowid and is null in the record."""
    has_rowid: bool

    def fits(self, cell: Cell) -> bool:
        """Tell whether *cell* can be a row of it; a row of an older schema lacks the last columns."""
        values = cell.values
        if (cell.rowid is not None) is not self.has_rowid:
            return False
        if len(values) > len(self.columns) or (len(values) < len(self.columns) and any(self.needed[len(values) :])):
            return False
        for place, value in enumerate(values):
            if value is None:
                if self.needed[place] and place != self.rowid:
                    return False
            elif place == self.rowid or (self.kinds[place] and not isinstance(value, self.kinds[place])):
                return False
        return True

    def row(self, cell: Cell) -> dict[str, Value]:
        """Return the row of *cell* by column."""
        row = dict(zip(self.columns, cell.values, strict=False))
        if self.rowid is not None:
            row[self.columns[self.rowid]] = cell.rowid
        return row


@dataclass(slots=True)
class Salvaged:
    """What was made out: rows by table, cells that could not be read, rows that did not fit."""

    rows: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    refused: int = 0


def salvage(source: str, target: str, keep: Keep, *, is_beyond: bool = False, wal_path: str | None = None) -> Salvaged:
    """Make the index *target* (a new file) of what can be made out of *source*; *keep* gets rows that do not fit.

    With *is_beyond* the pages behind the place at which SQLite stops reading the WAL are the newest; *wal_path* is
    another WAL than the one beside it, "" for none. Raises NoSpace, Corrupt, StoreUnusable, with no *target* left.
    """
    with disk_errors(target), index_errors(target):
        for name in (target, f"{target}-journal"):
            with suppress(FileNotFoundError):
                disk.unlink("salvage.unlink", name)
        os.close(disk.create("salvage.create", target))
        try:
            with closing(Pages(source, wal_path, is_beyond=is_beyond)) as pages:
                done = _filled(pages, target, keep)
            disk.sync_file("salvage.fsync", target)
        except BaseException:
            disk.undo("salvage.undo", target)
            raise
    return done


def _filled(pages: Pages, target: str, keep: Keep) -> Salvaged:
    with closing(connect_alone(target)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        migrate(db, target)
        return _Filling(pages, db, keep).run()


class _Filling:
    """The filling of one new index.

    A damaged tree may lead to pages of another. So all trees are followed first, and a page that more than one leads to
    is the one's whose rows it has. Rows whose table is sure have their places before those where it is not.
    """

    def __init__(self, pages: Pages, db: sqlite3.Connection, keep: Keep) -> None:
        self._pages, self._db, self._keep = pages, db, keep
        self._tables = {table.name: table for table in _tables(db)}
        self._done = Salvaged()

    def run(self) -> Salvaged:
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM store")
        homes = self._homes()
        unsure = [number for number, names in homes.items() if not self._fill(number, names)]
        for number in self._pages.numbers():
            if number not in homes and not self._stray(number):
                self._done.unreadable += sum(cell is None for cell in self._pages.cells(number))
        for number in unsure:
            self._fill_last(number, homes[number])
        self._settle()
        disk.execute("salvage.commit", self._db, "COMMIT")
        return self._done

    def _homes(self) -> dict[int, tuple[str, ...]]:
        """Return for each page that a tree leads to the names of the tables, "" for what is no table of rows."""
        homes: dict[int, tuple[str, ...]] = {1: ("",)}
        alike: dict[tuple[str, ...], tuple[str, ...]] = {}
        seen: dict[str, set[int]] = {}
        for name, has_rowid, root in self._roots():
            for number in self._walk(root, has_rowid, seen.setdefault(name, {1})):
                names = (*homes.get(number, ()), *(() if name in homes.get(number, ()) else (name,)))
                homes[number] = alike.setdefault(names, names)
        return homes

    def _roots(self) -> Iterator[tuple[str, bool | None, int]]:
        """Yield what the schema says of trees: the table, or "" for an index and what is derived, and the root page.

        Between them is whether its pages are those of a table by rowid, None where that may be either.
        """
        for number in self._walk(1, True, set()):
            for cell in self._pages.cells(number):
                values = cell.values if cell is not None else ()
                if len(values) != 5 or not isinstance(values[3], int) or values[3] <= 1:
                    continue
                names = [value for value in values[1:3] if isinstance(value, str)]
                table = next((self._tables[name] for name in names if name in self._tables), None)
                if values[0] == "index":
                    yield "", False, values[3]
                elif table is not None:
                    yield table.name, table.has_rowid, values[3]
                elif any(name.startswith(_DERIVED) for name in names):
                    yield "", None, values[3]

    def _walk(self, root: int, has_rowid: bool | None, seen: set[int]) -> Iterator[int]:
        """Yield the pages from *root* down, each once, but for those *seen*; no page of another kind of tree."""
        todo = [root]
        while todo:
            number = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            if has_rowid is None or self._pages.is_of_tree(number, has_rowid=has_rowid):
                yield number
                todo += self._pages.children(number)

    def _fill(self, number: int, names: tuple[str, ...]) -> bool:
        """Take the rows of a page that the trees of *names* lead to; return False where it is not sure whose they are.

        What is no row of any of them is taken by its shape.
        """
        if names == ("",):
            return True
        cells = list(self._pages.cells(number))
        tables = [self._tables[name] for name in names if name]
        table, is_sure = _likeliest(tables, cells, len(cells) // 2 + 1)
        if table is None:
            if not self._stray(number) and "" not in names:
                self._take_all(tables[0], cells)
        elif is_sure:
            self._take_all(table, cells)
        return table is None or is_sure

    def _fill_last(self, number: int, names: tuple[str, ...]) -> None:
        """Take the rows of a page of which it is not sure whose they are; an index's records may look like rows."""
        cells = list(self._pages.cells(number))
        tables = [self._tables[name] for name in names if name and ("" not in names or name in _ALIKE)]
        table, _ = _likeliest(tables, cells, 1)
        if table is not None:
            self._take_all(table, cells)

    def _stray(self, number: int) -> bool:
        """Take the rows of a page by their shape, where that says of which table they are; tell whether it does."""
        if not self._pages.is_leaf(number):
            return False
        cells = list(self._pages.cells(number))
        table, is_sure = _likeliest(list(self._tables.values()), cells, 1)
        if table is None or not is_sure:
            return False
        self._take_all(table, cells)
        return True

    def _take_all(self, table: Table, cells: list[Cell | None]) -> None:
        for cell in cells:
            self._take(table, cell)

    def _take(self, table: Table, cell: Cell | None) -> None:
        if cell is None:
            self._done.unreadable += 1
            return
        row = table.row(cell)
        if not table.fits(cell):
            self._refuse(table, row, "no row of its table")
            return
        marks, names = ", ".join("?" * len(row)), ", ".join(row)
        try:
            query = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - of the schema
            is_in = self._db.execute(query, tuple(row.values())).rowcount == 1
            is_same = is_in or self._is_there(table, row)
        except sqlite3.Error as error:
            self._refuse(table, row, str(error))
            return
        self._done.rows[table.name] += is_in
        if not is_same:
            self._refuse(table, row, "another row has its place")

    def _is_there(self, table: Table, row: dict[str, Value]) -> bool:
        """Tell whether just that row is in already, of another copy of its page."""
        same = " AND ".join(f"{name} IS ?" for name in row)
        query = f"SELECT 1 FROM {table.name} WHERE {same}"  # noqa: S608 - of the schema
        return self._db.execute(query, tuple(row.values())).fetchone() is not None

    def _refuse(self, table: Table, row: dict[str, Value], why: str) -> None:
        self._done.refused += 1
        self._keep(table.name, why, row)

    def _settle(self) -> None:
        """Make what is derived, and the values without which no store opens."""
        self._db.execute(
            "DELETE FROM content_chunk WHERE kid NOT IN (SELECT kid FROM chunk)"
            " AND cid NOT IN (SELECT cid FROM content WHERE data IS NULL)"
        )
        now = time.time_ns()
        rows = (("uuid", str(uuid.uuid4())), ("created_ns", now), ("next_ino", FIRST_INO), ("synced_ns", 0))
        self._db.executemany("INSERT OR IGNORE INTO store (key, value) VALUES (?, ?)", rows)
        self._db.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('indexed_eid', 0)")
        self._db.execute("DELETE FROM entry_text_due")
        renumber(self._db)
        relabel(self._db)


def _likeliest(tables: list[Table], cells: list[Cell | None], least: int) -> tuple[Table | None, bool]:
    """Return of which of *tables* most of *cells*, all of one page, are rows; None where that is none of them.

    And whether it is sure: *least* of them have its rows' shape, and fewer that of any other.
    """
    there = [cell for cell in cells if cell is not None]
    counts = [(sum(_is_of(t, cell) for cell in there), sum(t.fits(cell) for cell in there), t) for t in tables]
    counts = sorted((count for count in counts if count[1]), key=lambda count: count[:2], reverse=True)
    if not counts:
        return None, False
    of_it, _, table = counts[0]
    return table, of_it >= least and (len(counts) == 1 or of_it > counts[1][0])


def _is_of(table: Table, cell: Cell) -> bool:
    """Tell whether a row of unknown home is one of *table*: by its shape, and where two have one, by its values."""
    if table.name in _ALIKE or len(cell.values) != len(table.columns) or not table.fits(cell):
        return False
    row = table.row(cell)
    if table.name == "store":
        return row["key"] in _STORE_KEYS
    if table.name in {"content", "chunk"}:
        digest, size, is_file = row["hash"], row["size"], row["data"] is None
        if not isinstance(digest, bytes) or len(digest) != 32 or not isinstance(size, int):
            return False
        is_chunk = row["codec"] is not None if is_file else size > INLINE_LIMIT
        return is_chunk is (table.name == "chunk")
    if table.name == "content_chunk":
        start = row["start"]
        return isinstance(start, int) and (start == 0 or start >= 4 * INLINE_LIMIT)
    return True


def _tables(db: sqlite3.Connection) -> Iterator[Table]:
    names = db.execute("SELECT name, sql LIKE '%WITHOUT ROWID%' FROM sqlite_schema WHERE type = 'table'").fetchall()
    for name, is_keyed in names:
        if name.startswith(_DERIVED) or db.execute(f"PRAGMA table_list('{name}')").fetchone()[2] != "table":
            continue
        info = db.execute(f"PRAGMA table_info('{name}')").fetchall()
        if is_keyed:  # the record has the key first
            info = sorted((c for c in info if c[5]), key=lambda c: c[5]) + [c for c in info if not c[5]]
        own = [n for n, column in enumerate(info) if column[5] and column[2] == "INTEGER" and not is_keyed]
        yield Table(
            name, tuple(c[1] for c in info), tuple(_TYPES.get(c[2], ()) for c in info),
            tuple(bool(c[3] or (c[5] and is_keyed)) for c in info), own[0] if own else None, not is_keyed,
        )  # fmt: skip
