"""History as directories: what was seen once is there for good, under each of its names, and only to read."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound, ReadOnly, SpellError
from llmspellfs.storage.index import Index
from tests.tree.trees import Walker, close, content_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmspellfs import Store
    from llmspellfs.tree.api import Attr

SECOND = 10**9
DAY = 86_400 * SECOND
NOON = 1_795_262_400 * SECOND  # 2026-11-21T12:00:00Z
CONTROL = ("id", "status", "name", "description", "tags", "parent")


@dataclass(frozen=True)
class Seen:
    """One entry: its type, its content or target, and its extended attributes."""

    kind: int
    content: bytes
    attributes: dict[str, bytes]


@pytest.fixture
def time() -> list[int]:
    """The store's time, in its one element."""
    return [NOON]


@pytest.fixture
def aged(tmp_path: Path, time: list[int]) -> Iterator[Walker]:
    """A tree on a store whose time the test decides, and whose history is ten days."""
    with open_store(tmp_path / "aged", config=Config(history_days=10), now=lambda: time[0]) as store:
        walker = Walker(store)
        yield walker
        walker.tree.destroy()
        assert store.upkeep.fsck().problems == ()


def walk(walker: Walker, top: str) -> dict[str, tuple[str, Attr]]:
    """Return the path and the attributes of everything below *top*, by its path from there; links are not followed."""
    found: dict[str, tuple[str, Attr]] = {}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        for name, listed in walker.tree.listdir(f"{top}{inside}"):
            path = f"{inside}/{name}"
            attr = walker.tree.attr(top + path)
            assert stat.S_IFMT(listed.mode) == stat.S_IFMT(attr.mode)
            assert listed.ino == attr.ino
            found[path[1:]] = top + path, attr
            if stat.S_ISDIR(attr.mode):
                waiting.append(path)
    return found


def seen(walker: Walker, top: str) -> dict[str, Seen]:
    """Return all that is below *top*; what stat says must agree with it."""
    return {name: _seen(walker, path, attr) for name, (path, attr) in walk(walker, top).items()}


def _seen(walker: Walker, path: str, attr: Attr) -> Seen:
    kind, content = stat.S_IFMT(attr.mode), b""
    if kind == stat.S_IFLNK:
        content = walker.tree.readlink(path).encode()
    elif kind == stat.S_IFREG:
        content = walker.read(path)
    assert attr.size == len(content)
    names = walker.tree.listxattr(path) if kind == stat.S_IFREG else []
    return Seen(kind, content, {name: walker.tree.getxattr(path, name) for name in names})


def fields(walker: Walker, top: str) -> tuple[bytes, ...]:
    return tuple(walker.read(f"{top}/.session/{name}") for name in (*CONTROL, "events.jsonl"))


def whole(walker: Walker, top: str) -> tuple[object, ...]:
    """Return everything that the session at *top* shows: entries, sidecars, fields."""
    walker.read(f"{top}/.session/events.jsonl")
    return seen(walker, top), seen(walker, f"{top}/.session/artifacts"), fields(walker, top)


def seq_of(walker: Walker, session: str) -> int:
    return len(walker.events(session))


def iso(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def missing(walker: Walker, path: str) -> None:
    with pytest.raises(NotFound):
        walker.tree.attr(path)


class Changes:
    """Anything that may happen to two sessions through a mount, by chance; refusals are part of it."""

    names = ("a", "b", "d", "d/a", "d/e", "d/e/b", "x y", "ä")

    def __init__(self, walker: Walker, seed: int) -> None:
        self.walker, self.chance = walker, random.Random(seed)
        self.steps: tuple[Callable[[], None], ...] = (
            self.write, self.write, self.append, self.folder, self.link, self.unlink, self.rmdir, self.rename,
            self.rename, self.tag, self.untag, self.chmod, self.retag, self.freeze,
        )  # fmt: skip

    def path(self) -> str:
        return f"/sessions/{self.chance.choice('sst')}/{self.chance.choice(self.names)}"

    def step(self) -> None:
        with suppress(SpellError, OSError):
            self.chance.choice(self.steps)()

    def write(self) -> None:
        self.walker.write(self.path(), self.chance.choice([b"", b"one", b"two", bytes(300_000)]))

    def append(self) -> None:
        handle = self.walker.open(self.path(), os.O_WRONLY)
        handle.write(memoryview(b"more"), handle.attr().size)
        close(handle)

    def folder(self) -> None:
        self.walker.tree.mkdir(self.path(), 0o755, self.walker.caller)

    def link(self) -> None:
        self.walker.tree.symlink(self.path(), self.chance.choice(["a", "d/a", "nowhere"]), self.walker.caller)

    def unlink(self) -> None:
        self.walker.tree.unlink(self.path(), self.walker.caller)

    def rmdir(self) -> None:
        self.walker.tree.rmdir(self.path(), self.walker.caller)

    def rename(self) -> None:
        self.walker.tree.rename(self.path(), self.path(), self.walker.caller)

    def tag(self) -> None:
        value = self.chance.choice([b"x", b"x\ny", b"7"])
        name = self.chance.choice(["user.llmspell.tags", "user.key", "user.mime_type"])
        self.walker.tree.setxattr(self.path(), name, value, 0, self.walker.caller)

    def untag(self) -> None:
        self.walker.tree.removexattr(self.path(), "user.key", self.walker.caller)

    def chmod(self) -> None:
        self.walker.tree.chmod(self.path(), self.chance.choice([0o600, 0o755, 0o444]), self.walker.caller)

    def retag(self) -> None:
        words = self.chance.choice([b"red\n", b"red\nblue\n", b"\n"])
        self.walker.write(f"/sessions/s/.session/{self.chance.choice(['tags', 'description'])}", words)

    def freeze(self) -> None:
        self.walker.write("/sessions/t/.session/status", self.chance.choice([b"suspended\n", b"active\n"]))


@pytest.mark.parametrize("seed", range(3))
def test_what_was_seen_at_each_save_is_in_its_checkpoint_and_at_its_seq(walker: Walker, s: str, seed: int) -> None:
    walker.tree.mkdir("/sessions/t", 0o755, walker.caller)
    changes, kept = Changes(walker, seed), list[tuple[int, tuple[object, ...]]]()
    for _ in range(12):
        for _ in range(12):
            changes.step()
        walker.read(f"{s}/.session/events.jsonl")
        walker.store.sessions.save("s")
        kept.append((seq_of(walker, s), whole(walker, s)))
    walker.write("/sessions/s/.session/name", b"other\n")
    walker.store.sessions.complete("other")
    walker.store.sessions.delete("other")
    walker.store.sessions.restore("other")
    base = "/sessions/other/.session"
    assert walker.names(f"{base}/checkpoints") == sorted(str(n) for n in range(1, 13))
    for number, (seq, then) in enumerate(kept, 1):
        assert whole(walker, f"{base}/checkpoints/{number}") == then
        assert whole(walker, f"{base}/at/{seq}") == then


def test_the_past_has_inode_numbers_of_its_own_that_last(walker: Walker, s: str) -> None:
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    walker.write(f"{s}/d/f", b"one")
    walker.store.sessions.save("s")
    live = {attr.ino for _, attr in walk(walker, s).values()} | {walker.tree.attr(s).ino}
    past = {name: attr.ino for name, (_, attr) in walk(walker, f"{s}/.session/checkpoints/1").items()}
    assert len({*past.values()}) == 2
    assert not live & {*past.values(), walker.tree.attr(f"{s}/.session/checkpoints/1").ino}
    walker.write(f"{s}/d/f", b"two")
    again = Walker(walker.store)
    assert {name: attr.ino for name, (_, attr) in walk(again, f"{s}/.session/checkpoints/1").items()} == past
    again.tree.destroy()


def test_session_json_of_the_past_says_what_the_session_was(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"one")
    walker.write(f"{s}/.session/tags", b"red\n")
    walker.store.sessions.save("s")
    then = walker.read(f"{s}/.session/session.json")
    walker.write(f"{s}/g", b"two")
    walker.write(f"{s}/.session/tags", b"blue\n")
    walker.store.sessions.complete("s")
    assert walker.read(f"{s}/.session/checkpoints/1/.session/session.json") == then
    assert walker.tree.getxattr(f"{s}/.session/checkpoints/1", "user.llmspell.tags") == b"red"
    assert walker.tree.getxattr(f"{s}/.session/checkpoints/1", "user.llmspell.status") == b"active"
    listed = dict(walker.tree.listdir(f"{s}/.session/checkpoints/1/.session"))
    for name, attr in listed.items():
        assert attr == walker.tree.attr(f"{s}/.session/checkpoints/1/.session/{name}")
        assert not attr.mode & 0o222 or stat.S_ISDIR(attr.mode)
    assert ".session" not in walker.names(f"{s}/.session/checkpoints/1")
    assert sorted(listed) == sorted([*CONTROL, "session.json", "artifacts", "events.jsonl"])


# which names there are


def test_at_takes_a_seq_a_time_or_an_age(aged: Walker, time: list[int]) -> None:
    aged.tree.mkdir("/sessions/s", 0o755, aged.caller)
    at = "/sessions/s/.session/at"
    for hour, content in enumerate([b"one", b"two", b"three"], 1):
        time[0] = NOON + hour * 3600 * SECOND
        aged.write("/sessions/s/f", content)
        aged.read("/sessions/s/.session/events.jsonl")
    time[0] += 1800 * SECOND
    for name, content in {
        "2": b"one", "3": b"two", "4": b"three", "2026-11-21T13:00:00Z": b"one", "2026-11-21T13:59:59.999Z": b"one",
        "2026-11-21T15:00:00+01:00": b"two", "20261121T140000Z": b"two", "2026-11-21": b"three", "2030-01-01": b"three",
        "9999-12-31": b"three",
        "0s": b"three", "40m": b"two", "2h": b"one", "90m": b"two",
    }.items():  # fmt: skip
        assert aged.read(f"{at}/{name}/f") == content, name
    assert aged.names(f"{at}/3h") == aged.names(f"{at}/1") == []
    for name in (
        "0", "5", "01", "002", "\u0662", "+2", "-1", "2.0", "4h", "1d", "2026-11-20", "2026-11-21T11:59:59Z",
        "0001-01-01", "9" * 18 + "d",
        "2026-13-01",
        "now", "", " 2", "2 ", "2h ", "99999999999999999999", "9" * 250, "2026-11-21T12:00:00Z/../2", "c1", ".session",
    ):  # fmt: skip
        missing(aged, f"{at}/{name or ' '}")
    assert aged.names(at) == ["1", "2", "3", "4"]


def test_at_lists_only_seqs_at_which_something_changed(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"one")
    walker.store.sessions.save("s")
    walker.store.sessions.save("s")
    walker.write(f"{s}/.session/tags", b"red\n")
    assert walker.kinds(s) == [
        "session.created", "artifact.stored", "session.saved", "session.saved", "session.updated",
    ]  # fmt: skip
    assert walker.names(f"{s}/.session/at") == ["1", "2", "5"]
    assert walker.names(f"{s}/.session/at/4") == ["f"]
    for name, attr in walker.tree.listdir(f"{s}/.session/at"):
        assert walker.tree.attr(f"{s}/.session/at/{name}").ino == attr.ino


def test_a_path_that_means_another_moment_as_time_passes_is_never_stale(aged: Walker, time: list[int]) -> None:
    aged.tree.mkdir("/sessions/s", 0o755, aged.caller)
    aged.tree.mkdir("/sessions/s/d", 0o755, aged.caller)
    for number in range(1, 5):
        time[0] += 3600 * SECOND
        aged.write("/sessions/s/d/f", b"x" * number)
        aged.read("/sessions/s/.session/events.jsonl")
        for name, expected in (("0s", number), ("1h", number - 1), ("2030-01-01", number)):
            top = f"/sessions/s/.session/at/{name}"
            if not expected:
                assert aged.names(f"{top}/d") == []
                assert aged.names(f"{top}/.session/artifacts/d") == []
                continue
            handle = aged.open(f"{top}/d/f", os.O_RDONLY)
            assert handle.direct_io
            assert (content_of(handle), aged.size(f"{top}/d/f")) == (b"x" * expected, expected)
            handle.release()
            assert f'"size": {expected},' in aged.read(f"{top}/.session/artifacts/d/f.json").decode()
            assert aged.read(f"{top}/.session/events.jsonl").count(b"\n") == expected + 2
            assert aged.size(f"{top}/.session/events.jsonl") == len(aged.read(f"{top}/.session/events.jsonl"))


def test_what_was_closed_is_in_the_past_at_once(walker: Walker, s: str) -> None:
    for number in range(1, 20):
        walker.write(f"{s}/f", b"x" * number)
        assert walker.size(f"{s}/.session/at/0s/f") == number
        walker.write(f"{s}/g", b"x" * number)
        assert len(walker.names(f"{s}/.session/at")) == 2 * number + 1


def test_another_session_of_the_same_name_has_its_own_past(aged: Walker) -> None:
    """Made through another door, of which the mount hears by the store's change number alone."""
    assert aged.store.path is not None
    top = "/sessions/s"
    with open_store(aged.store.path, config=Config()) as other:
        other.sessions.create("s")
        for content in (b"first", b"second"):
            other.artifacts.put("s", "f", content)
            other.sessions.save("s")
            for place in ("at/2", "checkpoints/1"):
                past = f"{top}/.session/{place}"
                assert aged.read(f"{past}/f") == content
                assert f'"size": {len(content)},' in aged.read(f"{past}/.session/artifacts/f.json").decode()
                assert aged.read(f"{past}/.session/id") == aged.read(f"{top}/.session/id")
            other.sessions.delete("s")
            other.sessions.create("s")


# how far back


def test_nothing_below_the_horizon_is_there_but_checkpoints_are_whole(aged: Walker, time: list[int]) -> None:
    aged.tree.mkdir("/sessions/s", 0o755, aged.caller)
    control = "/sessions/s/.session"
    for number in range(1, 6):
        time[0] = NOON + number * DAY
        aged.write("/sessions/s/f", b"x" * number)
        aged.read(f"{control}/events.jsonl")
        if number == 2:
            aged.store.sessions.save("s")
            then = whole(aged, "/sessions/s")
    time[0] = NOON + 14 * DAY + 1
    before = aged.names(f"{control}/at")
    assert before == ["1", "2", "3", "5", "6", "7"]
    aged.store.upkeep.gc(grace_seconds=0)
    assert aged.names(f"{control}/at") == ["4", "6", "7"]
    assert whole(aged, f"{control}/checkpoints/1") == then
    assert whole(aged, f"{control}/at/4") == then
    for name in ("1", "2", "3", "5", iso(NOON + DAY), iso(NOON + 3 * DAY), "13d"):
        missing(aged, f"{control}/at/{name}")
    for name, size in (("6", 4), (iso(NOON + 4 * DAY), 4), ("9d", 5)):
        assert aged.size(f"{control}/at/{name}/f") == size
    assert [aged.size(f"{control}/versions/f/{name}") for name in aged.names(f"{control}/versions/f")] == [2, 4, 5]


def test_an_open_file_of_the_past_reads_on_while_what_it_shows_is_pruned(aged: Walker, time: list[int]) -> None:
    aged.tree.mkdir("/sessions/s", 0o755, aged.caller)
    content = os.urandom(3 << 20)
    aged.write("/sessions/s/f", content)
    aged.read("/sessions/s/.session/events.jsonl")
    names = ("at/2/f", "versions/f/1")
    handles = [aged.open(f"/sessions/s/.session/{name}", os.O_RDONLY) for name in names]
    time[0] += DAY
    aged.write("/sessions/s/f", b"new")
    aged.read("/sessions/s/.session/events.jsonl")
    time[0] += 20 * DAY
    assert aged.store.upkeep.gc().pruned == 1
    aged.store.upkeep.gc()
    for name, handle in zip(names, handles, strict=True):
        assert content_of(handle) == content
        handle.release()
        if name.startswith("at"):
            missing(aged, f"/sessions/s/.session/{name}")
    assert aged.read("/sessions/s/.session/versions/f/1") == b"new"


def test_what_is_purged_is_gone_from_the_past_and_never_other_bytes(walker: Walker, s: str) -> None:
    content = os.urandom(3 << 20)
    walker.write(f"{s}/f", content)
    walker.write(f"{s}/g", b"stays")
    walker.store.sessions.save("s")
    handle = walker.open(f"{s}/.session/checkpoints/1/f", os.O_RDONLY)
    walker.store.artifacts.purge("s", "f")
    with suppress(SpellError, OSError):
        assert content_of(handle) == content
    handle.release()
    for path in ("checkpoints/1/f", "at/2/f", "versions/f", "versions/f/1", "checkpoints/1/.session/artifacts/f.json"):
        missing(walker, f"{s}/.session/{path}")
    assert walker.names(f"{s}/.session/checkpoints/1") == ["g"]
    assert walker.names(f"{s}/.session/versions") == ["g"]
    walker.store.sessions.purge("s")
    missing(walker, f"{s}/.session/checkpoints/1")


# versions


def versions(walker: Walker, name: str) -> list[bytes]:
    """Return the contents in `versions/NAME/`, in order."""
    path = f"/sessions/s/.session/versions/{name}"
    numbers = sorted((n for n in walker.names(path) if n.isdecimal()), key=int)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    return [walker.read(f"{path}/{n}") for n in numbers]


def test_each_content_of_a_name_is_a_version_however_it_came(walker: Walker, s: str) -> None:
    call, caller = walker.tree, walker.caller
    walker.write(f"{s}/f", b"one")
    call.setxattr(f"{s}/f", "user.k", b"1", 0, caller)
    call.chmod(f"{s}/f", 0o600, caller)
    walker.write(f"{s}/f", b"one")
    call.setxattr(f"{s}/f", "user.k", b"2", 0, caller)
    assert versions(walker, "f") == [b"one"]
    walker.write(f"{s}/f.tmp", b"two")
    call.rename(f"{s}/f.tmp", f"{s}/f", caller)
    call.unlink(f"{s}/f", caller)
    walker.write(f"{s}/f", b"three")
    call.rename(f"{s}/f", f"{s}/g", caller)
    call.rename(f"{s}/g", f"{s}/f", caller)
    walker.write(f"{s}/f", b"one")
    assert versions(walker, "f") == [b"one", b"two", b"three", b"one"]
    assert versions(walker, "f.tmp") == [b"two"]
    assert versions(walker, "g") == [b"three"]
    path = f"{s}/.session/versions/f"
    assert call.getxattr(f"{path}/1", "user.k") == b"2"
    assert call.getxattr(f"{path}/4", "user.llmspell.version") == b"2"
    assert len({call.attr(f"{path}/{n}").ino for n in "1234"} | {call.attr(f"{s}/f").ino}) == 5
    for name in ("0", "5", "01", "\u0661", "x"):
        missing(walker, f"{path}/{name}")


def test_a_name_that_was_a_folder_and_a_file_has_the_versions_of_both(walker: Walker, s: str) -> None:
    call, caller = walker.tree, walker.caller
    call.mkdir(f"{s}/n", 0o755, caller)
    walker.write(f"{s}/n/in", b"deep")
    call.mkdir(f"{s}/n/e", 0o755, caller)
    walker.write(f"{s}/n/e/x", b"one")
    walker.read(f"{s}/.session/events.jsonl")
    call.rename(f"{s}/n", f"{s}/m", caller)
    walker.write(f"{s}/m/in", b"later, under another name")
    walker.write(f"{s}/n", b"file")
    call.unlink(f"{s}/n", caller)
    call.mkdir(f"{s}/n", 0o755, caller)
    walker.write(f"{s}/n/in", b"another")
    call.symlink(f"{s}/n/link", "in", caller)
    assert versions(walker, "n") == [b"file"]
    assert walker.names(f"{s}/.session/versions/n") == ["1", "e", "in"]
    assert versions(walker, "n/in") == [b"deep", b"another"]
    assert versions(walker, "n/e/x") == versions(walker, "m/e/x") == [b"one"]
    assert versions(walker, "m/in") == [b"deep", b"later, under another name"]
    walk(walker, f"{s}/.session/versions")


def test_a_version_has_the_time_at_which_it_was_made(aged: Walker, time: list[int]) -> None:
    aged.tree.mkdir("/sessions/s", 0o755, aged.caller)
    for number in range(1, 4):
        time[0] = NOON + number * DAY
        aged.write("/sessions/s/f", b"x" * number)
        time[0] += SECOND
        aged.tree.setxattr("/sessions/s/f", "user.k", b"v", 0, aged.caller)
        aged.tree.utimens("/sessions/s/f", 5, 5, aged.caller)
    times = [aged.tree.attr(f"/sessions/s/.session/versions/f/{n}").mtime_ns for n in (1, 2, 3)]
    assert times == [NOON + n * DAY for n in (1, 2, 3)]


def test_a_number_that_pruning_gives_to_another_content_goes_past_the_kernels_pages(walker: Walker, s: str) -> None:
    walker.write(f"{s}/f", b"one")
    handle = walker.open(f"{s}/.session/versions/f/1", os.O_RDONLY)
    assert handle.direct_io
    handle.release()


# nothing is written


def refused(call: Callable[[], object]) -> None:
    with pytest.raises((ReadOnly, OSError)) as told:
        call()
    assert isinstance(told.value, ReadOnly) or getattr(told.value, "errno", 0) == errno.EROFS, told.value


def test_every_change_of_the_past_is_refused_and_changes_nothing(walker: Walker, s: str) -> None:
    call, caller = walker.tree, walker.caller
    call.mkdir(f"{s}/d", 0o777, caller)
    for name in ("f", "d/g"):
        walker.write(f"{s}/{name}", b"one")
    call.symlink(f"{s}/l", "f", caller)
    walker.store.sessions.save("s")
    seq = seq_of(walker, s)
    for top in (f"{s}/.session/checkpoints/1", f"{s}/.session/at/{seq}", f"{s}/.session/at/0s"):
        before = whole(walker, top)
        files = [f"{top}/{name}" for name in ("f", "d/g", ".session/artifacts/f.json", ".session/tags")]
        for path in (*files, f"{top}/l", f"{top}/d", top, f"{top}/.session", f"{top}/.session/artifacts/d"):
            for change in (
                lambda p: call.chmod(p, 0o700, caller),
                lambda p: call.chown(p, 5, 5, caller),
                lambda p: call.utimens(p, 5, 5, caller),
                lambda p: call.rename(p, f"{s}/stolen", caller),
                lambda p: call.rename(p, f"{p}2", caller),
                lambda p: call.rename(f"{s}/f", p, caller),
                lambda p: call.unlink(p, caller),
                lambda p: call.rmdir(p, caller),
                lambda p: call.create(f"{p}2", os.O_CREAT | os.O_WRONLY, 0o644, caller),
                lambda p: call.mkdir(f"{p}2", 0o755, caller),
                lambda p: call.symlink(f"{p}2", "x", caller),
            ):
                refused(lambda path=path, change=change: change(path))  # type: ignore[misc]
        for path in files:
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
                refused(lambda path=path, flags=flags: call.open(path, flags, caller))  # type: ignore[misc]
            refused(lambda path=path: call.truncate(path, 0, caller))  # type: ignore[misc]
        for path in files[:2]:
            handle = walker.open(path, os.O_RDONLY)
            refused(lambda handle=handle: handle.write(memoryview(b"x"), 0))  # type: ignore[misc]
            refused(lambda handle=handle: handle.truncate(0))  # type: ignore[misc]
            handle.release()
        for path in (*files[:2], f"{top}/d", top):
            refused(lambda path=path: call.setxattr(path, "user.k", b"v", 0, caller))  # type: ignore[misc]
            refused(lambda path=path: call.removexattr(path, "user.k", caller))  # type: ignore[misc]
        assert whole(walker, top) == before
    version = f"{s}/.session/versions/f/1"
    for refusal in (
        lambda: call.open(version, os.O_WRONLY, caller),
        lambda: call.unlink(version, caller),
        lambda: call.rename(version, f"{s}/stolen", caller),
        lambda: call.rename(f"{s}/.session/versions/f", f"{s}/stolen", caller),
        lambda: call.rename(f"{s}/f", version, caller),
        lambda: call.rmdir(f"{s}/.session/versions/f", caller),
        lambda: call.mkdir(f"{s}/.session/versions/new", 0o755, caller),
        lambda: call.mkdir(f"{s}/.session/at/new", 0o755, caller),
        lambda: call.mkdir(f"{s}/.session/checkpoints/2", 0o755, caller),
        lambda: call.rename(f"{s}/d", f"{s}/.session/checkpoints/2", caller),
        lambda: call.setxattr(version, "user.k", b"v", 0, caller),
        lambda: call.chmod(version, 0o600, caller),
    ):
        refused(refusal)
    assert seq_of(walker, s) == seq
    assert walker.names(s) == ["d", "f", "l"]


# what it costs


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is run on connections lent for reading."""
    run: list[str] = []
    lend = Index.lend

    def watched(index: Index) -> object:
        connection = lend(index)
        connection.set_trace_callback(run.append)
        return connection

    monkeypatch.setattr(Index, "lend", watched)
    return run


def test_a_directory_of_the_past_costs_the_same_however_many_entries_there_are(
    aged: Walker, statements: list[str]
) -> None:
    store, costs = aged.store, dict[str, set[int]]()
    for count in (3, 60):
        aged.tree.mkdir(f"/sessions/s{count}", 0o755, aged.caller)
        for number in range(count):
            for content in (b"x", b"y"):
                store.artifacts.put(f"s{count}", f"d/f{number}", content)
        store.sessions.save(f"s{count}")
        for place in ("checkpoints/1/d", "at/5/d", "checkpoints/1/.session/artifacts/d", "versions/d", "versions/d/f1"):
            path = f"/sessions/s{count}/.session/{place}"
            aged.names(path)
            statements.clear()
            aged.names(path)
            questions = [each for each in statements if each.lstrip().startswith("SELECT")]
            assert sum("UNION ALL" in each for each in questions) <= 3
            costs.setdefault(place, set()).add(len(questions))
            _no_scan(store, questions)
    for place, counts in costs.items():
        assert len(counts) == 1, (place, counts)
        assert max(counts) <= 15


def _no_scan(store: Store, questions: list[str]) -> None:
    import sqlite3

    assert store.path is not None
    with sqlite3.connect(f"file:{store.path / 'index.db'}?mode=ro", uri=True) as index:
        for question in questions:
            plan = [row[3] for row in index.execute(f"EXPLAIN QUERY PLAN {question}")]
            assert not [step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step], (question, plan)
    index.close()
