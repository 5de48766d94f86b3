"""Suspends sessions in which nothing has happened for the configured time, and applies retention, in a mount."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmspellfs.errors import SpellError
from llmspellfs.service.presence import Presence
from llmspellfs.service.store import Store

log = logging.getLogger(__name__)
_MOST_SECONDS = 60.0
_RETENTION_SECONDS = 3600.0


class Idleness:
    """A thread that looks now and then; none where the configuration sets neither a time nor rules."""

    def __init__(
        self, store: Store, presence: Presence, changed: Callable[[int], None], is_busy: Callable[[int], bool]
    ) -> None:
        """Look through *store*, sparing sessions that *is_busy*; *changed* hears the sid of each that was not.

        *presence* is what the mount has noted of those, kept up to date here.
        """
        self._store, self._presence, self._changed, self._is_busy = store, presence, changed, is_busy
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None
        seconds = store.config.session_timeout_seconds
        self._retention_due = time.monotonic()
        if seconds or store.config.retention:
            self._pause = min(_MOST_SECONDS, seconds / 2 or _MOST_SECONDS)
            self._thread = threading.Thread(target=self._run, name="idleness", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.wait(self._pause):
            try:
                self._look()
            except (SpellError, OSError) as error:
                log.warning("idle sessions are looked at again later: %s", error)
            except Exception:
                log.exception("idle sessions could not be looked at")

    def _look(self) -> None:
        self._presence.sweep(self._is_busy)
        for session in self._store.sessions.suspend_idle(self._is_busy):
            self._changed(session.sid)
        if self._store.retention.rules and time.monotonic() >= self._retention_due:
            self._retention_due = time.monotonic() + _RETENTION_SECONDS
            report = self._store.retention.apply(is_busy=self._is_busy)
            if report.stale is not None:
                log.warning("words of what was purged may stand in unused bytes until a gc: %s", report.stale)
            for deed in report.deeds:
                self._changed(deed.sid)
                log.info("retention rule %r: %s %r: %s", deed.rule, deed.action, deed.session, deed.left or "done")

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
