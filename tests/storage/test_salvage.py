"""A new index out of a damaged one: a page is the table's whose rows it has, whatever trees lead to it."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.storage.salvage import salvage
from llmspellfs.storage.salvage_pages import TABLE_INTERIOR, Pages

PAGE = 4096
TABLES = ("session", "session_row", "inode", "entry", "event", "content", "content_chunk", "chunk", "state")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in which entries, events and contents each take more than a page."""
    path = tmp_path_factory.mktemp("salvage") / "store"
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        for number in range(60):
            store.artifacts.put("s", f"a{number}", b"%d " % number * 200)
        store.artifacts.put("s", "large", b"".join(b"%d," % number for number in range(500_000)))
        store.state.set("key", 1)
    return path / "index.db"


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    shutil.copy(whole, tmp_path / "index.db")
    return tmp_path / "index.db"


def rows(path: Path) -> dict[str, Counter[Any]]:
    with closing(sqlite3.connect(path)) as db:
        return {table: Counter(db.execute(f"SELECT * FROM {table}")) for table in TABLES}


def salvaged(index: Path) -> tuple[dict[str, Counter[Any]], list[tuple[Any, ...]]]:
    refused: list[tuple[Any, ...]] = []
    target = index.with_name("new.db")
    salvage(str(index), str(target), lambda *row: refused.append(row))
    return rows(target), refused


def roots(index: Path) -> dict[str, int]:
    with closing(sqlite3.connect(index)) as db:
        return dict(db.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall())


def put(index: Path, page: int, data: bytes, at: int = 0) -> None:
    with index.open("r+b") as file:
        file.seek((page - 1) * PAGE + at)
        file.write(data)


def page(index: Path, number: int) -> bytes:
    return index.read_bytes()[(number - 1) * PAGE : number * PAGE]


SMALL = ("numbering", "doomed", "purge", "former", "checkpoint", "message", "session_by_change", "entry_label")


@pytest.mark.parametrize("of", ["entry", "event", "content", "content_chunk"])
@pytest.mark.parametrize("over", SMALL)
def test_a_root_that_another_overwrites_takes_no_rows_away(index: Path, over: str, of: str) -> None:
    expected, found = rows(index), roots(index)
    put(index, found[over], page(index, found[of]))
    assert salvaged(index) == (expected, [])


@pytest.mark.parametrize(("of", "leaf_of"), [("entry", "event"), ("event", "content"), ("content", "entry")])
def test_a_pointer_that_leads_astray_takes_no_rows_away(index: Path, of: str, leaf_of: str) -> None:
    expected, found = rows(index), roots(index)
    root = page(index, found[of])
    assert root[0] == TABLE_INTERIOR
    (at,) = struct.unpack_from(">H", root, 12)
    with closing(Pages(str(index))) as pages:
        leaf = pages.children(found[leaf_of])[0]
    put(index, found[of], struct.pack(">I", leaf), at)
    assert salvaged(index) == (expected, [])


def test_of_two_roots_that_are_one_each_row_goes_home(index: Path) -> None:
    expected, found = rows(index), roots(index)
    put(index, found["chunk"], page(index, found["content"]))
    made, _ = salvaged(index)
    assert made["chunk"] <= expected["chunk"]
    assert made | {"chunk": Counter()} == expected | {"chunk": Counter()}


def test_trees_that_lead_back_to_themselves_end(index: Path) -> None:
    expected, found = rows(index), roots(index)
    root = page(index, found["entry"])
    (at,) = struct.unpack_from(">H", root, 12)
    put(index, found["entry"], struct.pack(">I", found["entry"]), at)
    put(index, found["entry"], struct.pack(">I", found["event"]), 8)
    assert salvaged(index) == (expected, [])


def test_a_page_that_ends_early_is_no_end_of_the_process(index: Path) -> None:
    """As where somebody cuts the file off while it is read."""
    with closing(Pages(str(index))) as pages:
        last = max(pages.numbers())
        with index.open("r+b") as file:
            file.truncate(PAGE * 3)
        assert (pages.page(last), list(pages.cells(last)), pages.children(last)) == (b"", [], [])
        assert pages.page(2) != b""
