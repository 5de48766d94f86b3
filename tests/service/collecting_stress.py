"""Processes that store the same contents again and again, and one that collects garbage without grace meanwhile.

`python -m tests.service.collecting_stress ROLE STORE SECONDS SEED` is one of them; it prints what it did as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Vanished

CONFIG = Config(history_days=0)


def contents() -> list[bytes]:
    """Return contents that share chunks, the first being a part of others; single chunks; and a small one."""
    noise = random.Random(1)
    common = noise.randbytes(600_000)
    singles = [noise.randbytes(70_000) for _ in range(5)]
    return [common, common + noise.randbytes(100_000), *singles, b"small"]


def write(path: Path, seconds: float, seed: int) -> dict[str, int]:
    """Store, replace and delete; read back each content as soon as it is acknowledged, and now and then all of them."""
    chosen, pool, acknowledged, vanished = random.Random(seed), contents(), 0, 0
    with open_store(path, config=CONFIG) as store:
        session = store.sessions.create(f"writer-{seed}").id
        there: dict[str, bytes] = {}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            name, content = f"n{chosen.randrange(2)}", chosen.choice(pool)
            if chosen.random() < 0.5 and name in there:
                store.artifacts.delete(session, name)
                del there[name]
                continue
            try:
                store.artifacts.put(session, name, content)
            except Vanished:  # nothing was acknowledged
                vanished += 1
                continue
            there[name] = content
            acknowledged += 1
            read_back(store, session, there if acknowledged % 10 == 0 else {name: content})
        read_back(store, session, there)
    return {"acknowledged": acknowledged, "vanished": vanished}


def read_back(store: Store, session: str, there: dict[str, bytes]) -> None:
    store.engine.rooms.cache.clear()  # from the disk, not from memory
    for name, content in there.items():
        got = store.artifacts.read(store.artifacts.get(session, name))
        assert blake3(got).digest() == blake3(content).digest(), name


def collect(path: Path, seconds: float, _seed: int) -> dict[str, int]:
    """Collect garbage without grace, over and over."""
    runs = removed = files = 0
    with open_store(path, config=CONFIG) as store:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline + (0 if files else 30):
            report = store.upkeep.gc(grace_seconds=0)
            runs, removed, files = runs + 1, removed + report.removed, files + report.files + report.orphans
    return {"runs": runs, "removed": removed, "files": files}


ROLES = {"write": write, "collect": collect}

if __name__ == "__main__":
    role, where, seconds, seed = sys.argv[1:]
    print(json.dumps(ROLES[role](Path(where), float(seconds), int(seed))))
