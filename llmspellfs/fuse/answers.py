"""The answers of a mount on their way to the kernel, for those who have to look at them.

libfuse sends them itself; while anybody looks, they go through Python, which costs each of them 2 µs. Threading: any
thread may call; lookers are called by the thread that sends.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable

from llmspellfs.fuse.channel import ADDRESS, Channel

Look = Callable[[int, int], None]
"""Gets the address of an answer's pieces (`struct iovec`) and their number, and may change their bytes."""
_Send = ctypes.CFUNCTYPE(ctypes.c_int, ADDRESS, ADDRESS, ctypes.c_size_t)
"""Sends an answer: a channel's address, that of its pieces, their number; 0 or a negative errno."""
_log = logging.getLogger(__name__)


class Answers:
    """What a *channel* sends."""

    def __init__(self, channel: Channel) -> None:
        """Begin with nobody looking."""
        self._channel = channel
        self._address = channel.send
        self._send, self._hook = _Send(self._address), _Send(self._shown)
        self._turn = threading.Lock()
        self._lookers: tuple[Look, ...] = ()

    def show(self, look: Look) -> None:
        """Show each answer to *look* from now on."""
        with self._turn:
            if look not in self._lookers:
                self._lookers = (*self._lookers, look)
            self._channel.send = ctypes.cast(self._hook, ADDRESS)

    def spare(self, look: Look) -> None:
        """Show no more answers to *look*."""
        with self._turn:
            self._lookers = tuple(other for other in self._lookers if other != look)
            if not self._lookers:
                self._channel.send = self._address

    def _shown(self, channel_at: int, pieces: int | None, count: int) -> int:
        try:
            for look in self._lookers if pieces else ():
                look(pieces or 0, count)
        except Exception:  # noqa: BLE001 - the answer has to go out, whatever happens
            _log.exception("an answer could not be looked at")
        return int(self._send(channel_at, pieces, count))
