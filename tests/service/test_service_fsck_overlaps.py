"""Rows that are valid at the same time: one that agrees with its event never goes because of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.service import repair_rows
from llmspellfs.service.paths import Place
from tests.crash import damage as harm

OF = "(SELECT {} FROM entry WHERE name = 'healthy.txt')"
DAMAGES = {
    "the inode and more of a live row": f"UPDATE entry SET ino = {OF.format('ino')}, description = 'twice altered'"
    " WHERE name = 'other.txt'",
    "the name and the end of a row": "UPDATE entry SET name = 'healthy.txt', seq_to = 99, description = 'twice'"
    " WHERE name = 'other.txt'",
    "the inode, the artifact and more of a row": f"UPDATE entry SET ino = {OF.format('ino')}, description = 'x',"
    f" sequence = {OF.format('sequence')} WHERE name = 'other.txt'",
    "the place and the end of a past row": "UPDATE entry SET name = 'healthy.txt', seq_from = 3, seq_to = 5,"
    " description = 'x' WHERE name = 'twice.txt' AND version = 1",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a few artifacts, closed."""
    with open_store(tmp_path / "s", config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.create("one")
        for name in ("healthy.txt", "other.txt", "third.txt", "twice.txt"):
            store.artifacts.put("one", name, name.encode())
        store.artifacts.put("one", "twice.txt", b"twice")
    return tmp_path / "s"


def _live(store: Store) -> dict[str, bytes]:
    return {artifact.name: store.artifacts.read(artifact) for artifact in store.artifacts.list("one")}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_healthy_row_stays_where_a_damaged_one_has_its_place(path: Path, what: str) -> None:
    harm.sql(path, DAMAGES[what])
    with open_store(path, config=Config()) as store:
        before = _live(store)
    report = harm.mended(path)
    assert "overlap" in {problem.kind for problem in report.found}
    with open_store(path, config=Config()) as store:
        after = _live(store)
    assert before.items() <= after.items()
    assert after["healthy.txt"] == b"healthy.txt"
    assert not [problem for problem in report.problems if "healthy.txt:" in problem]
    again = harm.mended(path)
    assert (again.done, again.problems) == ((), report.problems)


def test_what_gave_way_is_in_the_quarantine_as_it_was(path: Path) -> None:
    harm.sql(path, DAMAGES["the inode and more of a live row"])
    report = harm.mended(path)
    assert report.quarantine is not None
    assert "twice altered" in (Path(report.quarantine) / "rows-1.jsonl").read_text()


def test_a_row_whose_end_was_altered_ends_where_the_trail_says(path: Path) -> None:
    harm.sql(path, "UPDATE entry SET seq_to = 7 WHERE version = 1 AND name = 'twice.txt'")
    with open_store(path, config=Config()) as store:
        store.artifacts.put("one", "twice.txt", b"thrice")
    harm.sql(path, "UPDATE entry SET seq_to = 7 WHERE version = 1 AND name = 'twice.txt'")
    report = harm.mended(path)
    assert report.ok
    with open_store(path, config=Config()) as store:
        assert [found.version for found in store.artifacts.history("one", "twice.txt")] == [1, 2, 3]


def test_a_folder_whose_last_row_begins_too_early_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config(), origin=harm.ORIGIN) as store:
        session = store.sessions.create("one")
        store.artifacts.put("one", "d/a.txt", b"a")
        here, there = (Place(session.sid, session.ino, name) for name in "de")
        store.entries.rename(here, there)
        store.entries.rename(there, here)
    harm.sql(path, "UPDATE entry SET seq_from = 2 WHERE name = 'd' AND seq_to IS NULL")
    assert harm.mended(path).ok
    with open_store(path, config=Config()) as store:
        assert set(_live(store)) == {"d/a.txt"}


def test_a_folder_that_an_altered_number_ended_lives_on_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.create("one")
        store.artifacts.put("one", "d/a.txt", b"a")
        store.artifacts.put("one", "b.txt", b"b")
    harm.sql(path, "UPDATE entry SET seq_to = 4 WHERE name = 'd'")
    assert harm.mended(path).ok
    with open_store(path, config=Config()) as store:
        assert set(_live(store)) == {"d/a.txt", "b.txt"}


def test_a_row_of_another_session_does_not_end_a_sessions_own(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        store.sessions.create("two", description="first")
        for text in ("second", "third"):
            store.sessions.update("two", description=text)
    row = "(SELECT rid FROM session_row WHERE description = 'second')"
    harm.sql(path, f"UPDATE session_row SET sid = 1, metadata = '{{\"x\":1}}' WHERE rid = {row}")
    harm.mended(path)
    with open_store(path, config=Config()) as store:
        assert {session.dirname for session in store.sessions.list()} == {"one", "two"}
        assert set(_live(store)) == {"healthy.txt", "other.txt", "third.txt", "twice.txt"}


GONE = {
    "what began versions": "DELETE FROM event WHERE seq IN (2, 3)",
    "what ended a version": "DELETE FROM event WHERE seq = 3",
    "a deletion": "DELETE FROM event WHERE seq = 5",
    "all after the first": "DELETE FROM event WHERE seq > 2",
    "a deletion, the end altered": ["DELETE FROM event WHERE seq = 5", "UPDATE entry SET seq_to = 99 WHERE seq_to = 5"],
    "what began versions, ends altered": [
        "DELETE FROM event WHERE seq IN (2, 3)", "UPDATE entry SET seq_to = 6 WHERE seq_to = 3",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", GONE)
def test_rows_whose_events_are_gone_end_at_one_place_for_good(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.create("one")
        for number in range(3):
            store.artifacts.put("one", "a", b"version %d" % number)
        store.artifacts.delete("one", "a")
        store.artifacts.put("one", "a", b"another artifact")
        store.artifacts.put("one", "a", b"another version")
    harm.sql(path, *([GONE[what]] if isinstance(GONE[what], str) else GONE[what]))
    before = harm.readable(path)
    report = harm.mended(path)
    assert before <= harm.readable(path)
    with open_store(path, config=Config()) as store:
        assert _live(store) == {"a": b"another version"}
    again = harm.mended(path)
    assert (again.done, again.problems) == ((), report.problems)


def test_no_bits_are_turned_where_no_hash_can_prove_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(*_: object) -> None:
        raise AssertionError("asked for what nothing can prove")

    monkeypatch.setattr(repair_rows, "_candidates", turned)
    harm.sql(path, "DELETE FROM event WHERE seq BETWEEN 3 AND 4")
    harm.mended(path)
