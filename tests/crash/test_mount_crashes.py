"""A mount under work whose daemon is killed again and again: nothing that was acknowledged is ever missing.

A round that fails names its seed; `LLMSPELLFS_SEED` in the environment begins with it.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.mount_rounds import Rounds
from tests.mount.conftest import needs_fuse
from tests.seeds import first_seed

_ROUNDS_OF_A_STORE = 20
_LEAST = 200
pytestmark = [pytest.mark.mount, needs_fuse]


def run_rounds(base: Path, seeds: range) -> Counter[str]:
    """Run a round for each of *seeds* on a new store in *base*, and return what was counted."""
    rounds = Rounds(base)
    try:
        for seed in seeds:
            rounds.run(seed)
            shutil.rmtree(base / f"round-{seed}")
    finally:
        rounds.end()
    rounds.mounted.check(is_whole=True)
    return rounds.counts


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


def test_what_a_mount_has_acknowledged_survives_the_kill_of_its_daemon(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    seed = first_seed()
    figures(f"seeds from {seed}: {told(run_rounds(tmp_path, range(seed, seed + 3)))}")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_what_a_mount_has_acknowledged_survives_hundreds_of_kills(
    tmp_path: Path, soak_seconds: float, figures: Callable[[str], None]
) -> None:
    seed, counts, end = first_seed(), Counter[str](), time.monotonic() + soak_seconds
    print(f"\nseeds from {seed}")
    while time.monotonic() < end or counts["rounds"] < _LEAST:
        base = tmp_path / str(seed)
        counts += run_rounds(base, range(seed, seed + _ROUNDS_OF_A_STORE))
        shutil.rmtree(base)
        seed += _ROUNDS_OF_A_STORE
        print(told(counts), flush=True)
    figures(f"seeds up to {seed}: {told(counts)}")
