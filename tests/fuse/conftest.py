"""A fake tree, mounted for real by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

FAKE = Path(__file__).with_name("fake_tree.py")


class FakeMount:
    """One mount of the fake tree, and what its tree was asked."""

    def __init__(self, base: Path, options: str = "") -> None:
        self.path = base / "mnt"
        self.path.mkdir()
        self.journal = base / "journal"
        self.gate = base / "gate"
        self.gate.mkdir()
        (self.gate / "shut").touch()
        self.log = base / "log"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        }
        command = [sys.executable, str(FAKE), str(self.path), options, str(self.journal), str(self.gate)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)
        self._wait()

    def _wait(self) -> None:
        give_up = time.monotonic() + 60
        while not os.path.ismount(self.path):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def asked(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def wait_for_slow(self, count: int) -> None:
        """Return once *count* slow reads have come in, which go on until `let_go`."""
        wait_for(lambda: len(os.listdir(self.gate)) > count, lambda: os.listdir(self.gate))

    def let_go(self) -> None:
        """Have the slow reads answered, those too that come yet."""
        (self.gate / "shut").unlink(missing_ok=True)

    def end(self) -> None:
        self.let_go()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        subprocess.run(["fusermount", "-u", "-z", "-q", str(self.path)], check=False)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeMount]:
    mount = FakeMount(tmp_path)
    yield mount
    mount.end()


@pytest.fixture
def mnt(fake: FakeMount) -> Path:
    return fake.path
