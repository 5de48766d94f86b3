"""Suspends sessions in which nothing has happened for the configured time, while the store is mounted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from llmspellfs.errors import SpellError
from llmspellfs.service.store import Store

log = logging.getLogger(__name__)
_MOST_SECONDS = 60.0


class Idleness:
    """A thread that looks now and then; none where the configuration sets no time."""

    def __init__(self, store: Store, suspended: Callable[[int], None], is_busy: Callable[[int], bool]) -> None:
        """Look through *store*, sparing sessions that *is_busy*; *suspended* hears the sid of each that was not."""
        self._store, self._suspended, self._is_busy = store, suspended, is_busy
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None
        seconds = store.config.session_timeout_seconds
        if seconds:
            self._pause = min(_MOST_SECONDS, seconds / 2)
            self._thread = threading.Thread(target=self._run, name="idleness", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.wait(self._pause):
            try:
                for session in self._store.sessions.suspend_idle(self._is_busy):
                    self._suspended(session.sid)
            except (SpellError, OSError) as error:
                log.warning("idle sessions are looked at again later: %s", error)
            except Exception:
                log.exception("idle sessions could not be looked at")

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
