"""Puts the drafts of files whose writers have gone into history, many in one transaction, off the callers' threads.

`close()` has already returned with the content committed; what is left is the event, which follows within a few
milliseconds, and at once where somebody on this mount reads the trail. Such a reader waits for it a moment only: while
another process keeps the index locked, the trail is read without. Threading: any thread may call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Entry
from llmspellfs.model.event import Origin
from llmspellfs.service.namespace import Entries

log = logging.getLogger(__name__)
_GATHER_SECONDS = 0.004
"""How long drafts are gathered: with 1 KiB files written one after another this nearly halves their transactions."""
_RETRY_SECONDS = 0.5
_READER_SECONDS = 0.1
"""How long a reader of the trail waits for what was closed before."""

Sealed = Callable[[Entry], None]


class Sealer:
    """A thread that seals what `add` brings; *sealed* hears of each row that is in history now."""

    def __init__(self, entries: Entries, sealed: Sealed) -> None:
        """Begin with nothing to do; the thread starts with the first draft."""
        self._entries, self._sealed = entries, sealed
        self._turn = threading.Lock()
        self._sealing = threading.Lock()
        self._work, self._hurry = threading.Event(), threading.Event()
        self._progress = threading.Condition(self._turn)
        self._added = self._finished = 0
        self._waiting: list[tuple[Entry, Origin]] = []
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    def add(self, draft: Entry, origin: Origin) -> None:
        """Seal *draft* soon, as *origin*'s."""
        with self._turn:
            self._waiting.append((draft, origin))
            self._added += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
                self._thread.start()
        self._work.set()

    def settle(self) -> None:
        """Return when everything added before is in history, or, where that takes long, after a moment."""
        with self._turn:
            wanted = self._added
            if self._finished < wanted:
                self._hurry.set()
                self._progress.wait_for(lambda: self._finished >= wanted, _READER_SECONDS)

    def _seal(self) -> None:
        """Seal what waits now; raises StoreBusy and NoSpace, and what waits still waits then."""
        with self._sealing:
            with self._turn:
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            try:
                rows = self._entries.seal(taken)
            except BaseException:
                with self._turn:
                    self._waiting = taken + self._waiting
                raise
        for row in rows:
            self._sealed(row)
        with self._turn:
            self._finished += len(taken)
            self._progress.notify_all()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            self._work.wait()
            self._work.clear()
            self._hurry.wait(_GATHER_SECONDS)
            self._hurry.clear()
            try:
                self._seal()
            except (SpellError, OSError) as error:
                log.warning("drafts wait to be put into history: %s", error)
                self._is_closed.wait(_RETRY_SECONDS)
                self._work.set()
            except Exception:
                log.exception("drafts could not be put into history; whoever opens the store next will")

    def close(self) -> None:
        """Seal what waits and end the thread; what cannot be sealed is logged, and sealed by the next to open."""
        self._is_closed.set()
        self._work.set()
        self._hurry.set()
        try:
            self._seal()
        except (SpellError, OSError) as error:
            log.error("drafts were left for the next to open the store: %s", error)  # noqa: TRY400
        if self._thread is not None:
            self._thread.join()
