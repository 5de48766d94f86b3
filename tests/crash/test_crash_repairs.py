"""A repair that is cut or fails has made nothing worse and can be run again."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.crash.bench import Bench
from tests.crash.judging import cuts, errors, judge_repair, reached
from tests.crash.repairs import HARMED

Figures = Callable[[str], None]


def cut_repairs(bench: Bench, name: str, *, all_of_them: bool) -> str:
    """Kill the repair of what *name* harms at its steps; return what was counted."""
    known = bench.harmed(name)
    steps = reached(known, all_of_them=all_of_them)
    faults = cuts(steps, all_of_them=all_of_them)
    for fault in faults:
        path = bench.copy(known.base)
        ended = bench.forks.run("mend_cut", path, fault)
        assert ended.signal == signal.SIGKILL, f"{name}: {fault} has met nothing"
        judge_repair(f"{name}: {fault}", known, bench.forks.run("mend_after", path).result)
    return f"killed {len(faults)} times, at {len(steps)} steps"


def fail_repairs(bench: Bench, name: str, *, all_of_them: bool) -> str:
    """Fail the repair of what *name* harms at its steps; return what was counted."""
    known = bench.harmed(name)
    steps = reached(known, all_of_them=all_of_them)
    faults = errors(steps, all_of_them=all_of_them)
    for fault, error in faults:
        found = bench.forks.run("mend_fail", bench.copy(known.base), fault).result
        assert found["struck"], f"{name}: {fault} has met nothing"
        assert found["error"] in {error, None}, f"{name}: {fault} raised {found['error']}"
        judge_repair(f"{name}: {fault}", known, found)
    return f"failed {len(faults)} times, at {len(steps)} steps"


@pytest.mark.parametrize("name", HARMED)
def test_a_repair_that_is_killed_loses_nothing_and_can_be_done_again(bench: Bench, name: str, figures: Figures) -> None:
    figures(cut_repairs(bench, name, all_of_them=False))


@pytest.mark.parametrize("name", HARMED)
def test_a_repair_that_fails_loses_nothing_and_then_succeeds(bench: Bench, name: str, figures: Figures) -> None:
    figures(fail_repairs(bench, name, all_of_them=False))


@pytest.mark.soak
@pytest.mark.parametrize("name", HARMED)
def test_a_repair_killed_each_time_a_step_is_taken(bench: Bench, name: str, figures: Figures) -> None:
    figures(cut_repairs(bench, name, all_of_them=True))


@pytest.mark.soak
@pytest.mark.parametrize("name", HARMED)
def test_a_repair_failing_in_every_way(bench: Bench, name: str, figures: Figures) -> None:
    figures(fail_repairs(bench, name, all_of_them=True))
