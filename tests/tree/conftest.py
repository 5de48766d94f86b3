"""A tree over a store on either backend, without a mount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.tree import cuts, opened, sealer
from tests.tree.trees import Walker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite"])
def walker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Walker]:
    """A tree on a new store, which must be whole when the tree is gone."""
    path = tmp_path / "store"
    with open_store(path, config=Config(), backend=request.param) as store:
        walker = Walker(store)
        yield walker
        walker.tree.destroy()
        assert store.upkeep.fsck().problems == ()
        if store.path is not None:
            spool = [name for _, _, files in os.walk(path / "spool") for name in files if name != "lock"]
            assert spool == []


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who waits a moment for an event, or for a release, wait until it is there: the machine may be slow."""
    for module, name in ((sealer, "_READER_SECONDS"), (opened, "_CLOSING_SECONDS")):
        assert 0 < getattr(module, name) < 1
        monkeypatch.setattr(module, name, 60.0)


@pytest.fixture
def patient_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who opens a file that was emptied wait until its writer has released it."""
    assert 0 < cuts._MOMENT_SECONDS < 1
    monkeypatch.setattr(cuts, "_MOMENT_SECONDS", 60.0)


@pytest.fixture
def s(walker: Walker) -> str:
    """The path of a session's directory."""
    walker.tree.mkdir("/sessions/s", 0o755, walker.caller)
    return "/sessions/s"
