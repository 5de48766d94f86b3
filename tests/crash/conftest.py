"""The bench of the crash tests, one for each of their files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.bench import Bench
from tests.crash.forks import Forks


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=memory if os.access(memory, os.W_OK) else None))
    began = time.monotonic()
    with Forks() as forks:
        bench = Bench(folder, forks)
        yield bench
    print(dict(bench.cases), f"{len(bench.steps)} steps, {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder)
