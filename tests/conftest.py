"""Stores on both backends, with a clock that tests move; each must be whole at the end of its test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.model.event import Origin

ORIGIN = Origin("uid:1000", "api")


@pytest.fixture
def clock() -> list[int]:
    """The stores' time in nanoseconds, in its one element: 2026-11-21T12:00:00Z until a test moves it."""
    return [1_795_262_400 * 10**9]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: list[int]) -> Iterator[Store]:
    """A new store, once in memory and once on disk."""
    yield from _whole(tmp_path / "store", str(request.param), clock)


@pytest.fixture
def sqlite_store(tmp_path: Path, clock: list[int]) -> Iterator[Store]:
    """A new store on disk."""
    yield from _whole(tmp_path / "store", "sqlite", clock)


def _whole(path: Path, backend: str, clock: list[int]) -> Iterator[Store]:
    with open_store(path, config=Config(), backend=backend, origin=ORIGIN, now=lambda: clock[0]) as store:
        yield store
        assert store.upkeep.fsck().problems == ()
