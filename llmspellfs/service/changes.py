"""Which sessions changed since somebody last asked, so that caches drop these and only these.

Every transaction gives the sessions it touches a store-wide change number. `poll` costs one `PRAGMA data_version`
(2 µs) while nothing changed. Changes made through this store object itself are not reported, since whoever makes them
knows; those of other processes, and of other store objects, always are.
"""

from __future__ import annotations

from collections.abc import Callable

from llmspellfs.storage import changelog, inherited
from llmspellfs.storage.index import Index
from llmspellfs.storage.journal import Journal


class Changes:
    """The change numbers that this process's caches agree with; any thread may call."""

    def __init__(self, index: Index) -> None:
        """Begin with the store as it is now."""
        self._index = index
        self._turn = inherited.lock()
        self._version = -1
        with index.read() as db:
            self._seen = self._start = changelog.last_change(db)
        self._agreed: dict[int, int] = {}

    def note_own(self, journal: Journal) -> None:
        """Take note of what a transaction of this store has just committed."""
        for sid, tally in journal.touched.items():
            with self._turn:
                if self._agreed.get(sid, self._start) >= tally.change:
                    self._agreed[sid] = journal.change

    def poll(self, drop: Callable[[int], None]) -> None:
        """Call *drop* with the sid of each session that others have changed since; return when all are dropped."""
        version = self._index.data_version()
        if version == self._version:
            return
        with self._turn:
            with self._index.read() as db:
                changed = changelog.changed_since(db, self._seen)
            for sid, change in changed:
                if self._agreed.get(sid, self._start) < change:
                    drop(sid)
                self._agreed[sid] = change
                self._seen = max(self._seen, change)
            self._version = version
