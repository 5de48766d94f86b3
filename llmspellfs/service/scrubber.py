"""Scrubbing behind a mount: all content once in `scrub_days`, a little at a time, while its process does little else.

How much is due follows from the time since the pass began, so that what was not mounted for a while is caught up with;
the rate is bounded. Threading: one thread, which holds no lock while it reads and ends after the step that it is at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmspellfs.errors import SpellError
from llmspellfs.model.times import NS
from llmspellfs.service.engine import Engine
from llmspellfs.service.scrub import Walk
from llmspellfs.storage import contents, scrubbing, turns
from llmspellfs.storage.scrubbing import Pass

_log = logging.getLogger(__name__)
_RATE = 8 << 20
"""Bytes a second that are read at most behind a mount."""
_TICK = 5.0
"""Seconds between looks at what is due."""
_BUSY_SHARE = 0.1
"""Of one processor: what the rest of the process takes where the mount is busy."""
_LONGEST_PAUSE = 600.0
"""Seconds after which a step is taken though the mount is busy, so that a pass ends where it always is."""
_RECOUNT_SECONDS = 3600.0


class Scrubber:
    """A thread that scrubs the store, all of it once in `scrub_days`, while its process does little else."""

    def __init__(self, engine: Engine, *, tick: float = _TICK, is_busy: Callable[[], bool] | None = None) -> None:
        """Begin to scrub *engine*'s store, if the configuration says so and it is on a disk."""
        self._engine, self._tick = engine, tick
        self._is_busy = is_busy or _Load().is_high
        self._period = engine.config.scrub_days * 86400 * NS
        self._total, self._recount = 0, 0.0
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None
        if self._period and engine.rooms.path is not None:
            self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, after the step that it is at."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_closed.wait(self._tick):
            try:
                with self._engine.index.read() as db:
                    state = scrubbing.load(db)
                if state is None or state.done < self._due(state):
                    self._take_turn()
            except (SpellError, OSError) as error:
                _log.warning("the scrub goes on later: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, the mount goes on
                _log.exception("the scrub goes on later")

    def _take_turn(self) -> None:
        with turns.alone(self._engine.rooms.path, turns.SCRUBBING) as is_mine:
            if is_mine:
                self._catch_up(Walk(self._engine, self._known_total()))

    def _catch_up(self, walk: Walk) -> None:
        """Read what is due by now."""
        while walk.state.done < self._due(walk.state) and self._may_go_on():
            began, before = time.monotonic(), walk.bytes
            if not walk.step():
                break
            self._is_closed.wait(max(0.0, (walk.bytes - before) / _RATE - (time.monotonic() - began)))
        walk.save()

    def _due(self, state: Pass) -> int:
        """Return the bytes that should be behind by now for the pass to end in its time; then one more, for its end."""
        elapsed, total = max(0, self._engine.now() - state.began_ns), self._known_total()
        return total * elapsed // self._period if elapsed < self._period else max(total, state.done) + 1

    def _known_total(self) -> int:
        """Return the bytes of all content, counted anew every hour."""
        if time.monotonic() >= self._recount:
            with self._engine.index.read() as db:
                self._total = contents.totals(db)[1]
            self._recount = time.monotonic() + _RECOUNT_SECONDS
        return self._total

    def _may_go_on(self) -> bool:
        """Wait while the process is busy with other things; tell whether there is still time to scrub."""
        deadline = time.monotonic() + _LONGEST_PAUSE
        while self._is_busy() and time.monotonic() < deadline:
            if self._is_closed.wait(self._tick):
                return False
        return not self._is_closed.is_set()


class _Load:
    """Tells whether the process did much beside what the asking thread did, since it was last asked."""

    def __init__(self) -> None:
        self._seen = self._look()

    def is_high(self) -> bool:
        before, self._seen = self._seen, self._look()
        (wall, process, own), (wall_before, process_before, own_before) = self._seen, before
        others = (process - process_before) - max(0.0, own - own_before)
        return others > _BUSY_SHARE * max(wall - wall_before, 0.001)

    @staticmethod
    def _look() -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), time.thread_time()
