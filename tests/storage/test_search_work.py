"""How much SQLite has to do for what a view lists: it grows with the listing, and not with the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmspellfs.model.query import Query, filters, parse_query
from llmspellfs.storage.migrations import migrate
from llmspellfs.storage.search import (
    dirnames,
    find_entries,
    find_entry_sessions,
    places,
    session_ids,
    sessions_in,
    sessions_with_tag,
)
from tests.storage.test_search import NOW, Filling

SESSIONS, FILES = 40, 100
STEPS_PER_ROW = 60
"""Instructions of SQLite's machine for one row that is listed, generously."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filling]:
    """Forty sessions of a hundred files; one of them has all with the type and the tag "rare"."""
    path: Path = tmp_path_factory.mktemp("work")
    db = sqlite3.connect(path / "index.db", isolation_level=None)
    migrate(db, path)
    db.execute("INSERT INTO content (cid, hash, size, stored_size) VALUES (1, ?, 1, 1)", (bytes(32),))
    filling = Filling(db)
    db.execute("BEGIN")
    for number in range(SESSIONS):
        is_rare = number == SESSIONS // 2
        status, tags = ("failed", ["rare"]) if is_rare else ("active", ["usual"])
        sid = filling.session(f"s{number}", status=status, tags=tags)
        for file in range(FILES):
            rare = is_rare and file < 3
            filling.file(sid, f"f{file}", type="rare" if rare else "usual", tags=["rare" if rare else "usual"])
    db.execute("COMMIT")
    yield filling
    db.close()


@contextmanager
def work_of(db: sqlite3.Connection) -> Iterator[Callable[[], int]]:
    """Count the instructions that SQLite's machine runs."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    db.set_progress_handler(count, 1)
    yield lambda: steps
    db.set_progress_handler(None, 0)


def in_sessions(query: Query) -> Callable[[sqlite3.Connection], list[str]]:
    return lambda db: dirnames(db, find_entry_sessions(db, query))


def rare_in(sid: int) -> Callable[[sqlite3.Connection], list[tuple[int, str]]]:
    return lambda db: places(db, find_entries(db, filters(artifact_type="rare"), sid=sid))


ONE, OTHERS, ALL = 1, SESSIONS - 1, SESSIONS


@pytest.mark.parametrize(
    ("listing", "looked_at", "listed"),
    [
        (lambda db: sessions_in(db, "failed"), ONE, 1),
        (lambda db: sessions_in(db, "active"), OTHERS, SESSIONS - 1),
        (lambda db: sessions_with_tag(db, "rare"), ONE, 1),
        (session_ids, ALL, SESSIONS),
        (in_sessions(filters(artifact_type="rare")), ALL, 1),
        (in_sessions(filters(artifact_type="usual")), ALL, SESSIONS),
        (in_sessions(filters(tags=["rare"])), ALL + 3, 1),
        (in_sessions(parse_query("status:active", NOW)), ALL, SESSIONS - 1),
        (in_sessions(parse_query("session:s7", NOW)), ALL, 1),
        (rare_in(SESSIONS // 2 + 1), 3, 3),
        (rare_in(1), ONE, 0),
    ],
)
def test_a_listing_costs_what_it_lists(
    store: Filling, listing: Callable[[sqlite3.Connection], list[object]], looked_at: int, listed: int
) -> None:
    with work_of(store.db) as steps:
        found = listing(store.db)
    assert len(found) == listed
    assert steps() < 300 + looked_at * STEPS_PER_ROW
