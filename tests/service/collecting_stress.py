"""Processes that store the same contents again and again, and one that collects garbage without grace meanwhile.

`python -m tests.service.collecting_stress ROLE STORE SECONDS SEED` is one of them; it prints what it did as JSON.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from click.testing import CliRunner

from llmspellfs import Store, open_store
from llmspellfs.cli import main
from llmspellfs.config import Config
from llmspellfs.errors import ScriptFailed, Vanished
from llmspellfs.lua.runtime import Script

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


def script(path: Path, seconds: float, seed: int) -> dict[str, int]:
    """Store by a script, and read back by the API."""
    chosen, pool, acknowledged, vanished = random.Random(seed), contents(), 0, 0
    with tempfile.TemporaryDirectory() as folder, open_store(path, config=CONFIG) as store:
        session = store.sessions.create(f"script-{seed}").id
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            content, name = chosen.choice(pool), f"n{chosen.randrange(2)}"
            file = Path(folder) / name
            file.write_bytes(content)
            ran = Script(store, args=(session, str(file)), stdout=io.BytesIO())
            try:
                ran.run_code("Artifact.storeFile(arg[1], arg[2], 'tool_result')")
            except ScriptFailed as error:
                if "taken away meanwhile" not in error.message:
                    raise
                vanished += 1
                continue
            acknowledged += 1
            read_back(store, session, {name: content})
            store.artifacts.delete(session, name)
    return {"acknowledged": acknowledged, "vanished": vanished}


def command(path: Path, seconds: float, seed: int) -> dict[str, int]:
    """Store by the command from a pipe, and read back by it."""
    chosen, pool, acknowledged = random.Random(seed), contents(), 0
    name, runner = f"command-{seed}", CliRunner()

    def run(*words: str, given: bytes = b"") -> bytes:
        done = runner.invoke(main, ["--store", str(path), *words], input=given)
        assert done.exit_code == 0, (words, done.output)
        return done.stdout_bytes

    run("session", "create", name)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        content = chosen.choice(pool)
        run("artifact", "put", name, "-", "--name", "n", given=content)
        acknowledged += 1
        assert run("artifact", "cat", f"{name}:n") == content
        run("artifact", "rm", f"{name}:n")
    return {"acknowledged": acknowledged}


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


ROLES = {"write": write, "script": script, "command": command, "collect": collect}

if __name__ == "__main__":
    role, where, seconds, seed = sys.argv[1:]
    print(json.dumps(ROLES[role](Path(where), float(seconds), int(seed))))
