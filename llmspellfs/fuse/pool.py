"""The threads that serve requests: a fixed pool of Python threads, each in libfuse's single-threaded loop.

libfuse's own multi-threaded loop starts and ends threads at will, and ctypes builds a Python thread state for
each of their callbacks, which halves every rate. A loop in Python (`fuse_chan_recv`, `fuse_session_process`)
was measured too: it costs 2 µs more a request, a tenth of what a small request takes.

What libfuse hides from callbacks is the request itself, which alone says what the kernel asked for. Each loop
receives into one buffer for its whole life; so each thread's first call of the channel's receive function
goes through Python, which notes where that buffer is; when all have come by, libfuse's own function is in its
place again.

A thread that waits for a request wakes by the end of the mount, or by the signal that `stop` sends.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from typing import TYPE_CHECKING

import fuse

if TYPE_CHECKING:
    from collections.abc import Callable

WAKE = signal.SIGUSR1
"""Interrupts a thread's read of the device; needs a handler that does nothing, set with `signal.signal`."""

_lib = fuse._libfuse  # noqa: SLF001 - the handle that fusepy found and opened
_ADDRESS = ctypes.c_void_p
_Receive = ctypes.CFUNCTYPE(ctypes.c_int, _ADDRESS, _ADDRESS, ctypes.c_size_t)
_loop = ctypes.CFUNCTYPE(ctypes.c_int, _ADDRESS)(("fuse_session_loop", _lib))
_exit = ctypes.CFUNCTYPE(None, _ADDRESS)(("fuse_session_exit", _lib))
_next_channel = ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS, _ADDRESS)(("fuse_session_next_chan", _lib))
_channel_fd = ctypes.CFUNCTYPE(ctypes.c_int, _ADDRESS)(("fuse_chan_fd", _lib))
_channel_size = ctypes.CFUNCTYPE(ctypes.c_size_t, _ADDRESS)(("fuse_chan_bufsize", _lib))

_WAKE_EVERY = 0.02  # seconds; a signal that comes just before the read is lost

_local = threading.local()


class _Channel(ctypes.Structure):
    """`struct fuse_chan` of libfuse 2.9, as far as it matters here."""

    _fields_ = (
        ("receive", _ADDRESS),
        ("send", _ADDRESS),
        ("destroy", _ADDRESS),
        ("session", _ADDRESS),
        ("fd", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def current_request() -> memoryview:
    """Return the request that the calling thread is serving, header first; empty outside of the pool."""
    return getattr(_local, "request", memoryview(b""))


class Pool:
    """Threads that serve one libfuse session; *ended* is called once, by the last of them."""

    def __init__(self, session: int, threads: int, ended: Callable[[], None]) -> None:
        """Prepare *threads* threads for the `struct fuse_session` at *session*."""
        self._session = session
        self._left = self._strangers = threads
        self._ended = ended
        self._lock = threading.Lock()
        self._all_left, self._over = threading.Event(), threading.Event()
        self._channel = _channel_of(session)
        self._receive = _Receive(self._channel.receive)
        self._introduction = _Receive(self._introduce)
        self._threads = [
            threading.Thread(target=self._run, name=f"fuse-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to serve."""
        self._channel.receive = ctypes.cast(self._introduction, _ADDRESS)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more requests, and return when those being served are answered."""
        while not self._all_left.is_set():
            for thread in self._threads:
                _exit(self._session)  # each time: a loop that ends takes it back
                if thread.ident is not None:
                    signal.pthread_kill(thread.ident, WAKE)
            self._all_left.wait(_WAKE_EVERY)

    def join(self) -> None:
        """Wait for every thread's end."""
        self._all_left.wait()
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            _loop(self._session)
        finally:
            with self._lock:
                self._left -= 1
                last = not self._left
            if last:
                self._all_left.set()
                self._ended()
            self._over.wait()  # nobody may signal a thread that is no more

    def _introduce(self, channel_at: int, buffer: int, size: int) -> int:
        if not current_request():
            _local.request = memoryview((ctypes.c_char * size).from_address(buffer))
            with self._lock:
                self._strangers -= 1
                if not self._strangers:
                    self._channel.receive = ctypes.cast(self._receive, _ADDRESS)
        return int(self._receive(channel_at, buffer, size))


def _channel_of(session: int) -> _Channel:
    address = _next_channel(session, None)
    channel = _Channel.from_address(address)
    known = (channel.session, channel.fd, channel.size)
    if known != (session, _channel_fd(address), _channel_size(address)):
        raise RuntimeError("this libfuse is not of version 2.9")
    return channel
