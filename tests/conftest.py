"""Stores on both backends, with a clock that tests move; each must be whole at the end of its test.

Tests that count something say so through `figures`; what they say stands at the end of the run, in any case.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.model.event import Origin
from tests.watchdog import watch

ORIGIN = Origin("uid:1000", "api")
_FIGURES = "figures"
_HANGS_SECONDS = 420
"""Above the limit that pytest-timeout holds each test to, as far as a signal can."""
_ENDS_SECONDS = 120
_BASE = pytest.StashKey[Path]()


@pytest.fixture(scope="session", autouse=True)
def _base(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytestconfig.stash[_BASE] = tmp_path_factory.getbasetemp()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let no test hang for good, but for those that set their own limit."""
    if item.get_closest_marker("timeout") is not None:
        return (yield)
    capture = item.config.pluginmanager.getplugin("capturemanager")
    uncover = capture.suspend_global_capture if capture is not None else int
    with watch(item.nodeid, lambda: item.config.stash.get(_BASE, None), _HANGS_SECONDS, uncover):
        return (yield)


def pytest_sessionfinish() -> None:
    """Let no process of the run hang at its end: one that does says where, and is gone."""
    faulthandler.dump_traceback_later(_ENDS_SECONDS, exit=True, file=2)


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


@pytest.fixture
def soak_seconds() -> float:
    """How long a test marked `soak` goes on."""
    return float(os.environ.get("LLMSPELLFS_SOAK_SECONDS", "60"))


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give the run's last lines one about this test."""
    return lambda line: record_property(_FIGURES, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the tests have counted."""
    reports = [report for which in ("passed", "failed") for report in terminalreporter.getreports(which)]
    said = [(r.nodeid, line) for r in reports if r.when == "call" for key, line in r.user_properties if key == _FIGURES]
    if said:
        terminalreporter.section("figures")
    for test, line in said:
        terminalreporter.write_line(f"{test.partition('::')[2]}: {line}")
