"""An interrupt that ends a call and harms nothing: not while a connection, a lock or a transaction changes hands.

KeyboardInterrupt as Python has it comes between any two instructions, also right after a lock is taken and before what
gives it back is in place; the store would stay locked for who goes on after it. For the main thread only, where signals
are handled.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_HANDS: Final = frozenset({"llmspellfs.service.engine", "llmspellfs.storage.index"})
"""The modules in which locks and connections change hands; nothing in them takes long but waiting for a turn."""
_SOON_SECONDS = 0.005


def interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or have SIGALRM come soon where it must not be raised now; a handler for both."""
    if not _is_between_hands(frame):
        raise KeyboardInterrupt
    signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)


def listen() -> None:
    """Have Control-C interrupt what runs from now on; whoever reads keys may have changed that."""
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGALRM, interrupt)


def _is_between_hands(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in _HANDS:
            return True
        frame = frame.f_back
    return False
