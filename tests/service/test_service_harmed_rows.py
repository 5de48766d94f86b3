"""Rows and events that were altered, met before any repair: every door says Corrupt, and the store opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, NotFound
from llmspellfs.service.paths import Place
from tests.crash import damage as harm


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with something of everything, closed."""
    harm.make_store(tmp_path / "s")
    return tmp_path / "s"


SESSION = {
    "status": "UPDATE session_row SET status = 'oktive' WHERE dirname = 'work'",
    "tags": "UPDATE session_row SET tags = '7' WHERE dirname = 'work'",
    "metadata": "UPDATE session_row SET metadata = '{\"k\"' WHERE dirname = 'work'",
}
ENTRY = {
    "kind": "UPDATE entry SET kind = 9 WHERE name = 'big.bin'",
    "tags": "UPDATE entry SET tags = '[' WHERE name = 'big.bin'",
}


@pytest.mark.parametrize("column", SESSION)
def test_session_with_an_altered_row_is_corrupt_at_every_door(path: Path, column: str) -> None:
    harm.sql(path, SESSION[column])
    doors: tuple[Callable[[Store], object], ...] = (
        lambda store: store.sessions.get("work"),
        lambda store: store.sessions.list(),
        lambda store: store.artifacts.get("work", "big.bin"),
        lambda store: store.sessions.complete("work"),
    )
    with open_store(path, config=Config(), create=False) as store:
        for door in doors:
            with pytest.raises(Corrupt, match="work"):
                door(store)


@pytest.mark.parametrize("column", ENTRY)
def test_artifact_with_an_altered_row_is_corrupt_at_every_door(path: Path, column: str) -> None:
    harm.sql(path, ENTRY[column])
    with open_store(path, config=Config(), create=False) as store:
        session = store.sessions.get("work")
        with pytest.raises(Corrupt, match=r"big\.bin"):
            store.entries.lookup(session.ino, "big.bin")


@pytest.mark.parametrize("size", ["'many'", "1.5", "x'00'", "-1"])
def test_artifact_whose_content_has_no_size_is_purged(path: Path, size: str) -> None:
    with open_store(path, config=Config(), create=False) as store:
        store.artifacts.put("work", "big.bin", b"anew")
    harm.sql(path, f"UPDATE content SET size = {size} WHERE size > 70000")
    with open_store(path, config=Config(), create=False) as store:
        assert store.artifacts.purge("work", "big.bin").is_ended
        with pytest.raises(NotFound):
            store.artifacts.get("work", "big.bin")


def test_store_opens_with_a_draft_of_nobody(path: Path) -> None:
    harm.sql(path, "UPDATE entry SET seq_from = NULL, draft = NULL WHERE name = 'big.bin'")
    with open_store(path, config=Config(), create=False) as store:
        assert store.artifacts.get("work", "big.bin").size == 3 << 20


def test_event_line_without_its_sequence_is_corrupt_for_who_asks_it(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        here, there = store.sessions.get("work"), store.sessions.create("other")
        store.entries.rename(Place(here.sid, here.ino, "big.bin"), Place(there.sid, there.ino, "big.bin"))
    altered = "UPDATE event SET line = replace(line, '\"sequence\"', '\"seqvence\"') WHERE kind = "
    harm.sql(path, f"{altered} 'artifact.deleted'", f"{altered} 'artifact.moved_in'")
    with open_store(path, config=Config(), create=False) as store:
        with pytest.raises(Corrupt, match="sequence"):
            store.artifacts.restore("work", "gone.txt")
        with pytest.raises(Corrupt, match="sequence"):
            store.runs.lineage("other:big.bin")
