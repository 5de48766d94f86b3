"""Which of two readings of a damaged index a repair takes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.service.repair_index import goes_on

Change = Callable[[Path], None]


def write(path: Path, name: str) -> None:
    with open_store(path, config=Config()) as store:
        store.artifacts.put("s", name, name.encode())


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        assert db.execute(statement).rowcount > 0


def more(path: Path) -> None:
    write(path, "more")


def another(path: Path) -> None:
    write(path, "another")
    write(path, "and one")


def broken(path: Path) -> None:
    sql(path, "UPDATE session SET head = 'ff'")


def drafted(path: Path) -> None:
    sql(path, "UPDATE entry SET seq_from = NULL, content = 77 WHERE name = 'first'")


def nothing(path: Path) -> None:
    assert path


@pytest.mark.parametrize(
    ("own", "others", "is_better"),
    [
        ((nothing,), (nothing,), False),
        ((nothing,), (more,), True),
        ((more,), (nothing,), False),
        ((more,), (another,), False),
        ((broken,), (nothing,), True),
        ((nothing,), (more, broken), False),
        ((drafted,), (more,), False),
        ((drafted,), (more, drafted), True),
    ],
)
def test_another_reading_is_taken_only_where_it_goes_on_from_the_own(
    tmp_path: Path, own: tuple[Change, ...], others: tuple[Change, ...], is_better: bool
) -> None:
    with open_store(tmp_path / "own", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "first", b"first")
    shutil.copytree(tmp_path / "own", tmp_path / "other")
    for name, changes in (("own", own), ("other", others)):
        for change in changes:
            change(tmp_path / name)
    one, two = (closing(sqlite3.connect(tmp_path / name / "index.db")) for name in ("own", "other"))
    with one as db, two as other:
        assert goes_on(db, other) is is_better
