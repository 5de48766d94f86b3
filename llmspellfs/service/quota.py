"""Quotas: how many stored bytes the store and each session may take, held to in every write transaction.

Each content and chunk counts once, as stored. What history retains counts, and in the store also what garbage
collection has not taken yet. A transaction is refused only where it adds bytes: in a store beyond its quota everything
is read, renamed and deleted as ever. What is refused goes to lost+found, which the same numbers hold for on its own:
so bytes that a full quota refuses can be recovered, and a store takes twice its quota at most. Without a quota nothing
here is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded
from llmspellfs.storage import contents, usage
from llmspellfs.storage.index import Connection, Index
from llmspellfs.storage.ingest import Room
from llmspellfs.storage.journal import Tally
from llmspellfs.storage.lost import LostItem, taken
from llmspellfs.storage.usage import Mark

STORE, SESSION = "storage_quota", "session_quota"


@dataclass(frozen=True, slots=True)
class Quota:
    """The quotas of one store in bytes; 0 is none."""

    storage: int
    session: int

    def begin(self, db: Connection) -> Mark:
        """Take note of how a transaction found the store."""
        since = usage.mark(db)
        if self.session:
            usage.catch_up(db, since.eid)
        return since

    def check(self, db: Connection, since: Mark, touched: dict[int, Tally]) -> None:
        """Raise LimitExceeded where the transaction that found the store as of *since* adds bytes beyond a quota."""
        self.check_store(db, since)
        if not self.session:
            return
        amended = {sid: tally.amended for sid, tally in touched.items() if tally.amended}
        grown = {sid: set[int]() for sid in amended} | usage.grown(db, since)
        for sid, new in grown.items():
            before, after = usage.count_session(db, sid, since, new, amended.get(sid, {}))
            if after > self.session and after > before:
                raise LimitExceeded(SESSION, self.session)
        if grown:
            usage.settle(db)

    def check_store(self, db: Connection, since: Mark) -> None:
        """Raise LimitExceeded where the transaction adds contents beyond what the store may take."""
        if self.storage and usage.added(db, since) and usage.count(db) > self.storage:
            raise LimitExceeded(STORE, self.storage)

    def check_lost(self, lost: list[LostItem], session_id: str | None, size: int) -> None:
        """Raise LimitExceeded where *lost* and *size* more bytes, meant for the session, are beyond a quota."""
        its = [item for item in lost if item.session == session_id]
        for key, limit, items in ((STORE, self.storage, lost), (SESSION, self.session, its)):
            if limit and taken(size) + sum(item.taken for item in items) > limit:
                raise LimitExceeded(key, limit)

    def room(self, index: Index) -> Room:
        """Return what one content may take that is on its way in; its session is not asked for what it has.

        Chunks that the store has, condemned or harmed ones too, are in what it takes already.
        """

        def has(digest: bytes) -> bool:
            with index.read() as db:
                return contents.has_chunk(db, digest.hex())

        rooms = [Room(SESSION, self.session, self.session, has)] if self.session else []
        if self.storage:
            with index.read() as db:
                rooms.append(Room(STORE, self.storage, max(0, self.storage - usage.total(db)), has))
        return min(rooms, key=lambda room: room.left)


def quota_of(config: Config) -> Quota | None:
    """Return the quotas that *config* sets, or None where it sets none."""
    if not (config.storage_quota or config.session_quota):
        return None
    return Quota(config.storage_quota, config.session_quota)
