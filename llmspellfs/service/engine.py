"""What every service shares: the rooms of storage, the clock, the ids, and the write transaction."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from llmspellfs.config import Config
from llmspellfs.errors import NotFound, ReadOnly, SessionNotActive
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session
from llmspellfs.service.changes import Changes
from llmspellfs.service.quota import quota_of
from llmspellfs.storage import inherited, inodes, sessions
from llmspellfs.storage.index import Connection
from llmspellfs.storage.journal import Journal
from llmspellfs.storage.opening import Rooms

_INO_BATCH, _INO_LOW, _INO_MORE = 4096, 1024, 256


@dataclass(frozen=True, slots=True)
class Transaction:
    """One write transaction: its connection, its journal, and its time in nanoseconds."""

    db: Connection
    journal: Journal
    now_ns: int
    inos: Iterator[int]
    """Numbers for new inodes."""

    def session(self, sid: int) -> Session:
        """Return the live session *sid* as this transaction sees it; raise NotFound where it is gone."""
        session = sessions.load(self.db, sid)
        if session is None:
            gone = sessions.load_any(self.db, sid)
            raise NotFound("session", sid if gone is None else gone.dirname)
        return session

    def active_session(self, sid: int) -> Session:
        """Return the session *sid* if its content may change; raise NotFound or SessionNotActive."""
        return check_active(self.session(sid))


class Witness(Protocol):
    """What follows the work of one thread on a store: a run that is recorded."""

    def begins(self, journal: Journal) -> None:
        """Take note of a transaction that begins."""

    def ends(self, journal: Journal) -> None:
        """Add to a transaction that is about to be committed."""

    def wrote(self, journal: Journal) -> None:
        """Take note of a transaction that has been committed."""

    def read(self, artifact: Artifact) -> None:
        """Take note of *artifact*, whose content is read."""

    def looked(self, scope: str, key: str, text: str | None) -> None:
        """Take note of the value of a *key* of State, as JSON, before it was set; None where it did not matter."""

    def freezes(self, session: Session) -> None:
        """Write what belongs into the active *session* while that is possible."""

    def hidden(self, session_id: str) -> frozenset[int]:
        """Return the sequences of the witness's own artifacts in a session, which the thread is not to see."""


def check_active(session: Session) -> Session:
    """Return *session* if its content may change; raise SessionNotActive."""
    if not session.is_active:
        raise SessionNotActive(session.dirname, session.status)
    return session


class Engine:
    """The shared parts of a store; *now* gives nanoseconds since the epoch, *new_id* a UUID version 4 as text."""

    def __init__(
        self, rooms: Rooms, config: Config, origin: Origin, now: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        """Keep the parts; no transaction runs yet."""
        self.rooms, self.config, self.origin, self.now, self.new_id = rooms, config, origin, now, new_id
        self.index = rooms.index
        self.changes = Changes(rooms.index)
        self.quota = quota_of(config)
        self._ino_turn = inherited.lock()
        self._spare: deque[int] = deque()
        self._ino_pid = os.getpid()
        self.witnesses: dict[int, Witness] = {}
        """By the thread that they follow."""

    @property
    def witness(self) -> Witness | None:
        """What follows the work of this thread, if anything does."""
        return self.witnesses.get(threading.get_ident()) if self.witnesses else None

    def check_writable(self) -> None:
        """Raise ReadOnly where the store's folder cannot be written to."""
        if self.rooms.read_only is not None:
            raise ReadOnly(f"the store {self.rooms.path}: {self.rooms.read_only}")

    def write(self, by: Origin | None = None, *, durable: bool = False, inos: int = 32, frees: bool = False) -> Work:
        """Run one write transaction as *by*; its events and numbers are written before it commits.

        About *inos* new inodes are made in it; more are possible. *frees*: it takes away more than it adds, and may use
        the room that is kept for that on a full disk. No user code and no slow work belongs inside. Raises StoreBusy
        and NoSpace.
        """
        return Work(self, by or self.origin, durable, inos, frees)

    def reserve_ino(self) -> int:
        """Return an inode number that nobody else gets, for a file that is not committed yet.

        It waits for no other writer: the stock is filled up in the background, long before it is needed.
        """
        while (ino := self._take_ino()) is None:
            self.stock(1)
        if len(self._spare) < _INO_LOW:
            self.stock_soon()
        return ino

    def stock(self, count: int) -> None:
        """Have *count* inode numbers or more at hand; that takes a transaction of its own now and then."""
        if len(self._spare) >= count and self._ino_pid == os.getpid():
            return
        with self._ino_turn:
            if self._ino_pid != os.getpid():
                self._spare.clear()
            if len(self._spare) < count:
                batch = max(_INO_BATCH, count)
                with self.index.write() as db:
                    first = inodes.reserve(db, batch)
                self._spare.extend(range(first, first + batch))
            self._ino_pid = os.getpid()

    def stock_soon(self) -> None:
        """Have inode numbers at hand soon, without waiting for them."""
        if not self._ino_turn.locked():
            threading.Thread(target=self._stock_quietly, name="inos", daemon=True).start()

    def _stock_quietly(self) -> None:
        with suppress(Exception):  # who needs one at once hears of it
            self.stock(_INO_LOW)

    def inos(self, db: Connection) -> Iterator[int]:
        """Yield numbers for the inodes of one transaction on *db*: from the stock, and beyond it its own.

        Numbers of its own go with the transaction where it is rolled back; the stock is shared and never does.
        """
        while (ino := self._take_ino()) is not None:
            yield ino
        while True:
            first = inodes.reserve(db, _INO_MORE)
            yield from range(first, first + _INO_MORE)

    def _take_ino(self) -> int | None:
        if self._ino_pid != os.getpid():
            return None
        try:
            return self._spare.popleft()
        except IndexError:
            return None


class Work:
    """One write transaction of the service, as a context; a class, since every change enters one."""

    __slots__ = ("_begun", "_by", "_durable", "_engine", "_frees", "_inos", "_since", "_witness")

    def __init__(self, engine: Engine, by: Origin, durable: bool, inos: int, frees: bool) -> None:
        """Write to *engine*'s store as *by*."""
        self._engine, self._by, self._durable, self._inos, self._frees = engine, by, durable, inos, frees
        self._witness = engine.witness

    def __enter__(self) -> Transaction:
        """Begin."""
        engine = self._engine
        if not self._frees:
            engine.stock(self._inos)
        db = engine.index.begin(durable=self._durable, frees=self._frees)
        try:
            self._since = None if engine.quota is None or self._frees else engine.quota.begin(db)
            journal = Journal(db, engine.now(), self._by)
            if self._witness is not None:
                self._witness.begins(journal)
        except BaseException:
            engine.index.end(durable=self._durable, commit=False)
            raise
        self._begun = Transaction(db, journal, journal.now_ns, engine.inos(db))
        return self._begun

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Write the numbers and commit, or roll back where there is an *error*."""
        index, journal = self._engine.index, self._begun.journal
        index.end(durable=self._durable, commit=error is None, last=lambda: self._finish(journal))
        if error is None:
            self._engine.changes.note_own(journal)
            if self._witness is not None:
                self._witness.wrote(journal)
        elif (mapped := index.mapped(error)) is not error:
            raise mapped from None

    def _finish(self, journal: Journal) -> None:
        if self._witness is not None:
            self._witness.ends(journal)
        if self._engine.quota is not None and self._since is not None:
            self._engine.quota.check(journal.db, self._since, journal.touched)
        journal.finish()
        if self._durable and not journal.touched:
            journal.db.execute("UPDATE store SET value = ? WHERE key = 'synced_ns'", (journal.now_ns,))
