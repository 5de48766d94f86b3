"""A process that may open no more files, or write no longer ones: it is told so, nothing is half, and it goes on."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from tests.crash.recorder import ROOT
from tests.crash.test_full_disk import data
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted

_FEW = """
import os, resource, sys
from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from tests.crash.test_full_disk import data, listing

with open_store(sys.argv[1], config=Config()) as store:
    before = listing(store)
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    refused = 0
    for left in range(3):
        try:
            store.artifacts.put("s", "new", data("new", 300 << 10))
        except (SpellError, OSError) as error:
            assert "Too many open files" in str(error), error
            refused += 1
        os.close(held.pop())
    while held:
        os.close(held.pop())
    assert refused, "nothing was refused"
    assert {k: v for k, v in listing(store).items() if k != "s:new"} == before
    store.artifacts.put("s", "new", data("new", 300 << 10))
    assert listing(store)["s:new"] == data("new", 300 << 10)
    assert store.upkeep.fsck().problems == ()
"""
_SHORT = """
import sys
from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from tests.crash.test_full_disk import data, listing

with open_store(sys.argv[1], config=Config()) as store:
    before = listing(store)
    try:
        store.artifacts.put("s", "new", data("new", 3 << 20))
    except SpellError as error:
        print(error)
    else:
        raise AssertionError("nothing was refused")
    assert listing(store) == before
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store, which must be whole afterwards."""
    with open_store(tmp_path / "store", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", data("a", 200 << 10))
    return tmp_path / "store"


def run(path: Path, code: str, limit: int, value: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)), restore_signals=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_process_without_descriptors_is_told_and_goes_on(path: Path) -> None:
    run(path, _FEW, resource.RLIMIT_NOFILE, 120)


def test_a_process_that_may_write_no_long_files_is_told(path: Path) -> None:
    before = signal.getsignal(signal.SIGXFSZ)
    assert before == signal.SIG_IGN, "Python ignores it, so that write fails instead"
    said = run(path, _SHORT, resource.RLIMIT_FSIZE, 600 << 10)
    assert "File too large" in said or "no space left" in said
    with open_store(path, config=Config()) as store:
        assert [artifact.name for artifact in store.artifacts.list("s")] == ["a"]
        assert store.upkeep.fsck().problems == ()


@pytest.mark.mount
@needs_fuse
def test_a_daemon_without_descriptors_refuses_and_goes_on(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path)
    mounted.may_fail = True
    mounted.mount()
    try:
        s = mounted.session("s")
        (s / "a").write_bytes(b"a" * 3000)
        open_now = len(list(Path(f"/proc/{mounted.pid}/fd").iterdir()))
        old = resource.prlimit(mounted.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(mounted.pid, resource.RLIMIT_NOFILE, (open_now, old[1]))
        refused = 0
        for number in range(6):
            try:
                (s / f"large{number}").write_bytes(data(number, 700 << 10))
            except OSError:
                refused += 1
        assert (s / "a").read_bytes() == b"a" * 3000
        resource.prlimit(mounted.pid, resource.RLIMIT_NOFILE, old)
        (s / "after").write_bytes(data("after", 700 << 10))
        assert (s / "after").read_bytes() == data("after", 700 << 10)
        assert refused
    finally:
        mounted.end()
    mounted.check(is_whole=True)
