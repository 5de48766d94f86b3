"""The folder in which stores are made, copied, and cut, and what a run to the end of each scenario has told."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.forks import Forks
from tests.crash.jobs import ACTED, ACTS, SCENARIOS

STORE = "store"


@dataclass(frozen=True, slots=True)
class Known:
    """A scenario that was run to its end once: the *steps*, and what its store showed *before* and *after*."""

    base: Path
    steps: list[str]
    before: Any
    after: Any


class Bench:
    """Stores to be cut, in a folder in memory where there is one."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks = folder, forks
        self._known: dict[str, Known] = {}
        self.cases: Counter[str] = Counter()
        self.steps: set[str] = set()

    def known(self, name: str) -> Known:
        """Return what a run of the scenario *name* to its end has told."""
        if name not in self._known:
            base = self._base()
            self.forks.run("prepare", name, base / STORE)
            path = self.copy(base)
            before = self.forks.run("look", name, path).result if SCENARIOS[name].has_store else None
            path = self.copy(base)
            steps = self.forks.run("trace", name, path).result
            after = self.forks.run("look", name, path).result
            self._known[name] = Known(base, steps, before or after, after)
            self.steps |= set(steps)
        return self._known[name]

    def harmed(self, name: str) -> Known:
        """Return what the repair of the store that is harmed by *name* has told, when nothing went wrong in it."""
        if name not in self._known:
            base = self._base()
            before = self.forks.run("harm", name, base / STORE).result
            path = self.copy(base)
            steps = self.forks.run("mend", path).result
            self._known[name] = Known(base, [ACTS, *steps, ACTED], before, self.forks.run("mend_after", path).result)
            self.steps |= set(steps)
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


def _copy(source: str, target: str) -> None:
    """Copy a file with its owner; of the reserve, whose blocks nobody reads, only the length."""
    if Path(source).parent.name == "reserve":
        Path(target).touch(0o600)
        os.truncate(target, Path(source).stat().st_size)
    else:
        shutil.copy2(source, target)
        if os.geteuid() == 0:
            os.chown(target, os.stat(source).st_uid, os.stat(source).st_gid)
