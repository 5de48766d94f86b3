"""The whole life of the child process behind a `Worker`: it imports what it needs and answers until its input ends."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import IO

from llmspellfs.tools.outcome import explained
from llmspellfs.tools.registry import Registry

MAX_ANSWER = 1 << 26
"""Bytes of one answer as JSON."""
RESERVE = 1 << 25
"""Bytes of address space for the libraries that tools import; all of them together take half of it."""


def serve(seconds: float, memory: int, installed: bool) -> None:
    """Answer the calls on standard input, each within *seconds*, all within *memory* bytes of address space.

    Tools of packages are looked at only where *installed*.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _hold(memory)
    registry = Registry(installed=installed)
    requests, answers = _pipes()
    for line in requests:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        _answer(registry, line, answers)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hold(memory: int) -> None:
    """Let this process have *memory* bytes of address space beyond what it and its libraries need."""
    with open("/proc/self/statm", encoding="ascii") as file:  # proc(5): the first figure is the size in pages
        wanted = int(file.read().split()[0]) * resource.getpagesize() + RESERVE + memory
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return this process's input and output for itself: what a tool reads or prints must not be calls or answers."""
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return pipes


def _answer(registry: Registry, line: bytes, answers: IO[bytes]) -> None:
    try:
        name, arguments = json.loads(line)
        answer = json.dumps({"success": True, "result": registry.get(name).function(**arguments)}).encode()
        if len(answer) > MAX_ANSWER:
            answer = _failure(f"the result is more than {MAX_ANSWER} bytes")
    except (Exception, SystemExit) as error:  # noqa: BLE001  a tool is anyone's code
        answer = _failure(explained(error))
    answers.write(answer + b"\n")
    answers.flush()


def _failure(why: str) -> bytes:
    return json.dumps({"success": False, "error": why}).encode()
