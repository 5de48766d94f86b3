"""Rows of history that are gone, and content that is: brought back where a hash proves it, else told in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound
from llmspellfs.service.repair import repair
from tests.crash import damage as harm

Versions = list[tuple[int, bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with two versions of `q4:d/report.txt`, the first of which `q4:copy.txt` has too."""
    with open_store(tmp_path / "s", config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.create("q4")
        store.artifacts.put("q4", "d/report.txt", b"one")
        store.artifacts.put("q4", "copy.txt", b"one")
        store.artifacts.put("q4", "d/report.txt", b"two")
    return tmp_path / "s"


def versions(path: Path) -> Versions:
    """Return the versions of the report that can be read, oldest first."""
    with open_store(path, config=Config(), create=False) as store:
        found = {one.version: store.artifacts.read(one) for one in store.artifacts.history("q4", "d/report.txt")}
        return sorted(found.items())


REPORT = "DELETE FROM entry WHERE name = 'report.txt'"
GONE = {
    "all versions": [REPORT],
    "the first": [f"{REPORT} AND version = 1"],
    "the last": [f"{REPORT} AND version = 2"],
    "with its folder": [REPORT, "DELETE FROM entry WHERE name = 'd'"],
    "the folder": ["DELETE FROM entry WHERE name = 'd'"],
}


@pytest.mark.parametrize("what", GONE)
def test_rows_that_are_gone_are_as_they_were_where_their_hash_proves_it(path: Path, what: str) -> None:
    harm.sql(path, *GONE[what])
    assert not harm.checked(path).ok
    report = harm.mended(path)
    assert report.ok, report.problems
    assert report.notes == ()
    assert versions(path) == [(1, b"one"), (2, b"two")]
    assert harm.checked(path).ok


@pytest.mark.parametrize("what", ["all versions", "the first", "the last"])
def test_versions_that_no_hash_proves_come_back_with_an_event_of_their_own(path: Path, what: str) -> None:
    with open_store(path, config=Config()) as store:  # a type that nobody guesses
        store.artifacts.put("q4", "d/report.txt", b"three", artifact_type="odd")
    harm.sql(path, "UPDATE inode SET mtime_ns = 1, ctime_ns = 1", f"{GONE[what][0]}")
    with open_store(path, config=Config()) as store:
        before = [event.line for event in store.sessions.events("q4")]
    report = harm.mended(path)
    assert report.ok, report.problems
    assert [content for _, content in versions(path)] == [b"one", b"two", b"three"]
    with open_store(path, config=Config()) as store:
        lines = [event.line for event in store.sessions.events("q4")]
        assert lines[: len(before)] == before
        assert all(chain.problem is None for chain in store.upkeep.verify())
        assert store.artifacts.get("q4", "d/report.txt").size == len(b"three")
    again = harm.mended(path)
    assert (again.ok, again.done, again.quarantine) == (True, (), None)


TWO = "DELETE FROM content WHERE data = CAST('two' AS BLOB)"
ONE = "DELETE FROM content WHERE data = CAST('one' AS BLOB)"


@pytest.mark.parametrize(
    ("damage", "lost", "left"),
    [
        ([f"{REPORT} AND version = 2", TWO], [2], [(1, b"one")]),
        ([REPORT, TWO], [2], [(1, b"one")]),
        ([f"{REPORT} AND version = 1", ONE, "DELETE FROM entry WHERE name = 'copy.txt'"], [1], [(2, b"two")]),
        ([REPORT, ONE, TWO, "DELETE FROM entry WHERE name = 'copy.txt'"], [1, 2], []),
    ],
)
def test_what_is_lost_for_good_names_the_artifact_and_what_ends_it(
    path: Path, damage: list[str], lost: list[int], left: Versions
) -> None:
    harm.sql(path, *damage)
    assert "fsck --repair" in harm.checked(path).advice[0]
    report = harm.mended(path)
    told = [str(problem) for problem in report.found if not problem.is_note and not problem.repaired]
    told = [line for line in told if not line.startswith("q4:copy.txt")]
    assert [line.partition(",")[0] for line in told] == [f"q4:d/report.txt: version {n}" for n in lost]
    assert "q4:d/report.txt" in report.harmed
    assert any("artifact purge" in line for line in report.advice)
    if left:
        assert versions(path) == left
    with open_store(path, config=Config()) as store:
        for name in {harmed.partition(":")[2] for harmed in report.harmed}:
            store.artifacts.purge("q4", name)
    assert harm.checked(path).ok


def test_a_repair_that_can_do_nothing_keeps_no_further_copy_of_the_index(path: Path) -> None:
    harm.sql(path, f"{REPORT} AND version = 2", "DELETE FROM content WHERE data = CAST('two' AS BLOB)")
    assert harm.mended(path).quarantine is not None
    kept = sorted((path / "quarantine").rglob("*"))
    again = harm.mended(path)
    assert (again.ok, again.done, again.quarantine) == (False, (), None)
    assert sorted((path / "quarantine").rglob("*")) == kept


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """A store with something of everything, and a backup of it that shares no file with it."""
    harm.make_store(tmp_path / "s")
    with open_store(tmp_path / "s", config=Config()) as store:
        store.upkeep.backup(tmp_path / "b", hardlink=False)
    return tmp_path / "s", tmp_path / "b"


def test_content_that_is_lost_comes_back_from_a_backup_by_its_hash(saved: tuple[Path, Path]) -> None:
    path, source = saved
    expected = harm.readable(path)
    first, second, *_ = harm.blobs(path)
    first.unlink()
    harm.flip(second, 20, 3)
    harm.sql(
        path, "UPDATE content SET data = CAST('inline c0ntent' AS BLOB) WHERE data = CAST('inline content' AS BLOB)"
    )
    wrong = source / "blobs" / first.name[:2] / first.name
    sound = wrong.read_bytes()
    wrong.write_bytes(sound[:-1])
    there = sorted(source.rglob("*"))
    report = repair(path, Config(), origin=harm.ORIGIN, backup=source)
    assert [problem.where for problem in report.found if not problem.repaired and not problem.is_note] == [
        f"chunk {first.name}"
    ]
    wrong.write_bytes(sound)
    assert repair(path, Config(), origin=harm.ORIGIN, backup=source).ok
    assert harm.readable(path) == expected
    assert sorted(source.rglob("*")) == there


def test_a_folder_that_is_no_backup_is_refused_before_anything_changes(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="backup"):
        repair(path, Config(), origin=harm.ORIGIN, backup=tmp_path)
    assert not (path / "quarantine").exists()
