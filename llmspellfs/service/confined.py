"""A store as code sees it that is not trusted: the sessions that it may touch, and nothing else of it.

`ConfinedStore` stands in for a Store in the Lua door. Each call is held against a Fence first, with the session found
and named by its id from then on; what is not listed here is refused. It holds one rule for every function of a script:

- With one session given, that is the only one, and none can be made. Else the sessions that are made through here are.
- Other sessions do not exist, or can only be read where the fence says so.
- Of `State` the scopes `session:ID` of those sessions can be used. Nothing is published, as others act on it.
- No file of the host, no purge, no replay that stores; records of runs cannot be changed, or a forged one would have
  a rerun run the script without a sandbox.

It belongs to one thread. Bounds of time and memory are the process's, not this room's.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from llmspellfs.errors import IsAFolder, NotAllowed, NotFound
from llmspellfs.model.replay import Mode, Wanted
from llmspellfs.model.run import FOLDER, MIME_TYPE
from llmspellfs.service.fence import Confined, Fence
from llmspellfs.service.moments import split_point
from llmspellfs.service.sessions import KEEP
from llmspellfs.service.state import GLOBAL
from llmspellfs.storage.state import SESSION

if TYPE_CHECKING:
    from llmspellfs.model.artifact import Artifact
    from llmspellfs.model.diff import Change
    from llmspellfs.model.replay import Steps
    from llmspellfs.model.run import RunScript
    from llmspellfs.model.session import Session
    from llmspellfs.service.batches import NewArtifact
    from llmspellfs.service.creation import NewSession
    from llmspellfs.service.reader import Reader
    from llmspellfs.service.records import Recorder
    from llmspellfs.service.store import Store


class ConfinedSessions(Confined):
    """Stands in for `store.sessions`."""

    def create(self, name: str | None = None, *, parent: str | None = None, **told: Any) -> Session:
        self._fence.check_create()
        above = None if parent is None else self._own(parent)
        made = self._store.sessions.create(name, parent=above, **told)
        self._fence.ids.add(made.id)
        return made

    def create_many(self, items: Iterable[NewSession], **by: Any) -> builtins.list[Session]:
        self._fence.check_create()
        ready = [one if one.parent is None else replace(one, parent=self._own(one.parent)) for one in items]
        made = self._store.sessions.create_many(ready, **by)
        self._fence.ids.update(one.id for one in made)
        return made

    def get(self, ref: str, *, deleted: bool = False) -> Session:
        return self._store.sessions.get(self._readable(ref, deleted=deleted), deleted=deleted)

    def list(
        self, query: str | None = None, *, limit: int | None = None, offset: int = 0, parent: str | None = None,
        **filters: Any,
    ) -> list[Session]:  # fmt: skip
        above = None if parent is None else self._readable(parent)
        everything = self._store.sessions.list
        if self._fence.others_readable:
            return everything(query, limit=limit, offset=offset, parent=above, **filters)
        found = [one for one in everything(query, parent=above, **filters) if one.id in self._fence.ids]
        return found[offset : None if limit is None else offset + limit]

    def children(self, ref: str) -> builtins.list[Session]:
        return [one for one in self._store.sessions.children(self._readable(ref)) if self._fence.shows(one.id)]

    def events(self, ref: str, **filters: Any) -> Any:
        return self._store.sessions.events(self._readable(ref), **filters)

    def checkpoints(self, ref: str) -> Any:
        return self._store.sessions.checkpoints(self._readable(ref))

    def suspend(self, ref: str, **by: Any) -> Session:
        return self._store.sessions.suspend(self._own(ref), **by)

    def resume(self, ref: str, **by: Any) -> Session:
        return self._store.sessions.resume(self._own(ref), **by)

    def complete(self, ref: str, **by: Any) -> Session:
        return self._store.sessions.complete(self._own(ref), **by)

    def fail(self, ref: str, reason: str | None = None, **by: Any) -> Session:
        return self._store.sessions.fail(self._own(ref), reason, **by)

    def load(self, ref: str, **by: Any) -> Session:
        return self._store.sessions.load(self._own(ref), **by)

    def save(self, ref: str, label: str | None = None, **by: Any) -> Any:
        return self._store.sessions.save(self._own(ref), label, **by)

    def tag(self, ref: str, **changes: Any) -> Session:
        return self._store.sessions.tag(self._own(ref), **changes)

    def update(self, ref: str, *, parent: Any = KEEP, **changes: Any) -> Session:
        above = self._own(parent) if isinstance(parent, str) else parent
        return self._store.sessions.update(self._own(ref), parent=above, **changes)

    def delete(self, ref: str, **how: Any) -> Session:
        return self._store.sessions.delete(self._own(ref), **how)

    def restore(self, ref: str, **by: Any) -> Session:
        return self._store.sessions.restore(self._own(ref), **by)


class ConfinedArtifacts(Confined):
    """Stands in for `store.artifacts`."""

    def put(self, session: str, name: str, content: bytes, **told: Any) -> Artifact:
        owner = self._own(session)
        _check_no_record(name, told.get("mime_type"))
        with suppress(NotFound, IsAFolder):
            _check_no_record(name, self._store.artifacts.get(owner, name).mime_type)
        self._fence.count()
        return self._store.artifacts.put(owner, name, content, **told)

    def put_many(self, session: str, items: Iterable[NewArtifact], **by: Any) -> list[str]:
        owner, ready = self._own(session), [*items]
        taken = {one.name: one.mime_type for one in self._store.artifacts.list(owner)}
        for one in ready:
            _check_no_record(one.name, one.mime_type)
            _check_no_record(one.name, taken.get(one.name))
        self._fence.count(len(ready))
        return self._store.artifacts.put_many(owner, ready, **by)

    def restore(self, session: str, ref: str, **how: Any) -> Artifact:
        owner = self._own_artifact(session, ref)
        _check_no_record(how.get("name") or "", None)
        self._fence.count()
        return self._store.artifacts.restore(owner, ref, **how)

    def update(self, session: str, ref: str, **changes: Any) -> Artifact:
        owner = self._own_artifact(session, ref)
        _check_no_record(changes.get("name") or "", changes.get("mime_type"))
        return self._store.artifacts.update(owner, ref, **changes)

    def delete(self, session: str, ref: str, **by: Any) -> Artifact:
        return self._store.artifacts.delete(self._own_artifact(session, ref), ref, **by)

    def get(self, session: str, ref: str) -> Artifact:
        return self._store.artifacts.get(self._readable(session), ref)

    def history(self, session: str, ref: str) -> list[Artifact]:
        return self._store.artifacts.history(self._readable(session), ref)

    def read(self, artifact: Artifact, offset: int = 0, size: int | None = None) -> bytes:
        self._check(artifact)
        return self._store.artifacts.read(artifact, offset, size)

    def open(self, artifact: Artifact) -> Reader:
        self._check(artifact)
        return self._store.artifacts.open(artifact)

    def query(
        self, query: str | None = None, *, session: str | None = None, limit: int | None = None, offset: int = 0,
        **filters: Any,
    ) -> list[Artifact]:  # fmt: skip
        within = self._fence.session if session is None else self._readable(session)
        everything = self._store.artifacts.query
        if self._fence.others_readable or within is not None:
            within = None if session is None and self._fence.others_readable else within
            return everything(query, session=within, limit=limit, offset=offset, **filters)
        found = [one for one in everything(query, **filters) if one.session_id in self._fence.ids]
        return found[offset : None if limit is None else offset + limit]

    def list(self, session: str, **page: Any) -> list[Artifact]:
        return self._store.artifacts.list(self._readable(session), **page)

    def _own_artifact(self, session: str, ref: str) -> str:
        """Return the id of the session, where *ref* is not a record and never was."""
        owner = self._own(session)
        for version in self._store.artifacts.history(owner, ref):
            _check_no_record(version.name, version.mime_type)
        return owner

    def _check(self, artifact: Artifact) -> None:
        if not self._fence.shows(artifact.session_id):
            raise NotFound("session", artifact.session_id)


def _check_no_record(name: str, mime_type: str | None) -> None:
    """Raise NotAllowed for what is, or would be taken for, the record of a run: that says what a rerun has to run."""
    if name.split("/", maxsplit=1)[0] == FOLDER or (mime_type or "").strip().lower() == MIME_TYPE:
        raise NotAllowed("records of runs cannot be changed in a sandbox")


class ConfinedPast(Confined):
    """Stands in for `store.past`."""

    def diff(self, old: str, new: str | None = None) -> Any:
        then = self._at(old, self._readable)
        return self._store.past.diff(then, None if new is None else self._at(new, self._readable))

    def text_diff(self, change: Change, old_label: str, new_label: str) -> Any:
        return self._store.past.text_diff(change, old_label, new_label)  # what `diff` has given

    def rollback(self, ref: str, **by: Any) -> Session:
        self._fence.check_uncounted("rollback")
        return self._store.past.rollback(self._at(ref, self._own), **by)

    def fork(self, ref: str, name: str, **told: Any) -> Session:
        self._fence.check_create()
        self._fence.check_uncounted("fork")
        made = self._store.past.fork(self._at(ref, self._own), name, **told)
        self._fence.ids.add(made.id)
        return made

    def _at(self, ref: str, find: Callable[[str], str]) -> str:
        found, point = split_point(ref, find)
        return found if point is None else f"{found}@{ref.rpartition('@')[2]}"


class ConfinedState(Confined):
    """Stands in for `store.state`."""

    def get(self, key: str, default: Any = None, *, scope: str = GLOBAL) -> Any:
        return self._store.state.get(key, default, scope=self._read(scope))

    def look(self, key: str, *, scope: str = GLOBAL) -> Any:
        return self._store.state.look(key, scope=self._read(scope))

    def list_keys(self, scope: str = GLOBAL) -> list[str]:
        return self._store.state.list_keys(self._read(scope))

    def set(self, key: str, value: Any, *, scope: str = GLOBAL) -> None:
        self._store.state.set(key, value, scope=self._write(scope))

    def swap(self, key: str, seen: Any, value: Any, *, scope: str = GLOBAL) -> bool:
        return self._store.state.swap(key, seen, value, scope=self._write(scope))

    def delete(self, key: str, *, scope: str = GLOBAL) -> bool:
        return self._store.state.delete(key, scope=self._write(scope))

    def _read(self, scope: str) -> str:
        return scope if self._fence.others_readable else self._write(scope)

    def _write(self, scope: str) -> str:
        if not scope.startswith(SESSION) or scope.removeprefix(SESSION) not in self._fence.ids:
            raise NotAllowed(f"state of the scope {scope} is not within this sandbox; use session:ID")
        return scope


class ConfinedMessages(Confined):
    """Stands in for `store.messages`."""

    def subscribe(self, pattern: str) -> Any:
        if not self._fence.others_readable:
            raise NotAllowed("events of all sessions cannot be read in this sandbox")
        return self._store.messages.subscribe(pattern)


class ConfinedRuns(Confined):
    """Stands in for `store.runs`; `recording` is the host's, not the script's."""

    def recording(self, script: RunScript, **by: Any) -> Recorder:
        told = {"read_only": self._fence.others_readable, "max_artifacts": self._fence.max_artifacts}
        return self._store.runs.recording(replace(script, sandbox=told), **by)

    def lineage(self, text: str) -> Any:
        if not self._fence.others_readable:
            raise NotAllowed("lineage goes beyond the sessions of this sandbox")
        return self._store.runs.lineage(text)


class ConfinedReplays(Confined):
    """Stands in for `store.replays`; nothing is stored by a replay, and no script run again."""

    def steps(self, ref: str, wanted: Wanted | None = None, **_: Any) -> Steps:
        mode = Mode.EXACT if wanted is None else wanted.mode
        if mode not in {Mode.SIMULATE, Mode.DEBUG}:
            raise NotAllowed(f"a replay of mode {mode} is not allowed in a sandbox; simulate is")
        return self._store.replays.steps(self._readable(ref), wanted)

    def can_replay(self, ref: str) -> tuple[bool, str | None]:
        return self._store.replays.can_replay(self._readable(ref))

    def metadata(self, ref: str) -> Any:
        return self._store.replays.metadata(self._readable(ref))

    def replayable(self) -> Any:
        return [one for one in self._store.replays.replayable() if self._fence.shows(one.session_id)]


class ConfinedStore(Confined):
    """Stands in for a Store; only `origin` and `path` are its own."""

    def __init__(self, store: Store, fence: Fence) -> None:
        """Let through what *fence* allows to be done to *store*."""
        super().__init__(store, fence)
        self.origin, self.path = store.origin, store.path
        self.sessions = ConfinedSessions(store, fence)
        self.artifacts = ConfinedArtifacts(store, fence)
        self.past = ConfinedPast(store, fence)
        self.state = ConfinedState(store, fence)
        self.messages = ConfinedMessages(store, fence)
        self.runs = ConfinedRuns(store, fence)
        self.replays = ConfinedReplays(store, fence)


def confine(store: Store, fence: Fence) -> Store:
    """Return what code that is not trusted gets for *store*."""
    return cast("Store", ConfinedStore(store, fence))
