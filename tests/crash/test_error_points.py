"""Failing at any step to the disk, an operation says why, has done whole transactions at most, and then succeeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.bench import Bench
from tests.crash.jobs import SCENARIOS
from tests.crash.judging import run_errors


@pytest.mark.parametrize("name", SCENARIOS)
def test_failing_at_any_step_it_has_done_whole_transactions_and_then_succeeds(
    bench: Bench, name: str, figures: Callable[[str], None]
) -> None:
    figures(run_errors(bench, name, all_of_them=False))


@pytest.mark.soak
@pytest.mark.parametrize("name", SCENARIOS)
def test_failing_in_every_way_at_any_step(bench: Bench, name: str, figures: Callable[[str], None]) -> None:
    figures(run_errors(bench, name, all_of_them=True))
