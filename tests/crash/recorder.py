"""What recorder.c has seen a process do to a folder: the library is built, put before a process, and its log read."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("<cQQQQ")


@dataclass(frozen=True, slots=True)
class Op:
    """One call that succeeded; what *kind* it is stands in `power.Disk.replay`."""

    kind: str
    inode: int
    offset: int
    a: bytes
    b: bytes

    @property
    def is_sync(self) -> bool:
        return self.kind == "S"

    @property
    def is_mark(self) -> bool:
        return self.kind == "M"


def built(folder: Path) -> Path:
    """Return the library, built in *folder*; skip the test, and say so, where there is no gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("GCC IS MISSING: neither power loss nor failing system calls can be tested")
    library = folder / "recorder.so"
    flags = ["-shared", "-fPIC", "-O1", "-w"]
    subprocess.run([compiler, *flags, "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"], check=True)
    return library


def environment(library: Path, root: Path, base: Path) -> dict[str, str]:
    """Return the environment under which a process is recorded: what it does under *root*, logged in *base*."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LD_PRELOAD": str(library),
        "RECORDER_ROOT": str(root),
        "RECORDER_LOG": str(base / "log"),
        "RECORDER_MARK": str(base / "mark"),
    }


def record(library: Path, root: Path, base: Path, *words: str) -> list[Op]:
    """Run the module and arguments *words* under the recorder, and return what it did under *root*."""
    (base / "mark").touch()
    subprocess.run(
        [sys.executable, "-m", *words], env=environment(library, root, base), cwd=ROOT, check=True, timeout=240
    )
    return list(parsed((base / "log").read_bytes()))


def parsed(log: bytes) -> Iterator[Op]:
    """Yield the operations of a log."""
    at = 0
    while at < len(log):
        kind, inode, offset, first, second = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        yield Op(kind.decode(), inode, offset, log[at : at + first], log[at + first : at + first + second])
        at += first + second


class Marker:
    """The mark file as the process under test writes it; without a recorder it does nothing."""

    def __init__(self) -> None:
        path = os.environ.get("RECORDER_MARK")
        self._fd = -1 if path is None else os.open(path, os.O_WRONLY)

    def note(self, text: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, text.encode())

    def fail(self, call: str, suffix: str, error: int, nth: int = 1, count: int = 1) -> None:
        """Let the *nth* next *call* on a file whose path ends in *suffix* fail, *count* times (-1: from then on)."""
        self.note(f"fail {call} {suffix} {error} {nth} {count}")

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.note("fail none none 0 0 0")


def describe(ops: Sequence[Op], cut: int) -> str:
    """Return the last operations before *cut*, for a failure's message."""
    first = max(0, cut - 12)
    return "\n".join(
        f"{number}: {op.kind} {op.inode} {op.offset} {op.a[:160]!r} {op.b[:60]!r} ({len(op.b)})"
        for number, op in enumerate(ops[first:cut], first)
    )
