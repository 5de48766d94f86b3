"""Rounds of work on a mount whose daemon is killed at a random moment, and the judgement after each.

The work of a round: processes that change files through the mount (`mount_worker`), each in a session of its own; a Lua
script and commands, which store artifacts of their own beside it. All is repeatable from the seed of a round but the
scheduler. What must hold after it is in `Rounds.judge`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from llmspellfs.fuse.mountpoint import daemon_of
from llmspellfs.fuse.processes import daemons
from tests.crash.mount_worker import Ledger, State, tree
from tests.mount.live import Mounted, wait_for
from tests.steady import steady_clock

WORKERS = 3
KINDS = ("work", "work", "work", "mount", "umount", "term")
ENDINGS = {errno.ENOTCONN, errno.ECONNABORTED}
"""What calls fail with when nobody serves the mount any more."""
GONE = {errno.ENOENT}
"""What they fail with when it is not even there any more, or, where it died, not there again yet."""
_SCRIPT = """
for i = 1, 100000 do
  local name = "lua-ROUND-" .. i
  Artifact.store("SESSION", "tool_result", name, name:rep(i % 7 == 0 and 9000 or 3))
  print(name)
  io.stdout:flush()
end
"""
_COMMANDS = """
for i in $(seq 1 1000); do
  name=command-ROUND-$i
  printf %s "$name" | "$@" artifact put aside - --name "$name" >/dev/null && echo "$name"
done
"""


def is_of(allowed: set[int], error: list[Any] | None) -> bool:
    """Say whether *error* is none, or one of *allowed*: its number, or 0 and what cp says of it, line by line."""
    if error is None or error[0] in allowed:
        return True
    words = [os.strerror(code) for code in allowed]
    lines = error[1].splitlines()
    return error[0] == 0 and bool(lines) and all(line.endswith(tuple(words)) for line in lines)


class Rounds:
    """One store and its mount, with what was acknowledged so far."""

    def __init__(self, base: Path) -> None:
        self.mounted, self.base = Mounted(base), base
        self.mounted.may_fail = True
        self.states: list[State] = [{} for _ in range(WORKERS)]
        self.aside: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()
        self._salvaged: set[str] = set()
        self._running: list[subprocess.Popen[bytes]] = []
        self.mounted.mount()
        for name in (*(f"w{number}" for number in range(WORKERS)), "aside"):
            self.mounted.session(name)
        self.aside_id = (self.mounted.sessions / "aside/.session/id").read_text().strip()

    def run(self, seed: int) -> None:
        """Run the round *seed* and judge it; the mount is live before and after."""
        chance = random.Random(seed)
        kind = chance.choice(KINDS)
        what = f"round of seed {seed} ({kind})"
        log = self.base / f"round-{seed}"
        log.mkdir()
        self._start(log, chance)
        time.sleep(chance.uniform(0.05, 1.8))
        is_killed = kind == "umount" or chance.random() < 0.3
        if is_killed:
            self._kill_workers()
        getattr(self, f"_{kind}")(chance)
        self._finish(chance)
        self.counts[f"{kind} kills"] += 1
        with steady_clock() as clock:
            self.mounted.mount()
            self.counts["recoveries"] += 1
            assert clock() < 60, what
        self.judge(what, log, partly=is_killed or kind == "term", gone=kind != "work")

    def _start(self, log: Path, chance: random.Random) -> None:
        command = [sys.executable, "-m", "tests.crash.mount_worker"]
        for number in range(WORKERS):
            folder, ledger = self.mounted.sessions / f"w{number}", log / f"ledger{number}"
            self._spawn([*command, str(folder), str(ledger), str(chance.randrange(10**9))], log / f"out{number}")
        script = log / "script.lua"
        script.write_text(_SCRIPT.replace("ROUND", log.name).replace("SESSION", self.aside_id))
        self._spawn(self.mounted.words("run", "--no-record", str(script)), log / "lua")
        shell = ["bash", "-c", _COMMANDS.replace("ROUND", log.name), "commands", *self.mounted.words()]
        self._spawn(shell, log / "commands")

    def _spawn(self, words: list[str], out: Path) -> None:
        with open(out, "wb") as file, open(f"{out}.err", "wb") as complaints:
            self._running.append(
                subprocess.Popen(
                    words, env=self.mounted.environment, stdout=file, stderr=complaints, start_new_session=True
                )
            )

    def _kill_workers(self) -> None:
        for process in self._running[:WORKERS]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)

    def _work(self, chance: random.Random) -> None:
        self.mounted.kill()

    def _term(self, chance: random.Random) -> None:
        process = self.mounted.pid
        handle = os.pidfd_open(process)
        os.kill(process, signal.SIGTERM)
        time.sleep(chance.uniform(0, 0.2))
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
        wait_for(lambda: daemon_of(str(self.mounted.path)) is None)

    def _mount(self, chance: random.Random) -> None:
        self.mounted.kill()
        starting = self.mounted.start("mount", str(self.mounted.path), stderr=subprocess.DEVNULL)
        wait_for(lambda: starting.poll() is not None or daemon_of(str(self.mounted.path)) is not None, seconds=60)
        time.sleep(chance.uniform(0, 0.8))
        self._kill_daemon()
        starting.wait(60)

    def _umount(self, chance: random.Random) -> None:
        ending = self.mounted.start("umount", str(self.mounted.path), stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.6))
        self._kill_daemon()
        ending.wait(60)

    def _kill_daemon(self) -> None:
        process = daemon_of(str(self.mounted.path))
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_for(lambda: daemon_of(str(self.mounted.path)) is None)

    def _finish(self, chance: random.Random) -> None:
        """End what works aside, and wait for the workers, whose next call fails."""
        for process in self._running[WORKERS:]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._running:
            process.wait(60)
        self._running.clear()

    def judge(self, what: str, log: Path, *, partly: bool, gone: bool) -> None:
        """Find all that was acknowledged, the store whole, and nothing left over; go on from what is there."""
        pending: dict[str, bytes] = {}
        for number, state in enumerate(self.states):
            ledger = Ledger(log / f"ledger{number}", state)
            allowed = ENDINGS | (GONE if gone else set())
            assert is_of(allowed, ledger.error), f"{what}: {ledger.error} at {ledger.pending}"
            actual = tree(self.mounted.sessions / f"w{number}")
            assert ledger.explains(actual, partly=partly), f"{what}, worker {number}: {ledger.difference(actual)}"
            self.states[number] = actual
            self.counts["changes"] += ledger.acked
            self.counts["files verified"] += sum(data is not None for data in actual.values())
            pending |= ledger.under_way()
        self._judge_aside(what, log)
        self._judge_store(what, pending)
        mine = [daemon for daemon in daemons() if daemon.mountpoint == str(self.mounted.path)]
        assert len(mine) == 1, f"{what}: {mine}"
        self.counts["rounds"] += 1

    def _judge_aside(self, what: str, log: Path) -> None:
        acked = [line for name in ("lua", "commands") for line in (log / name).read_text().split("\n")[:-1]]
        for name in ("lua", "commands"):
            complaints = (log / f"{name}.err").read_text()
            assert not complaints, f"{what}: {name} said {complaints}"
        self.aside |= {name: self._content(name) for name in acked}
        for name in os.listdir(self.mounted.sessions / "aside"):
            found = (self.mounted.sessions / "aside" / name).read_bytes()
            assert found == self._content(name), f"{what}: {name}"
            self.aside[name] = found
            self.counts["files verified"] += 1
        missing = self.aside.keys() - set(os.listdir(self.mounted.sessions / "aside"))
        assert not missing, f"{what}: {sorted(missing)} were acknowledged, and are gone"
        self.counts["stored aside"] += len(acked)
        for name in list(self.aside)[200:]:  # the room is for new ones
            os.unlink(self.mounted.sessions / "aside" / name)
            del self.aside[name]

    @staticmethod
    def _content(name: str) -> bytes:
        if name.startswith("lua"):
            return name.encode() * (9000 if int(name.rpartition("-")[2]) % 7 == 0 else 3)
        return name.encode()

    def _judge_store(self, what: str, pending: dict[str, bytes]) -> None:
        wait_for(lambda: not self.mounted.spooled(), lambda: f"{what}: {self.mounted.spooled()}")
        with self.mounted.open() as store:
            problems = store.upkeep.fsck().problems
            assert problems == (), f"{what}: {problems}"
            for item in (item for item in store.upkeep.lost() if item.id not in self._salvaged):
                assert item.name in pending, f"{what}: {item} was nobody's to lose; under way: {list(pending)}"
                lost = b"".join(store.upkeep.read_lost(item.id))
                assert pending[item.name].startswith(lost), f"{what}: {item} is not what was being written"
                self.counts["salvaged"] += 1
                self._salvaged.add(item.id)

    def end(self) -> None:
        """End everything; unmount."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
        self.mounted.end()
        wait_for(lambda: daemon_of(str(self.mounted.path)) is None)

    def told(self) -> str:
        """Return what was counted."""
        return ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
