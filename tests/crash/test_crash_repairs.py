"""A repair that is cut or fails has made nothing worse and can be run again; and no step with a name is left out."""

from __future__ import annotations

import os

import pytest

from tests.crash.bench import Bench
from tests.crash.jobs import SCENARIOS
from tests.crash.judging import cuts, errors, judge_repair, reached
from tests.crash.repairs import HARMED
from tests.crash.steps import registry


def cut_repairs(bench: Bench, name: str, *, all_of_them: bool) -> None:
    known = bench.harmed(name)
    for fault in cuts(reached(known, all_of_them=all_of_them), all_of_them=all_of_them):
        path = bench.copy(known.base)
        ended = bench.forks.run("mend_cut", path, fault)
        bench.cases["killed" if ended.signal else "survived"] += 1
        judge_repair(f"{name}: {fault}", known, bench.forks.run("mend_after", path).result)


def fail_repairs(bench: Bench, name: str, *, all_of_them: bool) -> None:
    known = bench.harmed(name)
    for fault, error in errors(reached(known, all_of_them=all_of_them), all_of_them=all_of_them):
        found = bench.forks.run("mend_fail", bench.copy(known.base), fault).result
        bench.cases["failed" if found["error"] else "went on"] += 1
        assert found["error"] in {error, "OSError", None}, f"{name}: {fault} raised {found['error']}"
        judge_repair(f"{name}: {fault}", known, found)


@pytest.mark.parametrize("name", HARMED)
def test_a_repair_that_is_killed_loses_nothing_and_can_be_done_again(bench: Bench, name: str) -> None:
    cut_repairs(bench, name, all_of_them=False)


@pytest.mark.parametrize("name", HARMED)
def test_a_repair_that_fails_loses_nothing_and_then_succeeds(bench: Bench, name: str) -> None:
    fail_repairs(bench, name, all_of_them=False)


@pytest.mark.soak
@pytest.mark.parametrize("name", HARMED)
def test_a_repair_killed_each_time_a_step_is_taken(bench: Bench, name: str) -> None:
    cut_repairs(bench, name, all_of_them=True)


@pytest.mark.soak
@pytest.mark.parametrize("name", HARMED)
def test_a_repair_failing_in_every_way(bench: Bench, name: str) -> None:
    fail_repairs(bench, name, all_of_them=True)


UNPROMISED = ("memory", "reserve")
"""How the names of steps begin of which nothing is promised."""
AFTER_FAILURES = [
    ("put one chunk", "EIO:blob.rename#1"),
    ("put many chunks", "EIO:blob.fsync#1"),
    ("lose", "EIO:lost.about.fsync#1"),
    ("lose", "EIO:lost.bytes.fsync#1"),
    ("lose", "EIO:lost.rename#1"),
    ("lose", "EIO:lost.folder_sync#1"),
    ("write through the tree", "EIO:spool.about_write#1"),
    ("open and close", "EIO:spool.rename#1"),
    ("save", "EIO:index.commit"),
    ("restore over", "EIO:restore.sync#1"),
    ("backup", "EIO:backup.mark.fsync#1"),
    ("backup by copies", "EIO:backup.copy.fsync#1"),
]
AFTER_FAILED_REPAIRS = [("rows", "EIO:quarantine.rows.fsync#1"), ("no header", "EIO:salvage.fsync#1")]
"""What is to fail, for the steps that only undo others to be taken."""


def test_every_step_that_has_a_name_is_tried(bench: Bench) -> None:
    for name in SCENARIOS:
        bench.known(name)
    for name in HARMED:
        bench.harmed(name)
    tried = set(bench.steps)
    for name, fault in AFTER_FAILURES:
        tried |= set(bench.forks.run("fail", name, bench.copy(bench.known(name).base), fault).result["hit"])
    for name, fault in AFTER_FAILED_REPAIRS:
        tried |= set(bench.forks.run("mend_fail", bench.copy(bench.harmed(name).base), fault).result["hit"])
    missing = {step: module for step, module in registry().items() if step not in tried}
    of_root = {"mode.chown"} if os.geteuid() else set()
    assert {step for step in missing if not step.startswith(UNPROMISED)} - of_root == set()
