"""Commits that a harmed WAL hides from whoever opens a killed store: nothing goes for them, nor they for nothing."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NoSpace
from llmspellfs.service import repair_index
from llmspellfs.service.collecting import GcReport
from llmspellfs.storage import hidden
from llmspellfs.storage.index import Index
from llmspellfs.storage.reserve import Reserve
from llmspellfs.storage.spool import Spool
from tests.crash import damage as harm
from tests.crash.test_wal_repairs import FRAME, HEAD, frames, killed, opened, put
from tests.tree.trees import Walker

EARLY = {f"durable{number}" for number in range(3)}


class Ended(BaseException):
    """The process has been killed."""


def hide(path: Path, act: Callable[[Store], object], *, flips: int = 1) -> None:
    """Make a store at *path* that was killed, of whose WAL a byte or more changed just before what *act* wrote."""
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
    synced = []

    def go_on(store: Store) -> None:
        put(store, "durable", 3)
        store.state.set("early", 1)
        store.sync()
        synced.append(frames(path))
        act(store)

    killed(path, go_on)
    for number in range(flips):
        harm.flip(path / "index.db-wal", HEAD + FRAME * (synced[0] + 1) + 1000 + 500 * number, 0x10 + number)


def put_more(store: Store) -> None:
    put(store, "hidden", 4)
    store.state.set("hidden", 1)


def keep_values(store: Store) -> None:
    for number in range(4):
        store.state.set(f"hidden{number}", number)


def names(path: Path) -> set[str]:
    with open_store(path, config=Config(), create=False) as store:
        return {artifact.name for artifact in store.artifacts.list("s")}


def values(path: Path, *keys: str) -> list[object]:
    with open_store(path, config=Config(), create=False) as store:
        return [store.state.get(key) for key in keys]


def kept(path: Path, name: str = hidden.NAME) -> list[Path]:
    return list(path.glob(f"quarantine/*/{name}"))


def keep_a_value(store: Store) -> None:
    store.state.set("early", 2)


def forget_a_value(store: Store) -> None:
    store.state.delete("early")


@pytest.mark.parametrize("is_amended", [True, False])
@pytest.mark.parametrize("session", ["s", "other"])
def test_hidden_commits_come_back_though_a_file_was_open(tmp_path: Path, session: str, is_amended: bool) -> None:
    path = tmp_path / "s"
    with open_store(path, config=Config()) as store:
        for name in ("s", "other"):
            store.sessions.create(name)
    synced = []

    def act(store: Store) -> None:
        put(store, "durable", 3)
        handle = Walker(store).create(f"/sessions/{session}/log", b"first\n")
        handle.flush()
        store.sync()
        synced.append(frames(path))
        if is_amended:
            handle.write(memoryview(b"second\n"), 6)
            handle.flush()
        put(store, "hidden", 3)

    killed(path, act)
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced[0] + 1) + 1000, 0x10)
    opened(path)
    assert harm.mended(path).problems == ()
    assert {name for name in names(path) if name.startswith("hidden")} == {"hidden0", "hidden1", "hidden2"}
    with open_store(path, config=Config(), create=False) as store:
        log = store.artifacts.read(store.artifacts.get(session, "log"))
        assert log == (b"first\nsecond\n" if is_amended else b"first\n")


@pytest.mark.parametrize(("change", "value"), [(keep_a_value, 2), (forget_a_value, None)])
def test_what_no_event_tells_of_and_came_later_stays(
    tmp_path: Path, change: Callable[[Store], object], value: object
) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    opened(path)
    with open_store(path, config=Config()) as store:
        change(store)
    report = harm.mended(path)
    assert values(path, "early", "hidden") == [value, None]
    assert names(path) == EARLY
    assert ["lost" in problem for problem in report.problems] == [True]
    assert any("remove its folder" in line for line in report.advice)
    assert (len(kept(path)), len(kept(path, hidden.LOST))) == (0, 1)
    again = harm.mended(path)
    assert (again.done, again.problems) == ((), report.problems)


def say(store: Store) -> None:
    store.messages.publish("said", {"text": "later"})


def close_to_others(store: Store) -> None:
    walker = Walker(store)
    walker.tree.chmod("/sessions/s/durable0", 0o600, walker.caller)
    walker.tree.destroy()


@pytest.mark.parametrize(
    ("change", "query"), [(say, "SELECT name FROM message"), (close_to_others, "SELECT ino, mode FROM inode")]
)
def test_messages_and_modes_that_came_later_stay(tmp_path: Path, change: Callable[[Store], None], query: str) -> None:
    def found() -> list[object]:
        with closing(sqlite3.connect(path / "index.db")) as db:
            return db.execute(query).fetchall()

    path = tmp_path / "s"
    hide(path, put_more)
    opened(path)
    before = found()
    with open_store(path, config=Config()) as store:
        change(store)
    after = found()
    assert after != before
    harm.mended(path)
    assert (found(), names(path)) == (after, EARLY)


def test_hidden_commits_that_no_event_tells_of_come_back(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide(path, keep_values)
    opened(path)
    assert values(path, "early", "hidden3") == [1, None]
    assert harm.mended(path).ok
    assert values(path, "early", "hidden3") == [1, 3]
    assert harm.checked(path).found == ()


def hide_beside_a_past(path: Path) -> None:
    """Make a store at *path* whose WAL hides commits, and has some of the pages in which live rows are among ended."""
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        for number in range(40):
            store.artifacts.put("s", f"n{number}", b"%d" % number * 50, description=f"about {number} " * 6, tags=["t"])
            for version in range(6):
                store.artifacts.put("s", "log", b"%d %d" % (number, version) * 9, description="x" * 80)
    synced = []

    def go_on(store: Store) -> None:
        for number in range(0, 40, 5):
            store.artifacts.put("s", f"n{number}", b"changed")
        store.sync()
        synced.append(frames(path))
        put(store, "hidden", 3)

    killed(path, go_on)
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced[0] + 1) + 1000, 0x10)


def told(path: Path) -> dict[str, object]:
    """Return what each artifact of the store at *path* is."""
    with open_store(path, config=Config(), create=False) as store:
        found = store.artifacts.list("s")
        return {one.name: (store.artifacts.read(one), one.tags, one.description, one.ino) for one in found}


@pytest.mark.parametrize("change", ["DELETE FROM entry WHERE seq_to IS NOT NULL", "VACUUM"])
def test_pages_of_before_do_not_undo_where_rows_have_gone_since(tmp_path: Path, change: str) -> None:
    """Rows move between pages when others go: a page of before may lack them, and that which has them be free."""
    path = tmp_path / "s"
    hide_beside_a_past(path)
    opened(path)
    with closing(sqlite3.connect(path / "index.db", isolation_level=None)) as db:
        db.execute(change)
    before = told(path)
    report = harm.mended(path)
    assert told(path) == before
    assert any("lost.wal" in problem for problem in report.problems)
    assert len(kept(path, hidden.LOST)) == 1


def test_hidden_commits_come_back_beside_a_past(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide_beside_a_past(path)
    opened(path)
    before = told(path)
    assert harm.mended(path).ok
    after = told(path)
    assert set(after) - set(before) == {"hidden0", "hidden1", "hidden2"}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("act", [put_more, keep_values])
def test_a_repair_killed_once_hidden_commits_are_back_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Store], None]
) -> None:
    path = tmp_path / "s"
    hide(path, act)
    opened(path)

    def kill(*_: object) -> None:
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(repair_index, "_settle", kill)
        with pytest.raises(Ended):
            harm.mended(path)
    assert harm.mended(path).ok
    assert (len(names(path) - EARLY), *values(path, "hidden3")) == ((4, None) if act is put_more else (0, 3))
    assert harm.checked(path).found == ()


def test_files_that_only_hidden_commits_name_are_not_collected(tmp_path: Path) -> None:
    path, content = tmp_path / "s", Random(1).randbytes(200_000)

    def put_large(store: Store) -> None:
        put_more(store)
        store.artifacts.put("s", "large", content)

    hide(path, put_large)
    opened(path)
    for blob in harm.blobs(path):
        os.utime(blob, (time.time() - 9000,) * 2)
    with open_store(path, config=Config()) as store:
        assert "hid commits" in str(store.upkeep.gc(grace_seconds=0).kept_for)
    assert harm.mended(path).ok
    with open_store(path, config=Config()) as store:
        assert store.artifacts.read(store.artifacts.get("s", "large")) == content
        assert store.upkeep.gc(grace_seconds=0).kept_for is None


def test_files_of_commits_that_are_lost_are_collected_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    opened(path)
    with open_store(path, config=Config()) as store:
        assert store.upkeep.gc(give_up=True).kept_for is None
        store.artifacts.put("s", "other", b"other")
    harm.mended(path)
    with open_store(path, config=Config()) as store:
        assert store.upkeep.gc().kept_for is None


def hide_beside_garbage(path: Path) -> None:
    """Make a store at *path* that was killed, with hidden commits and all that garbage collection takes."""
    with open_store(path, config=Config()) as store:
        for name in ("s", "gone"):
            store.sessions.create(name)
            for number in range(3):
                store.artifacts.put(name, "n", b"%d" % number)
        store.artifacts.put("s", "fleeting", b"fleeting")
        store.artifacts.delete("s", "fleeting")
        store.artifacts.put("s", "purged", b"purged")
        store.artifacts.purge("s", "purged")
        store.messages.publish("heard")
        store.sessions.delete("gone")
    with closing(sqlite3.connect(path / "index.db", isolation_level=None)) as db:
        db.execute("INSERT OR REPLACE INTO store VALUES ('stale', 1)")  # as a purge leaves it that could not end
    synced = []

    def go_on(store: Store) -> None:
        store.sync()
        synced.append(frames(path))
        put(store, "hidden", 3)

    killed(path, go_on)
    harm.flip(path / "index.db-wal", HEAD + FRAME * (synced[0] + 1) + 1000, 0x10)


def collected(path: Path, *, dry_run: bool = False, give_up: bool = False) -> GcReport:
    """Collect the garbage of the store at *path* in a year."""
    clock = time.time_ns() + 366 * 86400 * 10**9
    with open_store(path, config=Config(), now=lambda: clock, create=False) as store:
        return store.upkeep.gc(force=True, dry_run=dry_run, give_up=give_up)


def test_no_row_goes_while_hidden_commits_wait_for_a_repair(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide_beside_garbage(path)
    for dry_run in (True, False):
        report = collected(path, dry_run=dry_run)
        assert (report.pruned, report.expired, report.condemned) == (0, 0, 0)
    assert "repair" in str(report.stale)
    with closing(sqlite3.connect(path / "index.db")) as db:
        assert db.execute("SELECT count(*) FROM message").fetchone() == (1,)
    assert harm.mended(path).ok
    assert {"hidden0", "hidden1", "hidden2"} <= names(path)
    report = collected(path)
    assert (report.expired, report.stale) == (1, None)
    assert report.pruned > 0


def test_hidden_commits_that_are_given_up_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide_beside_garbage(path)
    report = collected(path, give_up=True)
    assert (report.expired, report.kept_for) == (1, None)
    assert (len(kept(path)), len(kept(path, hidden.LOST))) == (0, 1)
    before = names(path)
    assert ["lost" in problem for problem in harm.mended(path).problems] == [True]
    assert names(path) == before


def test_a_repair_keeps_what_an_opening_would_have_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide(path, put_more, flips=2)
    wal = (path / "index.db-wal").read_bytes()
    assert harm.mended(path).ok
    assert names(path) == EARLY
    assert [copy.read_bytes() for copy in kept(path, hidden.LOOKED_AT)] == [wal]
    assert harm.checked(path).found == ()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"events": null, "uncovered": "", "layout": 1}', '{"events": 1, "uncovered": 1, "layout": 1}',
        '{"events": 1, "uncovered": ""}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_note_that_says_nothing_of_the_index_puts_nothing_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    opened(path)
    kept(path)[0].with_name(hidden.SEEN).write_text(text)
    assert ["lost" in problem for problem in harm.mended(path).problems] == [True]
    assert names(path) == EARLY


def test_a_lost_wal_that_gives_way_to_newer_ones_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    for number in range(4):
        folder = path / "quarantine" / f"2026112{number}T000000Z"
        folder.mkdir(parents=True)
        (folder / hidden.LOST).write_bytes(b"%d" % number)
    opened(path)
    left = sorted(one.parent.name for one in kept(path, hidden.LOST))
    assert left == [f"2026112{number}T000000Z" for number in (1, 2, 3)]
    assert f"20261120T000000Z/{hidden.LOST}" in caplog.text


def test_a_wal_that_is_too_large_is_told_of_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hide(tmp_path / "s", put_more)
    monkeypatch.setattr(hidden, "_MOST_BYTES", 1)
    assert hidden.keep(tmp_path / "s")
    assert "hides commits, and is not kept" in caplog.text
    assert kept(tmp_path / "s") == []


def test_an_opening_neither_looks_through_a_kept_wal_again_nor_fails_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> dict[int, int]:
        raise OSError(errno.EIO, "Input/output error", path)

    path = tmp_path / "s"
    hide(path, put_more)
    opened(path)
    (wal,) = kept(path)
    monkeypatch.setattr(hidden, "explained", fail)
    (wal.parent / hidden.SEEN).rename(wal.parent / "aside")
    assert names(path) == EARLY
    assert hidden.is_explained(str(wal))
    (wal.parent / "aside").rename(wal.parent / hidden.SEEN)
    monkeypatch.setattr(hidden, "explained", pytest.fail)
    assert names(path) == EARLY
    assert hidden.is_explained(str(wal))
    monkeypatch.undo()
    assert harm.mended(path).ok
    assert len(names(path) - EARLY) == 4
    assert not hidden.is_explained(str(wal.parent / "gone" / hidden.NAME))


def test_the_wal_of_who_has_the_store_open_is_left_alone(tmp_path: Path) -> None:
    hide(tmp_path / "s", put_more)
    beside = Spool(tmp_path / "s")
    assert not hidden.keep(tmp_path / "s")
    assert kept(tmp_path / "s") == []
    beside.close()
    assert hidden.keep(tmp_path / "s")


def test_openings_that_are_killed_keep_a_wal_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    hide(path, put_more)

    def kill(_: Index) -> None:
        raise Ended

    source = harm.copied(path, tmp_path / "source")
    monkeypatch.setattr(Index, "empty_wal", kill)
    for _ in range(3):
        with pytest.raises(Ended):
            opened(path)
        for name in ("index.db", "index.db-wal"):  # which closing the index has folded here
            shutil.copy(source / name, path / name)
    monkeypatch.undo()
    opened(path)
    assert len(kept(path)) == 1
    assert harm.mended(path).ok


def test_what_a_killed_opening_left_of_a_copy_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    left = path / "quarantine" / "20261122T000000Z"
    left.mkdir(parents=True)
    (left / f"{hidden.NAME}.part").write_bytes(b"a part")
    opened(path)
    assert not left.exists()
    assert len(kept(path)) == 1


def test_a_wal_is_kept_in_the_room_of_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, copy = tmp_path / "s", hidden.copy
    hide(path, put_more)

    def copy_if_there_is_room(source: str, target: str) -> None:
        if Reserve(path)._held():
            raise NoSpace(target)
        copy(source, target)

    monkeypatch.setattr(hidden, "copy", copy_if_there_is_room)
    assert Reserve(path)._held()
    opened(path)
    assert len(kept(path)) == 1


def test_a_copy_that_fails_costs_no_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    hide(path, put_more)
    for number in range(4):
        folder = path / "quarantine" / f"2026112{number}T000000Z"
        folder.mkdir(parents=True)
        (folder / hidden.NAME).write_bytes(b"an older one")

    def full(*_: object) -> None:
        raise NoSpace(path)

    monkeypatch.setattr(hidden, "copy", full)
    opened(path)
    assert len(kept(path)) == 4
