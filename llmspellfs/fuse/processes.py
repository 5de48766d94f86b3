"""The daemons that run now, as their command lines in `/proc` tell: which store each serves, where, and since when."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DAEMON_MODULE = "llmspellfs.fuse.daemon"

_TICKS = os.sysconf("SC_CLK_TCK")
_START_FIELD = 19  # of /proc/PID/stat behind the command's name: starttime, its 22nd


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that serves a mount, or is about to, or still commits what it served."""

    pid: int
    mountpoint: str
    store: str
    options: Mapping[str, str]
    """What `-o` said, by name."""
    since_ns: int
    """When the process began, in nanoseconds since the epoch."""


def daemons() -> list[Daemon]:
    """Return the daemons that this process may see, oldest first."""
    booted = _booted_ns()
    found = []
    for folder in processes():
        with contextlib.suppress(OSError):
            words = _words((folder / "cmdline").read_bytes())
            if words:
                found.append(_daemon(folder, words, booted))
    return sorted(found, key=lambda daemon: (daemon.since_ns, daemon.pid))


def processes() -> Iterator[Path]:
    """Yield the folder in `/proc` of each process."""
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _words(line: bytes) -> list[str]:
    """Return what stands behind `-m DAEMON_MODULE` in the command *line*; nothing where it is another command."""
    words = [os.fsdecode(word) for word in line.split(b"\0")[:-1]]
    for index in range(1, len(words) - 2):
        if words[index - 1 : index + 1] == ["-m", DAEMON_MODULE]:
            return words[index + 1 :]
    return []


def _daemon(folder: Path, words: Sequence[str], booted_ns: int) -> Daemon:
    mountpoint, store, *rest = words
    options = dict(word[2:].partition("=")[::2] for word in rest if word.startswith("-o"))
    behind_name = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    began_ns = booted_ns + int(behind_name[_START_FIELD]) * 10**9 // _TICKS
    return Daemon(int(folder.name), mountpoint, store, options, began_ns)


def _booted_ns() -> int:
    for line in Path("/proc/stat").read_text("ascii", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "btime":
            return int(value) * 10**9
    return 0
