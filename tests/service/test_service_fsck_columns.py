"""Every column of every table: a value that was altered is found, or it is known why nothing can tell it from others.

And whatever it was: what is listed and read before a repair, and was so before the damage, is so after it.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.session import Session
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.paths import Place
from llmspellfs.service.repair import repair
from tests.crash import damage as harm
from tests.service.archives import export, take

CONFIG = dataclasses.replace(Config(), storage_quota=10**9, session_quota=10**9)
DAYS_90 = 90 * 86400 * 10**9

_OUTSIDE = "a POSIX attribute: it is outside history, and no hash covers it"
_VALUE = "a script's value: it is in no history"
_MESSAGE = "what was published: it is in no history, and pruned soon"
UNKNOWN = {
    "checkpoint.label": "it is in no event",
    "event.id": "one that keeps its place among those of its session: there may have been others between",
    "inode.mode": _OUTSIDE, "inode.uid": _OUTSIDE, "inode.gid": _OUTSIDE, "inode.mtime_ns": _OUTSIDE,
    "inode.ctime_ns": _OUTSIDE, "inode.atime_ns": _OUTSIDE,
    "message.id": _MESSAGE, "message.after_event": _MESSAGE, "message.name": _MESSAGE, "message.payload": _MESSAGE,
    "message.at_ns": _MESSAGE, "message.actor": _MESSAGE, "message.door": _MESSAGE,
    "session.change": "any number will do: it only says which sessions changed after which",
    "session.created_by": "it is in no event",
    "session.horizon_seq": "how far history goes back, where no row says that it goes back further",
    "session.next_sequence": "any number that no artifact has had will do",
    "session_row.rid": "any number will do: nothing refers to it",
    "state.key": _VALUE, "state.scope": _VALUE, "state.updated_ns": _VALUE, "state.value": _VALUE,
    "store.key": "one that says when or how far; a program that lacks it begins anew",
    "store.value": "one that says when or how far, or what the store is called",
    "content.condemned_ns": "when gc looked; gc looks again before it takes anything",
    "chunk.condemned_ns": "when gc looked; gc looks again before it takes anything",
}  # fmt: skip
"""Columns of which an altered value may be as good as any other, and why."""
UNDER_WAY = {
    "doomed": "files to unlink, each looked at once more before",
    "former": "contents that no row has any more, until gc takes them; a purge takes none that a row has",
    "purge": "purges that have not ended",
    "harm": "what a scrub found, which it finds again",
    "session_use_due": "drafts that were counted, until the next transaction",
}
"""Tables that have rows only while something is under way."""


def _make(path: Path) -> None:
    """Make a store with rows in every table but those."""
    with open_store(path.with_name("other"), config=CONFIG) as other:
        other.sessions.create("from elsewhere")
        other.artifacts.put("from elsewhere", "d/there", b"made elsewhere")
        archive = export(other, "from elsewhere", history=True)
    with open_store(path, config=CONFIG, origin=harm.ORIGIN) as store:
        parent = store.sessions.create("parent", tags=["alpha"], metadata={"k": "v"})
        own = store.sessions.create("own", parent=parent.id)
        _fill(store, own.sid, own.ino)
        store.sessions.fail(store.sessions.create("failed").id, "a reason")
        for name in ("deleted", "purged"):
            store.artifacts.put(store.sessions.create(name).id, "x", name.encode())
        store.sessions.delete("deleted")
        store.sessions.purge("purged")
        take(store, archive)
        store.artifacts.put("from elsewhere", "here", b"made here")
        store.search.artifacts('"words"')
        store.state.set("key", 1)
        store.messages.publish("told", 1)


def _fill(store: Store, sid: int, top: int) -> None:
    told: dict[str, Any] = {"tags": ["t"], "custom": {"n": 7}, "description": "some words"}
    store.artifacts.put("own", "d/a.txt", b"one " * 20, **told)
    store.sessions.save("own", "first")
    store.artifacts.put("own", "d/a.txt", b"two " * 20)
    store.sessions.save("own", "second")
    store.artifacts.put("own", "big.bin", bytes(range(256)) * 256 + b"".join(b"%d " % n for n in range(40_000)))
    store.artifacts.put("own", "b.txt", b"an other")
    store.artifacts.put("own", "gone.txt", b"deleted later")
    store.artifacts.delete("own", "gone.txt")
    store.entries.make_symlink(Place(sid, top, "link"), "d/a.txt", Ownership(0o777, 0, 0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of everything, which no test changes."""
    path = tmp_path_factory.mktemp("columns") / "whole"
    _make(path)
    assert harm.checked(path).found == ()
    return path


def _tables(path: Path) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
    """Yield each table that is one of the schema's: its columns with their types, and what names a row."""
    query = """
        SELECT name, sql LIKE '%WITHOUT ROWID%' FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%sqlite_%'
        AND name NOT LIKE 'entry\\_text%' ESCAPE '\\'
    """
    with closing(sqlite3.connect(path / "index.db")) as db:
        for name, is_keyed in db.execute(query).fetchall():
            info = db.execute(f"PRAGMA table_info({name})").fetchall()
            key = ", ".join(column[1] for column in info if column[5]) if is_keyed else "rowid"
            yield name, [(column[1], column[2]) for column in info], key


def _other(value: object, kind: str) -> object:
    if value is None:
        return "x" if kind == "TEXT" else b"x" if kind == "BLOB" else 7
    if isinstance(value, int):
        return value - DAYS_90 if value > 1 << 50 else value ^ 4
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    assert isinstance(value, str)
    return chr(ord(value[0]) ^ 1) + value[1:] if value else "x"


def _stray(value: object, kind: str) -> object:
    """Return a value of another type than *kind*."""
    if kind == "INTEGER":
        return b"\x07" if value is None else "x" if isinstance(value, int) and value % 2 else 1.5
    return b"\xff" if kind == "TEXT" else "x"


def _alterations(
    path: Path, table: str, column: str, kind: str, key: str, other: Callable[[object, str], object] = _other
) -> list[tuple[object, tuple[object, ...]]]:
    """Return what a value of *column* is altered to, and in which row: the first, the last, and one without.

    Of tables whose rows differ in meaning it is every row.
    """
    found, limit = [], 99 if table in {"store", "counted"} else 1
    with closing(sqlite3.connect(path / "index.db")) as db:
        for which, order in (("NOT NULL", "ASC"), ("NOT NULL", "DESC"), ("NULL", "ASC")):
            ordered = ", ".join(f"{part} {order}" for part in key.split(", "))
            query = f"SELECT {column}, {key} FROM {table} WHERE {column} IS {which} ORDER BY {ordered} LIMIT {limit}"
            found += [(other(row[0], kind), row[1:]) for row in db.execute(query)]
    return list(dict.fromkeys(found))


def _alter(path: Path, table: str, column: str, key: str, value: object, row: tuple[object, ...]) -> bool:
    """Have the column of one row be *value*, or another number where that one is taken; tell whether it could."""
    where = " AND ".join(f"{part} IS ?" for part in key.split(", "))
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        for other in (value, value ^ 64) if isinstance(value, int) else (value,):
            with suppress(sqlite3.IntegrityError):
                return db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (other, *row)).rowcount == 1
    return False


Listed = set[tuple[str, str, str]]


def _listed(path: Path, probe: Path) -> Listed:
    """Return the live artifacts that can be listed and read: session, name and hash."""
    found: Listed = set()
    copy = harm.copied(path, probe)
    with open_store(copy, config=CONFIG, create=False) as store:
        for session in _sessions(store):
            try:
                there = store.artifacts.list(session.id)
            except (SpellError, ValueError, TypeError):
                continue
            for artifact in there:
                try:
                    store.artifacts.read(artifact)
                except SpellError:
                    continue
                found.add((session.id, artifact.name, artifact.content_hash))
    shutil.rmtree(copy)
    return found


def _sessions(store: Store) -> list[Session]:
    """Return the sessions, none where one cannot be read."""
    try:
        return list(store.sessions.list())
    except (SpellError, ValueError, TypeError, KeyError):
        return []


def _checked(path: Path) -> FsckReport:
    with open_store(path, config=CONFIG, create=False) as store:
        return store.upkeep.fsck()


def test_every_table_has_rows_or_is_known_to_have_none(whole: Path) -> None:
    with closing(sqlite3.connect(whole / "index.db")) as db:
        empty = {name for name, _, _ in _tables(whole) if not db.execute(f"SELECT 1 FROM {name}").fetchone()}
    assert empty == set(UNDER_WAY)


TABLES = (
    "store", "session", "session_row", "session_label", "inode", "entry", "entry_label", "event", "checkpoint",
    "content", "content_chunk", "chunk", "state", "message", "numbering", "counted", "session_use", "session_part",
)  # fmt: skip


def test_no_table_is_left_out(whole: Path) -> None:
    assert {name for name, _, _ in _tables(whole)} == {*TABLES, *UNDER_WAY}


@pytest.mark.parametrize("table", TABLES)
def test_an_altered_value_is_found_and_its_repair_makes_nothing_worse(whole: Path, tmp_path: Path, table: str) -> None:
    _, columns, key = next(each for each in _tables(whole) if each[0] == table)
    sound, missed = _listed(whole, tmp_path / "probe"), set()
    for column, kind in columns:
        for value, row in _alterations(whole, table, column, kind, key):
            path = harm.copied(whole, tmp_path / "s")
            if _alter(path, table, column, key, value, row):
                before = _listed(path, tmp_path / "probe")
                report = repair(path, CONFIG, origin=harm.ORIGIN)
                what = f"{table}.{column} = {value!r} where {key} = {row}"
                if not any(not problem.is_note for problem in report.found):
                    missed.add(f"{table}.{column}")
                after = _listed(path, tmp_path / "probe")
                assert before & sound <= after, (what, report)
                assert {each[2] for each in before} <= {each[2] for each in after}, (what, report)
                assert set(_checked(path).problems) <= set(report.problems), what
            shutil.rmtree(path)
    assert missed == {name for name in UNKNOWN if name.startswith(f"{table}.")}


@pytest.mark.parametrize("table", TABLES)
def test_a_value_of_another_type_is_found_and_its_repair_makes_nothing_worse(
    whole: Path, tmp_path: Path, table: str
) -> None:
    _, columns, key = next(each for each in _tables(whole) if each[0] == table)
    sound, missed = _listed(whole, tmp_path / "probe"), set()
    for column, kind in columns:
        for value, row in _alterations(whole, table, column, kind, key, _stray):
            path = harm.copied(whole, tmp_path / "s")
            if _alter(path, table, column, key, value, row):
                what = f"{table}.{column} = {value!r} where {key} = {row}"
                before = _listed(path, tmp_path / "probe")
                if not any(problem.kind == "type" for problem in _checked(path).found):
                    missed.add(f"{table}.{column}")
                report = repair(path, CONFIG, origin=harm.ORIGIN)
                after = _listed(path, tmp_path / "probe")
                assert before & sound <= after, (what, report)
                assert {each[2] for each in before} <= {each[2] for each in after}, (what, report)
                assert set(_checked(path).problems) <= set(report.problems), what
            shutil.rmtree(path)
    assert missed == ({"store.value"} if table == "store" else set())
