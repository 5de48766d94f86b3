"""The same calls on a local folder and on a mounted one, and everything that stat shows of both compared."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OLD_NS = 10**18
"""Times before are set by the calls, times after are now: the clocks of two file systems never agree."""
Seen = dict[str, tuple[object, ...]]
_FOLDER_IS_GONE = {"ENOENT", "ESTALE"}
"""What libfuse 2.9 says of an open file whose folder is gone, and what the mount makes of it within a second of a
rename; neither where the kernel knows the file's attributes still."""
_COARSE = 5
"""CLOCK_REALTIME_COARSE of <linux/time.h>, from which the kernel takes the times of files that have ticks."""


def call(what: Callable[..., object], *words: Any) -> object:
    """Return what the call gives, or the name of its errno."""
    try:
        return what(*words)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _size(descriptor: int) -> int:
    got = os.fstat(descriptor)
    return got.st_size if stat.S_ISREG(got.st_mode) else 0


def write_mapped(descriptor: int, offset: int, content: bytes) -> int:
    """Write through a shared mapping as far as the file goes; nothing where it is a folder."""
    size = _size(descriptor)
    if offset >= size:
        return 0
    with mmap.mmap(descriptor, size) as mapped:
        piece = content[: size - offset]
        mapped[offset : offset + len(piece)] = piece
        mapped.flush()
        return len(piece)


def read_mapped(descriptor: int) -> bytes:
    """Read through a private mapping; nothing where it is a folder."""
    if not _size(descriptor):
        return b""
    with mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        return mapped[:]


def has_ticks(folder: str) -> bool:
    """Return whether what changes again, after a look at it, may have the time that it had: up to Linux 6.12 it may."""
    seen = []
    for number in range(20):
        with open(f"{folder}/.clock", "w") as file:
            file.write(str(number))
        seen.append(os.stat(f"{folder}/.clock").st_mtime_ns)
    os.unlink(f"{folder}/.clock")
    return len(set(seen)) < len(seen)


@dataclass(frozen=True)
class Held:
    """A descriptor of each twin."""

    name: str
    flags: int
    descriptors: tuple[int, int]


class Twins:
    """A local folder and a mounted one that went through the same calls."""

    def __init__(self, local: Path, mounted: Path, tops: tuple[str, ...] = (".",)) -> None:
        self.roots = (str(local), str(mounted))
        self.tops = tops
        self.held: list[Held] = []
        self.log: list[str] = []
        self.known: tuple[dict[int, tuple[int, int]], ...] = ({}, {})
        self.compares_times = True
        self.has_ticks = has_ticks(self.roots[0])

    def both(self, told: str, what: Callable[[str], object]) -> object:
        """Do *what* to both roots, and expect the same answer."""
        answers = [call(what, root) for root in self.roots]
        return self._agreed(told, answers)

    def handles(self, told: str, held: Held, what: Callable[[int], object]) -> object:
        """Do *what* to both descriptors, and expect the same answer."""
        return self._agreed(f"{held.name}@{held.descriptors[1]} {told}", [call(what, d) for d in held.descriptors])

    def _agreed(self, told: str, answers: list[object]) -> object:
        self.log.append(f"{told}: {str(answers[0])[:70]}")
        assert answers[0] == answers[1], self.story(f"local {answers[0]!r:.300}, mounted {answers[1]!r:.300}")
        return answers[0]

    def story(self, end: str) -> str:
        """Return what was done, and how it ended."""
        return "\n".join([*self.log[-60:], end])

    def open(self, name: str, flags: int, mode: int) -> None:
        """Open *name* in both and keep it open."""
        got = [call(os.open, f"{root}/{name}", flags | os.O_NOATIME, mode) for root in self.roots]
        self.log.append(f"open {name} {flags:#o} {mode:#o}: {got}")
        kinds = [answer if isinstance(answer, str) else "opened" for answer in got]
        descriptors = [answer for answer in got if isinstance(answer, int)]
        if len(descriptors) == 2:
            self.held.append(Held(name, flags, (descriptors[0], descriptors[1])))
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        assert kinds[0] == kinds[1], self.story(f"local {kinds[0]}, mounted {kinds[1]}")

    def close(self, held: Held) -> None:
        """Close both descriptors."""
        self.held.remove(held)
        self.handles("close", held, os.close)

    def compare(self) -> None:
        """Expect the same names, attributes and times changed since the last look."""
        shown = []
        for held in list(self.held):
            got = call(os.fstat, held.descriptors[1])
            if isinstance(got, os.stat_result):
                shown.append(got)
                continue
            self.log.append(f"{held.name}@{held.descriptors[1]} has no folder any more: {got}")
            assert got in _FOLDER_IS_GONE, self.story("cannot be looked at")
            self.close(held)
        seen = [self._look(0, [os.fstat(held.descriptors[0]) for held in self.held]), self._look(1, shown)]
        if seen[0] != seen[1]:
            names = {name for name in seen[0].keys() | seen[1].keys() if seen[0].get(name) != seen[1].get(name)}
            told = [f"{name}: local {seen[0].get(name)}, mounted {seen[1].get(name)}" for name in sorted(names)]
            raise AssertionError(self.story("\n".join(told)))
        self._let_tick()

    def _let_tick(self) -> None:
        """Let the clock of the local times go on from the last of them, so that the next change shows."""
        newest = max((max(times) for times in self.known[0].values()), default=0)
        while self.has_ticks and time.clock_gettime_ns(_COARSE) <= newest:
            time.sleep(0.001)

    def _look(self, twin: int, shown: list[os.stat_result]) -> Seen:
        """Return what is seen of each name, and of each descriptor, of which fstat has *shown* what it does."""
        found = {name: os.lstat(f"{self.roots[twin]}/{name}") for name in self.names(twin)}
        held = {f"@{index}": got for index, got in enumerate(shown)}
        by_ino: dict[int, list[str]] = {}
        for name, got in (found | held).items():
            by_ino.setdefault(got.st_ino, []).append(name)
        seen = {name: (*self._shown(twin, got), *by_ino[got.st_ino]) for name, got in (found | held).items()}
        self.known[twin].clear()
        self.known[twin].update({got.st_ino: (got.st_mtime_ns, got.st_ctime_ns) for got in (found | held).values()})
        return seen

    def _shown(self, twin: int, got: os.stat_result) -> tuple[object, ...]:
        mtime, ctime = self.known[twin].get(got.st_ino, (0, 0))
        size = 0 if stat.S_ISDIR(got.st_mode) else got.st_size
        atime = "now" if got.st_atime_ns > OLD_NS or not stat.S_ISREG(got.st_mode) else got.st_atime_ns
        times: tuple[object, ...] = ("now" if got.st_mtime_ns > OLD_NS else got.st_mtime_ns, f"atime {atime}")
        if self.compares_times:
            times += (f"mtime {got.st_mtime_ns != mtime}", f"ctime {got.st_ctime_ns != ctime}")
        return f"{got.st_mode:o}", got.st_nlink, got.st_uid, got.st_gid, size, *times

    def names(self, twin: int) -> list[str]:
        """Return every path there is, the tops' own included."""
        root, found = self.roots[twin], list(self.tops)
        for top in self.tops:
            for folder, folders, files in os.walk(f"{root}/{top}"):
                found += [os.path.relpath(os.path.join(folder, name), root) for name in (*folders, *files)]
        return sorted(found)

    def contents(self, twin: int) -> dict[str, object]:
        """Return what is in each file, and where each symlink leads."""
        found: dict[str, object] = {}
        for name in self.names(twin):
            path = f"{self.roots[twin]}/{name}"
            is_file = os.path.isfile(path)
            found[name] = os.readlink(path) if os.path.islink(path) else Path(path).read_bytes() if is_file else None
        return found

    def end(self) -> None:
        """Close what is open."""
        for held in self.held:
            for descriptor in held.descriptors:
                os.close(descriptor)
        self.held.clear()
