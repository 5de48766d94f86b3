"""The reserve: calls that take long, more of them than there are threads, and what others see meanwhile."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fuse.conftest import FakeMount
from tests.mount.live import wait_for
from tests.steady import steady_clock

THREADS, SLOW = 2, 8


@pytest.fixture
def few(tmp_path: Path) -> Iterator[FakeMount]:
    """A mount with two threads."""
    mount = FakeMount(tmp_path, f"threads={THREADS}")
    wait_for(lambda: threads_of(mount) >= THREADS + 3)  # the main thread, the timer, and one that watches
    for number in range(SLOW):
        (mount.path / f"slow{number}").write_bytes(b"SLOW")
    yield mount
    mount.end()


@contextmanager
def slow_reads(mount: FakeMount) -> Iterator[list[concurrent.futures.Future[bytes]]]:
    """Keep as many calls going as there are slow files."""
    with concurrent.futures.ThreadPoolExecutor(SLOW) as pool:
        try:
            slow = [pool.submit((mount.path / f"slow{number}").read_bytes) for number in range(SLOW)]
            mount.wait_for_slow(SLOW)
            yield slow
        finally:
            mount.let_go()


def threads_of(mount: FakeMount) -> int:
    return len(os.listdir(f"/proc/{mount.process.pid}/task"))


def use(mount: FakeMount, times: int) -> None:
    for number in range(times):
        (mount.path / f"quick{number % 7}").write_bytes(b"quick")
        os.listdir(mount.path)


def test_more_slow_calls_than_threads_delay_nobody(few: FakeMount) -> None:
    with slow_reads(few) as slow:
        assert quickest(few) < 1.5
        assert not any(future.done() for future in slow)
    assert {future.result() for future in slow} == {b"SLOW"}


def quickest(mount: FakeMount) -> float:
    """Return the seconds that some calls take at least: a busy machine holds them up now and then, not each time."""
    took = []
    for _ in range(3):
        with steady_clock() as clock:
            use(mount, 20)
            (mount.path / "new").mkdir()
            os.rename(mount.path / "new", mount.path / "newer")
            took.append(clock())
    return min(took)


def threads_at_rest(mount: FakeMount) -> int:
    """Return how many threads serve what little there is; on a busy machine there may be more for a moment."""
    counts = []
    for _ in range(10):
        use(mount, 10)
        counts.append(threads_of(mount))
        time.sleep(0.15)
    return min(counts)


def test_the_reserve_serves_only_while_it_has_to(few: FakeMount) -> None:
    before = threads_at_rest(few)
    with slow_reads(few):
        use(few, 1)
        assert threads_of(few) > before + SLOW - THREADS
    give_up = time.monotonic() + 60
    while threads_of(few) > before:
        assert time.monotonic() < give_up
        time.sleep(0.15)
        use(few, 1)
    assert threads_at_rest(few) <= before


def test_the_reserve_knows_the_request_that_it_serves(few: FakeMount) -> None:
    (few.path / "open").write_bytes(b"x")
    with slow_reads(few), (few.path / "open").open("rb"):
        (few.path / "open").unlink()
    assert "hide /open unlinked" in few.asked()


def test_a_signal_lets_the_reserve_finish_too(few: FakeMount) -> None:
    descriptors = [os.open(few.path / f"slow{number}", os.O_RDONLY) for number in range(SLOW)]
    with concurrent.futures.ThreadPoolExecutor(SLOW) as pool:
        slow = [pool.submit(os.pread, descriptor, 4, 0) for descriptor in descriptors]
        few.wait_for_slow(SLOW)
        few.process.terminate()
        time.sleep(0.2)
        assert not any(future.done() for future in slow)
        few.let_go()
        assert {future.result() for future in slow} == {b"SLOW"}
    assert few.process.wait(60) == 0
    assert few.asked()[-1] == "destroy"
    assert "Traceback" not in few.log.read_text()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)


@pytest.mark.parametrize("is_over", [False, True], ids=["serves", "has served"])
def test_an_unmount_ends_the_reserve_in_whatever_it_does(few: FakeMount, is_over: bool) -> None:
    with slow_reads(few) as slow:
        use(few, 3)
        if is_over:
            few.let_go()
            concurrent.futures.wait(slow)
            time.sleep(1)
        subprocess.run(["fusermount", "-u", "-z", str(few.path)], check=True)
    assert few.process.wait(60) == 0
    assert few.asked()[-1] == "destroy"
    assert "Traceback" not in few.log.read_text()
