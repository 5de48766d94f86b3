"""What several modules of this room take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config


@pytest.fixture
def other() -> Iterator[Store]:
    """Another store, in which numbers are taken; whole at the end."""
    with open_store(None, config=Config(), backend="memory") as store:
        store.sessions.create("there")
        store.artifacts.put("there", "some/where", b"else")
        yield store
        assert store.upkeep.fsck().problems == ()
