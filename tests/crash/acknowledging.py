"""A process that stores artifact after artifact, and notes each in a file once it was acknowledged, until it is killed.

`python -m tests.crash.acknowledging STORE ACKS BESIDE COUNT` does beside it, in a thread, what BESIDE names, COUNT
times, and says `done` then. `python -m tests.crash.acknowledging --come STORE ACKS JOB COUNT` stores nothing of its
own: it starts COUNT processes, one after another, each of which does JOB and ends; it ends then itself.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.storage import index

SESSION = "acknowledged"
FOLD_COMMITS = 8
"""After how many commits the WAL is folded here: so that it happens hundreds of times."""
_CHILD_SECONDS = 60
_PAUSE = 0.005
"""Seconds between commits: what is done beside them gets a share of the interpreter, and of two processors."""


def opened(path: str) -> Store:
    return open_store(path, config=Config())


class Acks:
    """The file *path* of names that were acknowledged; the content of each is its name."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def store(self, store: Store, name: str) -> None:
        store.artifacts.put(SESSION, name, name.encode())
        os.write(self.descriptor, f"{name}\n".encode())


def in_child(work: Callable[[], None], *, orderly: bool = False) -> None:
    """Do *work* in a child made by a bare fork; with *orderly* it ends as a program does, and not at once."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
            if orderly:
                sys.exit(0)
        finally:
            if not orderly or status:
                os._exit(status)
    give_up = time.monotonic() + _CHILD_SECONDS
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > give_up:
            os.kill(child, 9)
            raise AssertionError("a child hangs")
        time.sleep(0.001)
    assert ended[1] == 0, f"a child ended with {ended[1]}"


def _nothing() -> None:
    pass


class Beside:
    """What the process of *store* does beside its writing, the *number*-th time."""

    def __init__(self, store: Store, acks: Acks, path: str) -> None:
        self.store, self.acks, self.path = store, acks, path
        self.index = f"{path}/index.db"
        self.folder = tempfile.mkdtemp(dir=Path(path).parent)

    def nothing(self, number: int) -> None:
        """Only write."""

    def opening_again(self, number: int) -> None:
        with opened(self.path) as second:
            self.acks.store(second, f"second-{number}")

    def backup(self, number: int) -> None:
        self.store.upkeep.backup(f"{self.folder}/{number % 3}")

    def fsck(self, number: int) -> None:
        assert self.store.upkeep.fsck(quick=number % 4 > 0).problems == ()

    def upkeep(self, number: int) -> None:
        self.store.upkeep.gc()
        self.store.upkeep.stats()
        self.store.upkeep.verify()
        self.store.upkeep.anchors()
        self.store.upkeep.scrub()

    def hash_in_a_child(self, number: int) -> None:
        subprocess.run(["b2sum", self.index], check=True, capture_output=True, close_fds=False)

    def fork(self, number: int) -> None:
        in_child(_nothing, orderly=number % 2 == 0)

    def fork_that_stores(self, number: int) -> None:
        in_child(lambda: self.acks.store(self.store, f"child-{number}"), orderly=number % 2 == 0)

    def fork_that_opens(self, number: int) -> None:
        def work() -> None:
            with opened(self.path) as own:
                self.acks.store(own, f"opening-{number}")

        in_child(work, orderly=number % 2 == 0)

    def fork_that_reads_files(self, number: int) -> None:
        in_child(lambda: read_as_file(self.path, self.acks, number))

    def multiprocessing(self, number: int) -> None:
        process = multiprocessing.get_context("fork").Process(
            target=self.acks.store, args=(self.store, f"multi-{number}")
        )
        process.start()
        process.join(_CHILD_SECONDS)
        assert process.exitcode == 0

    def dropping_its_locks(self, number: int) -> None:
        """Do what nothing in the product may do."""
        read_as_file(self.path, self.acks, number)

    def inheriting(self, number: int) -> None:
        """Start a program that has all descriptors of this process, and closes them."""
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                os.set_inheritable(int(name), True)
        subprocess.run(["true"], check=True, close_fds=False)


def read_as_file(path: str, acks: Acks, number: int) -> None:
    """Open and close the index's files as nothing but files."""
    for part in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError), open(f"{path}/index.db{part}", "rb") as file:
            while file.read(1 << 20):
                pass


def _look(path: str, acks: Acks, number: int) -> None:
    with opened(path) as store:
        store.artifacts.list(SESSION)


def _store(path: str, acks: Acks, number: int) -> None:
    with opened(path) as store:
        acks.store(store, f"come-{os.getpid()}-{number}")


def _die(path: str, acks: Acks, number: int) -> None:
    """Store, and end without closing."""
    acks.store(opened(path), f"died-{os.getpid()}-{number}")


def _backup(path: str, acks: Acks, number: int) -> None:
    with opened(path) as store:
        store.upkeep.backup(f"{path}-backup")


def _fsck(path: str, acks: Acks, number: int) -> None:
    with opened(path) as store:
        assert store.upkeep.fsck(quick=True).problems == ()


def _shell(path: str, acks: Acks, number: int) -> None:
    index = f"{path}/index.db"
    subprocess.run(["sh", "-c", f"cp {index} {path}-copy && sha256sum {index}*"], check=True, capture_output=True)


def _sqlite(path: str, acks: Acks, number: int) -> None:
    subprocess.run(["sqlite3", f"{path}/index.db", "SELECT count(*) FROM entry"], check=True, capture_output=True)


JOBS: dict[str, Callable[[str, Acks, int], Any]] = {
    "look": _look,
    "store": _store,
    "die": _die,
    "backup": _backup,
    "fsck": _fsck,
    "read as file": read_as_file,
    "cp and sha256sum": _shell,
    "sqlite3": _sqlite,
}


def come(path: str, acks: Acks, job: str, count: int) -> None:
    """Do *job* in *count* processes, which have everything imported."""
    for number in range(count):
        in_child(lambda number=number: JOBS[job](path, acks, number))  # type: ignore[misc]


def write(path: str, acks: Acks, beside: str, count: int) -> None:
    """Store until the end, and do what *beside* names *count* times."""
    index._FOLD_COMMITS = FOLD_COMMITS
    store = opened(path)
    other = Beside(store, acks, path)

    def repeat() -> None:
        for number in range(count):
            getattr(other, beside)(number)
        os.write(1, b"done\n")

    thread = threading.Thread(target=repeat)
    thread.start()
    number = 0
    while True:
        acks.store(store, f"main-{os.getpid()}-{number}")
        number += 1
        time.sleep(_PAUSE)


if __name__ == "__main__":
    words = sys.argv[1:]
    what = come if words[0] == "--come" else write
    path, acks, name, count = words[-4:]
    what(path, Acks(acks), name, int(count))
