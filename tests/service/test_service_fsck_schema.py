"""An index of which somebody has dropped or emptied a table: said plainly, and salvaged as far as it goes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt
from llmspellfs.service.check_findings import FsckReport
from tests.crash import damage as harm


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of everything, closed, that no test changes."""
    path = tmp_path_factory.mktemp("sound") / "s"
    harm.make_store(path)
    return path


@pytest.fixture
def path(tmp_path: Path, sound: Path) -> Path:
    """A copy of it."""
    return harm.copied(sound, tmp_path / "s")


def run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path / "index.db")) as db:
        db.execute(statement)


def parts(path: Path) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(path / "index.db")) as db:
        yield from db.execute("SELECT type, name FROM sqlite_schema WHERE name NOT GLOB '*sqlite_*'")


def found(path: Path) -> FsckReport | None:
    """Return what a check finds, None where the store does not even open, which is said as Corrupt."""
    try:
        return harm.checked(path)
    except Corrupt:
        return None


TABLES = ("inode", "event", "entry", "session", "session_row", "chunk", "content", "content_chunk", "store", "harm")
DERIVED = ("entry_text", "entry_text_idx", "entry_text_data", "entry_label", "counted", "entry_text_due")


@pytest.mark.parametrize("table", [*TABLES, *DERIVED])
def test_a_dropped_table_is_found_and_the_rest_salvaged(path: Path, table: str) -> None:
    expected = harm.readable(path)
    run(path, f"DROP TABLE {table}")
    report = found(path)
    assert report is None or f"index: its table {table} is gone" in report.problems
    mended = harm.mended(path)
    assert any(f"its table {table}" in line for line in mended.repaired), mended.found
    again = harm.checked(path)
    assert not any("is gone" in problem.what for problem in again.found if problem.kind == "index")
    if table in {*DERIVED, "inode", "store", "harm", "chunk"}:
        assert harm.readable(path) >= {one for one in expected if table != "chunk"}


@pytest.mark.parametrize("name", ["entry_live", "former_gone", "event_by_seq"])
def test_a_dropped_index_or_trigger_is_found_and_made_again(path: Path, name: str) -> None:
    (kind,) = [kind for kind, other in parts(path) if other == name]
    run(path, f"DROP {kind} {name}")
    assert harm.checked(path).problems == (f"index: its {kind} {name} is gone",)
    report = harm.mended(path)
    assert report.ok, report.problems
    assert (kind, name) in set(parts(path))
    assert harm.checked(path).ok


def page_of(path: Path, name: str) -> int:
    """Return where in the file the root of the index *name* begins, which is its only page."""
    with closing(sqlite3.connect(path / "index.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    return int(root - 1) * 4096


def test_a_row_that_an_index_has_wrongly_is_found_by_what_sqlite_checks(path: Path) -> None:
    """Nothing here reads by this index, and queries that do would leave the row out."""
    at = page_of(path, "entry_by_type")
    page = (path / "index.db").read_bytes()[at : at + 4096]
    cell = int.from_bytes(page[8:10], "big")
    harm.flip(path / "index.db", at + cell + page[cell], 0x40)  # the last byte: the number of the row
    (problem,) = harm.checked(path).problems
    assert problem.startswith("index: row ")
    assert problem.endswith(" missing from index entry_by_type")
    assert harm.mended(path).ok
    assert harm.checked(path).ok


@pytest.mark.parametrize("quick", [False, True])
def test_a_page_that_is_on_no_list_is_found_by_what_sqlite_checks(path: Path, quick: bool) -> None:
    size = (path / "index.db").stat().st_size
    with (path / "index.db").open("r+b") as file:
        file.truncate(size + 4096)
        file.seek(28)
        file.write((size // 4096 + 1).to_bytes(4, "big"))
    problems = harm.checked(path, quick=quick).problems
    assert len(problems) == 1
    assert "never used" in problems[0]
    assert harm.mended(path).ok


@pytest.mark.parametrize(
    "statement", ["DROP TABLE entry_text_idx", "UPDATE entry_text_config SET v = 1 WHERE k = 'version'"]
)
def test_a_search_says_that_the_full_text_is_damaged_and_a_repair_makes_it_anew(path: Path, statement: str) -> None:
    harm.sql(path, statement)
    with open_store(path, config=Config()) as store, pytest.raises(Corrupt, match="fsck"):
        store.search.artifacts('"words"')
    assert not harm.checked(path, quick=True).ok
    assert harm.mended(path).ok
    with open_store(path, config=Config()) as store:
        assert [found.name for found in store.search.artifacts('"words"')] == ["small.txt"]


def test_chunks_that_lost_their_rows_get_them_again_by_the_hash_of_the_whole(path: Path) -> None:
    expected = harm.readable(path)
    harm.sql(path, "DELETE FROM chunk WHERE data IS NULL")
    assert not harm.checked(path).ok
    report = harm.mended(path)
    assert report.ok, report.problems
    assert harm.readable(path) == expected


def test_a_sound_index_lacks_nothing(path: Path) -> None:
    shutil.copytree(path, path.with_name("other"))
    assert harm.checked(path).ok
    assert harm.checked(path, quick=True).ok


def test_an_index_with_harmed_pages_is_told_and_the_way_to_its_repair(path: Path) -> None:
    index = path / "index.db"
    with index.open("r+b") as file:
        for page in range(10, index.stat().st_size // 4096, 10):
            file.seek(page * 4096)
            file.write(bytes(4096))
    report = harm.checked(path)
    assert {problem.kind for problem in report.found if not problem.is_note} >= {"index"}
    assert "fsck --repair" in report.advice[0]
