"""A store on disk, whose clock tests may set back, and the examples run on it as `llmspellfs run` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.lua.runtime import Script

EXAMPLES = Path(__file__).parents[2] / "examples"
PLANETS = EXAMPLES / "data" / "planets.csv"
Example = Callable[..., str]


@pytest.fixture
def days_ago() -> list[int]:
    """How far the store's clock is behind, in its one element."""
    return [0]


@pytest.fixture
def store(tmp_path: Path, days_ago: list[int]) -> Iterator[Store]:
    """A new store on disk, which must be whole at the end."""
    day_ns = 86_400 * 10**9
    with open_store(
        tmp_path / "store", config=Config(), backend="sqlite", now=lambda: time.time_ns() - days_ago[0] * day_ns
    ) as opened:
        yield opened
        assert opened.upkeep.fsck().problems == ()
        assert all(report.problem is None for report in opened.upkeep.verify())


@pytest.fixture
def example(store: Store) -> Example:
    """Run the script of that name with arguments, recorded; return what it printed."""

    def run_it(name: str, *args: object, exits: int = 0) -> str:
        stream = BytesIO()
        script = Script(store, args=[str(arg) for arg in args], stdout=stream, record=True)
        assert script.run_file(EXAMPLES / "lua" / f"{name}.lua") == exits
        return stream.getvalue().decode()

    return run_it
