"""Real mounts: one for each module, with a session for each test, and one for a test that ends it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
needs_fuse = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="/dev/fuse IS MISSING: no mount can be tested")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, and skip it where nothing can be mounted."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.mount)
            item.add_marker(needs_fuse)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount for the tests of a module."""
    mounted = Mounted(tmp_path_factory.mktemp("shared"))
    mounted.mount()
    yield mounted
    mounted.end()
    mounted.check(is_whole=True)


@pytest.fixture
def live(shared: Mounted) -> Iterator[Mounted]:
    """The module's mount; whatever a test leaves in its spool or its log is that test's failure."""
    yield shared
    shared.check()


@pytest.fixture
def s(live: Mounted, request: pytest.FixtureRequest) -> Path:
    """A new session's directory."""
    name = re.sub(r"[^a-z0-9_]+", "-", request.node.name.lower())[:100]
    return live.session(f"{name}{len(os.listdir(live.sessions))}")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Mounted]:
    """A mount of the test's own, which it may end as it likes; not mounted yet."""
    mounted = Mounted(tmp_path)
    yield mounted
    mounted.end()
    mounted.check(is_whole=True)
