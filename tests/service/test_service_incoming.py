"""What takes long to come in, or to go out, is kept meanwhile, whatever others take back or collect."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.collecting import Collection
from llmspellfs.storage.blobs import FileBlobs
from llmspellfs.storage.ingest import Ingest, Staged
from tests.service.archives import export_one, take
from tests.tree.trees import Walker

HOUR = 3600 * 10**9
BIG = 3 << 20
LAG = 20 * 10**6
"""By how much the times of files lag behind the clock, in nanoseconds: more than Linux has it."""


class Pipe:
    """A source that cannot be read twice; before its last block something is *done*."""

    def __init__(self, content: bytes, done: Callable[[], object]) -> None:
        self.file, self.done, self.left = io.BytesIO(content), done, len(content)

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if 0 <= self.left < size:
            self.done()
        return self.file.read(size)

    def seekable(self) -> bool:
        return False


def refused(path: Path, content: bytes) -> None:
    """Have another who uses the store at *path* store *content*, and be refused when it is staged already."""
    with open_store(path, config=Config(max_artifacts_per_session=1)) as other, pytest.raises(LimitExceeded):
        other.artifacts.put("full", "more", content)


def by_mount(store: Store, content: bytes) -> None:
    walker = Walker(store)
    walker.write("/sessions/s/doc", content)
    walker.tree.destroy()


DOORS: dict[str, Callable[[Store, bytes], object]] = {
    "bytes": lambda store, content: store.artifacts.put("s", "doc", content),
    "file": lambda store, content: store.artifacts.put("s", "doc", io.BytesIO(content)),
    "batch": lambda store, content: store.artifacts.put_many("s", [NewArtifact("doc", content)]),
    "mount": by_mount,
    "import": lambda store, content: take(store, export_one("came", "doc", content)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with an empty session, s, and one that has as many artifacts as `refused` allows."""
    with open_store(tmp_path / "store", config=Config()) as store:
        store.sessions.create("s")
        store.sessions.create("full")
        store.artifacts.put("full", "one", b"")
    return tmp_path / "store"


@pytest.mark.parametrize("door", DOORS)
def test_what_is_stored_stays_however_often_others_are_refused_with_the_same_bytes(
    path: Path, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, finish, times = os.urandom(BIG), Ingest.finish, list[int]()

    def slow(ingest: Ingest) -> Staged:
        staged = finish(ingest)
        if staged.size == BIG:
            times.append(1)
            with monkeypatch.context() as patch:
                patch.setattr(Ingest, "finish", finish)
                refused(path, content)
        return staged

    with open_store(path, config=Config()) as store:
        monkeypatch.setattr(Ingest, "finish", slow)
        DOORS[door](store, content)
        monkeypatch.undo()
        assert times
        assert [store.artifacts.read(one) for one in store.artifacts.query("name:doc")] == [content]
        assert store.upkeep.fsck().found == ()


def test_what_a_pipe_brings_stays_when_others_are_refused_with_the_same_bytes(path: Path) -> None:
    content = os.urandom(24 << 20)
    with open_store(path, config=Config()) as store:
        pipe = cast("BinaryIO", Pipe(content, lambda: refused(path, content)))
        assert store.artifacts.read(store.artifacts.put("s", "doc", pipe)) == content
        assert store.upkeep.fsck().found == ()


def test_times_of_files_may_lag_behind_the_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, begun_ns = os.urandom(24 << 20), time.time_ns()

    def lag() -> None:
        monkeypatch.setattr(FileBlobs, "put_ns", lambda *_: begun_ns - LAG)
        refused(path, content)

    with open_store(path, config=Config(), now=lambda: begun_ns) as store:
        pipe = cast("BinaryIO", Pipe(content, lag))
        assert store.artifacts.read(store.artifacts.put("s", "doc", pipe)) == content


def test_what_a_pipe_brings_goes_at_once_when_it_is_refused(path: Path) -> None:
    with open_store(path, config=Config(max_artifacts_per_session=1)) as store:
        pipe = cast("BinaryIO", Pipe(os.urandom(24 << 20), lambda: store.artifacts.put("s", "other", b"")))
        with pytest.raises(LimitExceeded):
            store.artifacts.put("s", "doc", pipe)
        assert list(store.engine.rooms.blobs.iterate()) == []


def test_what_a_run_marks_that_has_begun_before_is_kept_for_what_comes_in_since(path: Path) -> None:
    later_ns, content = [0], os.urandom(24 << 20)

    def opened() -> Store:
        return open_store(path, config=Config(history_days=0), now=lambda: time.time_ns() + later_ns[0])

    with opened() as store, opened() as other:
        store.artifacts.put("s", "before", content)
        store.artifacts.delete("s", "before")
        later_ns[0] += 2 * HOUR
        early = Collection(other.engine, 0)
        beside = Collection(other.engine, 0)

        def collect() -> None:
            assert early.collect().condemned == 1
            assert beside.collect().removed == 0
            later_ns[0] += 2 * HOUR
            assert other.upkeep.gc(grace_seconds=0).removed == 0

        later_ns[0] += HOUR
        pipe = cast("BinaryIO", Pipe(content, collect))
        assert store.artifacts.read(store.artifacts.put("s", "doc", pipe)) == content


def test_what_is_exported_is_not_collected_however_long_it_takes(path: Path) -> None:
    later_ns, reports = [0], list[tuple[int, int]]()
    content = os.urandom(24 << 20)

    def opened() -> Store:
        return open_store(path, config=Config(history_days=0), now=lambda: time.time_ns() + later_ns[0])

    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            if not reports and self.tell() > 8 << 20:
                for _ in range(2):
                    later_ns[0] += 2 * HOUR
                    report = other.upkeep.gc(grace_seconds=0)
                    reports.append((report.condemned, report.removed))
            return super().write(data)  # type: ignore[arg-type]

    with opened() as store, opened() as other:
        store.artifacts.put("s", "gone", content)
        store.artifacts.delete("s", "gone")
        archive = Slow()
        assert store.archive.export(["s"], archive).content_bytes == len(content)
        assert reports == [(1, 0), (0, 0)]
        later_ns[0] += 2 * HOUR
        assert other.upkeep.gc(grace_seconds=0).removed == 1
    with open_store(path.parent / "other", config=Config()) as fresh:
        archive.seek(0)
        fresh.archive.import_(archive)
        assert fresh.artifacts.read(fresh.artifacts.restore("s", "gone")) == content
