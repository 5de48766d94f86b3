"""The folder in which stores are made, copied, and cut, and what a run to the end of each scenario has told."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.forks import Forks
from tests.crash.jobs import ACTED, ACTS, SCENARIOS

STORE = "store"
_MEMORY, _ROOM = Path("/dev/shm"), 1 << 30
"""Where files are in memory, and how many bytes must be free there, for several processes of tests together."""


@dataclass(frozen=True, slots=True)
class Known:
    """A scenario that was run to its end once: the *steps*, and what its store showed *before* and *after*."""

    base: Path
    steps: list[str]
    before: Any
    after: Any


def quick_folder(prefix: str) -> Path:
    """Return a new folder, in memory where there is room: often there are but some MiB, as in a container."""
    is_good = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if is_good else None))


class Bench:
    """Stores to be cut, in a folder in memory where there is one."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks = folder, forks
        self._known: dict[str, Known] = {}

    def known(self, name: str) -> Known:
        """Return what a run of the scenario *name* to its end has told."""
        if name not in self._known:
            base = self._base()
            self.forks.run("prepare", name, base / STORE)
            _thin(base)
            path = self.copy(base)
            before = self.forks.run("look", name, path).result if SCENARIOS[name].has_store else None
            path = self.copy(base)
            steps = self.forks.run("trace", name, path).result
            after = self.forks.run("look", name, path).result
            self._known[name] = Known(base, steps, before or after, after)
        return self._known[name]

    def harmed(self, name: str) -> Known:
        """Return what the repair of the store that is harmed by *name* has told, when nothing went wrong in it."""
        if name not in self._known:
            base = self._base()
            before = self.forks.run("harm", name, base / STORE).result
            _thin(base)
            path = self.copy(base)
            steps = self.forks.run("mend", path).result
            self._known[name] = Known(base, [ACTS, *steps, ACTED], before, self.forks.run("mend_after", path).result)
        return self._known[name]

    def _base(self) -> Path:
        base = self.folder / f"base-{len(self._known)}"
        base.mkdir()
        return base

    def copy(self, base: Path) -> Path:
        """Return a copy of the store in *base*, with what is beside it."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        shutil.copytree(base, self.folder / "work", copy_function=_copy)
        return self.folder / "work" / STORE


def _thin(base: Path) -> None:
    """Let go of the blocks of the reserves in *base*, 8 MiB each, which no copy has."""
    for room in base.rglob("reserve/room"):
        size = room.stat().st_size
        os.truncate(room, 0)
        os.truncate(room, size)


def _copy(source: str, target: str) -> None:
    """Copy a file with its owner; of the reserve, whose blocks nobody reads, only the length."""
    if Path(source).parent.name == "reserve":
        Path(target).touch(0o600)
        os.truncate(target, Path(source).stat().st_size)
    else:
        shutil.copy2(source, target)
        if os.geteuid() == 0:
            os.chown(target, os.stat(source).st_uid, os.stat(source).st_gid)
