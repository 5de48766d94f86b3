"""Killed at any step to the disk, a store holds all that was acknowledged, and of the rest whole transactions.

What is one transaction is done wholly or not at all; an opening, or what takes several, has done whole parts, and can
be done again to its end.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.bench import Bench
from tests.crash.jobs import SCENARIOS
from tests.crash.judging import run_cuts


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_step_it_has_done_whole_transactions(
    bench: Bench, name: str, figures: Callable[[str], None]
) -> None:
    figures(run_cuts(bench, name, all_of_them=False))


@pytest.mark.soak
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_each_time_a_step_is_taken(bench: Bench, name: str, figures: Callable[[str], None]) -> None:
    figures(run_cuts(bench, name, all_of_them=True))
