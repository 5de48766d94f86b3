"""An interrupt that ends a call and harms nothing: not while a connection, a lock or a transaction changes hands.

KeyboardInterrupt as Python has it comes between any two instructions, also right after a lock is taken and before what
gives it back is in place; the store would stay locked for who goes on after it. And it is lost where Python calls what
it takes no exception from: the callback of a weak reference, a finalizer. So it is raised again until it arrives. For
the main thread only, where signals are handled.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import ref

if TYPE_CHECKING:
    from types import FrameType

_HANDS: Final = frozenset({"llmspellfs.service.engine", "llmspellfs.storage.index"})
"""The modules in which locks and connections change hands; nothing in them takes long but waiting for a turn."""
_DEAF: Final = frozenset({"weakref", "_weakrefset"})
"""Modules whose functions Python calls when an object goes, and whose exceptions it prints and drops."""
_SOON_SECONDS, _AWAITED_SECONDS = 0.005, 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGALRM)


class _Interrupt(KeyboardInterrupt):
    """One that is on its way as long as it exists: Python drops it where it cannot raise it."""

    last: ClassVar[ref[_Interrupt] | None] = None
    raised: ClassVar[float] = 0
    is_heard: ClassVar[bool] = False
    """Whether alarms are this module's: at the end of a block one may come between its last step and the next."""

    def __init__(self) -> None:
        """Be the last one that was raised."""
        super().__init__()
        _Interrupt.last, _Interrupt.raised = ref(self), time.monotonic()

    @classmethod
    def is_on_its_way(cls) -> bool:
        """Tell whether the last one may still arrive; who keeps it where it was dropped does not stop the next."""
        is_there = cls.last is not None and cls.last() is not None
        return is_there and time.monotonic() - cls.raised < _AWAITED_SECONDS


@contextmanager
def heard() -> Iterator[None]:
    """Have Control-C, or SIGALRM, interrupt what the block does, with KeyboardInterrupt."""
    _Interrupt.last = None
    _Interrupt.is_heard = True
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    before = [signal.signal(number, _interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        _Interrupt.is_heard = False
        signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGALRM and not _Interrupt.is_heard:
        return
    signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)  # to see that it arrives
    if _is_no_place(frame) or (number == signal.SIGALRM and _Interrupt.is_on_its_way()):
        return
    raise _Interrupt


def _is_no_place(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in _HANDS | _DEAF or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
