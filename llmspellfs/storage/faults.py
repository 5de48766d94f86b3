"""Faults for tests: the disk that fails, and the process that dies, at a named step of `disk`.

`LLMSPELLFS_FAULTS` is a list of faults, divided by commas. NAME is a step's name, NAME.done the moment after it,
NAME.rest the rest of a write that was cut short; #N means the N-th time only (1 is the first), and without it the
fault comes every time:

    kill:NAME#N     the process ends there, as by `kill -9`
    ENOSPC:NAME#N   the step fails so; any name of an errno will do. What is SQLite's fails with its error instead
    short:NAME#N    only a byte of the write is taken at first
    trace=FILE      each name is appended to FILE as it comes

Imported only where the environment asks for it. Threading: steps of several threads are counted in turn.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass

_SQLITE = {
    errno.ENOSPC: (sqlite3.SQLITE_FULL, "database or disk is full"),
    errno.EDQUOT: (sqlite3.SQLITE_FULL, "database or disk is full"),
    errno.EMFILE: (sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
}
_IOERR = (sqlite3.SQLITE_IOERR, "disk I/O error")
OF_SQLITE = "index."
"""How the names of steps begin that SQLite takes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the *count*-th step of that *name*, or at each where it is None."""

    action: str
    name: str
    count: int | None

    def strikes(self, name: str, count: int) -> bool:
        """Say whether the step *name*, reached for the *count*-th time, is the one."""
        return name == self.name and self.count in {None, count}


class Faults:
    """A hook for `disk` that lets *faults* happen.

    *counts* says how often each step was reached, *struck* which ones have met a fault.
    """

    def __init__(self, faults: list[Fault], trace: str | None = None) -> None:
        """Append the name of each step to the file *trace*, if one is given."""
        self._faults = faults
        self._turn = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.struck: set[str] = set()
        self._trace = None if trace is None else os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, name: str) -> int | None:
        """Hear of the step *name*."""
        with self._turn:
            self.counts[name] += 1
            count = self.counts[name]
        if self._trace is not None:
            os.write(self._trace, f"{name}\n".encode("ascii"))
        for fault in self._faults:
            if fault.strikes(name, count):
                self.struck.add(name)
                return _strike(fault.action, name)
        return None


def armed(text: str) -> Faults:
    """Return the hook that *text*, as the environment has it, asks for; raises ValueError where it says nothing."""
    faults, trace = [], None
    for word in filter(None, text.split(",")):
        if word.startswith("trace="):
            trace = word.removeprefix("trace=")
            continue
        action, _, rest = word.partition(":")
        name, _, count = rest.partition("#")
        if not name or not (action in {"kill", "short"} or hasattr(errno, action)):
            raise ValueError(f"not a fault: {word!r}")
        faults.append(Fault(action, name, int(count) if count else None))
    return Faults(faults, trace)


def _strike(action: str, name: str) -> int | None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "short":
        return 1
    number: int = getattr(errno, action)
    if name.startswith(OF_SQLITE):
        raise _of_sqlite(number)
    raise OSError(number, os.strerror(number))


def _of_sqlite(number: int) -> sqlite3.OperationalError:
    code, text = _SQLITE.get(number, _IOERR)
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
