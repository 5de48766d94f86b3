"""Which sessions others have changed since somebody last asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspellfs.model.event import Origin
from llmspellfs.service.changes import Changes
from llmspellfs.storage import sessions
from llmspellfs.storage.index import Index
from llmspellfs.storage.journal import Journal


def touch(index: Index, *sids: int) -> Journal:
    with index.write() as db:
        journal = Journal(db, 1, Origin("uid:1", "api"))
        for sid in sids:
            journal.touch(sid)
        journal.finish()
    return journal


@pytest.fixture
def indexes(tmp_path: Path) -> tuple[Index, Index]:
    mine, theirs = Index(tmp_path / "index.db"), Index(tmp_path / "index.db")
    with mine.write() as db:
        for number in (1, 2, 3):
            assert sessions.insert(db, str(number), number, 0, None) == number
    return mine, theirs


def polled(changes: Changes) -> frozenset[int]:
    dropped: list[int] = []
    changes.poll(dropped.append)
    return frozenset(dropped)


def test_others_changes_are_told_once_and_own_ones_never(indexes: tuple[Index, Index]) -> None:
    mine, theirs = indexes
    changes = Changes(mine)
    assert polled(changes) == frozenset()
    touch(theirs, 1, 2)
    assert polled(changes) == {1, 2}
    assert polled(changes) == frozenset()
    changes.note_own(touch(mine, 1))
    assert polled(changes) == frozenset()
    touch(theirs, 3)
    assert polled(changes) == {3}
    for index in indexes:
        index.close()


def test_an_own_change_on_top_of_an_unseen_one_does_not_hide_it(indexes: tuple[Index, Index]) -> None:
    mine, theirs = indexes
    changes = Changes(mine)
    touch(theirs, 1)
    changes.note_own(touch(mine, 1))
    assert polled(changes) == {1}
    changes.note_own(touch(mine, 1))
    touch(theirs, 1)
    assert polled(changes) == {1}
    for index in indexes:
        index.close()


def test_what_was_there_before_is_no_change(indexes: tuple[Index, Index]) -> None:
    mine, theirs = indexes
    touch(theirs, 1, 2, 3)
    changes = Changes(mine)
    assert polled(changes) == frozenset()
    for index in indexes:
        index.close()


@pytest.mark.parametrize("value", ["'x'", "x'07'", "9223372036854775807", "1.5"])
def test_a_harmed_number_neither_ends_a_change_nor_hides_others(indexes: tuple[Index, Index], value: str) -> None:
    mine, theirs = indexes
    with mine.write() as db:
        db.execute(f"UPDATE session SET change = {value} WHERE sid = 1")
    changes = Changes(mine)
    changes.note_own(touch(mine, 2))
    polled(changes)
    for sid in (1, 2):
        touch(theirs, sid)
        assert polled(changes) == {sid}
    changes.note_own(touch(mine, 1))
    assert polled(changes) == frozenset()
