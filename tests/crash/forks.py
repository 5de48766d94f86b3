"""A process that has everything imported and no store open, and forks a child for each job: much faster than starts.

`Forks` is the side of the tests; `python -m tests.crash.forks` is the server. Jobs are JSON lines on its standard
input: the name of a function of `jobs` and its arguments. What a child returns comes back as one line, with how it
ended and whether it had acknowledged its work by then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: its *result*, the *signal* that ended it (0: none), and whether it *acked* before."""

    result: Any
    signal: int
    acked: bool


class Forks:
    """The server, for as long as the context lasts; *folder* goes with it, however the process of the tests ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        """Start it."""
        command = [sys.executable, "-m", "tests.crash.forks", str(self._folder)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": ""}
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, job: str, *arguments: object) -> Ended:
        """Run *job* in a child of its own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([job, *map(_plain, arguments)]), file=self._process.stdin, flush=True)
        ended = Ended(**json.loads(self._process.stdout.readline()))
        if isinstance(ended.result, str) and ended.result.startswith("Traceback"):
            raise AssertionError(f"{job} {arguments}\n{ended.result}")
        return ended


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def serve() -> None:
    """Fork for each line of standard input until it ends."""
    from tests.crash import jobs

    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _work(jobs, json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading) as answers:
            lines = answers.read().splitlines()
        _, status = os.waitpid(child, 0)
        acked, result = "ack" in lines, json.loads(lines[-1]) if lines and lines[-1] != "ack" else None
        print(json.dumps({"result": result, "signal": os.WTERMSIG(status), "acked": acked}), flush=True)


def _work(jobs: Any, job: list[Any], answers: int) -> None:
    try:
        jobs.ack = lambda: os.write(answers, b"ack\n")
        result = getattr(jobs, job[0])(*job[1:])
    except BaseException:  # noqa: BLE001 - told to the test
        result = traceback.format_exc()
    os.write(answers, json.dumps(result).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    try:
        serve()
    finally:
        shutil.rmtree(sys.argv[1])
