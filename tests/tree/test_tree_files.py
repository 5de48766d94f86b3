"""Files of the tree: the commit point, the one view, removal while open, and the errors of each call."""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest

from llmspellfs.errors import (
    AlreadyExists,
    Corrupt,
    InvalidName,
    InvalidValue,
    IsAFolder,
    NameTooLong,
    NotAFolder,
    NotEmpty,
    NotFound,
    NotSupported,
    ReadOnly,
    SessionBusy,
    SessionNotActive,
    SpellError,
)
from tests.tree.meanwhile import PATIENCE
from tests.tree.trees import Walker, close, content_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.model.artifact import Entry


def test_a_flush_commits_and_the_release_makes_the_event(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"one")
    assert walker.store.artifacts.list("s") == []
    handle.flush()
    assert walker.store.artifacts.read(walker.store.artifacts.get("s", "f")) == b"one"
    handle.write(memoryview(b" two"), 3)
    handle.flush()
    handle.flush()
    assert "artifact.stored" not in walker.kinds(s)
    handle.release()
    assert walker.kinds(s) == ["session.created", "artifact.stored"]
    artifact = walker.store.artifacts.get("s", "f")
    assert (artifact.version, walker.read(f"{s}/f")) == (1, b"one two")


def test_a_flush_without_bytes_commits_nothing_and_a_release_does(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f")
    handle.flush()
    assert walker.store.artifacts.list("s") == []
    assert walker.names(s) == ["f"]
    handle.release()
    assert [a.size for a in walker.store.artifacts.list("s")] == [0]


def test_each_writer_makes_a_version_of_its_own(walker: Walker, s: str) -> None:
    first, second = walker.create(f"{s}/f", b"x"), walker.open(f"{s}/f")
    close(first)
    second.write(memoryview(b"y"), 1)
    assert "artifact.stored" not in walker.kinds(s)
    close(second)
    assert walker.kinds(s).count("artifact.stored") == 2
    store = walker.store.artifacts
    assert [store.read(version) for version in store.history("s", "f")] == [b"x", b"xy"]
    assert walker.read(f"{s}/f") == b"xy"


def test_a_reader_sees_bytes_that_are_not_committed(walker: Walker, s: str) -> None:
    writer = walker.create(f"{s}/f", b"abc")
    reader = walker.open(f"{s}/f", os.O_RDONLY)
    assert content_of(reader) == b"abc"
    writer.truncate(1)
    assert (content_of(reader), reader.attr().size, walker.size(f"{s}/f")) == (b"a", 1, 1)
    close(reader)
    close(writer)


@pytest.mark.parametrize("size", [10, 1 << 18, (1 << 18) + 1, 9 << 20])
def test_bytes_around_every_bound_come_back(walker: Walker, s: str, size: int) -> None:
    content = os.urandom(size)
    handle = walker.create(f"{s}/f")
    for offset in range(0, size, 131_072):
        handle.write(memoryview(content[offset : offset + 131_072]), offset)
    close(handle)
    assert walker.read(f"{s}/f") == content


def test_writes_behind_what_a_worker_has_taken_are_not_missed(walker: Walker, s: str) -> None:
    content = bytearray(os.urandom(12 << 20))
    handle = walker.create(f"{s}/f")
    for offset in range(0, len(content), 1 << 20):
        handle.write(memoryview(bytes(content[offset : offset + (1 << 20)])), offset)
    content[5:10] = b"again"
    handle.write(memoryview(b"again"), 5)
    handle.truncate(11 << 20)
    close(handle)
    assert walker.read(f"{s}/f") == bytes(content[: 11 << 20])


def test_an_old_handle_keeps_old_bytes_and_new_ones_go_past_the_page_cache(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"old")
    old = walker.open(f"{s}/f", os.O_RDONLY)
    assert old.direct_io is False
    walker.store.artifacts.put("s", "f", b"new!")
    walker.tree._ctx.cache.drop(walker.store.sessions.get("s").sid)
    new = walker.open(f"{s}/f", os.O_RDONLY)
    assert (content_of(old), content_of(new)) == (b"old", b"new!")
    assert (new.direct_io, new.keep_cache) == (True, False)
    close(old)
    close(new)
    after = walker.open(f"{s}/f", os.O_RDONLY)
    assert after.keep_cache is False
    close(after)


def test_pages_are_kept_only_for_the_content_that_the_kernel_has(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"one")
    for wanted in (True, True):
        handle = walker.open(f"{s}/f", os.O_RDONLY)
        assert handle.keep_cache is wanted
        close(handle)


def test_a_removed_file_lives_on_in_its_handle(walker: Walker, s: str) -> None:
    for name, is_committed in (("a", True), ("b", False)):
        handle = walker.create(f"{s}/{name}", b"bytes")
        if is_committed:
            handle.flush()
        hidden = f"{s}/.fuse_hidden{name}"
        walker.tree.hide(f"{s}/{name}", hidden, replaced=False)
        assert walker.names(s) == []
        assert (content_of(handle), walker.tree.attr(hidden).nlink) == (b"bytes", 0)
        walker.tree.chmod(hidden, 0o600, walker.caller)
        walker.tree.chown(hidden, 7, -1, walker.caller)
        walker.tree.utimens(hidden, None, 5, walker.caller)
        walker.tree.truncate(hidden, 2, walker.caller)
        attr = walker.tree.attr(hidden)
        assert (stat.S_IMODE(attr.mode), attr.uid, attr.size) == (0o600, 7, 2)
        close(handle)
        walker.tree.unlink(hidden, walker.caller)
        with pytest.raises(NotFound):
            walker.tree.attr(hidden)
    assert walker.store.artifacts.list("s") == []


def test_a_refused_replacement_brings_the_file_back(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"kept")
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    handle = walker.open(f"{s}/f")
    walker.tree.hide(f"{s}/f", f"{s}/.fuse_hidden1", replaced=True)
    with pytest.raises(NotAFolder):
        walker.tree.rename(f"{s}/d", f"{s}/f", walker.caller)
    handle.write(memoryview(b"K"), 0)
    close(handle)
    assert walker.read(f"{s}/f") == b"Kept"


class _Paused:
    """Lets a thread stand still inside the commit of a file."""

    def __init__(self, walker: Walker, monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        commit = walker.store.entries.commit

        def paused(*args: object, **kwargs: object) -> Entry:
            if after:
                entry = commit(*args, **kwargs)  # type: ignore[arg-type]
            self.reached.set()
            assert self.go_on.wait(4 * PATIENCE)
            return entry if after else commit(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(type(walker.store.entries), "commit", lambda _self, *args, **kw: paused(*args, **kw))

    def during(self, commits: threading.Thread, call: threading.Thread, seconds: float = 0.2) -> None:
        """Run *call* while *commits* is committing, which goes on after *seconds*, or once *call* is over."""
        commits.start()
        assert self.reached.wait(PATIENCE)
        call.start()
        call.join(seconds)
        self.go_on.set()
        commits.join(PATIENCE)
        call.join(PATIENCE)


def _thread(call: object, *args: object) -> threading.Thread:
    return threading.Thread(target=call, args=args)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [False, True])
def test_a_file_unlinked_while_it_is_committed_does_not_come_back(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    handle = walker.create(f"{s}/f", b"x")
    paused = _Paused(walker, monkeypatch, after=after)
    remove = _thread(walker.tree.hide, f"{s}/f", f"{s}/.fuse_hidden", False)
    paused.during(_thread(close, handle), remove)
    assert walker.names(s) == []
    assert walker.store.artifacts.list("s") == []
    assert walker.store.upkeep.lost() == []


@pytest.mark.parametrize("after", [False, True])
def test_a_file_renamed_while_it_is_committed_is_followed(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    walker.tree.mkdir("/sessions/t", 0o755, walker.caller)
    handle = walker.create(f"{s}/f", b"x")
    handle.flush()
    handle.write(memoryview(b"y"), 1)
    paused = _Paused(walker, monkeypatch, after=after)
    paused.during(_thread(handle.flush), _thread(walker.tree.rename, f"{s}/f", "/sessions/t/g", walker.caller))
    handle.write(memoryview(b"z"), 2)
    close(handle)
    assert (walker.names(s), walker.read("/sessions/t/g")) == ([], b"xyz")
    assert walker.store.upkeep.lost() == []


def test_a_file_opened_while_another_handle_commits_and_ends_has_its_bytes(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walker.write(f"{s}/f", b"old")
    opened = walker.tree._ctx.opened
    plain = type(opened).open

    def late(self: object, *args: object) -> object:
        monkeypatch.setattr(type(opened), "open", plain)
        walker.write(f"{s}/f", b"newer")
        return plain(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened), "open", late)
    handle = walker.open(f"{s}/f")
    assert content_of(handle) == b"newer"
    handle.write(memoryview(b"!"), 5)
    close(handle)
    assert walker.read(f"{s}/f") == b"newer!"


def test_bytes_that_cannot_be_committed_are_lost_and_found(walker: Walker, s: str) -> None:
    small, large = walker.create(f"{s}/small", b"bytes"), walker.create(f"{s}/large", bytes(1 << 20))
    walker.store.sessions.suspend("s")
    for handle in (small, large):
        with pytest.raises(SessionNotActive):
            close(handle)
    if walker.store.path is not None:
        assert sorted((item.name, item.size) for item in walker.store.upkeep.lost()) == [
            ("large", 1 << 20), ("small", 5),
        ]  # fmt: skip
    assert walker.names(s) == []
    walker.store.sessions.resume("s")


def test_a_state_is_not_changed_under_dirty_handles(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"x")
    with pytest.raises(SessionBusy):
        walker.write(f"{s}/.session/status", b"completed")
    close(handle)
    walker.write(f"{s}/.session/status", b"completed")
    with pytest.raises(SessionNotActive):
        walker.open(f"{s}/f")
    assert walker.read(f"{s}/f") == b"x"


def test_destroy_commits_what_is_open(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"not flushed")
    empty = walker.create(f"{s}/empty")
    walker.tree.destroy()
    assert {a.name: a.size for a in walker.store.artifacts.list("s")} == {"f": 11, "empty": 0}
    assert [e.kind for e in walker.store.sessions.events("s")].count("artifact.stored") == 2
    for one in (handle, empty):
        one.release()


def test_what_another_door_changes_is_seen(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"x")
    assert walker.size(f"{s}/f") == 1
    walker.store.artifacts.put("s", "g/h", b"four")
    walker.store.artifacts.delete("s", "f")
    walker.tree._ctx.cache.drop(walker.store.sessions.get("s").sid)
    assert (walker.names(s), walker.names(f"{s}/g")) == (["g"], ["h"])
    with pytest.raises(NotFound):
        walker.tree.attr(f"{s}/f")


BAD: dict[str, tuple[Callable[[Walker, str], object], type[SpellError]]] = {
    "a name that is not there": (lambda w, s: w.tree.attr(f"{s}/none"), NotFound),
    "a session that is not there": (lambda w, s: w.names("/sessions/none"), NotFound),
    "a root that is not there": (lambda w, s: w.tree.attr("/none"), NotFound),
    "a file as a folder": (lambda w, s: w.tree.attr(f"{s}/f/x"), NotAFolder),
    "a folder as a file": (lambda w, s: w.open(f"{s}/d"), IsAFolder),
    "unlink of a folder": (lambda w, s: w.tree.unlink(f"{s}/d", w.caller), IsAFolder),
    "rmdir of a file": (lambda w, s: w.tree.rmdir(f"{s}/f", w.caller), NotAFolder),
    "rmdir of a full folder": (lambda w, s: w.tree.rmdir(f"{s}/d", w.caller), NotEmpty),
    "rmdir of a full session": (lambda w, s: w.tree.rmdir(s, w.caller), NotEmpty),
    "rmdir of the control directory": (lambda w, s: w.tree.rmdir(f"{s}/.session", w.caller), ReadOnly),
    "mkdir over a file": (lambda w, s: w.tree.mkdir(f"{s}/f", 0o755, w.caller), AlreadyExists),
    "mkdir over a session": (lambda w, s: w.tree.mkdir(s, 0o755, w.caller), AlreadyExists),
    "mkdir at the root": (lambda w, s: w.tree.mkdir("/x", 0o755, w.caller), NotSupported),
    "a file at the root": (lambda w, s: w.create("/x"), NotSupported),
    "a file among sessions": (lambda w, s: w.create("/sessions/x"), NotSupported),
    "a symlink among sessions": (lambda w, s: w.tree.symlink("/sessions/x", "t", w.caller), NotSupported),
    "a session into a session": (lambda w, s: w.tree.rename("/sessions/t", f"{s}/t", w.caller), NotSupported),
    "a folder among sessions": (lambda w, s: w.tree.rename(f"{s}/d", "/sessions/d", w.caller), NotSupported),
    "a session onto another": (lambda w, s: w.tree.rename(s, "/sessions/t", w.caller), AlreadyExists),
    "a folder into itself": (lambda w, s: w.tree.rename(f"{s}/d", f"{s}/d/e", w.caller), InvalidValue),
    "a long name": (lambda w, s: w.tree.mkdir(f"{s}/{'a' * 256}", 0o755, w.caller), NameTooLong),
    "a NUL": (lambda w, s: w.tree.mkdir(f"{s}/a\0b", 0o755, w.caller), InvalidName),
    "exclusive creation": (lambda w, s: w.create(f"{s}/f", flags=os.O_EXCL), AlreadyExists),
    "the reserved name": (lambda w, s: w.tree.mkdir(f"{s}/.session", 0o755, w.caller), AlreadyExists),
    "a rename to the reserved name": (lambda w, s: w.tree.rename(f"{s}/f", f"{s}/.session", w.caller), ReadOnly),
    "a bad query": (lambda w, s: w.names("/search/nonsense:x"), InvalidValue),
    "a bad status": (lambda w, s: w.write(f"{s}/.session/status", b"x"), InvalidValue),
    "bad JSON": (lambda w, s: w.write(f"{s}/.session/session.json", b"{"), InvalidValue),
    "a null": (lambda w, s: w.write(f"{s}/.session/artifacts/f.json", b'{"tags": null}'), InvalidValue),
    "a read-only control file": (lambda w, s: w.open(f"{s}/.session/id", os.O_WRONLY), ReadOnly),
    "writing the README": (lambda w, s: w.open("/README", os.O_WRONLY), ReadOnly),
    "a change of a view": (lambda w, s: w.tree.mkdir("/by-tag/x", 0o755, w.caller), ReadOnly),
}


@pytest.mark.parametrize("what", BAD)
def test_each_refusal_has_its_error_and_changes_nothing(walker: Walker, s: str, what: str) -> None:
    walker.tree.mkdir("/sessions/t", 0o755, walker.caller)
    walker.write(f"{s}/f", b"kept")
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    walker.write(f"{s}/d/g", b"kept")
    seen = walker.kinds(s)
    call, error = BAD[what]
    with pytest.raises(SpellError) as caught:
        call(walker, s)
    assert type(caught.value) is error
    assert walker.kinds(s) == seen
    assert (walker.names(s), walker.names("/sessions")) == (["d", "f"], ["s", "t"])


def test_the_mounts_type_is_given_to_what_is_copied_in(walker: Walker) -> None:
    other = Walker(walker.store, {"type": "tool_result"})
    other.tree.mkdir("/sessions/typed", 0o755, other.caller)
    other.write("/sessions/typed/f.csv", b"x")
    artifact = walker.store.artifacts.get("typed", "f.csv")
    assert (artifact.artifact_type, artifact.mime_type) == ("tool_result", "text/csv")
    other.tree.destroy()
    with pytest.raises(InvalidValue):
        Walker(walker.store, {"type": "Not A Type"})


def test_new_entries_belong_to_the_caller(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"x")
    walker.tree.mkdir(f"{s}/d", 0o700, walker.caller)
    walker.tree.symlink(f"{s}/l", "f", walker.caller)
    for name in "fdl":
        attr = walker.tree.attr(f"{s}/{name}")
        assert (attr.uid, attr.gid) == (1000, 100)
    assert walker.events(s)[1]["actor"] == "uid:1000"


def test_listings_agree_with_lookups(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"x")
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    walker.tree.symlink(f"{s}/l", "f", walker.caller)
    open_one = walker.create(f"{s}/open", b"123")
    walker.events(s)  # waits for f's event, which would make events.jsonl longer in between
    for path in ("/", "/sessions", s, f"{s}/.session", f"{s}/.session/artifacts", "/by-status", "/by-status/active"):
        for name, attr in walker.tree.listdir(path):
            again = walker.tree.attr(f"{path.rstrip('/')}/{name}")
            assert (attr.ino, attr.mode, attr.size) == (again.ino, again.mode, again.size), (path, name)
    close(open_one)


def test_a_commit_under_way_shows_and_counts_as_what_it_commits(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walker.write(f"{s}/f", b"old")
    handle = walker.open(f"{s}/f")
    handle.truncate(0)
    seen: list[object] = []

    def look() -> None:
        seen.append(walker.size(f"{s}/f"))
        seen.append(walker.tree._ctx.opened.has_dirty(walker.store.sessions.get("s").sid))

    paused = _Paused(walker, monkeypatch)
    watch = _thread(look) if walker.store.path is not None else _thread(lambda: seen.extend([0, True]))
    paused.during(_thread(close, handle), watch, PATIENCE)
    assert seen == [0, True]
    assert walker.size(f"{s}/f") == 0


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_an_open_file_that_was_removed_reads_however_late_it_is_collected(
    walker: Walker, s: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, now = os.urandom(size), time.time_ns()
    walker.write(f"{s}/f", content)
    handle = walker.open(f"{s}/f", os.O_RDONLY)
    walker.tree.unlink(f"{s}/f", walker.caller)

    def collect(hours: int) -> int:
        monkeypatch.setattr(walker.store.engine, "now", lambda: now + hours * 3600 * 10**9)
        return walker.store.upkeep.gc().removed

    assert [collect(2), collect(4), collect(6)] == [0, 0, 0]
    walker.store.engine.rooms.cache.clear()
    assert content_of(handle) == content
    close(handle)
    assert collect(8) == 1


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_that_is_listed_as_shorter_than_it_is_cannot_be_read(walker: Walker, s: str, size: int) -> None:
    close(walker.create(f"{s}/f", b"0123456789"))
    walker.tree._ctx.opened.sealer.settle()  # its event says the size that it has
    _list_with_size(walker, size)
    assert walker.size(f"{s}/f") == size
    with pytest.raises(Corrupt):
        walker.read(f"{s}/f")
    _list_with_size(walker, 10)
    assert walker.read(f"{s}/f") == b"0123456789"


def _list_with_size(walker: Walker, size: int) -> None:
    with walker.store.engine.index.write() as db:
        db.execute("UPDATE entry SET size = ?", (size,))
        db.execute("UPDATE session SET change = change + 1")
