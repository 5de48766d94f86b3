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
from llmspellfs.storage.mending import relabel, renumber
from llmspellfs.storage.salvage_pages import TABLE_LEAF, Cell, Pages, Value
from llmspellfs.storage.schema import FIRST_INO, migrate

_DERIVED = (
    "entry_text", "entry_label", "session_label", "counted", "session_use", "session_part", "sqlite_", "_sqlite_",
)  # fmt: skip
_ALIKE = frozenset({"numbering", "former"})
"""Tables whose rows are known by their tree alone."""
_STORE_KEYS = frozenset({"uuid", "created_ns", "next_ino", "synced_ns", "listed_ns"})
_TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "TEXT": (str,), "BLOB": (bytes,)}
_INLINE = 1 << 16

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

    def fits(self, values: tuple[Value, ...]) -> bool:
        """Tell whether *values* can be a row of it; a row of an older schema lacks the last columns."""
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


def salvage(source: str, target: str, keep: Keep, *, is_beyond: bool = False) -> Salvaged:
    """Make the index *target* (a new file) of what can be made out of *source*; *keep* gets rows that do not fit.

    With *is_beyond* the pages behind the place at which SQLite stops reading the WAL are the newest.
    Raises NoSpace, Corrupt, StoreUnusable, and leaves no *target* then.
    """
    with disk_errors(target), index_errors(target):
        for name in (target, f"{target}-journal"):
            with suppress(FileNotFoundError):
                disk.unlink("salvage.unlink", name)
        os.close(disk.create("salvage.create", target))
        try:
            done = _filled(source, target, keep, is_beyond=is_beyond)
            disk.sync_file("salvage.fsync", target)
        except BaseException:
            disk.undo("salvage.undo", target)
            raise
    return done


def _filled(source: str, target: str, keep: Keep, *, is_beyond: bool) -> Salvaged:
    with closing(Pages(source, is_beyond=is_beyond)) as pages, closing(connect_alone(target)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        migrate(db, target)
        return _Filling(pages, db, keep).run()


class _Filling:
    """The filling of one new index."""

    def __init__(self, pages: Pages, db: sqlite3.Connection, keep: Keep) -> None:
        self._pages, self._db, self._keep = pages, db, keep
        self._tables = {table.name: table for table in _tables(db)}
        self._done = Salvaged()
        self._seen = {1}

    def run(self) -> Salvaged:
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM store")
        for name, root in self._roots():
            self._tree(name, root)
        for number in self._pages.numbers():
            if number not in self._seen:
                self._stray(number)
        self._settle()
        disk.execute("salvage.commit", self._db, "COMMIT")
        return self._done

    def _roots(self) -> Iterator[tuple[str, int]]:
        """Yield what the schema says of trees: the table, or "" for an index and what is derived, and the root page."""
        for number in self._walk(1):
            for cell in self._pages.cells(number):
                values = cell.values if cell is not None else ()
                if len(values) == 5 and isinstance(values[3], int) and values[3] > 1:
                    is_table = values[0] == "table" and values[1] in self._tables
                    yield (str(values[1]) if is_table else ""), values[3]

    def _tree(self, name: str, root: int) -> None:
        for number in self._walk(root):
            for cell in self._pages.cells(number) if name else ():
                self._take(self._tables[name], cell)

    def _walk(self, root: int) -> Iterator[int]:
        todo = [root]
        while todo:
            number = todo.pop()
            if number in self._seen and number != 1:
                continue
            self._seen.add(number)
            yield number
            todo += self._pages.children(number)

    def _stray(self, number: int) -> None:
        """Take the rows of a page that no tree leads to, each by its shape."""
        kind = self._pages.page(number)[:1]
        for cell in self._pages.cells(number):
            if cell is None:
                self._done.unreadable += 1
                continue
            fitting = [
                t for t in self._tables.values() if t.has_rowid is (kind == bytes([TABLE_LEAF])) and _is_of(t, cell)
            ]
            if len(fitting) == 1:
                self._take(fitting[0], cell)

    def _take(self, table: Table, cell: Cell | None) -> None:
        if cell is None:
            self._done.unreadable += 1
            return
        row = table.row(cell)
        if not table.fits(cell.values):
            self._refuse(table, row, "no row of its table")
            return
        marks, names = ", ".join("?" * len(row)), ", ".join(row)
        try:
            query = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - of the schema
            is_in = self._db.execute(query, tuple(row.values())).rowcount == 1
        except sqlite3.Error as error:
            self._refuse(table, row, str(error))
            return
        self._done.rows[table.name] += is_in
        if not is_in:
            self._refuse(table, row, "another row has its place")

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


def _is_of(table: Table, cell: Cell) -> bool:
    """Tell whether a row of unknown home is one of *table*: by its shape, and where two have one, by its values."""
    if table.name in _ALIKE or len(cell.values) != len(table.columns) or not table.fits(cell.values):
        return False
    row = table.row(cell)
    if table.name == "store":
        return row["key"] in _STORE_KEYS
    if table.name in {"content", "chunk"}:
        digest, size, is_file = row["hash"], row["size"], row["data"] is None
        if not isinstance(digest, bytes) or len(digest) != 32 or not isinstance(size, int):
            return False
        is_chunk = row["codec"] is not None if is_file else size > _INLINE
        return is_chunk is (table.name == "chunk")
    if table.name == "content_chunk":
        start = row["start"]
        return isinstance(start, int) and (start == 0 or start >= 4 * _INLINE)
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
