"""Cut at any step to the disk, one transaction is done wholly or not at all, and nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from tests.crash.bench import Bench
from tests.crash.jobs import SCENARIOS
from tests.crash.judging import run_cuts, run_errors

NAMES = [name for name, scenario in SCENARIOS.items() if scenario.is_one and not scenario.is_opening]


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_step_it_is_done_wholly_or_not_at_all(bench: Bench, name: str) -> None:
    run_cuts(bench, name, all_of_them=False)


@pytest.mark.parametrize("name", NAMES)
def test_failing_at_any_step_it_changes_nothing_and_then_succeeds(bench: Bench, name: str) -> None:
    run_errors(bench, name, all_of_them=False)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_killed_each_time_a_step_is_taken(bench: Bench, name: str) -> None:
    run_cuts(bench, name, all_of_them=True)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_failing_in_every_way_at_any_step(bench: Bench, name: str) -> None:
    run_errors(bench, name, all_of_them=True)
