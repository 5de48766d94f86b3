"""A tree over a store on either backend, without a mount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
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


@pytest.fixture
def s(walker: Walker) -> str:
    """The path of a session's directory."""
    walker.tree.mkdir("/sessions/s", 0o755, walker.caller)
    return "/sessions/s"
