"""System calls that fail, SQLite's own included: the error is told, nothing is half, and what failed then succeeds."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from llmspellfs import open_store
from llmspellfs.config import Config
from tests.crash import failing
from tests.crash.recorder import ROOT, Op, built, environment, parsed
from tests.crash.test_full_disk import data
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """A store with a few artifacts; it must be whole afterwards."""
    path = tmp_path / "root" / "store"
    failing.prepare(path)
    return path


def run(library: Path, path: Path, *words: str, **more: str) -> list[Op]:
    """Run a function of `failing` on the store, and return what it did to it."""
    base = path.parents[1]
    (base / "mark").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.failing", words[0], str(path), *words[1:]],
        env={**environment(library, path.parent, base), **more}, cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return list(parsed((base / "log").read_bytes()))


def check(path: Path, *, absent: str = "new", checkpoints: int = 0) -> None:
    """Open the store anew: the failed change is not in it, and it is whole."""
    with open_store(path, config=Config()) as store:
        assert absent not in {artifact.name for artifact in store.artifacts.list("s")}
        assert len(store.sessions.checkpoints("s")) == checkpoints
        assert store.upkeep.fsck().problems == ()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("nth", [1, 2, 3, 9, 20])
def test_a_commit_that_cannot_be_written_changes_nothing(library: Path, store_path: Path, code: int, nth: int) -> None:
    run(library, store_path, "wal_write", str(code), str(nth))
    with open_store(store_path, config=Config()) as store:
        assert store.artifacts.read(store.artifacts.get("s", "new")) == data("new", 20 << 10)
        assert store.upkeep.fsck().problems == ()


def test_a_commit_that_cannot_be_written_does_not_come_back(library: Path, store_path: Path) -> None:
    run(library, store_path, "wal_write", str(errno.EIO), "14", ENDS="1")
    check(store_path)


def test_a_commit_whose_sync_failed_does_not_come_back(library: Path, store_path: Path) -> None:
    run(library, store_path, "wal_sync_once", str(errno.EIO))
    check(store_path)


def test_nothing_is_durable_after_a_failed_sync_until_the_wal_is_begun_anew(library: Path, store_path: Path) -> None:
    ops = run(library, store_path, "wal_sync", str(errno.EIO))
    wal = {op.inode for op in ops if op.kind == "C" and op.a.endswith(b"-wal")}
    said = [op.a for op in ops if op.is_mark]
    assert said == [b"healed", b"saved"]
    first, last = (number for number, op in enumerate(ops) if op.is_mark)
    between = [(op.kind, op.inode in wal) for op in ops[first:last] if op.kind in "ST"]
    emptied = between.index(("T", True))
    assert ("S", False) in between[:emptied], "the database was not synced before the WAL was emptied"
    assert ("S", True) in between[emptied:]
    check(store_path, checkpoints=1)


@pytest.mark.parametrize(
    ("call", "code"), [("write", errno.ENOSPC), ("write", errno.EIO), ("sync", errno.EIO), ("folder", errno.EIO)]
)
def test_a_chunk_that_could_not_be_synced_is_written_anew(
    library: Path, store_path: Path, call: str, code: int
) -> None:
    run(library, store_path, "blob_write", call, str(code))
    with open_store(store_path, config=Config()) as store:
        assert store.artifacts.read(store.artifacts.get("s", "new")) == data("new", 200 << 10)
        assert store.upkeep.fsck().problems == ()


@pytest.mark.parametrize("name", ["blob_read", "index_read"])
def test_what_cannot_be_read_is_an_error_and_later_itself(library: Path, store_path: Path, name: str) -> None:
    run(library, store_path, name)
    check(store_path)


@pytest.mark.mount
@needs_fuse
def test_a_mount_tells_of_a_chunk_that_cannot_be_read_and_goes_on(library: Path, tmp_path: Path) -> None:
    mounted = Mounted(tmp_path)
    content = data("large", 200 << 10)
    with mounted.open() as store:
        store.sessions.create("s")
        store.artifacts.put("s", "large", content)
    fault = f"read {blake3(content).hexdigest()} {errno.EIO} 1 2"
    mounted.environment |= {"LD_PRELOAD": str(library), "RECORDER_ROOT": str(mounted.store), "RECORDER_FAULT": fault}
    try:
        mounted.mount()
        del mounted.environment["LD_PRELOAD"]
        seen = []
        for _ in range(4):
            try:
                seen.append((mounted.sessions / "s/large").read_bytes())
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017
                (mounted.sessions / "s/small").write_bytes(b"goes on")
        assert seen
        assert len(seen) < 4
        assert all(found == content for found in seen)
        assert (mounted.sessions / "s/small").read_bytes() == b"goes on"
        mounted.may_fail = True
    finally:
        mounted.end()
    mounted.check(is_whole=True)
