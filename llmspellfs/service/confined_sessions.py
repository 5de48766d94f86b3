"""Sessions as code sees them that is not trusted; see `confined`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmspellfs.service.fence import Confined
from llmspellfs.service.sessions import KEEP

if TYPE_CHECKING:
    from llmspellfs.model.session import Session
    from llmspellfs.service.creation import NewSession


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
