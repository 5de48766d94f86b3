"""A store and how it is opened: the Python door."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmspellfs.config import BACKENDS, Config, load_config, store_path
from llmspellfs.errors import ConfigError, Corrupt, SpellError
from llmspellfs.model.artifact import Entry
from llmspellfs.model.event import Origin
from llmspellfs.service import erasure
from llmspellfs.service.artifacts import Artifacts
from llmspellfs.service.engine import Engine
from llmspellfs.service.intake import Intake
from llmspellfs.service.kept import waiting
from llmspellfs.service.messages import Messages
from llmspellfs.service.namespace import Entries
from llmspellfs.service.past import Past
from llmspellfs.service.presence import Presence
from llmspellfs.service.reader import Reader
from llmspellfs.service.search import Search
from llmspellfs.service.sessions import Sessions
from llmspellfs.service.space import Space, check_space, space
from llmspellfs.service.state import State
from llmspellfs.service.upkeep import Upkeep
from llmspellfs.service.versions import seal
from llmspellfs.storage import entries, sessions
from llmspellfs.storage.audit import HARMED
from llmspellfs.storage.index import BUSY_SECONDS
from llmspellfs.storage.opening import open_rooms
from llmspellfs.storage.reading import Hold
from llmspellfs.storage.spool import is_alive

if TYPE_CHECKING:
    from llmspellfs.model.session import Session
    from llmspellfs.service.archive import Archive
    from llmspellfs.service.replays import Replays
    from llmspellfs.service.retention import Retention
    from llmspellfs.service.runs import Runs

_log = logging.getLogger(__name__)


class Store:
    """Sessions and artifacts, with everything that can be done to them.

    Many processes may have one store open; what one commits, the others see at once. Use it as a context manager,
    or call `close`. `open_store` makes one.
    """

    def __init__(self, engine: Engine) -> None:
        """Put the services together over *engine*."""
        self.engine = engine
        self.search = Search(engine)
        """Queries in the query language."""
        self.sessions = Sessions(engine, self.search)
        """Sessions: made, found, changed, frozen, saved, deleted, brought back."""
        self.intake = Intake(engine)
        self.artifacts = Artifacts(engine, self.search, self.intake)
        """Artifacts by name: stored, read, listed, changed, deleted, brought back."""
        self.entries = Entries(engine)
        """The tree by place, for file system doors."""
        self.past = Past(engine)
        """What sessions were, and the ways back: diff, rollback, fork."""
        self.state = State(engine)
        """Values that scripts keep, by scope and key."""
        self.messages = Messages(engine)
        """What happens and what is published, for subscribers of any process."""
        self.upkeep = Upkeep(engine, self.artifacts)
        """Figures, garbage collection, checks, lost and found."""
        self.timed_out: list[Session] = []
        """Sessions that were suspended when the store was opened, since nothing had happened in them for too long."""

    @cached_property
    def runs(self) -> Runs:
        """Runs of scripts: recorded, looked up, and what they say of lineage."""
        from llmspellfs.service.runs import Runs  # here and below: most uses of a store need neither

        return Runs(self.engine, self.intake)

    @cached_property
    def replays(self) -> Replays:
        """Sessions replayed from their events, or from their scripts."""
        from llmspellfs.service.replays import Replays

        return Replays(self.engine, self.runs)

    @cached_property
    def archive(self) -> Archive:
        """Sessions out into a file, and in from one."""
        from llmspellfs.service.archive import Archive

        return Archive(self.engine, self.intake)

    @cached_property
    def retention(self) -> Retention:
        """The rules by which sessions are suspended, completed, deleted and purged in time."""
        from llmspellfs.service.retention import Retention

        return Retention(self.engine)

    def presence(self) -> Presence:
        """Return what a mount or a script notes the sessions in which it is at work."""
        return Presence(self.engine)

    @property
    def config(self) -> Config:
        """The configuration that the store was opened with."""
        return self.engine.config

    @property
    def path(self) -> Path | None:
        """The store's folder, or None for one in memory."""
        return self.engine.rooms.path

    @property
    def read_only(self) -> str | None:
        """Why nothing can be changed, as in a folder that cannot be written to; None where all can be."""
        return self.engine.rooms.read_only

    @property
    def origin(self) -> Origin:
        """Who does what no other origin is given for."""
        return self.engine.origin

    def open_content(self, entry: Entry) -> Reader:
        """Return a reader of the content of the file *entry*; raise Corrupt where it is gone."""
        return Reader(self.engine, entry.facts.content, entry.facts.content_hash, entry.facts.size)

    def hold_content(self, entry: Entry) -> Hold:
        """Have the content of the file *entry* kept, whatever becomes of the file, until that is closed."""
        return self.engine.rooms.reading.hold(entry.facts.content)

    def sync(self) -> None:
        """Return when everything committed so far survives power loss."""
        if self.read_only is not None:
            return
        with self.engine.write(durable=True, frees=True):
            pass

    def drop_changed(self, drop: Callable[[int], None]) -> None:
        """Call *drop* with the sid of each session that others than this object have changed since the last call."""
        self.engine.changes.poll(drop)

    def space(self) -> Space:
        """Return how full the store's disk is, and what the store itself holds."""
        return space(self.engine)

    def check_space(self) -> None:
        """Raise NoSpace where nothing at all can be stored any more."""
        check_space(self.engine)

    def close(self) -> None:
        """Let go of the store; a store in memory is gone."""
        self.engine.rooms.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def open_store(
    path: str | os.PathLike[str] | None = None,
    *,
    config: Config | None = None,
    backend: str | None = None,
    origin: Origin | None = None,
    now: Callable[[], int] = time.time_ns,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    busy_seconds: float = BUSY_SECONDS,
    create: bool = True,
    dry_run: bool = False,
) -> Store:
    """Open the store at *path*; without a path, where the configuration says.

    Where it is missing it is made, unless *create* is false: then StoreUnusable is raised. Where its folder cannot be
    written to it is opened for reading (`Store.read_only` says why), and every change raises ReadOnly.

    Sessions in which nothing has happened for `session_timeout_seconds` are suspended, unless it is for a *dry_run*.

    *config* is by default what `load_config` finds; *backend* is "sqlite" or "memory" and by default the
    configuration's; *origin* stands in the audit trail; *now* gives nanoseconds since the epoch and *new_id* UUIDs,
    so that tests decide them; a writer waits at most *busy_seconds* for others. Raises ConfigError, StoreUnusable.
    """
    config = config or load_config()
    if not config.enabled:
        raise ConfigError(config.source or "configuration", "runtime.sessions.enabled", "sessions are switched off")
    backend = backend or config.storage_backend
    if backend not in BACKENDS:
        raise ConfigError("open_store", "backend", f"expected one of {', '.join(BACKENDS)}, not {backend!r}")
    in_memory = BACKENDS[backend] == "memory"
    rooms = open_rooms(
        None if in_memory else store_path(config, path), busy_seconds=busy_seconds, create=create,
        allow_network=config.allow_network_store,
    )  # fmt: skip
    try:
        store = Store(Engine(rooms, config, origin or Origin(f"uid:{os.getuid()}", "api"), now, new_id))
    except BaseException:
        rooms.close()
        raise
    if store.read_only is not None:
        return store
    try:
        # Hidden commits come back only to trails that have not gone on.
        is_waiting = bool(waiting(store.path))
        if not is_waiting:
            _seal_abandoned(store.engine)
        _finish_purges(store.engine)
        if not is_waiting:
            store.timed_out = store.sessions.suspend_idle(dry_run=dry_run)
    except BaseException:
        store.close()
        raise
    return store


def _finish_purges(engine: Engine) -> None:
    """Go on with purges that were cut, as far as the disk lets."""
    try:
        erasure.finish(engine)
    except Corrupt as error:
        _log.warning("the index is damaged, `llmspellfs fsck` says how: %s", error.what)
    except SpellError as error:
        _log.warning("what a purge has left is not erased yet: %s", error.message)


def _seal_abandoned(engine: Engine) -> None:
    """Put drafts into history whose process has died: what it committed stays, and nobody else amends it.

    A draft that damage lets nobody seal is left for the next, after a repair: to find it, the store has to open.
    """
    path = engine.rooms.path
    with engine.index.read() as db:
        owners = entries.draft_owners(db)
    dead = {owner for owner in set(owners.values()) if path is None or not is_alive(path, owner)}
    for eid in (eid for eid, owner in owners.items() if owner in dead):
        try:
            _seal_one(engine, eid)
        except HARMED as error:
            _log.warning("draft %d of a process that has died is not put into history: %s", eid, error)


def _seal_one(engine: Engine, eid: int) -> None:
    with engine.write(frees=True) as tx:
        draft = entries.load(tx.db, eid)
        if draft is None or draft.seq_from is not None:
            return
        session = sessions.load_any(tx.db, draft.sid)
        if session is not None:
            seal(tx, session, draft)
