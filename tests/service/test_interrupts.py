"""An interrupt arrives, wherever it finds the program, and while nothing changes hands."""

from __future__ import annotations

import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import open_store
from llmspellfs.service import interrupts


class Thing:
    """What weak references can be made to."""


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def wait() -> None:
    """Go on for long, with many places where Python looks for signals."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.001)


def in_a_callback() -> None:
    thing = Thing()
    kept = weakref.ref(thing, lambda _: press())
    del thing
    assert kept() is None


def in_a_finalizer() -> None:
    class Finalized:
        def __del__(self) -> None:
            press()

    Finalized()


def in_a_generator_that_is_dropped() -> None:
    def numbers() -> Any:
        try:
            yield 1
        finally:
            press()

    next(numbers())


@pytest.mark.parametrize("where", [press, in_a_callback, in_a_finalizer, in_a_generator_that_is_dropped])
def test_an_interrupt_is_not_lost_where_python_drops_it(
    where: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), interrupts.heard():  # noqa: PT012 - it may come at either line
            where()
            wait()


def test_none_comes_while_a_transaction_begins(tmp_path: Path) -> None:
    def now() -> int:
        press()
        return 10**18

    with open_store(tmp_path / "store", now=now, busy_seconds=1) as store:
        with suppress(KeyboardInterrupt), interrupts.heard():
            store.sessions.create("s")
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            store.sessions.create("t")
        finally:
            signal.signal(signal.SIGINT, before)


def test_what_was_there_before_is_there_again() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    before = signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.heard():  # noqa: PT012 - as above
            press()
            wait()
        assert 40 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)] == handlers
