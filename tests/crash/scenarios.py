"""What is interrupted: for each scenario how its store comes to be, and the one operation that is cut or fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import SessionNotActive, SpellError
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.creation import NewSession
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.reserve import Reserve
from tests.tree.trees import Walker

KIB = 1 << 10
HOUR = 3600
HISTORY = 40 * 24 * HOUR
"""More than the time for which history is kept."""


def content(seed: str, size: int) -> bytes:
    """Return *size* bytes that no compressor shortens."""
    return Random(seed).randbytes(size)


SMALL, CHUNK, CHUNKS = content("small", 2 * KIB), content("chunk", 200 * KIB), content("chunks", 2400 * KIB)
SHARED, OLD = content("shared", 150 * KIB), content("old", 160 * KIB)
REWRITTEN = SHARED, b"begin" + SHARED[5:] + CHUNKS, b"begin" + SHARED[5:] + CHUNKS + b"mo"


def _nothing(_: Store) -> None:
    pass


def void(_: object) -> None:
    """Return nothing."""


def common(store: Store) -> None:
    """Make what most scenarios begin with: a session with a few artifacts, one of them with a past."""
    store.sessions.create("s", tags=["kept"], metadata={"of": "all"})
    store.artifacts.put("s", "kept/small", b"kept", description="as it was", tags=["one"])
    store.artifacts.put("s", "kept/large", SHARED)
    store.artifacts.put("s", "old", b"first", custom={"n": 1})
    store.artifacts.put("s", "old", OLD)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One operation, *act*, on a store that *prepare* has filled.

    *has_store*: there is one before. *dies*: whoever prepares it is killed at the end. *ahead*: seconds by which the
    clock runs ahead during *act*. *is_one*: it is one transaction, so that not a row changes when it fails; others may
    have done a part of their work, all of which is whole. *purged*: contents of which nothing may be left. *written*:
    for an operation of several commits, what a name may hold between them; what was on its way may be in lost+found.
    *beside*: what is to be seen of the operation in the folder that the store is in. *each*: steps before every one of
    which something else is done, so that they are cut each time.
    """

    act: Callable[[Store], None]
    prepare: Callable[[Store], None] = common
    has_store: bool = True
    dies: bool = False
    ahead: int = 0
    is_one: bool = True
    purged: tuple[bytes, ...] = ()
    written: tuple[str, tuple[bytes, ...]] | None = None
    migrations: int | None = None
    in_folder: bool = False
    beside: Callable[[Path], Any] | None = None
    each: tuple[str, ...] = ()

    @property
    def is_opening(self) -> bool:
        """Say whether what is interrupted is the opening of the store."""
        return self.act is _nothing


def opened(scenario: Scenario, path: str, *, ahead: int = 0) -> Store:
    """Open the store at *path* with *scenario*'s clock."""
    return open_store(path, config=Config(), now=lambda: time.time_ns() + (scenario.ahead + ahead) * 10**9)


def _put(name: str, data: bytes, store: Store) -> None:
    store.artifacts.put("s", name, data)


def _staged_before(store: Store) -> None:
    common(store)
    store.intake.stage(CHUNK)


def _rename_over(store: Store) -> None:
    walker = Walker(store)
    try:
        walker.tree.rename("/sessions/s/old", "/sessions/s/kept/large", walker.caller)
    finally:
        walker.tree.destroy()


def _saved_by_rename(store: Store) -> None:
    common(store)
    _rename_over(store)


def _deleted(store: Store) -> None:
    common(store)
    store.artifacts.delete("s", "old")


def _session_deleted(store: Store) -> None:
    common(store)
    store.sessions.delete("s")


def _restored(store: Store) -> None:
    with store.engine.index.read() as db:
        (session_id,) = db.execute("SELECT id FROM session").fetchone()
    store.sessions.restore(session_id)


def _condemned(store: Store) -> None:
    """Have something to remove, marked long enough ago, and what a crash left behind."""
    common(store)
    store.artifacts.put("s", "more", CHUNKS)
    store.artifacts.delete("s", "more")
    store.artifacts.delete("s", "old")
    store.artifacts.purge("s", "kept/small")
    assert store.path is not None
    clock = store.engine.now
    store.engine.now = lambda: clock() + HISTORY * 10**9
    store.upkeep.gc(grace_seconds=0)
    store.intake.lose(b"bytes", Destination(None, "bytes"), "a test")
    leftovers = (next((store.path / "blobs").iterdir()) / ".part-1-1-1", store.path / "lost+found" / f"{1:016x}.json")
    for leftover in leftovers:
        leftover.write_bytes(b"half")
        leftover.chmod(0o600)
        os.utime(leftover, (1, 1))


def _saved(store: Store) -> None:
    common(store)
    store.sessions.save("s", "first")
    store.artifacts.put("s", "later", CHUNK)
    store.artifacts.delete("s", "kept/small")


def _batch(store: Store) -> None:
    items = [NewArtifact(f"b/{number}", content(f"b{number}", 200 + 60 * KIB * number)) for number in range(5)]
    store.artifacts.put_many("s", [*items, NewArtifact("old", b"again")])


def _create_many(store: Store) -> None:
    store.sessions.create_many([NewSession(f"t{number}", tags=["t"], metadata={"n": number}) for number in range(5)])


def _written(store: Store) -> None:
    """Copy a large file into the mount, as `cp` does."""
    walker = Walker(store)
    try:
        walker.write("/sessions/s/file", CHUNKS)
    finally:
        walker.tree.destroy()


def _rewritten(store: Store) -> None:
    """Write to a file that is there, through a handle: its first bytes, its end, and a cut."""
    walker = Walker(store)
    try:
        handle = walker.open("/sessions/s/kept/large")
        try:
            handle.write(memoryview(b"begin"), 0)
            handle.write(memoryview(CHUNKS), len(SHARED))
            handle.flush()
            handle.write(memoryview(b"more"), len(SHARED) + len(CHUNKS))
            handle.truncate(len(SHARED) + len(CHUNKS) + 2)
            handle.flush()
        finally:
            handle.release()
    finally:
        walker.tree.destroy()


def _dying(store: Store) -> None:
    """Leave a draft, bytes that nobody has committed, and some that somebody has."""
    common(store)
    walker = Walker(store)
    handle = walker.create("/sessions/s/draft", CHUNKS[: 300 * KIB])
    handle.flush()
    session = store.sessions.get("s").id
    for name, is_committed in (("found", False), ("committed", True)):
        file = store.intake.spool_file(Destination(session, name))
        file.write(CHUNK, 0)
        if is_committed:
            file.mark_committed()
    walker.create("/sessions/s/empty")


def _lost(store: Store) -> None:
    common(store)
    store.intake.lose(CHUNK, Destination(store.sessions.get("s").id, "found"), "a test")


def _lose(store: Store) -> None:
    store.intake.lose(b"bytes", Destination(None, "bytes"), "a test")


def _recover(store: Store) -> None:
    store.upkeep.recover(store.upkeep.lost()[0].id)


def _purge_what_is_open(store: Store) -> None:
    """Purge an artifact to which somebody writes by a file of the spool."""
    art = store.artifacts.get("s", "old")
    file = store.intake.spool_file(Destination(store.sessions.get("s").id, "old", art.ino))
    try:
        store.artifacts.purge("s", "old")
    finally:
        with suppress(SpellError):  # the purge has succeeded
            file.discard()


def _refused(store: Store) -> None:
    """Find only within the transaction that a change is not possible."""
    with pytest.raises(SessionNotActive):
        store.artifacts.put("s", "new", SMALL)


def _frozen(store: Store) -> None:
    common(store)
    store.sessions.complete("s")


def _states(store: Store) -> None:
    store.sessions.update("s", name="new", metadata={"of": "none"})


def _reserve(store: Store) -> None:
    """Let go of the reserve, take it again, and cut it where it is larger than it is to be."""
    assert store.path is not None
    reserve = Reserve(store.path)
    reserve.release()
    reserve.hold()
    if (room := store.path / "reserve" / "room").exists():  # what forbids it but a full disk forbids nothing else
        os.truncate(room, reserve.size + (8 << 20))
    reserve.hold()


def _fold(store: Store) -> None:
    store.engine.index._fold()


def _hold(store: Store) -> None:
    spool = store.engine.rooms.spool
    assert spool is not None
    spool.hold("word")
    spool.free("word")


def _hold_in_a_child(store: Store) -> None:
    """Note something as in a forked child, whose folder is its parent's."""
    spool = store.engine.rooms.spool
    assert spool is not None
    parent, spool._pid = spool._pid, 0
    try:
        spool.hold("word")
        spool.free("word")
    finally:
        spool._pid = parent


SCENARIOS: dict[str, Scenario] = {
    "init": Scenario(_nothing, _nothing, has_store=False),
    "init in a folder": Scenario(_nothing, _nothing, has_store=False, in_folder=True),
    "migrate from 1": Scenario(_nothing, migrations=1),
    "migrate from 3": Scenario(_nothing, migrations=3),
    "open and close": Scenario(_nothing),
    "create": Scenario(_create_many),
    "put inline": Scenario(partial(_put, "new/inline", SMALL)),
    "put one chunk": Scenario(partial(_put, "new/chunk", CHUNK)),
    "put many chunks": Scenario(partial(_put, "new/chunks", CHUNKS)),
    "put what is an orphan": Scenario(partial(_put, "new/chunk", CHUNK), _staged_before),
    "overwrite": Scenario(partial(_put, "old", CHUNK)),
    "refused": Scenario(_refused, _frozen),
    "rename": Scenario(lambda store: void(store.artifacts.update("s", "old", name="new/name"))),
    "rename over": Scenario(_rename_over),
    "delete": Scenario(lambda store: void(store.artifacts.delete("s", "old"))),
    "delete session": Scenario(lambda store: void(store.sessions.delete("s"))),
    "restore": Scenario(lambda store: void(store.artifacts.restore("s", "old")), _deleted),
    "restore session": Scenario(_restored, _session_deleted),
    "update session": Scenario(_states),
    "purge": Scenario(lambda store: void(store.artifacts.purge("s", "old")), purged=(OLD,), is_one=False),
    "purge what was saved by rename": Scenario(
        lambda store: void(store.artifacts.purge("s", "kept/large")),
        _saved_by_rename,
        purged=(OLD, SHARED),
        is_one=False,
    ),
    "purge what is open": Scenario(_purge_what_is_open, purged=(OLD,), is_one=False),
    "purge session": Scenario(lambda store: void(store.sessions.purge("s")), _lost, purged=(OLD, SHARED), is_one=False),
    "gc": Scenario(
        lambda store: void(store.upkeep.gc()),
        _condemned,
        ahead=HISTORY + 2 * HOUR,
        is_one=False,
        each=("index.commit",),
    ),
    "save": Scenario(lambda store: void(store.sessions.save("s", "label"))),
    "fold": Scenario(_fold),
    "reserve": Scenario(_reserve, is_one=False),
    "hold": Scenario(_hold),
    "hold in a child": Scenario(_hold_in_a_child),
    "fork": Scenario(lambda store: void(store.past.fork("s@c1", "forked")), _saved),
    "rollback": Scenario(lambda store: void(store.past.rollback("s@c1")), _saved),
    "batch": Scenario(_batch),
    "write through the tree": Scenario(_written, is_one=False, written=("file", (b"", CHUNKS))),
    "rewrite through the tree": Scenario(_rewritten, is_one=False, written=("kept/large", REWRITTEN)),
    "salvage": Scenario(_nothing, _dying, dies=True, is_one=False),
    "recover": Scenario(_recover, _lost, is_one=False),
    "lose": Scenario(_lose, is_one=False),
}
