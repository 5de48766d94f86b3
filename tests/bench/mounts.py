"""Rates of a passthrough, of the adapter over a tree in memory, and of llmspellfs, measured side by side.

`python tests/bench/mounts.py [--files N] [--mib N] [NAME ...]`: NAME is one or more of `passthrough`, `fake`,
`llmspellfs`; all by default. Machines drift, so only the ratios of one run say something. Not run by pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = Path(__file__).parent
_BLOCK = os.urandom(1 << 20)
_SMALL = os.urandom(1024)


def measure(folder: str, files: int, mib: int) -> dict[str, float]:
    """Return the rates of the work in *folder*; the names carry the units."""
    names = [f"{folder}/f{number}" for number in range(files)]
    big = f"{folder}/big"
    rates = {
        "create+write+close /s": _rate(files, lambda: _each(names, lambda name: _write(name, _SMALL))),
        "stat /s": _rate(files, lambda: [os.stat(name) for name in names], before=1.2),
        "open+read+close /s": _rate(files, lambda: _each(names, _read)),
        "ls -l entries/s": _rate(files, lambda: [entry.stat() for entry in os.scandir(folder)], before=1.2),
        "sequential write MB/s": _rate(mib * 1.048576, lambda: _fill(big, mib)),
        "first read MB/s": _rate(mib * 1.048576, lambda: _read(big)),
        "second read MB/s": _rate(mib * 1.048576, lambda: _read(big)),
        "unlink /s": _rate(files, lambda: _each(names, os.unlink)),
    }
    os.unlink(big)
    return rates


def _each(names: list[str], work: Callable[[str], None]) -> None:
    for name in names:
        work(name)


def _rate(count: float, work: Callable[[], object], before: float = 0) -> float:
    time.sleep(before)
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _write(name: str, data: bytes) -> None:
    descriptor = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.write(descriptor, data)
    os.close(descriptor)


def _fill(name: str, mib: int) -> None:
    descriptor = os.open(name, os.O_CREAT | os.O_WRONLY, 0o644)
    for number in range(mib):
        os.write(descriptor, number.to_bytes(8, "big") + _BLOCK[8:])
    os.close(descriptor)


def _read(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY)
    buffer = bytearray(1 << 20)
    while os.readv(descriptor, [buffer]):
        pass
    os.close(descriptor)


@contextlib.contextmanager
def mounted(name: str, base: Path) -> Iterator[str]:
    """Mount *name* below *base*, and yield a folder in it to work in."""
    mountpoint = base / "mnt"
    (base / "source").mkdir()
    mountpoint.mkdir()
    if name == "llmspellfs":
        with _llmspellfs(base / "store", mountpoint) as folder:
            yield folder
        return
    commands = {
        "passthrough": [str(_HERE / "passthrough.py"), str(base / "source"), str(mountpoint)],
        "fake": [str(_HERE.parent / "fuse" / "fake_tree.py"), str(mountpoint)],
    }
    server = subprocess.Popen([sys.executable, *commands[name]])
    try:
        while not os.path.ismount(mountpoint):
            time.sleep(0.05)
        yield str(mountpoint)
    finally:
        subprocess.run(["fusermount", "-u", str(mountpoint)], check=True)
        server.wait(30)


@contextlib.contextmanager
def _llmspellfs(store: Path, mountpoint: Path) -> Iterator[str]:
    from llmspellfs.fuse import daemon

    daemon.start(store, mountpoint)
    try:
        folder = mountpoint / "sessions" / "bench"
        folder.mkdir()
        yield str(folder)
    finally:
        daemon.stop(mountpoint)


def main() -> None:
    """Measure what the command line names, and print a table with the ratios to the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["passthrough", "fake", "llmspellfs"])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=256)
    arguments = parser.parse_args()
    results = {}
    for name in arguments.names:
        with tempfile.TemporaryDirectory() as base, mounted(name, Path(base)) as folder:
            results[name] = measure(folder, arguments.files, arguments.mib)
    first = results[arguments.names[0]]
    print(f"{'':24}" + "".join(f"{name:>22}" for name in results))
    for work, base_rate in first.items():
        cells = [f"{rates[work]:12,.0f} ({rates[work] / base_rate:5.2f}x)" for rates in results.values()]
        print(f"{work:24}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
