"""The SQL of giving cells of the index the types that their columns are declared to have.

What a value says is kept where the right type can say it. Where it cannot, nothing is put in its place, or a number
that no other row has: one that is wrong, as what it should be is lost; how that is mended is for the check after.
"""
# ruff: noqa: S608 - queries are made of the schema's own words

from __future__ import annotations

import re
import sqlite3
from collections import Counter

from llmspellfs.model.shown import count
from llmspellfs.storage.audit_types import Stray, strays
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import Done, Keep, keep_rows

_WHY = "of another type than its column"
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_OWNERS = {"uid": 0, "gid": 1}
_MAY_LACK = frozenset({"atime_ns", "condemned_ns", "codec"})
"""Columns in which NULL is as good as what is lost; elsewhere it says something: that a row lives, or is a draft."""


def retype(db: Connection, owner: tuple[int, int], keep: Keep) -> list[Done]:
    """Mend every cell of another type than its column's; what has lost its *owner* (uid, gid) gets that one.

    Runs in the caller's transaction, and notes each row first.
    """
    mended, removed = Counter[str](), Counter[str]()
    for stray in strays(db):
        where = " AND ".join(f"{name} IS ?" for name in stray.table.key)
        if not keep_rows(db, stray.table.name, where, stray.row, f"its {stray.column} is {_WHY}", keep):
            continue  # of a row that another of its cells has moved out, or given another key, for the next round
        if _mend(db, stray, where, owner):
            mended[f"{stray.table.name}.{stray.column}"] += 1
        else:
            db.execute(f"DELETE FROM {stray.table.name} WHERE {where}", stray.row)
            removed[stray.table.name] += 1
    return [
        *(Done("type", f"{count(number, 'value')} of {name}, {_WHY}, made such") for name, number in mended.items()),
        *(Done("type", f"{count(number, 'row')} of {name} moved out: {_WHY}") for name, number in removed.items()),
    ]


def _mend(db: Connection, stray: Stray, where: str, owner: tuple[int, int]) -> bool:
    """Put a value of the right type into the cell; tell whether one could be."""
    query = f"SELECT CAST({stray.column} AS BLOB) FROM {stray.table.name} WHERE {where}"
    said: bytes = db.execute(query, stray.row).fetchone()[0]
    for value in (_same(stray, said), _other(stray, owner)):
        if value is None and stray.column not in _MAY_LACK:
            continue
        put = f"CAST(? AS {stray.table.types[stray.column]})"
        try:
            db.execute(f"UPDATE {stray.table.name} SET {stray.column} = {put} WHERE {where}", (value, *stray.row))
        except sqlite3.IntegrityError:  # another row has that
            continue
        return True
    return False


def _same(stray: Stray, said: bytes) -> int | str | bytes | None:
    """Return what the cell *said*, as the right type says it, None where it cannot."""
    kind = stray.table.types[stray.column]
    if kind != "integer":
        return said.decode("utf-8", "backslashreplace") if kind == "text" else said
    text = said.decode("ascii", "replace").removesuffix(".0")
    return int(text) if _NUMBER.fullmatch(text) else None


def _other(stray: Stray, owner: tuple[int, int]) -> int | bytes | None:
    """Return what may stand for what is lost, None where nothing may."""
    if stray.column in _MAY_LACK or stray.table.is_keyed or not isinstance(stray.row[0], int):
        return None
    if stray.column in _OWNERS:
        return owner[_OWNERS[stray.column]]
    if stray.table.types[stray.column] != "integer":
        return f"lost {stray.row[0]}".encode()
    return 0 if stray.column.endswith("_ns") else ~stray.row[0]
