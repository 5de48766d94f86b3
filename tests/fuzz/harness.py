"""What every fuzz target has, and how it is driven: some hundred examples in `make test`, as long as wanted in a soak.

A target makes what it works on, and hands out the function that takes one example. That function raises only what a
door may meet: it lets SpellError and OSError pass where they have an errno, and fails at anything else. An example
that takes longer than BOUND hangs; memory that goes on growing once the target is warm leaks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from llmspellfs.errors import SpellError
from llmspellfs.fuse.errno import ERRNOS
from tests.seeds import first_seed

BOUND = 20.0
"""Seconds; generous, since machines are shared."""
GROWTH = 48 << 20
"""Bytes that the process may grow by while it runs, once it is warm."""
SHORT, BATCH, WARM = 150, 400, 800


def resident(process: int) -> int:
    """Return how much memory *process* has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled(process: int) -> int:
    """Return how much memory *process* has when what it was given last is done: the least within some seconds."""
    least = resident(process)
    for _ in range(30):
        time.sleep(0.1)
        least = min(least, resident(process))
    return least


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed: examples of *examples*, given to what *make*(folder) makes; *process*(folder) may not grow."""

    name: str
    examples: SearchStrategy[Any]
    make: Callable[[Path], AbstractContextManager[Callable[[Any], object]]]
    short: int = SHORT
    process: Callable[[Path], int] = lambda _: os.getpid()


class Driver:
    """Runs a target, and counts."""

    def __init__(self, target: Target, call: Callable[[Any], object]) -> None:
        self._target, self._call = target, call
        self.executed = self.refused = 0
        self.slowest = 0.0

    def one(self, example: Any) -> None:
        begin = time.monotonic()
        try:
            self._call(example)
        except (SpellError, OSError) as error:
            check_refusal(error)
            self.refused += 1
        took = time.monotonic() - begin
        self.executed += 1
        self.slowest = max(self.slowest, took)
        assert took < BOUND, f"{took:.1f} s"

    def some(self, count: int, number: int) -> None:
        """Run *count* examples, others for each *number*; what fails is made as small as possible."""
        run = settings(
            max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )(seed(number)(given(self._target.examples)(self._plain)))  # fmt: skip
        run()

    @property
    def _plain(self) -> Callable[[Any], None]:
        def one(example: Any) -> None:
            self.one(example)

        return one


def check_refusal(error: Exception) -> None:
    """Fail where *error* is none that a door has a number and a line for."""
    if isinstance(error, SpellError):
        assert any(kind in ERRNOS for kind in type(error).__mro__), error
        assert "\n" not in error.message
    else:
        assert isinstance(error, OSError), error
        assert error.errno, error


def short(target: Target, folder: Path) -> Driver:
    with target.make(folder) as call:
        driver = Driver(target, call)
        driver.some(target.short, 1)
    return driver


def soak(target: Target, folder: Path, seconds: float) -> tuple[Driver, str]:
    """Run *target* for *seconds*, fail where it has grown since it was warm; return how it went, and that as words."""
    with target.make(folder) as call:
        driver, end, number, warm = Driver(target, call), time.monotonic() + seconds, first_seed(), 0
        print(f"fuzz {target.name}: seeds from {number + 1}", flush=True)
        while time.monotonic() < end:
            number += 1
            driver.some(min(BATCH, max(target.short, 10)), number)
            if not warm and driver.executed >= min(WARM, 4 * target.short):
                warm = resident(target.process(folder))
        grown = settled(target.process(folder)) - warm
    assert warm, f"{driver.executed} executions are too few for it to be warm: growth cannot be told"
    assert grown < GROWTH, f"grown by {grown >> 10} KiB"
    said = f"{driver.executed} executions, {driver.refused} refused, slowest {driver.slowest:.2f} s"
    return driver, f"{said}, grown by {grown >> 10} KiB, seeds up to {number}"
