"""Stores on both backends, with a clock that tests move; each must be whole at the end of its test.

Tests that count something say so through `figures`; what they say stands at the end of the run, in any case.
"""

from __future__ import annotations

import faulthandler
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.model.event import Origin
from tests.watchdog import watch

ORIGIN = Origin("uid:1000", "api")
_FIGURES = "figures"
_NUMBER = re.compile(r"\d+")
_NO_COUNT = re.compile(r"seed|\d\.\d")
"""Where numbers are not all counts, of which the sum says something."""
_HANGS_SECONDS = 420
"""Above the limit that pytest-timeout holds each test to, as far as a signal can."""
_ENDS_SECONDS = 120
_BASE = pytest.StashKey[Path]()
_LONG = 4096
_LAST = 20
_BROKEN: list[str] = []
# How long an example takes, or the making of one, says how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _base(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytestconfig.stash[_BASE] = tmp_path_factory.getbasetemp()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let no test hang for good, but for those that set their own limit, and those that a soak has go on."""
    if any(item.get_closest_marker(mark) is not None for mark in ("timeout", "soak")):
        return (yield)
    capture = item.config.pluginmanager.getplugin("capturemanager")
    uncover = capture.suspend_global_capture if capture is not None else int
    with watch(item.nodeid, lambda: item.config.stash.get(_BASE, None), _HANGS_SECONDS, uncover):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(left: object, right: object) -> Iterator[None]:
    """Have long contents that differ shown by where they do: the whole difference, as where CI is set, takes hours."""
    with pytest.MonkeyPatch.context() as patch:
        if max(len(repr(left)), len(repr(right))) > _LONG:
            patch.delenv("CI", raising=False)
            patch.delenv("BUILD_NUMBER", raising=False)
        return (yield)


def pytest_internalerror(excrepr: object) -> None:
    """Keep the first error that is no test's, for the run's last words."""
    _BROKEN.extend([] if _BROKEN else str(excrepr).splitlines()[-_LAST:])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last what broke a run off, and what had failed by then, since its summary is left out then."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if _BROKEN and reporter is not None:
        failed = [report.nodeid for key in ("failed", "error") for report in reporter.getreports(key)]
        print("BROKEN OFF", *failed, *_BROKEN, sep="\n")


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
    """Say what the tests have counted; where one has been done in many ways, in one line, with the sums."""
    reports = [report for which in ("passed", "failed") for report in terminalreporter.getreports(which)]
    said: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for key, line in report.user_properties if report.when == "call" else ():
            if key == _FIGURES:
                test = report.nodeid.partition("::")[2].partition("[")[0]
                like = str(line) if _NO_COUNT.search(str(line)) else _NUMBER.sub("#", str(line))
                said.setdefault((test, like), []).append(str(line))
    if said:
        terminalreporter.section("figures")
    for (test, _), lines in said.items():
        ways = f" (in {len(lines)} ways)" if len(lines) > 1 else ""
        terminalreporter.write_line(f"{test}{ways}: {summed(lines)}")


def summed(lines: Sequence[str]) -> str:
    """Return *lines*, which differ in their numbers alone, as one with the sums of these."""
    sums = iter([sum(map(int, numbers)) for numbers in zip(*map(_NUMBER.findall, lines), strict=True)])
    return _NUMBER.sub(lambda _: str(next(sums)), lines[0])
