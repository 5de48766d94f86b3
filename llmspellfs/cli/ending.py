"""A script that a signal ends: the record of its run is written first, then the process ends by the signal.

Python hears of a signal between two of its own instructions; a loop in Lua has none. So a thread hears of it too: it
asks the run to end at its next change of the store, and where none comes it writes the record itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from llmspellfs.service.records import Recorder

if TYPE_CHECKING:
    from llmspellfs.service.store import Store

SIGNALS: Final = {
    signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "terminated", signal.SIGALRM: "timeout",
}  # fmt: skip
"""How a run ends by each, as its record says it."""
PATIENCE = 0.2
"""Seconds that a run is given to end by itself."""
TRIES = 10
"""How often it is given them while it writes its record."""


class Ending:
    """While it is entered, in the main thread, signals end the runs on *store* in order; a second one ends all at once.

    A signal that is ignored stays so.
    """

    def __init__(self, store: Store) -> None:
        """Hear of nothing yet."""
        self._engine = store.engine
        self._heard: int | None = None
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        """Begin to listen."""
        heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, _do_nothing) for number in heeded}
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        self._fd_before = signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="ending", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to listen; end the process where a signal has come."""
        self._is_over.set()
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._wakes)
        self._thread.join()
        os.close(self._woken)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._heard is not None:
            _end_by(self._heard)

    def _listen(self) -> None:
        for number in iter(lambda: os.read(self._woken, 1), b""):
            if number[0] in SIGNALS:
                self._heard = number[0]
                self._end(number[0])
                return

    def _end(self, number: int) -> None:
        _restore(number)
        for run in self._runs():
            run.ask(SIGNALS[signal.Signals(number)])
        for _ in range(TRIES):
            if self._is_over.wait(PATIENCE):
                return
            if runs := self._runs():
                for run in runs:
                    run.cut()
                break
        _end_by(number)

    def _runs(self) -> list[Recorder]:
        return [one for one in list(self._engine.witnesses.values()) if isinstance(one, Recorder)]


def _do_nothing(*_: object) -> None:
    """Be there, so that the signal does not end the process."""


def _restore(number: int) -> None:
    # signal.signal is for the main thread, which may be in a loop of Lua's.
    ctypes.CDLL(None).signal(number, 0)


def _end_by(number: int) -> None:
    _restore(number)
    os.kill(os.getpid(), number)
