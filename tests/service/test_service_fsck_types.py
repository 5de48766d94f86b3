"""Cells of an index that hold another type than their columns': said plainly, and mended before anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

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


def test_a_sound_index_has_only_values_of_its_columns_types(path: Path) -> None:
    assert harm.checked(path).ok


def test_an_artifact_is_named_whose_row_has_such_a_value(path: Path) -> None:
    harm.sql(path, "UPDATE entry SET size = 'long' WHERE name = 'small.txt' AND seq_to IS NULL")
    report = harm.checked(path)
    told = [problem for problem in report.found if problem.kind == "type"]
    assert [problem.what for problem in told] == ["its size is text, where an integer belongs"]
    assert told[0].where.endswith(":small.txt")
    assert told[0].where in report.harmed


def test_where_such_values_keep_the_rest_from_being_asked_that_is_said(path: Path) -> None:
    harm.sql(path, "UPDATE content SET hash = CAST(hex(hash) AS TEXT) WHERE cid = 1")
    problems = harm.checked(path).problems
    assert "content row 1: its hash is text, where bytes belongs" in problems
    assert "index: more can be asked once its values have their columns' types" in problems


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET description = CAST(description AS BLOB), tags = CAST(tags AS BLOB) WHERE kind = 0",
        "UPDATE session_row SET name = CAST(name AS BLOB), metadata = CAST(metadata AS BLOB)",
        "UPDATE event SET line = CAST(line AS BLOB)",
        "UPDATE entry SET size = CAST(CAST(size AS TEXT) AS BLOB), ino = CAST(CAST(ino AS TEXT) AS BLOB)",
        "UPDATE content SET size = CAST(CAST(size AS TEXT) AS BLOB)",
        "UPDATE content SET data = CAST(data AS TEXT) WHERE codec = 0 AND data IS NOT NULL",
    ],
)
def test_what_a_value_says_is_kept_where_its_right_type_can_say_it(path: Path, statement: str) -> None:
    expected = harm.readable(path)
    harm.sql(path, statement)
    assert any(problem.kind == "type" for problem in harm.checked(path).found)
    report = harm.mended(path)
    assert report.ok, report.problems
    assert harm.readable(path) == expected
    assert harm.checked(path).ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET folder = 'x' WHERE eid = (SELECT max(eid) FROM entry WHERE kind = 0)",
        "UPDATE entry SET updated_ns = 'x' WHERE kind = 0",
        "UPDATE session_row SET ended_ns = x'07'",
        "UPDATE content SET size = 'x', stored_size = 1.5",
    ],
)
def test_what_is_lost_and_an_event_tells_is_as_that_says(path: Path, statement: str) -> None:
    expected = harm.readable(path)
    harm.sql(path, statement)
    report = harm.mended(path)
    assert report.ok, report.problems
    assert harm.readable(path) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET seq = 'x' WHERE sid = 1 AND seq = 5",
        "UPDATE event SET seq = 1000 WHERE sid = 1 AND seq = 5",
        "UPDATE event SET seq = 'x' || id",
        "UPDATE event SET sid = 'x' WHERE sid = 1 AND seq = 5",
        "UPDATE event SET sid = 'x' || id",
    ],
)
def test_an_event_goes_back_to_the_place_that_its_line_tells(path: Path, statement: str) -> None:
    expected, there = harm.readable(path), harm.listed(path)
    harm.sql(path, statement)
    report = harm.mended(path)
    assert report.ok, report.problems
    assert (harm.readable(path), harm.listed(path)) == (expected, there)


@pytest.mark.parametrize("where", ["kind = 1", "kind = 2", "seq_to IS NOT NULL", "kind = 0 AND seq_to IS NULL", "TRUE"])
def test_a_row_that_lost_where_it_begins_is_no_draft(path: Path, where: str) -> None:
    expected, there = harm.readable(path), harm.listed(path)
    harm.sql(path, f"UPDATE entry SET seq_from = NULL WHERE {where}")
    report = harm.checked(path)
    assert any("it begins at no seq" in problem for problem in report.problems)
    assert harm.listed(path) == there, "the store opens, and nothing is put into history for it"
    report = harm.mended(path)
    assert report.ok, report.problems
    assert (harm.readable(path), harm.listed(path)) == (expected, there)


def test_a_draft_that_names_no_process_is_sealed_after_its_repair(path: Path) -> None:
    harm.sql(
        path,
        "UPDATE entry SET seq_from = NULL, description = 'of no event' WHERE name = 'small.txt' AND seq_to IS NULL",
    )
    there = harm.listed(path)
    assert "work: small.txt is a draft of nobody" in harm.mended(path).done
    assert harm.listed(path) == there
    harm.sql(path, "UPDATE entry SET description = description WHERE name = 'small.txt' AND seq_from > 1")
    assert not any("it begins at no seq" in problem for problem in harm.checked(path).problems)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE session SET next_sequence = 'x'",
        "UPDATE session SET change = 'x', artifact_count = 99",
        "UPDATE session SET change = 9223372036854775807, artifact_count = 99",
        "UPDATE session SET seq = 9223372036854775807",
        "UPDATE session SET trail_size = 9223372036854775807",
        "UPDATE content SET size = 9223372036854775807",
        "UPDATE content SET size = -9223372036854775808",
        "UPDATE content SET size = 9e999",
        "UPDATE entry SET size = 9223372036854775807 WHERE kind = 0",
        "UPDATE content SET cid = 0 WHERE cid = 1",
        "UPDATE inode SET ino = 9223372036854775807 WHERE ino = (SELECT max(ino) FROM inode)",
    ],
)
def test_a_number_that_nothing_can_be_counted_on_from_ends_no_repair(path: Path, statement: str) -> None:
    expected = harm.readable(path)
    harm.sql(path, statement)
    assert not harm.checked(path).ok or "change" in statement
    report = harm.mended(path)
    assert report.ok, report.problems
    assert harm.readable(path) == expected


def test_a_chunk_that_begins_far_below_its_content_ends_no_repair(path: Path) -> None:
    expected = harm.readable(path)
    least = "SELECT min(cid) FROM content_chunk"
    harm.sql(
        path,
        f"UPDATE content_chunk SET start = -9223372036854775808 WHERE start = 0 AND cid = ({least})",
        f"UPDATE chunk SET codec = '{{}}' WHERE kid IN (SELECT kid FROM content_chunk WHERE cid = ({least}))",
    )
    harm.mended(path)
    assert harm.readable(path) == expected


def test_what_is_lost_of_attributes_is_the_owners_and_in_the_quarantine(path: Path) -> None:
    harm.sql(path, "UPDATE inode SET uid = 'x', gid = 'x', mode = 'x', mtime_ns = 'x', atime_ns = 'x'")
    report = harm.mended(path)
    assert report.ok, report.problems
    assert report.quarantine is not None
    lines = (Path(report.quarantine) / "rows-1.jsonl").read_text().splitlines()
    assert {json.loads(line)["row"]["uid"] for line in lines} >= {"x"}
    assert harm.checked(path).ok


def test_a_row_whose_key_is_of_no_use_goes_to_the_quarantine(path: Path) -> None:
    expected = harm.readable(path)
    harm.sql(path, "INSERT INTO entry_label (key, value, eid) VALUES ('tag', 'strange', x'07')")
    report = harm.mended(path)
    assert report.ok, report.problems
    assert "1 row of entry_label moved out: of another type than its column" in report.done
    assert harm.readable(path) == expected


def test_a_value_whose_place_another_row_has_does_not_take_it(path: Path) -> None:
    """The text says what the bytes of another content's hash are."""
    expected = harm.readable(path)
    harm.sql(
        path,
        "INSERT INTO content (hash, size, stored_size, codec, data)"
        " SELECT CAST(hash AS TEXT), size, stored_size, codec, data FROM content WHERE cid = 1",
    )
    report = harm.mended(path)
    assert harm.readable(path) == expected
    shutil.rmtree(path.with_name("probe"), ignore_errors=True)
    assert set(harm.checked(path).problems) <= set(report.problems)
