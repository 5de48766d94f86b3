"""Artifacts as code sees them that is not trusted; see `confined`. Records of runs it cannot change."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import IsAFolder, NotAllowed, NotFound
from llmspellfs.model.run import FOLDER, MIME_TYPE
from llmspellfs.service.fence import Confined

if TYPE_CHECKING:
    from llmspellfs.model.artifact import Artifact
    from llmspellfs.service.batches import NewArtifact
    from llmspellfs.service.reader import Reader


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
        most, wanted = self._fence.max_read, artifact.size if size is None else min(size, artifact.size)
        if most is not None and wanted > most:
            raise MemoryError
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
