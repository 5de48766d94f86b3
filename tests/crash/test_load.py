"""A daemon under load: nothing fails, nothing leaks, no reader waits for a writer, and no hung tool hangs anybody."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import pytest

from llmspellfs.fuse.mountpoint import mounted_kind
from llmspellfs.storage.index import _KEPT
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted, is_over, wait_for

Figures = Callable[[str], None]
pytestmark = [pytest.mark.mount, needs_fuse]
_WORKER = [sys.executable, "-m", "tests.crash.load_worker"]
_GROWTH, _CACHES = 48 << 10, 320 << 10
"""KiB that a daemon may grow by after its warm-up, and what it may have in any case: what it caches is bounded."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Mounted]:
    """A live mount of the test's own, whose store must be whole at the end."""
    mounted = Mounted(tmp_path)
    mounted.mount()
    yield mounted
    mounted.end()
    mounted.check(is_whole=True)


def memory(pid: int) -> int:
    """Return how many KiB the process *pid* has resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def loaded(own: Mounted, processes: int, seconds: float) -> dict[str, list[float]]:
    """Have so many *processes* work for *seconds*; return how long calls took, by kind. None fails unexpectedly."""
    jobs = [
        subprocess.Popen(
            [*_WORKER, str(own.sessions), str(number), str(seconds)],
            env=own.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    took: dict[str, list[float]] = defaultdict(list)
    said = [job.communicate(timeout=seconds + 300)[0] for job in jobs]
    assert [out for job, out in zip(jobs, said, strict=True) if job.returncode] == []
    told = [json.loads(out) for out in said]
    assert [error for each in told for error in each["errors"]] == []
    for each in told:
        for name, times in each["took"].items():
            took[name] += times
    wait_for(lambda: not own.spooled(), own.spooled, seconds=60)
    return took


def tails(took: dict[str, list[float]]) -> str:
    """Return the latencies of each kind of call, in milliseconds."""

    def tail(times: list[float]) -> str:
        times = sorted(times)
        at = [times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.99, 0.999, 1)]
        return "/".join(f"{each * 1000:.0f}" for each in at)

    return ", ".join(f"{name} {tail(times)}" for name, times in sorted(took.items()))


def check_load(own: Mounted, processes: int, warm: float, seconds: float) -> str:
    # How many connections, of two files each, have come to be kept is chance.
    most = descriptors(own.pid) + 2 * _KEPT + 4
    own.session("shared")
    loaded(own, processes, warm)
    before, open_before = memory(own.pid), descriptors(own.pid)
    took = loaded(own, processes, seconds)
    calls = sum(map(len, took.values()))
    after = memory(own.pid)
    assert after < max(before + _GROWTH, _CACHES), f"{before} KiB before, {after} KiB after"
    wait_for(lambda: descriptors(own.pid) <= most, lambda: descriptors(own.pid), seconds=60)
    return (
        f"{processes} processes, {calls} calls; {before >> 10} MiB after the warm-up, {after >> 10} MiB after; "
        f"descriptors {open_before} and {descriptors(own.pid)}; ms p50/p99/p99.9/max: {tails(took)}"
    )


def test_a_daemon_under_load_fails_nobody_and_leaks_nothing(own: Mounted, figures: Figures) -> None:
    figures(check_load(own, 8, 3, 6))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_sixty_four_processes_for_minutes(own: Mounted, soak_seconds: float, figures: Figures) -> None:
    figures(check_load(own, 64, max(10, soak_seconds / 3), soak_seconds))


def timed(call: Callable[[], object]) -> float:
    before = time.monotonic()
    call()
    return time.monotonic() - before


def read_beside_writers(own: Mounted, base: Path, mebibytes: int, writers: int) -> tuple[list[float], float, str]:
    """Read while one writer after another copies a file of so many *mebibytes*.

    Return the share of each writer's time that the longest call beside it took, the longest of all, and words.
    """
    s, source = own.session("s"), base / "source"
    chance = random.Random(mebibytes)
    for number in range(20):
        (s / f"f{number}").write_bytes(b"x" * 5000)
    took: dict[str, list[float]] = defaultdict(list)
    shares = []
    for number in range(writers):
        with open(source, "wb") as file:
            file.writelines(chance.randbytes(1 << 20) for _ in range(mebibytes))
        begin, longest = time.monotonic(), 0.0
        with subprocess.Popen(["cp", str(source), str(s / f"large{number}")]) as writer:
            while writer.poll() is None:
                path = s / f"f{chance.randrange(20)}"
                took["read"].append(timed(path.read_bytes))
                took["list"].append(timed(lambda: os.listdir(s)))
                took["stat"].append(timed(path.stat))
                took["events"].append(timed((s / ".session/events.jsonl").read_bytes))
                longest = max(longest, *(times[-1] for times in took.values()))
        assert writer.returncode == 0
        shares.append(longest / (time.monotonic() - begin))
    calls = sum(map(len, took.values()))
    said = f"{writers} times {mebibytes} MiB written, {calls} calls beside, ms p50/p99/p99.9/max: {tails(took)}"
    return shares, max(map(max, took.values())), said


def test_a_reader_does_not_wait_for_a_large_writer(own: Mounted, tmp_path: Path, figures: Figures) -> None:
    """It never takes half of a writer's time, but where the whole machine halts: not beside most of several."""
    shares, _, said = read_beside_writers(own, tmp_path, 48, 5)
    assert median(shares) < 0.5, (shares, said)
    figures(said)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_reader_does_not_wait_for_a_writer_of_a_gibibyte(own: Mounted, tmp_path: Path, figures: Figures) -> None:
    _, longest, said = read_beside_writers(own, tmp_path, 1024, 1)
    assert longest < 1, said
    figures(said)


_HELD = """
import fcntl, os, sys, time
s = sys.argv[1]
locked = os.open(s + "/locked", os.O_RDWR | os.O_CREAT)
fcntl.flock(locked, fcntl.LOCK_EX)
half = os.open(s + "/half", os.O_WRONLY | os.O_CREAT)
os.write(half, b"half")
reading = os.open(s + "/read", os.O_RDONLY)
large = os.open(s + "/pouring", os.O_WRONLY | os.O_CREAT)
print("ready", flush=True)
while True:
    os.write(large, bytes(1 << 20))
"""


@contextmanager
def hung_tools(s: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Have tools that do nothing more, with files of *s* open: stopped in the middle of a write, or never read from."""
    (s / "read").write_bytes(b"read\n" * 100_000)
    (s / "log").write_bytes(b"line\n")
    pipes = {"stdout": subprocess.PIPE}
    tools = [
        subprocess.Popen([sys.executable, "-c", _HELD, str(s)], **pipes),  # type: ignore[call-overload]
        subprocess.Popen(["cat", str(s / "read")], **pipes),  # type: ignore[call-overload]
        subprocess.Popen(["tail", "-n", "+1", "-f", str(s / "log"), str(s / "read")], **pipes),  # type: ignore[call-overload]
    ]
    try:
        assert tools[0].stdout.readline() == b"ready\n"
        time.sleep(0.3)
        tools[0].send_signal(signal.SIGSTOP)
        yield tools
    finally:
        for tool in tools:
            tool.kill()
            tool.wait(30)
            tool.stdout.close()


def go_on(own: Mounted, s: Path) -> None:
    """See that everybody else goes on."""
    other, away = own.sessions / "other", own.sessions / "away"
    other.mkdir(exist_ok=True)
    took = {
        "write": timed(lambda: (other / "f").write_bytes(b"x" * 10_000)),
        "write beside": timed(lambda: (s / "mine").write_bytes(b"y")),
        "read": timed((s / "read").read_bytes),
        "list": timed(lambda: [entry.stat() for entry in os.scandir(s)]),
        "append to what is followed": timed(lambda: (s / "log").write_bytes(b"line\nline\n")),
        "rename": timed(lambda: os.rename(s / "mine", s / "yours")),
        "rename the session": timed(lambda: (s.rename(away), away.rename(s))),
        "trail": timed((s / ".session/events.jsonl").read_bytes),
        "half": timed((s / "half").read_bytes),
    }
    with open(s / "locked", "rb") as locked, pytest.raises(BlockingIOError):
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert max(took.values()) < 30, took


def test_a_hung_tool_hangs_nobody_and_a_killed_one_leaves_nothing(own: Mounted) -> None:
    s = own.session("s")
    with hung_tools(s):
        go_on(own, s)
        took = timed(lambda: own.command("umount", str(own.path), check=False))
        assert mounted_kind(str(own.path)) is not None
        assert took < 45
        go_on(own, s)
    with open(s / "locked", "rb") as locked:  # whoever held it was killed
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (s / "half").read_bytes() == b"half"
    assert timed(own.umount) < 45
    own.mount()


def test_a_daemon_can_be_ended_while_tools_hang(own: Mounted) -> None:
    s = own.session("s")
    with hung_tools(s):
        handle = os.pidfd_open(own.pid)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        wait_for(lambda: is_over(handle), seconds=30)
        os.close(handle)
    own.mount()
    assert (s / "half").read_bytes() == b"half"
    assert (s / "read").read_bytes() == b"read\n" * 100_000
