"""The bench of the crash tests, one for each of their files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.bench import Bench, quick_folder
from tests.crash.forks import Forks


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    folder = quick_folder("crash-")
    with Forks(folder) as forks:
        yield Bench(folder, forks)
