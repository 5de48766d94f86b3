"""What is tried of a scenario, and what its store is held to afterwards."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

from blake3 import blake3

from llmspellfs.storage.faults import OF_SQLITE
from tests.crash.bench import Bench, Known
from tests.crash.jobs import ACTED, ACTS, SCENARIOS
from tests.crash.scenarios import Scenario

ERRORS = {"ENOSPC": "NoSpace", "EDQUOT": "NoSpace", "EIO": "Corrupt", "EMFILE": "StoreUnusable"}

OF_FILES = {"spool.write", "spool.write.rest", "spool.truncate"}
"""What the bytes of an open file are written by; what the disk says then is an errno for whoever writes."""


def reached(
    known: Known, *, all_of_them: bool, closes: bool = True, is_opening: bool = False, each: tuple[str, ...] = ()
) -> list[tuple[str, list[int]]]:
    """Return each step with the times it is to be tried: all, or the first time in the operation itself.

    What opening and closing a store do is left to the scenarios that are about it, in the shorter form, and closing
    wherever the operation is not followed by it (*closes*); of *each* all times are tried there too.
    """
    begins, ends = known.steps.index(ACTS), known.steps.index(ACTED)
    times: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {}
    for place, step in enumerate(known.steps):
        times[step] += 1
        is_of_it = begins < place < ends or (all_of_them and (closes or place < ends))
        if step not in {ACTS, ACTED} and (is_opening or is_of_it):
            numbers.setdefault(step, []).append(times[step])
    return [(step, found if all_of_them or step in each else found[:1]) for step, found in numbers.items()]


def reached_by(
    known: Known, scenario: Scenario, *, all_of_them: bool, closes: bool = True
) -> list[tuple[str, list[int]]]:
    """Return what `reached` does, for *scenario*."""
    how = {"is_opening": scenario.is_opening, "closes": closes}
    return reached(known, all_of_them=all_of_them, each=scenario.each, **how)


def cuts(steps: list[tuple[str, list[int]]], *, all_of_them: bool) -> list[str]:
    """Return the faults that kill at each of *steps*.

    The moment after a step is the moment before the next, unless another thread takes it, so that in the shorter form
    it is only cut after the last one. A write is cut in its middle too.
    """
    last = next((step for step, _ in reversed(steps) if step.endswith(".done")), None)
    wanted = []
    for step, numbers in steps:
        if all_of_them or step == last or not step.endswith(".done"):
            wanted += [f"kill:{step}#{number}" for number in numbers]
        if step.endswith("write") and not step.startswith(OF_SQLITE):
            wanted += [f"short:{step},kill:{step}.rest#{number}" for number in range(1, 1 + min(2, len(numbers)))]
    return wanted


def errors(steps: list[tuple[str, list[int]]], *, all_of_them: bool) -> list[tuple[str, str | None]]:
    """Return faults at each of *steps*, and the error that each should come to (None: no error at all).

    In the shorter form a step fails in one way, and the next one in another.
    """
    wanted: list[tuple[str, str | None]] = []
    kinds = list(ERRORS.items())
    for turn, (step, numbers) in enumerate(steps):
        if step.endswith((".done", ".rollback")):
            continue
        for kind, error in kinds if all_of_them else [kinds[(turn + len(steps)) % 4]]:
            number = numbers[0] if kind == "ENOSPC" else numbers[-1]
            wanted.append((f"{kind}:{step}#{number}", error))
        if step.endswith("write") and not step.startswith(OF_SQLITE):
            wanted += [(f"short:{step}", None)] if all_of_them else []
            wanted += [(f"short:{step},ENOSPC:{step}.rest#1", "NoSpace")]
    return wanted


def is_between(shown: Any, known: Known, scenario: Scenario) -> bool:
    """Say whether what is *shown* is what may be there between two commits of *scenario*."""
    if scenario.written is None:
        return False
    name, contents = scenario.written
    artifacts = [dict(each["sessions"]["s"]["artifacts"]) for each in (shown, known.before)]
    written, _ = (each.pop(name, None) for each in artifacts)
    hashes = {blake3(data).hexdigest() for data in contents}
    return artifacts[0] == artifacts[1] and (written is None or written[0][1] in hashes)


def is_done(shown: Any, known: Known, scenario: Scenario) -> bool:
    """Say whether *shown* is what there is after *scenario*; of a file that was begun before, the last version is."""
    if scenario.written is None or but_lost(shown) == but_lost(known.after):
        return bool(but_lost(shown) == but_lost(known.after))
    name, contents = scenario.written
    artifact = shown["sessions"]["s"]["artifacts"][name]
    return bool(max(artifact[: artifact.index("user_input")])[1] == blake3(contents[-1]).hexdigest())


def but_lost(shown: Any) -> Any:
    """Return what is *shown* but all that is in a lost+found, of a backup too."""
    if isinstance(shown, list):
        return [but_lost(each) for each in shown]
    if isinstance(shown, dict):
        return {key: None if key == "lost" else but_lost(each) for key, each in shown.items()}
    return shown


def _lost_beside(shown: Any) -> list[Any]:
    beside = shown.get("beside")
    return beside[0]["lost"] if isinstance(beside, list) and isinstance(beside[0], dict) else []


def is_explained(shown: Any, known: Known, scenario: Scenario) -> bool:
    """Say whether what is in lost+found is what was there, is to be there, or was on its way."""
    lost, before, after = (_lost_beside(each) for each in (shown, known.before, known.after))
    if any(item not in lost for item in before) and any(item not in lost for item in after):
        return False  # a backup has what it had, or all that it was to have
    hashes = [[item[1] for item in each["lost"]] for each in (shown, known.before, known.after)]
    if hashes[0] in hashes[1:]:
        return True
    return scenario.written is not None and all(item[0] == scenario.written[0] for item in shown["lost"])


def judge_cut(name: str, known: Known, fault: str, acked: bool, found: Any) -> None:
    scenario, shown, case = SCENARIOS[name], found["shown"], f"{name}: {fault}"
    allowed = [known.after] if acked else [known.before, known.after]
    is_whole = any(but_lost(shown) == but_lost(each) for each in allowed)
    assert is_whole or (not acked and is_between(shown, known, scenario)), f"{case} left {shown}"
    assert is_explained(shown, known, scenario), f"{case} left in lost+found {shown['lost']}"
    assert found["problems"] == [], f"{case}: fsck finds {found['problems']}"
    assert found["purged"] == [], f"{case} left chunks that were purged"
    assert found["unexplained"] == [], f"{case} left {found['unexplained']}"
    if "again" in found:
        assert is_done(found["again"], known, scenario), f"{case}: then done again, it left {found['again']}"


def judge_failure(
    name: str, known: Known, fault: str, error: str | None, found: Any, *, is_undone: bool = True
) -> None:
    """Hold what is *found* to it that the failure was told as *error*, changed nothing, and that a second try succeeds.

    Where it could not even be undone, something may lie in the store's folder that is nobody's.
    """
    scenario, case = SCENARIOS[name], f"{name}: {fault} raised {found['error']} ({found.get('why')})"
    if found["error"] is not None:
        is_of_file = any(step in OF_FILES for step in found["struck"])
        assert found["error"] == ("OSError" if is_of_file else error), case
        is_before = but_lost(found["shown"]) == but_lost(known.before)
        is_after = not scenario.is_one and but_lost(found["shown"]) == but_lost(known.after)
        assert is_before or is_after or is_between(found["shown"], known, scenario), f"{case}, left {found['shown']}"
        changed = found["changed"] if is_undone and scenario.is_one and scenario.has_store else []
        assert not changed, f"{case}, changed {changed}"
    assert is_done(found["again"], known, scenario), f"{case}; then done again, it left {found['again']}"
    is_lost = not is_undone or is_explained(found["again"], known, scenario)
    assert is_lost, f"{case}, left in lost+found {found['again']['lost']}"
    assert found["problems"] == [], f"{case}: fsck finds {found['problems']}"
    assert found["left"] == [], f"{case}, left {found['left']}"


def judge_repair(case: str, known: Known, found: Any) -> None:
    """Hold what is *found* to it that nothing readable was lost, and that the next repair did all that can be done."""
    assert _pairs(known.before) <= _pairs(found["before"]), f"{case}: less can be read than before"
    assert _pairs(found["after"]) == _pairs(known.after["after"]), f"{case}: repaired again, other things can be read"
    assert found["problems"] == known.after["problems"], f"{case}: repaired again, {found['problems']} is left"


def _pairs(readable: list[list[str]]) -> set[tuple[str, ...]]:
    return set(map(tuple, readable))


def run_cuts(bench: Bench, name: str, *, all_of_them: bool) -> str:
    """Kill the scenario *name* at its steps; return what was counted."""
    known, scenario = bench.known(name), SCENARIOS[name]
    steps = reached_by(known, scenario, all_of_them=all_of_them)
    killed = 0
    for fault in cuts(steps, all_of_them=all_of_them):
        path = bench.copy(known.base)
        ended = bench.forks.run("cut", name, path, fault)
        found = bench.forks.run("check", name, path, known.before).result
        if not ended.signal and fault.endswith(".rest#2"):
            continue  # the second write was of one byte, which cannot be cut short
        assert ended.signal == signal.SIGKILL, f"{name}: {fault} has met nothing"
        judge_cut(name, known, fault, ended.acked, found)
        killed += 1
    return f"killed {killed} times, at {len(steps)} steps"


def run_errors(bench: Bench, name: str, *, all_of_them: bool) -> str:
    """Fail the scenario *name* at its steps; return what was counted."""
    known, scenario = bench.known(name), SCENARIOS[name]
    steps = reached_by(known, scenario, all_of_them=all_of_them, closes=False)
    faults = errors(steps, all_of_them=all_of_them)
    for fault, error in faults:
        path = bench.copy(known.base)
        found = bench.forks.run("fail", name, path, fault).result
        assert found["struck"], f"{name}: {fault} has met nothing"
        judge_failure(name, known, fault, error, found)
    return f"failed {len(faults)} times, at {len(steps)} steps"
