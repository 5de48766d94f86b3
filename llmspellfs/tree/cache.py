"""What the mount remembers of sessions, dropped when the store says that somebody else has changed them.

Threading: the dictionaries of one session are read and written without a lock; `generation` keeps what was read
before a change from being remembered after it.
"""

from __future__ import annotations

import threading
import time

from llmspellfs.model.artifact import Entry
from llmspellfs.model.session import Session
from llmspellfs.service.store import Store
from llmspellfs.tree.api import Attr

_MANY = 200_000
_LATELY_SECONDS = 0.01
Key = tuple[int, str]
"""A folder's ino and a name in it."""


class SessionCache:
    """What is remembered of one session, for as long as it is alive."""

    def __init__(self, session: Session) -> None:
        """Remember *session* and nothing of its entries yet."""
        self.session = session
        self.is_alive = True
        self.generation = 0
        self.entries: dict[Key, Entry] = {}
        self.attrs: dict[Key, Attr] = {}
        self.folders: dict[int, Key] = {}
        """Where each folder that was looked up is, so that its attributes can be forgotten."""
        self.missing: set[Key] = set()
        """Places where nothing is."""
        self.owners: dict[int, tuple[int, int]] = {}
        """The mode and the group of folders, which what is made in them may inherit."""
        self.top: Attr | None = None

    def remember(self, key: Key, entry: Entry, generation: int) -> None:
        """Keep *entry*, unless something has changed since *generation*."""
        if generation == self.generation:
            if len(self.entries) > _MANY:
                self.entries.clear()
            self.entries[key] = entry

    def remember_missing(self, key: Key, generation: int) -> None:
        """Keep in mind that nothing is at *key*, unless something has changed since *generation*."""
        if generation == self.generation:
            if len(self.missing) > _MANY:
                self.missing.clear()
            self.missing.add(key)

    def remember_attr(self, key: Key, attr: Attr, generation: int) -> None:
        """Keep *attr*, unless something has changed since *generation*."""
        if generation == self.generation:
            if len(self.attrs) > _MANY:
                self.attrs.clear()
            self.attrs[key] = attr

    def forget(self, folder: int, name: str) -> None:
        """Forget the entry at a place, and its folder's attributes."""
        self.generation += 1
        self.entries.pop((folder, name), None)
        self.attrs.pop((folder, name), None)
        self.missing.discard((folder, name))
        self.forget_folder(folder)

    def forget_folder(self, folder: int) -> None:
        """Forget the attributes of *folder* (an ino)."""
        self.generation += 1
        key = self.folders.get(folder)
        if key is None:
            self.top = None
        else:
            self.entries.pop(key, None)
            self.attrs.pop(key, None)


class Cache:
    """The sessions that the mount remembers, by number and by directory name."""

    def __init__(self, store: Store) -> None:
        """Remember nothing yet."""
        self._store = store
        self._by_sid: dict[int, SessionCache] = {}
        self._by_dirname: dict[str, SessionCache] = {}
        self._looked = 0.0
        self._generation = 0
        self._turn = threading.Lock()

    def refresh(self, *, lately: bool = False) -> None:
        """Drop the sessions that others have changed; *lately*: unless that was looked at within 10 ms.

        After a commit looking costs 40 µs. What only shows attributes can do without, since the kernel keeps these
        for a second anyway; opening cannot.
        """
        now = time.monotonic()
        if lately and now - self._looked < _LATELY_SECONDS:
            return
        self._looked = now
        self._store.drop_changed(self.drop)

    def drop(self, sid: int) -> None:
        """Forget everything of session *sid*."""
        with self._turn:
            self._generation += 1
            known = self._by_sid.pop(sid, None)
            if known is not None:
                known.is_alive = False
                known.generation += 1
                self._by_dirname.pop(known.session.dirname, None)

    def by_dirname(self, dirname: str) -> SessionCache | None:
        """Return what is remembered of the session called *dirname*, or None where there is none."""
        known = self._by_dirname.get(dirname)
        if known is not None:
            return known
        generation = self._generation
        session = self._store.sessions.by_dirname(dirname)
        return None if session is None else self._remember(session, generation)

    def _remember(self, session: Session, generation: int) -> SessionCache:
        """Return what is remembered of *session*, which was read at *generation*; nothing is, if that has passed.

        Of a session at most one is alive: changes are told to that one alone.
        """
        with self._turn:
            known = self._by_sid.get(session.sid)
            if known is not None:
                return known
            fresh = SessionCache(session)
            fresh.is_alive = generation == self._generation
            if fresh.is_alive:
                self._by_sid[session.sid] = self._by_dirname[session.dirname] = fresh
            return fresh

    def peek(self, sid: int) -> SessionCache | None:
        """Return what is remembered of session *sid*, if anything is."""
        return self._by_sid.get(sid)
