"""Unused bytes of the index's pages: no word of what was purged stays in them, or it is said and done later."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config, Rule
from llmspellfs.storage import erasing, stale
from llmspellfs.storage.index import Index
from tests.service.test_service_purge import purged_while_it_is_read, traces

SEED = 5
"""One with which copies stay in the gaps of pages where nothing clears them."""
RULE = Rule("old", action="purge", status=("completed",))
KINDS = ["artifact", "session", "retention"]


def word(number: int) -> str:
    return f"w{number:06d}x"


def fill(store: Store) -> None:
    """Store words of all lengths in two sessions, and describe them anew until pages have been balanced many times."""
    chance = random.Random(SEED)
    names = {"dead": [f"d{n}" for n in range(150)], "kept": [f"k{n}" for n in range(150)]}
    for session in names:
        store.sessions.create(session, description=word(0 if session == "dead" else 1000))
    for n in range(150):
        for session, base in (("dead", 0), ("kept", 1000)):
            text = f"{word(base + n)} "
            content = chance.randbytes(chance.randint(1, 2500)) + text.encode()
            described = text * chance.randint(1, 20)
            store.artifacts.put(session, names[session][n], content, description=described, tags=[word(base + n)])
    for _ in range(500):
        session = chance.choice(["dead", "kept"])
        n = chance.randrange(150)
        text = f"{word(n if session == 'dead' else 1000 + n)} " * chance.randint(0, 60)
        store.artifacts.update(session, names[session][n], description=text)
    assert store.search.artifacts(word(3))


def purge(store: Store, kind: str) -> str | None:
    """Purge all that is dead; return what is said of unused bytes."""
    if kind == "session":
        return store.sessions.purge("dead").stale
    if kind == "retention":
        store.sessions.complete("dead")
        return store.retention.apply(force=True).stale
    return [store.artifacts.purge("dead", f"d{n}").stale for n in range(0, 150, 5)][-1]


def dead_words(kind: str) -> tuple[bytes, ...]:
    return tuple(word(n).encode() for n in range(1, 150) if kind != "artifact" or n % 5 == 0)


def noted(store: Store) -> int:
    with store.engine.index.read() as db:
        return stale.mark(db)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is filled, to be copied."""
    path = tmp_path_factory.mktemp("made") / "store"
    with open_store(path) as store:
        fill(store)
    return path


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Store:
    shutil.copytree(made, tmp_path / "store")
    return open_store(tmp_path / "store", config=Config(retention=(RULE,)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_copy_of_a_purged_word_stays_between_cells_of_pages(filled: Store, kind: str) -> None:
    with filled as store:
        assert purge(store, kind) is None
        assert traces(store, dead_words(kind)) == []
        assert noted(store) == 0
        assert len(store.search.artifacts(word(1003))) == 1
        assert store.upkeep.fsck().problems == ()


def test_what_has_no_room_to_be_written_anew_is_told_and_done_by_a_later_gc(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled as store:
        monkeypatch.setattr(Index, "is_short", lambda *_: True)
        report = store.sessions.purge("dead")
        assert report.is_ended
        assert report.stale is not None
        assert "no room" in report.stale
        assert "no room" in (store.upkeep.gc().stale or "")
        assert noted(store) > 0
        assert traces(store, dead_words("session"))
        monkeypatch.undo()
        assert store.upkeep.gc().stale is None
        assert noted(store) == 0
        assert traces(store, dead_words("session")) == []


def test_an_index_that_others_would_wait_for_is_left_to_a_gc_that_has_it_alone(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled as store:
        monkeypatch.setattr(stale, "_RATE", 1)
        assert "would wait too long" in (store.sessions.purge("dead").stale or "")
        with open_store(filled.path):
            assert "would wait too long" in (store.upkeep.gc().stale or "")
        assert store.upkeep.gc().stale is None
        assert traces(store, dead_words("session")) == []


def test_writing_anew_ends_where_it_takes_too_long_for_others(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled as store:
        monkeypatch.setattr(stale, "_STEPS", 1)
        monkeypatch.setattr(store.engine.index, "busy_seconds", 1e-3)
        monkeypatch.setattr(stale, "_RATE", 1 << 40)
        assert "too long" in (stale.rewrite(store.engine.index, is_alone=False) or "")
        monkeypatch.undo()
        assert store.upkeep.fsck().problems == ()


def test_while_another_purge_goes_on_the_index_is_still_due(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"a")
    with store.engine.index.write() as db:
        other = erasing.begin(db, 1, 77, keeps_content=False)
    store.artifacts.purge("s", "a")
    assert noted(store) > 0
    with store.engine.index.write() as db:
        erasing.end(db, [other])
    assert store.upkeep.gc().stale is None
    assert noted(store) == 0


def test_one_run_of_retention_writes_the_index_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, rewrite = [], stale.rewrite

    def counted(index: Index, *, is_alone: bool) -> str | None:
        done.append(1)
        return rewrite(index, is_alone=is_alone)

    monkeypatch.setattr(stale, "rewrite", counted)
    with open_store(tmp_path / "made", config=Config(retention=(RULE,))) as store:
        for name in "abc":
            store.sessions.create(name)
            store.sessions.complete(name)
        assert len(store.retention.apply(force=True).deeds) == 3
        assert done == [1]
        assert store.retention.apply(force=True).deeds == ()
        assert done == [1]


@pytest.mark.parametrize("cut", ["unlinking.doomed", "end", "drop_words"])
def test_a_run_of_retention_that_was_cut_is_ended_by_the_next_to_open(
    filled: Store, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with filled as store:
        monkeypatch.setattr(f"llmspellfs.service.erasure.{cut}", dies)
        with pytest.raises(KeyboardInterrupt):
            purge(store, "retention")
        monkeypatch.undo()
        assert noted(store) > 0
        path = store.path
    with open_store(path) as store:
        assert noted(store) == 0
        assert traces(store, dead_words("retention")) == []
        with store.engine.index.read() as db:
            assert erasing.unfinished(db) == []


def test_a_reader_that_holds_the_wal_has_the_index_written_anew_but_once(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    with purged_while_it_is_read(store, monkeypatch):
        assert noted(store) < 0
        monkeypatch.setattr(stale, "rewrite", None)
        store.upkeep.gc()
        assert noted(store) < 0
    store.upkeep.gc()
    assert noted(store) == 0
