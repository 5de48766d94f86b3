"""The bounds of a script that is not trusted, and how the system is told to hold a process to them.

A hook inside Lua would not do: `pcall`, coroutines and a single call of a pattern go past it. So the process itself is
bounded, and whoever started it ends it when its time is up (see `cli.sandbox`).
"""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass

SECONDS = 60.0
MEMORY = 256 << 20
RESERVE = 64 << 20
"""Bytes that the host may use beyond the script's and two copies of them, so that it can end what it has begun."""
LATER = 10.0
"""Seconds after its time that a process ends by itself, where nobody has ended it."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """*seconds* that a script may run; *memory*, in bytes, for all its values."""

    seconds: float = SECONDS
    memory: int = MEMORY


def bind_process(bounds: Bounds) -> None:
    """Hold this process to *bounds* from now on: allocations beyond fail, and it ends when its parent does."""
    import ctypes  # here: the command line reads the figures above at every start

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, bounds.seconds + LATER)
    most = _data_bytes() + 3 * bounds.memory + RESERVE
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def is_orphan(parent: int) -> bool:
    """Tell whether the process *parent*, which started this one, has gone meanwhile."""
    return os.getppid() != parent


def _data_bytes() -> int:
    # proc(5): VmData in kB is what RLIMIT_DATA bounds.
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData:")) << 10
