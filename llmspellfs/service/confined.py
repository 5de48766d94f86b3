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

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from llmspellfs.errors import NotAllowed
from llmspellfs.model.replay import Mode, Wanted
from llmspellfs.service.confined_artifacts import ConfinedArtifacts
from llmspellfs.service.confined_sessions import ConfinedSessions
from llmspellfs.service.fence import Confined, Fence
from llmspellfs.service.moments import split_point
from llmspellfs.service.state import GLOBAL
from llmspellfs.storage.state import SESSION

if TYPE_CHECKING:
    from llmspellfs.model.diff import Change
    from llmspellfs.model.replay import Steps
    from llmspellfs.model.run import RunScript
    from llmspellfs.model.session import Session
    from llmspellfs.service.records import Recorder
    from llmspellfs.service.store import Store


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
    """Stands in for a Store; only `origin`, `path` and `presence` are its own."""

    def __init__(self, store: Store, fence: Fence) -> None:
        """Let through what *fence* allows to be done to *store*."""
        super().__init__(store, fence)
        self.origin, self.path, self.presence = store.origin, store.path, store.presence
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
