"""Steps that only undo others are killed and fail too; and no step with a name is left out of what is tried."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.crash.bench import Bench
from tests.crash.jobs import SCENARIOS
from tests.crash.judging import cuts, errors, judge_cut, judge_failure, judge_repair, reached, reached_by
from tests.crash.repairs import HARMED
from tests.crash.steps import registry

Figures = Callable[[str], None]
OF_MEMORY = "memory."
"""How the names of steps begin that a store in memory takes, of which nothing is left anyway."""
UNDOING = [
    ("put one chunk", "EIO:blob.rename", "blob.undo"),
    ("lose", "EIO:lost.about.fsync", "lost.about.undo"),
    ("lose", "EIO:lost.bytes.fsync", "lost.bytes.undo"),
    ("lose", "EIO:lost.rename", "lost.undo"),
    ("lose", "EIO:lost.folder_sync", "lost.back"),
    ("write through the tree", "EIO:spool.about_write", "spool.undo"),
    ("hold in a child", "EIO:spool.hold_rename", "spool.hold_undo"),
    ("save", "EIO:index.commit", "index.refold"),
    ("restore over", "EIO:restore.sync", "restore.undo"),
    ("backup", "EIO:backup.mark.fsync", "backup.mark.undo"),
    ("backup by copies", "EIO:backup.copy.fsync", "backup.copy.undo"),
]
"""A scenario, what fails in it, and the step that is taken only then."""
UNDOING_OF_REPAIRS = [("rows", "EIO:quarantine.rows.fsync", "quarantine.rows.undo")]


@pytest.mark.parametrize(("name", "fault", "step"), UNDOING)
def test_killed_while_it_undoes_what_failed_it_has_done_whole_transactions(
    bench: Bench, name: str, fault: str, step: str, figures: Figures
) -> None:
    known = bench.known(name)
    path, both = bench.copy(known.base), f"{fault},kill:{step}"
    ended = bench.forks.run("cut", name, path, both)
    assert ended.signal == signal.SIGKILL, both
    judge_cut(name, known, both, ended.acked, bench.forks.run("check", name, path, known.before).result)
    figures("killed 1 times")


@pytest.mark.parametrize(("name", "fault", "step"), UNDOING)
def test_what_cannot_be_undone_either_tells_the_first_failure_and_is_collected(
    bench: Bench, name: str, fault: str, step: str, figures: Figures
) -> None:
    known, both = bench.known(name), f"{fault},ENOSPC:{step}"
    path = bench.copy(known.base)
    found = bench.forks.run("fail", name, path, both).result
    assert step in found["struck"], both
    judge_failure(name, known, both, "Corrupt", found, is_undone=False)
    later = bench.forks.run("check", name, path, {}).result
    assert (later["problems"], later["unexplained"]) == ([], []), both
    figures("failed 1 times")


@pytest.mark.parametrize(("name", "fault", "step"), UNDOING_OF_REPAIRS)
def test_a_repair_killed_or_failing_while_it_undoes_what_failed_loses_nothing(
    bench: Bench, name: str, fault: str, step: str, figures: Figures
) -> None:
    known = bench.harmed(name)
    path = bench.copy(known.base)
    assert bench.forks.run("mend_cut", path, f"{fault},kill:{step}").signal == signal.SIGKILL
    judge_repair(f"{name}: {step} killed", known, bench.forks.run("mend_after", path).result)
    found = bench.forks.run("mend_fail", bench.copy(known.base), f"{fault},EIO:{step}").result
    assert step in found["struck"]
    assert found["error"] == "Corrupt"
    judge_repair(f"{name}: {step} failed", known, found)
    figures("killed 1 times, failed 1 times")


def tried(bench: Bench) -> set[str]:
    """Return the steps at which a scenario or a repair is killed or fails in the short form; each fault strikes."""
    reaches = [reached_by(bench.known(name), SCENARIOS[name], all_of_them=False) for name in SCENARIOS]
    reaches += [reached(bench.harmed(name), all_of_them=False) for name in HARMED]
    faults = [fault for steps in reaches for fault in cuts(steps, all_of_them=False)]
    faults += [fault for steps in reaches for fault, _ in errors(steps, all_of_them=False)]
    return {word.partition(":")[2].partition("#")[0] for fault in faults for word in fault.split(",")}


@pytest.mark.timeout(1800)
def test_every_step_that_has_a_name_is_killed_at_or_fails(bench: Bench, figures: Figures) -> None:
    there = tried(bench) | {step for _, _, step in UNDOING + UNDOING_OF_REPAIRS}
    names = {step for step in registry() if not step.startswith(OF_MEMORY) and not step.endswith(".done")}
    missing = names - there
    assert missing - ({"mode.chown"} if os.geteuid() else set()) == set()
    figures(f"{len(names & there)} steps of {len(names)} with a name")
