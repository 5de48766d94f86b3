"""Commits that fail, last, or meet others: no byte is lost, none is shown that was not stored, everybody hears."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, LimitExceeded, NoSpace, SessionNotActive, StoreBusy, TooLarge
from llmspellfs.storage.ingest import Written
from llmspellfs.tree import Tree
from llmspellfs.tree.api import Caller
from llmspellfs.tree.follower import START, Follower
from tests.tree.meanwhile import MOMENT, PATIENCE, Call, Pause, before
from tests.tree.trees import Walker, close, content_of, write


@pytest.mark.parametrize("size", [1000, 400_000])
def test_bytes_written_while_a_commit_fails_are_in_the_file_and_in_what_was_lost(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = os.urandom(size)
    handle = walker.create(f"{s}/f", content)

    def fail() -> None:
        write(handle, b"W" * 1000, size)
        walker.store.sessions.suspend("s")

    before(monkeypatch, walker.store.entries, "commit", fail)
    with pytest.raises(SessionNotActive):
        handle.flush()
    walker.store.sessions.resume("s")
    write(handle, b"Z" * 50_000, size + 1000)
    close(handle)
    assert walker.read(f"{s}/f") == content + b"W" * 1000 + b"Z" * 50_000
    for item in walker.store.upkeep.lost():
        assert b"".join(walker.store.upkeep.read_lost(item.id)) == content + b"W" * 1000


def test_what_failed_to_be_committed_is_shown_to_nobody_else(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"A" * 8192)
    before = walker.open(f"{s}/f", os.O_RDONLY)
    handle = walker.open(f"{s}/f")
    write(handle, b"B" * 9000, 0)
    walker.store.sessions.suspend("s")
    with pytest.raises(SessionNotActive):
        handle.flush()
    walker.store.sessions.resume("s")
    assert walker.size(f"{s}/f") == 8192
    after = walker.open(f"{s}/f", os.O_RDONLY)
    assert content_of(after) == b"A" * 8192
    assert after.keep_cache is False
    for one in (after, before, handle):
        close(one)
    last = walker.open(f"{s}/f", os.O_RDONLY)
    assert (last.keep_cache, content_of(last)) == (False, b"A" * 8192)
    close(last)


def test_every_writer_hears_once_that_a_commit_failed(walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = walker.create(f"{s}/f", b"y" * 1000)
    second, idle = walker.open(f"{s}/f"), walker.open(f"{s}/f")
    pause = Pause()
    before(monkeypatch, walker.store.entries, "commit", pause)
    flushing = Call(first.flush)
    assert pause.reached.wait(PATIENCE)
    write(second, b"z" * 1000, 1000)
    other = Call(second.flush)
    walker.store.sessions.suspend("s")
    pause.go_on.set()
    assert flushing.is_over()
    assert other.is_over()
    assert [type(call.error) for call in (flushing, other)] == [SessionNotActive] * 2
    with pytest.raises(SessionNotActive):
        idle.flush()
    walker.store.sessions.resume("s")
    for one in (first, second, idle):
        close(one)
    assert walker.names(s) == []


def test_fsync_returns_after_the_commit_that_is_under_way_and_what_makes_it_durable(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = walker.create(f"{s}/f", b"x" * 1000)
    second = walker.open(f"{s}/f")
    synced: list[int] = []
    plain = type(walker.store).sync

    def sync(store: Any) -> None:
        synced.append(walker.store.artifacts.get("s", "f").size)
        plain(store)

    monkeypatch.setattr(type(walker.store), "sync", sync)
    pause = Pause()
    before(monkeypatch, walker.store.entries, "commit", pause)
    flushing = Call(first.flush)
    assert pause.reached.wait(PATIENCE)
    syncing = Call(second.fsync, False)
    assert not syncing.is_over(MOMENT)
    pause.go_on.set()
    assert flushing.is_over()
    assert syncing.is_over()
    assert (flushing.error, syncing.error, synced) == (None, None, [1000])
    close(first)
    close(second)


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_a_file_being_staged_does_not_freeze_its_folder(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    walker.write(f"{s}/other", b"x")
    walker.write(f"{s}/f", b"old")
    handle = walker.open(f"{s}/f")
    write(handle, b"new", 0)
    pause = Pause()
    before(monkeypatch, walker.store.intake, "stage", pause)
    closing = Call(close, handle)
    assert pause.reached.wait(PATIENCE)
    taking = (
        Call(walker.tree.hide, f"{s}/f", f"{s}/.fuse_hidden1", False)
        if how == "unlink"
        else Call(walker.tree.rename, f"{s}/f", f"{s}/g", walker.caller)
    )
    looking = Call(walker.tree.attr, f"{s}/other")
    are_over = taking.is_over() and looking.is_over()
    pause.go_on.set()
    assert closing.is_over()
    assert are_over
    assert (taking.error, looking.error, closing.error) == (None, None, None)
    assert walker.names(s) == (["other"] if how == "unlink" else ["g", "other"])
    assert how == "unlink" or walker.read(f"{s}/g") == b"new"
    assert walker.store.upkeep.lost() == []


def test_a_file_whose_times_no_store_can_hold_is_committed(walker: Walker, s: str) -> None:
    for number, moment in enumerate((10**19, -(10**19))):
        handle = walker.create(f"{s}/{number}", b"precious")
        walker.tree.utimens(f"{s}/{number}", moment, moment, walker.caller)
        close(handle)
        walker.tree.utimens(f"{s}/{number}", moment, moment, walker.caller)
        attr = walker.tree.attr(f"{s}/{number}")
        assert abs(attr.mtime_ns) == abs(attr.atime_ns) == (1 << 63) - 1
        assert walker.read(f"{s}/{number}") == b"precious"
    assert walker.store.upkeep.lost() == []


@pytest.mark.parametrize("size", [200_000, 6 << 20])
def test_content_whose_chunks_are_purged_before_the_commit_is_staged_again(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = os.urandom(size)
    walker.store.artifacts.put("s", "one", content)
    handle = walker.create(f"{s}/two", content)
    before(monkeypatch, walker.store.entries, "commit", lambda: walker.store.artifacts.purge("s", "one"))
    close(handle)
    assert walker.read(f"{s}/two") == content
    assert walker.store.upkeep.lost() == []


def test_a_purged_draft_does_not_come_back_with_its_number(walker: Walker, s: str) -> None:
    first = walker.create(f"{s}/x", b"xx")
    first.flush()
    walker.store.artifacts.purge("s", "x")
    second = walker.create(f"{s}/y", b"yyy")
    second.flush()
    first.release()
    walker.tree._ctx.opened.sealer.settle()
    write(second, b"zz", 3)
    close(second)
    walker.tree._ctx.opened.sealer.settle()
    told = [(event["kind"], event.get("name"), event.get("size")) for event in walker.events(s)[1:]]
    assert told == [("artifact.purged", None, None), ("artifact.stored", "y", 5)]
    assert walker.read(f"{s}/y") == b"yyyzz"
    assert walker.store.upkeep.fsck().problems == ()


def test_a_handle_on_a_purged_file_never_reads_another_files_bytes(walker: Walker, s: str) -> None:
    walker.store.artifacts.put("s", "secret", b"S" * 5000)
    handle = walker.open(f"{s}/secret", os.O_RDONLY)
    walker.store.artifacts.purge("s", "secret")
    walker.store.artifacts.put("s", "other", b"O" * 5000)
    with pytest.raises(Corrupt):
        content_of(handle)
    close(handle)


def test_an_append_goes_behind_the_last_byte_wherever_the_kernel_believes_it_to_be(walker: Walker, s: str) -> None:
    walker.write(f"{s}/log", b"one\n")
    handle = walker.open(f"{s}/log", os.O_WRONLY | os.O_APPEND)
    other = walker.open(f"{s}/log", os.O_WRONLY | os.O_APPEND)
    for one, line in ((handle, b"two\n"), (other, b"three\n"), (handle, b"four\n")):
        write(one, line, 4)
    close(handle)
    close(other)
    assert walker.read(f"{s}/log") == b"one\ntwo\nthree\nfour\n"
    walker.write(f"{s}/.session/tags", b"a\n")
    tags = walker.open(f"{s}/.session/tags", os.O_WRONLY | os.O_APPEND)
    write(tags, b"b\n", 0)
    close(tags)
    assert walker.store.sessions.get("s").tags == ("a", "b")


class _Ingest:
    """Takes content, and keeps it."""

    failure = None

    def __init__(self) -> None:
        self.content = b""

    def feed(self, data: memoryview) -> None:
        self.content += data

    def finish(self) -> Any:
        raise AssertionError("not asked for")

    def abandon(self) -> list[Written]:
        raise AssertionError("not asked for")


def test_finishing_does_not_wait_for_workers_that_others_keep_busy(tmp_path: Any) -> None:
    content = os.urandom(START + 100)
    (tmp_path / "f").write_bytes(content)
    is_free = threading.Event()
    with open(tmp_path / "f", "rb") as file, ThreadPoolExecutor(1) as workers:
        workers.submit(is_free.wait, 4 * PATIENCE)
        try:
            ingest = _Ingest()
            follower = Follower(ingest, file.fileno(), workers)
            follower.wrote(0, len(content))
            has_it: list[bool] = []
            finishing = Call(lambda: has_it.append(follower.finish(len(content))))
            assert finishing.is_over()
            assert (has_it, finishing.error) == ([True], None)
        finally:
            is_free.set()
    assert ingest.content == content


def test_what_lost_and_found_cannot_take_stays_in_the_spool_for_salvage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object, **__: object) -> None:
        raise NoSpace("lost+found")

    data = bytes(range(256)) * 4096
    with open_store(tmp_path / "s") as store:
        tree, caller = Tree(store), Caller(0, 0, 1)
        tree.mkdir("/sessions/s", 0o755, caller)
        handle = tree.create("/sessions/s/f", os.O_CREAT | os.O_WRONLY, 0o644, caller)
        handle.write(memoryview(data), 0)
        store.sessions.suspend("s")
        monkeypatch.setattr(store.intake, "lose", is_full)
        with pytest.raises(SessionNotActive):
            handle.flush()
        handle.release()
        tree.destroy()
    with open_store(tmp_path / "s") as store:
        (item,) = store.upkeep.lost()
        assert (item.name, b"".join(store.upkeep.read_lost(item.id))) == ("f", data)


def test_what_is_refused_when_the_mount_ends_is_logged_in_a_line_each_and_does_not_keep_the_rest(
    walker: Walker, s: str, caplog: pytest.LogCaptureFixture
) -> None:
    walker.tree.mkdir("/sessions/other", 0o755, walker.caller)
    handles = [walker.create(f"{s}/frozen", b"x"), walker.create("/sessions/other/f", b"y")]
    walker.store.sessions.suspend("s")
    walker.tree.destroy()
    for handle in handles:
        handle.release()
    assert walker.store.artifacts.read(walker.store.artifacts.get("other", "f")) == b"y"
    said = [record for record in caplog.records if "frozen" in record.getMessage()]
    assert said
    assert not [record for record in said if record.exc_info]


@pytest.mark.parametrize("size", [10_000, 1 << 20])
def test_what_a_quota_keeps_out_of_lost_and_found_does_not_get_there_by_the_spool(tmp_path: Path, size: int) -> None:
    config = Config(session_quota=5000)
    with open_store(tmp_path / "s", config=config) as store:
        tree, caller = Tree(store), Caller(0, 0, 1)
        tree.mkdir("/sessions/s", 0o755, caller)
        handle = tree.create("/sessions/s/f", os.O_CREAT | os.O_WRONLY, 0o644, caller)
        handle.write(memoryview(random.Random(1).randbytes(size)), 0)
        with pytest.raises(LimitExceeded):
            handle.flush()
        handle.release()
        tree.destroy()
        assert store.upkeep.lost() == []
    with open_store(tmp_path / "s", config=config) as store:
        assert store.upkeep.lost() == []


def test_what_was_lost_says_that_it_is_a_part_where_a_write_was_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config(max_artifact_size=100)) as store:
        tree, caller = Tree(store), Caller(0, 0, 1)
        tree.mkdir("/sessions/s", 0o755, caller)
        for name, sizes in (("part", (60, 60)), ("whole", (60, 40)), ("anew", (60, 60, 0, 50))):
            handle = tree.create(f"/sessions/s/{name}", os.O_CREAT | os.O_WRONLY, 0o644, caller)
            for at, size in enumerate(sizes):
                if not size:
                    handle.truncate(0)
                with suppress(TooLarge):
                    handle.write(memoryview(bytes(size)), sum(sizes[:at]) if at == 1 else 0)
            store.sessions.suspend("s")
            with pytest.raises(SessionNotActive):
                handle.flush()
            handle.release()
            store.sessions.resume("s")
        tree.destroy()
        parts = {item.name: "this is a part: a write was refused" in item.why for item in store.upkeep.lost()}
    assert parts == {"part": True, "whole": False, "anew": False}


def test_a_file_is_no_larger_than_ext4_has_any_whatever_holds_the_spool(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"x")
    with pytest.raises(TooLarge):
        handle.truncate(1 << 44)
    with pytest.raises(TooLarge):
        handle.write(memoryview(b"y"), 1 << 62)
    handle.flush()
    handle.release()
    assert walker.read(f"{s}/f") == b"x"


def test_what_is_set_on_a_file_that_has_just_been_committed_is_not_lost(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"x")
    pending = walker.tree._node(f"{s}/f")
    handle.flush()
    pending.chmod(0o600)
    pending.setxattr("user.author", b"jane", 0, walker.caller)
    close(handle)
    assert walker.tree.attr(f"{s}/f").mode & 0o777 == 0o600
    assert walker.tree.getxattr(f"{s}/f", "user.author") == b"jane"


@pytest.mark.parametrize(("is_ending", "tries"), [(False, 4), (True, 1)])
def test_what_is_only_created_waits_for_a_busy_store_but_not_when_the_mount_ends(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, is_ending: bool, tries: int
) -> None:
    commit, calls = walker.store.entries.commit, []

    def busy(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) < 4:
            raise StoreBusy(15)
        return commit(*given, **named)

    monkeypatch.setattr(walker.store.entries, "commit", busy)
    handle: Any = walker.create(f"{s}/f")
    handle.file.opened.is_ending = is_ending
    with suppress(StoreBusy):
        close(handle)
    assert len(calls) == tries
    assert walker.names(s) == ([] if is_ending else ["f"])
    handle.file.opened.is_ending = False


def test_a_file_written_again_heals_the_chunks_that_were_harmed(walker: Walker, s: str) -> None:
    content, blobs = os.urandom(3 << 20), walker.store.engine.rooms.blobs
    walker.write(f"{s}/f", content)
    for name, size in list(blobs.iterate()):
        blobs.put(name, bytes(size))
    walker.store.engine.rooms.cache.clear()
    walker.write(f"{s}/g", content)
    assert walker.read(f"{s}/g") == walker.read(f"{s}/f") == content
