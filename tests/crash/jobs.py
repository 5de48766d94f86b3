"""What the children of `forks` do: each function is a job, run in a process of its own."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from llmspellfs.model.event import Origin
from llmspellfs.service.engine import Engine
from llmspellfs.storage import disk, faults
from llmspellfs.storage.migrations import MIGRATIONS
from llmspellfs.storage.opening import open_rooms
from tests.crash import copies, repairs, scenarios, state
from tests.crash.scenarios import HOUR, Scenario, opened

SCENARIOS: dict[str, Scenario] = {**scenarios.SCENARIOS, **copies.SCENARIOS}
ACTS, ACTED = "acts", "acted"
harm, mend, mend_cut, mend_fail, mend_after = (
    repairs.harm, repairs.mend, repairs.mend_cut, repairs.mend_fail, repairs.mend_after,
)  # fmt: skip


def ack() -> None:
    """Tell that the operation has returned; the server puts its own in place of this."""


def _old(path: str, migrations: int) -> Store:
    """Open a new store as if there were only the first *migrations*; what later ones made room for cannot be done."""
    del MIGRATIONS[migrations:]
    rooms = open_rooms(Path(path), busy_seconds=5)
    return Store(Engine(rooms, Config(), Origin("uid:0", "api"), time.time_ns, lambda: str(uuid.uuid4())))


def prepare(name: str, path: str) -> None:
    """Make the store that the scenario *name* begins with."""
    scenario = SCENARIOS[name]
    if scenario.in_folder:
        Path(path).mkdir()
    if not scenario.has_store:
        return
    store = open_store(path, config=Config()) if scenario.migrations is None else _old(path, scenario.migrations)
    scenario.prepare(store)
    if scenario.dies:
        os._exit(0)
    store.close()


def trace(name: str, path: str) -> list[str]:
    """Run the scenario *name* to its end, and return the steps it took, with marks where its own began and ended."""
    steps: list[str] = []
    disk.hook = steps.append
    store = opened(SCENARIOS[name], path)
    steps.append(ACTS)
    SCENARIOS[name].act(store)
    steps.append(ACTED)
    store.close()
    disk.hook = None
    return steps


def cut(name: str, path: str, fault: str) -> None:
    """Run the scenario *name* with *fault*, most often to be killed."""
    disk.hook = faults.armed(fault)
    _run(SCENARIOS[name], path)


def _run(scenario: Scenario, path: str) -> None:
    store = opened(scenario, path)
    scenario.act(store)
    ack()
    store.close()


def look(name: str, path: str) -> Any:
    """Open the store and return what it shows."""
    store = opened(SCENARIOS[name], path)
    found = _shown(SCENARIOS[name], store)
    store.close()
    return found


def _shown(scenario: Scenario, store: Store) -> dict[str, Any]:
    if scenario.beside is None:
        return state.shown(store)
    assert store.path is not None
    return state.shown(store) | {"beside": scenario.beside(store.path.parent)}


def check(name: str, path: str, before: Any) -> dict[str, Any]:
    """Open the store after a kill: what it shows, what fsck finds, and what it shows once the operation is done.

    Where what it shows is not *before*, the operation is done already, and another takes its place.
    """
    scenario = SCENARIOS[name]
    store = opened(scenario, path)
    found: dict[str, Any] = {"shown": _shown(scenario, store), "problems": _problems(store)}
    found["purged"] = _left_of(scenario, store)
    if _same(found["shown"], before):
        scenario.act(store)
        found["again"] = _shown(scenario, store)
    else:
        store.sessions.create("afterwards")
        store.artifacts.put("afterwards", "new", scenarios.CHUNK)
    found["problems"] += _problems(store, quick=True)
    _collect(store)
    store.close()
    return found | {"unexplained": state.unexplained(Path(path))}


def _same(shown: Any, before: Any) -> bool:
    return {**shown, "lost": None} == {**before, "lost": None}


def _problems(store: Store, *, quick: bool = False) -> list[str]:
    """Return what fsck finds; *quick* where every content has just been read and held against its hash."""
    return [str(problem) for problem in store.upkeep.fsck(quick=quick).problems]


def _left_of(scenario: Scenario, store: Store) -> list[str]:
    """Return the chunks of purged content that are there though no row names them."""
    from blake3 import blake3

    assert store.path is not None
    hashes = [blake3(data).hexdigest() for data in scenario.purged]
    with store.engine.index.read() as db:
        named = {row[0].hex() for row in db.execute("SELECT hash FROM chunk")}
    return [one for one in hashes if one not in named and list((store.path / "blobs").glob(f"*/{one}"))]


def _collect(store: Store) -> None:
    """Collect garbage in both passes, some hours later."""
    assert store.path is not None
    for file in (*store.path.glob("blobs/*/.part-*"), *store.path.glob("lost+found/*.*")):
        os.utime(file, (1, 1))
    for _ in range(2):
        store.engine.now = partial(_later, store.engine.now)
        store.upkeep.gc(grace_seconds=0)


def _later(clock: Callable[[], int]) -> int:
    return clock() + 24 * HOUR * 10**9


def fail(name: str, path: str, fault: str) -> dict[str, Any]:
    """Run the scenario *name* with *fault*; return what it raised, what is shown then, and after a second try."""
    scenario = SCENARIOS[name]
    before = state.on_disk(Path(path)) if scenario.has_store else {}
    disk.hook = hook = faults.armed(fault)
    store, found = None, dict[str, Any](error=None, acted=False)
    try:
        store = opened(scenario, path)
        scenario.act(store)
        found["acted"] = True
        if scenario.is_opening:
            store.close()
            store = None
    except (SpellError, OSError) as error:
        found["error"] = type(error).__name__
        found["why"] = str(error)
    disk.hook = None
    store = store or opened(scenario, path)
    found["shown"] = _shown(scenario, store)
    found["changed"] = [] if scenario.is_opening else _changed(before, state.on_disk(Path(path)))
    if not found["acted"]:
        scenario.act(store)
    found["again"] = _shown(scenario, store)
    found["problems"] = _problems(store, quick=True)
    found["left"] = [file.name for file in Path(path).parent.iterdir() if file.name.startswith(".")]
    store.close()
    return found | {"struck": sorted(hook.struck)}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
