"""A clock for tests of how old something may be, which a halt of the whole machine does not carry on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TICK, _MOST = 0.01, 0.05


@contextmanager
def steady_clock() -> Iterator[Callable[[], float]]:
    """Yield a clock of the seconds in which this process ran, from 0 on.

    A machine that halts for seconds gives nobody the time to bring anything up to date: of each halt 50 ms count.
    """
    ticked, is_over = (0.0, time.monotonic()), threading.Event()

    def seconds() -> float:
        counted, at = ticked
        return counted + min(time.monotonic() - at, _MOST)

    def run() -> None:
        nonlocal ticked
        while not is_over.wait(_TICK):
            ticked = (seconds(), time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seconds
    finally:
        is_over.set()
        thread.join()
