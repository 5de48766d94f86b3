"""The audit trail's rows, and what a transaction does to the numbers of a session."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspellfs.model.event import FIRST_PREV, Origin
from llmspellfs.storage import changelog, journal, sessions
from llmspellfs.storage.journal import Journal
from llmspellfs.storage.migrations import migrate

ORIGIN = Origin("uid:1", "api")


def opened() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, None)
    return db


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = opened()
    yield connection
    connection.close()


def begin(db: sqlite3.Connection, at_ns: int = 1000) -> Journal:
    return Journal(db, at_ns, ORIGIN)


def test_seqs_heads_and_ends_follow_each_other(db: sqlite3.Connection) -> None:
    sid = sessions.insert(db, "id", 1, 0, None)
    for part in range(3):
        running = begin(db)
        assert running.append(sid, "session.saved", None, label=f"ü{part}", nothing=None) == 2 * part + 1
        assert running.append(sid, "session.saved", {"k": part}) == 2 * part + 2
        running.finish()
    events = journal.events(db, sid)
    prev, ends = FIRST_PREV, list[int]()
    for event in events:
        assert event.fields["prev"] == prev
        assert "nothing" not in event.fields
        prev = blake3(event.line.encode()).hexdigest()
        ends.append((ends[-1] if ends else 0) + len(event.line.encode()) + 1)
    assert db.execute("SELECT seq, head, trail_size FROM session").fetchone() == (6, prev, ends[-1])
    assert [row[0] for row in db.execute("SELECT ends FROM event ORDER BY seq")] == ends
    assert journal.trail_size(db, sid) == ends[-1]


def test_time_does_not_go_back(db: sqlite3.Connection) -> None:
    sid = sessions.insert(db, "id", 1, 5000, None)
    for at_ns in (6000, 4000, 7000):
        running = begin(db, at_ns)
        running.append(sid, "session.saved", None)
        running.finish()
    assert [event.at_ns for event in journal.events(db, sid)] == [6000, 6000, 7000]


def test_each_transaction_has_a_number_of_its_own(db: sqlite3.Connection) -> None:
    first, second = sessions.insert(db, "1", 1, 0, None), sessions.insert(db, "2", 2, 0, None)
    assert changelog.last_change(db) == 0
    running = begin(db)
    running.touch(first)
    running.finish()
    both = begin(db)
    both.touch(first)
    both.append(second, "session.saved", None)
    both.finish()
    idle = begin(db)
    idle.finish()
    assert (running.change, both.change, idle.change) == (1, 2, 0)
    assert changelog.last_change(db) == 2
    assert sorted(changelog.changed_since(db, 1)) == [(first, 2), (second, 2)]
    assert changelog.changed_since(db, 2) == []


def test_who_left_a_name_is_found_the_last_first(db: sqlite3.Connection) -> None:
    sid = sessions.insert(db, "id", 1, 0, None)
    running = begin(db)
    for kind, told in (
        ("artifact.stored", {"name": "a", "sequence": 1}),
        ("artifact.deleted", {"name": "a", "sequence": 1}),
        ("artifact.deleted", {"name": "b", "sequence": 2}),
        ("artifact.renamed", {"name": "b", "from": "a", "sequence": 3}),
        ("artifact.renamed", {"name": "b", "from": "a", "from_sequence": 4, "sequence": 3}),
        ("artifact.moved_out", {"name": "a", "sequence": 5, "to": {"session": "other", "sequence": 1}}),
        ("artifact.moved_in", {"name": "a", "sequence": 6}),
    ):
        running.append(sid, kind, None, **told)
    running.finish()
    assert journal.left(db, sid, "a") == [
        ("artifact.moved_out", 5), ("artifact.renamed", 4), ("artifact.renamed", 3), ("artifact.deleted", 1),
    ]  # fmt: skip
    assert journal.left(db, sid, "b") == [("artifact.deleted", 2)]
    assert journal.left(db, sid + 1, "a") == []
    assert (journal.last_of(db, sid, "artifact.deleted"), journal.last_of(db, sid, "artifact.purged")) == (3, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=12), st.integers(0, 3000), st.integers(0, 3000))
def test_any_part_of_the_trail_is_as_of_a_file(names: list[str], offset: int, size: int) -> None:
    db = opened()
    sid = sessions.insert(db, "id", 1, 0, None)
    running = begin(db)
    for name in names:
        running.append(sid, "folder.created", None, name=name.encode("utf-8", "replace").decode())
    running.finish()
    whole = b"".join(event.line.encode() + b"\n" for event in journal.events(db, sid))
    assert journal.trail_bytes(db, sid, offset, size) == whole[offset : offset + size]
    db.close()
