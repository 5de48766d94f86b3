"""Control files that a handle has emptied and may have closed: what is opened next waits for them a moment.

close() is a flush, which a shell also does before it writes anything, and a release, which the kernel sends after
close() has returned; a truncation is applied at the release, so that `echo x > name` never sets an empty name.
Threading: any thread may call.
"""

from __future__ import annotations

import threading
import time

_MOMENT_SECONDS = 0.1
"""How long after the flush of such a handle its release is waited for; a handle that stays open holds nobody up."""


class Cuts:
    """The handles whose truncation waits for their release, by the file that they emptied."""

    def __init__(self) -> None:
        """Begin with none."""
        self._flushed: dict[str, dict[int, float]] = {}
        self._changed = threading.Condition()

    def add(self, key: str, handle: int) -> None:
        """Note that *handle* has emptied the file *key* and was flushed just now."""
        with self._changed:
            self._flushed.setdefault(key, {})[handle] = time.monotonic()

    def remove(self, key: str, handle: int) -> None:
        """Note that nothing of *handle* waits any more."""
        with self._changed:
            waiting = self._flushed.get(key, {})
            if waiting.pop(handle, None) is not None and not waiting:
                del self._flushed[key]
            self._changed.notify_all()

    def settle(self, key: str) -> None:
        """Return when no truncation of the file *key* waits, or a moment after the last flush of its handles."""
        with self._changed:
            while waiting := self._flushed.get(key):
                left = max(waiting.values()) + _MOMENT_SECONDS - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)
