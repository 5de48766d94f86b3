"""The threads that serve requests: a fixed pool of Python threads in libfuse's own loop, and a reserve.

libfuse's own multi-threaded loop starts and ends threads at will, and ctypes builds a Python thread state for
each of their callbacks, which halves every rate. A loop in Python (`fuse_chan_recv`, `fuse_session_process`)
was measured too: it costs 2 µs more a request, a tenth of what a small request takes. So does every thread more
that waits at the device: sixteen halve the rate of small opens.

Calls may take seconds, while the store waits for another process or for the disk. That nobody else waits for
them is the reserve's work: one thread watches the device, without reading it, and where a request has been
waiting there for a moment and every thread has been in the same call all that time, it serves itself, and a new
one watches. It goes on until one of the others is back.

What libfuse hides from callbacks is the request itself, which alone says what the kernel asked for. Each loop
receives into one buffer for its whole life; so each thread's first call of the channel's receive function
goes through Python, which notes where that buffer is; when all have come by, libfuse's own function is in its
place again, until renames want to hear of each request.

A thread that waits for a request wakes by the end of the mount, or by the signal that `stop` sends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

from llmspellfs.fuse.answers import Answers
from llmspellfs.fuse.channel import ADDRESS, Receive, channel_of, exit_session, process, serve_session
from llmspellfs.fuse.made import MadeFolders
from llmspellfs.fuse.replacing import Replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

WAKE = signal.SIGUSR1
"""Interrupts a thread's read of the device; needs a handler that does nothing, set with `signal.signal`."""
MOST_RESERVES = 128
"""Threads of the reserve at most: as many calls more may wait for something before all do."""

_WAKE_EVERY = 0.02  # seconds; a signal that comes just before the read is lost
_PATIENCE_MS, _HURRY_MS = 20, 5
"""How long all must have been busy, and how long where the reserve is at work already."""
_SHIFT = 0.1
"""Seconds for which a thread of the reserve serves before it looks whether it still has to."""

_local = threading.local()


class _Thread:
    """A thread that serves, as another one sees it: from its buffer and from the kernel, at no cost to itself.

    Looking at its Python frames would do too, but while they run that is not safe in CPython 3.11.
    """

    def __init__(self, request: memoryview) -> None:
        """Be the calling thread, which receives into *request*."""
        self._request = request
        self._path = f"/proc/self/task/{threading.get_native_id()}/syscall"

    def serves(self) -> int:
        """Return the number of the request that it serves, or, while it waits, served last."""
        number: int = _UNIQUE.unpack_from(self._request)[0]
        return number

    def is_waiting(self, device: int) -> bool:
        """Tell whether it is in a call of the kernel on the *device* (a descriptor), as while it waits for a request.

        Where the kernel does not say, it is taken to be.
        """
        try:
            with open(self._path, "rb", buffering=0) as file:
                words = file.read(64).split()
        except OSError:
            return True
        return len(words) > 1 and int(words[1], 16) == device


_UNIQUE = struct.Struct("=8xQ")
"""Of `struct fuse_in_header`: the request's number."""
Calls: TypeAlias = dict[_Thread, int]
"""The request that each thread is busy with."""


def current_request() -> memoryview:
    """Return the request that the calling thread is serving, header first; empty outside of the pool."""
    return getattr(_local, "request", memoryview(b""))


def replacing() -> AbstractContextManager[None]:
    """Have a rename under way, in a thread of a pool; see `replacing.Replacing`."""
    renames = getattr(_local, "renames", None)
    return nullcontext() if renames is None else renames.one()


def answer_with_folder() -> None:
    """Have the answer to the mkdir that this thread is serving say that a directory was made; see `made`."""
    made = getattr(_local, "made", None)
    if made is not None:
        made.add(current_request())


class Pool:
    """Threads that serve one libfuse session; *ended* is called once, by the last of them."""

    def __init__(self, session: int, threads: int, ended: Callable[[], None]) -> None:
        """Prepare *threads* threads, and a reserve, for the `struct fuse_session` at *session*."""
        self._session = session
        self._strangers = threads
        self._ended = ended
        self._lock = threading.Lock()
        self._all_left = threading.Event()
        self._channel = channel_of(session)
        answers = Answers(self._channel)
        self._renames = Replacing(answers, current_request, self._listen)
        self._made = MadeFolders(answers)
        self._receive = Receive(self._channel.receive)
        self._hearing = Receive(self._hear)
        self._is_listening = False
        self._alive: set[int] = set()
        """The threads that a signal may be sent to."""
        self._serving: set[int] = set()
        self._threads_at: dict[int, _Thread] = {}
        """How each thread that has a buffer is seen."""
        self._is_ending = self._is_watched = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        """Readable once the end has come: it wakes who watches."""
        self._threads = [
            threading.Thread(target=self._run, name=f"fuse-{number}", daemon=True) for number in range(threads)
        ]
        self._reserves: set[threading.Thread] = set()
        self._left = threads

    def start(self) -> None:
        """Begin to serve."""
        self._channel.receive = ctypes.cast(self._hearing, ADDRESS)
        for thread in self._threads:
            thread.start()
        self._call_reserve()

    def stop(self) -> None:
        """Take no more requests, and return when those being served are answered."""
        self._end()
        while not self._all_left.is_set():
            with self._lock:  # who has left cannot be signalled: its thread may be no more
                for ident in self._alive:
                    exit_session(self._session)  # each time: a loop that ends takes it back
                    signal.pthread_kill(ident, WAKE)
            self._all_left.wait(_WAKE_EVERY)

    def join(self) -> None:
        """Wait for every thread's end."""
        self._all_left.wait()
        for thread in [*self._threads, *self._reserves]:
            thread.join()
        os.close(self._bell)

    def _end(self) -> None:
        self._is_ending = True
        os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        self._enter(is_serving=True)
        try:
            serve_session(self._session)
        finally:
            exit_session(self._session)  # a loop ends with the mount, and takes that back
            self._end()
            self._leave()

    def _enter(self, *, is_serving: bool) -> None:
        _local.renames, _local.made = self._renames, self._made
        with self._lock:
            self._alive.add(threading.get_ident())
            if is_serving:
                self._serving.add(threading.get_ident())

    def _leave(self) -> None:
        with self._lock:
            self._alive.discard(threading.get_ident())
            self._serving.discard(threading.get_ident())
            self._threads_at.pop(threading.get_ident(), None)
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._all_left.set()
            self._ended()

    def _hear(self, channel_at: int, buffer: int, size: int) -> int:
        if not current_request():
            self._introduce(memoryview((ctypes.c_char * size).from_address(buffer)))
        received = int(self._receive(channel_at, buffer, size))
        if received > 0:
            self._renames.heard()
        return received

    def _introduce(self, request: memoryview) -> None:
        self._receive_into(request)
        with self._lock:
            self._strangers -= 1
            self._choose()

    def _receive_into(self, request: memoryview) -> None:
        _local.request = request
        with self._lock:
            self._threads_at[threading.get_ident()] = _Thread(request)

    def _listen(self, wanted: bool) -> None:
        with self._lock:
            self._is_listening = wanted
            self._choose()

    def _choose(self) -> None:
        """Have requests go through Python as long as that is needed."""
        receive = self._hearing if self._strangers or self._is_listening else self._receive
        self._channel.receive = ctypes.cast(receive, ADDRESS)

    # the reserve

    def _call_reserve(self) -> None:
        """Have a thread watch, unless there are enough: then the next whose shift ends will."""
        with self._lock:
            self._is_watched = not self._is_ending and len(self._reserves) < MOST_RESERVES
            if not self._is_watched:
                return
            thread = threading.Thread(target=self._stand_by, name="fuse-reserve", daemon=True)
            self._reserves.add(thread)
            self._left += 1
            try:
                thread.start()
            except RuntimeError:  # no more threads are to be had
                self._reserves.discard(thread)
                self._left -= 1
                self._is_watched = False

    def _stand_by(self) -> None:
        self._enter(is_serving=False)
        try:
            while stuck := self._watch():
                self._enter(is_serving=True)
                self._call_reserve()
                self._serve(stuck)
                if not self._takes_over():
                    break
        finally:
            with self._lock:
                self._reserves.discard(threading.current_thread())
            self._leave()

    def _takes_over(self) -> bool:
        """Tell whether the calling thread, whose shift has ended, is the one to watch now."""
        with self._lock:
            self._serving.discard(threading.get_ident())
            was_watched, self._is_watched = self._is_watched, True
            return not was_watched

    def _watch(self) -> Calls | None:
        """Return once help is needed, with what all are busy with, or None at the end."""
        device, bell = select.poll(), select.poll()
        device.register(self._channel.fd, select.POLLIN)
        device.register(self._bell, select.POLLIN)
        bell.register(self._bell, select.POLLIN)
        while not self._is_ending:
            if any(event & ~select.POLLIN for _, event in device.poll()):
                return None  # unmounted
            calls = self._calls()
            patience = _HURRY_MS if len(self._serving) > len(self._threads) else _PATIENCE_MS
            if not bell.poll(patience) and calls and device.poll(0) and self._is_still(calls):
                return calls
        return None

    def _calls(self) -> Calls | None:
        """Return the requests that all serving threads are busy with, or None where one waits for its next."""
        with self._lock:
            threads = [self._threads_at.get(ident) for ident in self._serving]
        calls: Calls = {}
        for thread in threads:
            if thread is None or thread.is_waiting(self._channel.fd):
                return None
            calls[thread] = thread.serves()
        return calls

    def _is_still(self, calls: Calls) -> bool:
        return all(
            thread.serves() == call and not thread.is_waiting(self._channel.fd) for thread, call in calls.items()
        )

    def _serve(self, stuck: Calls) -> None:
        """Serve until one of the threads that are *stuck* is back."""
        size, channel = self._channel.size, ADDRESS(ctypes.addressof(self._channel))
        buffer = ctypes.create_string_buffer(size)
        self._receive_into(memoryview(buffer))
        until = time.monotonic() + _SHIFT
        while not self._is_ending:
            received = self._receive(ctypes.byref(channel), ctypes.addressof(buffer), size)
            if received > 0:
                process(self._session, ctypes.addressof(buffer), received, channel)
            elif received != -errno.EINTR:
                return
            if time.monotonic() > until:
                if not self._is_still(stuck):
                    return
                until = time.monotonic() + _SHIFT
