"""Garbage is collected without grace in another process while files come and go through a mount: no byte is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted
from tests.service import collecting_stress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SECONDS = 4.0


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Mounted]:
    """A mount of a store that keeps no history."""
    mounted = Mounted(tmp_path, "history_days = 0\nscrub_days = 0\n")
    mounted.mount()
    yield mounted
    mounted.end()
    mounted.check(is_whole=True)


def test_what_a_mount_acknowledged_outlives_collections(forgetful: Mounted, figures: Callable[[str], None]) -> None:
    session, pool = forgetful.session("s"), collecting_stress.contents()
    (session / "kept").write_bytes(pool[0])
    words = ("collect", str(forgetful.store), str(SECONDS), "0")
    collector = subprocess.Popen(
        [sys.executable, "-m", "tests.service.collecting_stress", *words], cwd=ROOT, stdout=subprocess.PIPE
    )
    deadline, number = time.monotonic() + SECONDS, 0
    with open(session / "kept", "rb") as reader:
        while time.monotonic() < deadline or number < 20:
            content = pool[number % len(pool)]
            path = session / f"n{number % 2}"
            path.write_bytes(content)
            assert path.read_bytes() == content
            if number % 3 == 0:
                path.unlink()
            place = number * 7919 % len(pool[0])
            os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(reader.fileno(), 4096, place) == pool[0][place : place + 4096]
            number += 1
    out, _ = collector.communicate(timeout=120)
    assert collector.returncode == 0
    collected = json.loads(out)
    assert collected["files"] > 0
    figures(f"{number} files written and read back, {collected}")
