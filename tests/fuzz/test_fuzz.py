"""Hostile input at every door: each target for a moment here, and for as long as wanted in a soak."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.harness import Target, short, soak
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("LLMSPELLFS_SOAK_SECONDS", "60"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_ends_in_anything_but_an_answer_or_a_refusal(target: Target, tmp_path: Path) -> None:
    driver = short(target, tmp_path)
    assert driver.executed >= min(target.short, 5)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 300)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hours_of_input_end_in_nothing_else_and_nothing_grows(
    target: Target, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    figures(soak(target, tmp_path, SECONDS)[1])
