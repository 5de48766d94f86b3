"""Many artifacts, or many sessions, in one transaction: all of them or none.

Everything that takes time, conversions, checks, hashing, compressing, is done before the transaction begins; and the
files that are new go in together. What comes of it is what `Artifacts.put` and `Sessions.create` give one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from llmspellfs.errors import InvalidValue, SpellError, Vanished
from llmspellfs.model.artifact import Attributes, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.names import split_path
from llmspellfs.model.session import Session
from llmspellfs.service import limits, undelete, versions
from llmspellfs.service.creation import NewSession, checked, create
from llmspellfs.service.engine import Engine, Transaction, check_active
from llmspellfs.service.incoming import Incoming
from llmspellfs.service.intake import Intake
from llmspellfs.service.paths import Place
from llmspellfs.service.provisional import Provisional
from llmspellfs.service.session_rules import Dirnames, find_session
from llmspellfs.service.versions import DEFAULT_TYPE, Given, check_given
from llmspellfs.storage import inodes
from llmspellfs.storage.batches import NewFile, insert_files, place_all, taken_names
from llmspellfs.storage.contents import Placed
from llmspellfs.storage.ingest import Staged

_BYTES = (bytes, bytearray, memoryview)
_WAITING = 500
"""New files that wait together at most: Python's collector looks through all that is there, again and again. With no
bound, and a frozen dataclass for each content, it took 6 µs of an artifact's 58 µs; with both, 2 µs."""
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class NewArtifact(NamedTuple):
    """An artifact to be stored in a batch, as `Artifacts.put` takes it; a tuple, since batches have many of them."""

    name: str
    content: bytes
    artifact_type: str | None = None
    mime_type: str | None = None
    description: str | None = None
    tags: Iterable[str] | None = None
    custom: Mapping[str, Any] | None = None


class _Ready(NamedTuple):
    """An artifact that is checked, and its content staged."""

    path: str
    parent: str
    name: str
    staged: Staged
    given: Given


def put_many(
    engine: Engine, intake: Intake, session: str, items: Iterable[NewArtifact], by: Origin | None
) -> list[str]:
    """Store *items*; see `Artifacts.put_many`."""
    wanted = list(items)
    with engine.index.read() as db:
        check_active(find_session(db, session))
    if not wanted:
        return []
    try:
        return _commit(engine, session, _prepared(intake, wanted, trusting=True), by)
    except Vanished:
        with Incoming(engine):
            return _commit(engine, session, _prepared(intake, wanted, trusting=False), by)


def create_many(engine: Engine, items: Iterable[NewSession], by: Origin | None) -> list[Session]:
    """Create *items*; see `Sessions.create_many`."""
    ready = each(items, lambda item: checked(item, engine.new_id()))
    if not ready:
        return []
    with engine.write(by, inos=len(ready) + 32) as tx:
        names = Dirnames(tx)
        return each(ready, lambda one: create(tx, engine.config.max_sessions, one, names))


def each(items: Iterable[_Item], work: Callable[[_Item], _Made]) -> list[_Made]:
    """Return what *work* makes of each of *items*; an error says which item, counted from 1, it is about."""
    made: list[_Made] = []
    for item in items:
        try:
            made.append(work(item))
        except SpellError as error:
            error.args = (f"item {len(made) + 1}: {error.message}", *error.args[1:])
            raise
    return made


def _prepared(intake: Intake, wanted: list[NewArtifact], *, trusting: bool) -> list[_Ready]:
    with intake.together() as gathered:
        return each(wanted, _Preparing(intake, gathered, trusting=trusting).ready)


class _Preparing:
    """Checks the items of a batch, and stages their contents, which are *gathered*."""

    def __init__(self, intake: Intake, gathered: list[Staged], *, trusting: bool) -> None:
        self._intake, self._gathered, self._trusting = intake, gathered, trusting
        self._kinds: dict[str | None, Given] = {}
        """What a type alone gives, of the types seen so far."""

    def ready(self, item: NewArtifact) -> _Ready:
        """Return *item* checked and staged; raises as `Artifacts.put`."""
        path, content, kind, mime, description, tags, custom = item
        name = split_path(path)[-1]
        if not isinstance(content, _BYTES):
            raise InvalidValue("content", f"expected bytes, not {type(content).__name__}")
        is_plain = mime is description is tags is custom is None
        given = self._of_kind(kind) if is_plain else check_given(kind, mime, description, tags, custom)
        staged = self._intake.stage(content, trusting=self._trusting)
        self._gathered.append(staged)
        return _Ready(path, path[: -len(name) - 1], name, staged, given)

    def _of_kind(self, kind: str | None) -> Given:
        known = self._kinds.get(kind) if kind is None or isinstance(kind, str) else None
        if known is None:
            known = self._kinds[kind] = check_given(kind, None, None, None, None)
        return known


def _commit(engine: Engine, ref: str, ready: Sequence[_Ready], by: Origin | None) -> list[str]:
    own = Ownership(0o644, os.getuid(), os.getgid())
    staged = [one.staged for one in ready]
    with Provisional(engine, staged), engine.write(by, inos=len(ready) + 32) as tx:
        session = check_active(find_session(tx.db, ref))
        placed = place_all(tx.db, staged, engine.rooms.blobs)
        return _Batch(engine, tx, session, own, ready).store(placed)


class _Batch:
    """The transaction of one batch: new files wait together until something else has to come after them."""

    def __init__(
        self, engine: Engine, tx: Transaction, session: Session, own: Ownership, ready: Sequence[_Ready]
    ) -> None:
        self._config, self._tx, self._session, self._own, self._ready = engine.config, tx, session, own, ready
        self._attributes = own.at(tx.now_ns)
        self._columns = (own.mode, own.uid, own.gid, tx.now_ns, tx.now_ns, None)
        self._limit = engine.config.max_artifacts_per_session
        self._names: dict[str, list[str]] = {}
        for one in ready:
            self._names.setdefault(one.parent, []).append(one.name)
        self._folders: dict[str, tuple[int, set[str]]] = {}
        """The ino of each folder that was looked up, by its path, and which names in it are taken."""
        self._waiting: list[NewFile] = []
        self._ids: list[str] = []

    def store(self, placed: Mapping[bytes, Placed]) -> list[str]:
        """Store all, and return their ids."""
        each(self._ready, lambda one: self._add(one, placed[one.staged.hash]))
        self._flush()
        return self._ids

    def _add(self, one: _Ready, content: Placed) -> None:
        folder, taken = self._folders.get(one.parent) or self._enter(one)
        ino = next(self._tx.inos)
        if one.name in taken:
            self._store_again(one, Place(self._session.sid, folder, one.name), content, (ino, self._attributes))
            return
        if self._limit:
            self._check_room()
        taken.add(one.name)
        given, now = one.given, self._tx.now_ns
        self._waiting.append(
            NewFile(
                folder, one.name, one.path, ino, self._columns, content.cid, content.hash, content.size,
                given.artifact_type or DEFAULT_TYPE,
                guess_mime(one.name) if given.mime_type is None else given.mime_type,
                given.description or "", given.tags or (), given.custom or {}, now,
            )
        )  # fmt: skip
        if len(self._waiting) == _WAITING:
            self._flush()

    def _enter(self, one: _Ready) -> tuple[int, set[str]]:
        """Look up, or make, the folder of *one*, after whatever stands before it in the batch."""
        self._flush()
        folder = undelete.make_place(self._tx, self._session, one.path, self._own).folder
        taken = taken_names(self._tx.db, folder, self._names[one.parent])
        self._folders[one.parent] = folder, taken
        above, _, name = one.parent.rpartition("/")
        while name:
            if above in self._folders:
                self._folders[above][1].add(name)
            above, _, name = above.rpartition("/")
        return folder, taken

    def _store_again(self, one: _Ready, place: Place, content: Placed, inode: tuple[int, Attributes]) -> None:
        self._flush()
        row = versions.store(self._tx, self._config, self._session, place, content, one.given, inode=inode)
        self._ids.append(f"{self._session.id}/{row.facts.sequence}/{content.hash}")

    def _check_room(self) -> None:
        count = self._tx.journal.touch(self._session.sid).artifact_count + len(self._waiting)
        limits.check_artifacts(self._config, count + 1)

    def _flush(self) -> None:
        if not self._waiting:
            return
        files, self._waiting = self._waiting, []
        sequence = insert_files(self._tx.journal, self._session.sid, files)
        for folder in {f.folder for f in files}:
            inodes.touch_since(self._tx.db, folder, self._tx.now_ns)
        session_id = self._session.id
        self._ids += [f"{session_id}/{number}/{f.content_hash}" for number, f in enumerate(files, sequence)]
