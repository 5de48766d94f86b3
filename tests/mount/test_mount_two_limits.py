"""Limits and quotas of a store that is mounted twice: who writes through both at once never gets one too many."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmspellfs.model.session import Status
from tests.mount.live import Mounted, store_locked, wait_for
from tests.mount.pairs import Pair

BEFORE, FIT, WRITERS, TURNS = 7, 8, 6, 3
"""How many there are, and may be; how many writers there are then, half on each mount, and what each of them tries."""
SPARE = 4096
"""Bytes of a quota that are left when all is taken that can be."""
WAIT_SECONDS = 0.3
"""All writers wait for the store by then, whatever they have looked at before."""
SEEN_SECONDS = 10.0
WRITER = """
import os, random, sys
folder, writer, turns, size = sys.argv[1], *map(int, sys.argv[2:])
def make(name):
    if not size:
        return os.mkdir(f"{folder}/{name}")
    descriptor = os.open(f"{folder}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        os.write(descriptor, random.Random(name).randbytes(size))
    finally:
        os.close(descriptor)
print("begins", flush=True)
for name in (f"{writer}-{turn}" for turn in range(turns)):
    try:
        make(name)
        print(name, 0)
    except OSError as error:
        print(name, error.errno)
"""
"""Makes files of some bytes that no compression makes smaller, or folders; says of each its name and errno."""


@dataclass(frozen=True)
class Limit:
    """The limit *key* where each thing that is made has *size* bytes: files, or sessions where it is 0."""

    key: str
    size: int

    @property
    def value(self) -> int:
        return FIT * self.size + SPARE if self.key.endswith("quota") else FIT


LIMITS = [
    Limit("max_sessions", 0), Limit("max_artifacts_per_session", 100), Limit("session_quota", 8192),
    Limit("storage_quota", 90_112),
]  # fmt: skip
"""The largest contents are chunks, which are on the disk before the transaction that is refused."""


@pytest.fixture(params=LIMITS, ids=lambda limit: limit.key)
def limit(request: pytest.FixtureRequest) -> Limit:
    found = request.param
    assert isinstance(found, Limit)
    return found


@pytest.fixture
def two(tmp_path: Path, limit: Limit) -> Iterator[Pair]:
    mounted = Mounted(tmp_path / "m", f"{limit.key} = {limit.value}\n")
    mounted.mount()
    try:
        pair = Pair(mounted, tmp_path / "other")
        try:
            yield pair
        finally:
            pair.end()
    finally:
        mounted.end()
    mounted.may_fail = True  # it says where refused bytes went
    mounted.check(is_whole=True)


def begin(folder: Path, writer: int, turns: int, limit: Limit) -> subprocess.Popen[str]:
    """Return a process that tries to make as much in *folder* as *turns* says, once it begins with that."""
    words = [sys.executable, "-c", WRITER, str(folder), str(writer), str(turns), str(limit.size)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def told(process: subprocess.Popen[str]) -> dict[str, int]:
    """Return the errno of each thing that *process* has tried to make, 0 for none, once it ends."""
    assert process.stdout is not None
    with process.stdout as said:
        lines = said.read()  # communicate() would leave out what came with the line that it began with
    assert process.wait(60) == 0
    return {name: int(code) for name, code in map(str.split, lines.splitlines())}


def test_writers_on_both_mounts_never_get_one_too_many_together(two: Pair, limit: Limit) -> None:
    here = two.live.session("s") if limit.size else two.live.sessions
    folders = (here, two.there(here))
    wait_for(folders[1].is_dir)
    made = told(begin(here, WRITERS, BEFORE, limit))
    assert set(made.values()) == {0}
    with store_locked(two.live):
        writers = [begin(folders[number % 2], number, TURNS, limit) for number in range(WRITERS)]
        time.sleep(WAIT_SECONDS)
    for writer in writers:
        made |= told(writer)
    assert set(made.values()) == {0, errno.EDQUOT}
    names = {name for name, code in made.items() if code == 0}
    assert len(names) == FIT
    for folder in folders:
        wait_for(lambda: set(os.listdir(folder)) == names, seconds=SEEN_SECONDS)  # noqa: B023
        for name in names if limit.size else ():
            assert (folder / name).read_bytes() == content(name, limit)
    _judge_store(two, limit)


def content(name: str, limit: Limit) -> bytes:
    return random.Random(name).randbytes(limit.size)


def _judge_store(two: Pair, limit: Limit) -> None:
    """Hold what the store and its lost+found have, and what `df` shows on both mounts, to the limit."""
    for mount in (two.live.path, two.path) if limit.key == "storage_quota" else ():
        assert (room := os.statvfs(mount)).f_blocks * room.f_frsize == limit.value
        wait_for(lambda: (room := os.statvfs(mount)).f_bavail * room.f_frsize == SPARE, seconds=SEEN_SECONDS)  # noqa: B023
    with two.live.open() as store:
        assert len(store.sessions.list(status=Status.ACTIVE)) == (1 if limit.size else FIT)
        assert store.upkeep.stats().stored_bytes == FIT * limit.size
        lost = store.upkeep.lost()
        for item in lost:
            assert b"".join(store.upkeep.read_lost(item.id)) == content(str(item.name), limit)
        assert not limit.key.endswith("quota") or 0 < sum(item.taken for item in lost) <= limit.value
