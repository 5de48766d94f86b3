"""`Artifact.*`: reads its arguments, makes one call on the service, and answers with ids and tables.

Content crosses as Lua strings, with one copy each way; from and to files it goes in blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmspellfs.errors import InvalidValue, IsAFolder, NotAFolder, NotFound
from llmspellfs.lua.arguments import Arguments, Read
from llmspellfs.model.times import iso
from llmspellfs.service.outgoing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.artifact import Artifact

FIELDS: Final = (
    "id", "name", "artifact_type", "mime_type", "size", "stored_size", "description", "tags", "custom",
    "created_at",
    "updated_at", "session_id", "sequence", "content_hash",
)  # fmt: skip
"""What an artifact's metadata has of its own; every other key is looked up in its custom metadata."""

_OUTER: Final = (
    b"id", b"name", b"artifact_type", b"mime_type", b"size", b"created_at", b"updated_at", b"tags",
    b"session_id", b"sequence", b"content_hash",
)  # fmt: skip
"""What stands beside the metadata too: what listings show, and the parts of the id."""


class ArtifactFunctions:
    """The functions of the global `Artifact`, over one script's *context*."""

    ABSENT = frozenset({"get"})
    """Those that answer `nil, message` for what does not exist."""

    def __init__(self, context: Context) -> None:
        """Work on the store of *context*."""
        self._context = context
        self._values = context.values
        self._artifacts = context.store.artifacts
        self._names = context.values.record(dict.fromkeys(FIELDS, True))

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by their names as words with underscores; Lua has both spellings."""
        return Arguments(self._context).bound("Artifact", {
            "store": self._store, "store_file": self._store_file, "get": self._get,
            "get_content": self._get_content, "list": self._list, "query": self._query, "search": self._search,
            "delete": self._delete, "restore": self._restore, "update": self._update,
            "exists": self._exists, "versions": self._versions, "save_to_file": self._save_to_file,
        })  # fmt: skip

    def _store(self, session: str, kind: str | None, name: str, content: bytes, about: Read | None) -> bytes:
        artifact = self._artifacts.put(
            session, name, content, artifact_type=kind, **lifted(about), by=self._context.origin
        )
        return artifact.id.encode()

    def _store_file(self, session: str, path: str, kind: str | None, about: Read | None) -> bytes:
        artifact = self._artifacts.put_file(session, path, artifact_type=kind, **lifted(about), by=self._context.origin)
        return artifact.id.encode()

    def _get(self, session: str, ref: str) -> Raw:
        artifact = self._artifacts.get(session, ref)
        return self._shown(artifact, content=self._artifacts.read(artifact))

    def _get_content(self, session: str, ref: str, offset: int | None, length: int | None) -> bytes:
        return self._artifacts.read(self._artifacts.get(session, ref), offset or 0, length)

    def _list(self, ref: str | None, options: Read | None) -> Raw:
        session = self._context.current if ref is None else ref
        if session is None:
            # A guide lists right after it cleared the current session; that is no error there.
            return self._values.array(()), b"no current session is set"
        told = options or {}
        return self._all(self._artifacts.list(session, limit=told.get("limit"), offset=told.get("offset") or 0))

    def _query(self, filters: Read | None) -> Raw:
        return self._all(self._artifacts.query(**_given(filters)))

    def _search(self, query: str, options: Read | None) -> Raw:
        return self._all(self._artifacts.query(query, **_given(options)))

    def _delete(self, session: str, ref: str) -> bool:
        self._artifacts.delete(session, ref, by=self._context.origin)
        return True

    def _restore(self, session: str, ref: str, options: Read | None) -> bytes:
        name = (options or {}).get("name")
        return self._artifacts.restore(session, ref, name=name, by=self._context.origin).id.encode()

    def _update(self, session: str, ref: str, changes: Read) -> bytes:
        if "content" in changes["rest"]:
            raise InvalidValue("Artifact.update: argument 3 (changes).content", "content is changed by Artifact.store")
        named = {field: changes[field] for field in ("name", "artifact_type")}
        about = _with_metadata(lifted(changes), lifted(changes["metadata"]))
        updated = self._artifacts.update(session, ref, **named, **about, by=self._context.origin)
        return updated.id.encode()

    def _exists(self, session: str, ref: str) -> bool:
        try:
            self._artifacts.get(session, ref)
        except (NotFound, IsAFolder, NotAFolder):
            return False
        return True

    def _versions(self, session: str, ref: str) -> Raw:
        return self._all(self._artifacts.history(session, ref))

    def _save_to_file(self, session: str, ref: str, path: str) -> int:
        artifact = self._artifacts.get(session, ref)
        with self._artifacts.open(artifact) as reader:
            write_whole(path, reader.blocks())
        return artifact.size

    def _all(self, artifacts: list[Artifact]) -> Raw:
        return self._values.array(map(self._shown, artifacts))

    def _shown(self, artifact: Artifact, content: bytes | None = None) -> Raw:
        values, custom = self._values, self._values.to_lua(artifact.custom)
        fields = values.fields({
            "id": artifact.id, "name": artifact.name, "artifact_type": artifact.artifact_type,
            "mime_type": artifact.mime_type, "size": artifact.size, "stored_size": artifact.stored_size,
            "description": artifact.description, "tags": artifact.tags, "custom": custom,
            "created_at": iso(artifact.created_ns), "updated_at": iso(artifact.updated_ns),
            "session_id": artifact.session_id, "sequence": artifact.sequence,
            "content_hash": artifact.content_hash,
        })  # fmt: skip
        shown = {name: fields[name] for name in _OUTER}
        shown[b"version"] = artifact.version
        shown[b"metadata"] = values.fall_through(values.table(fields), custom, self._names)
        if content is not None:
            shown[b"content"] = content
        return values.table(shown)


def lifted(about: Read | None) -> dict[str, Any]:
    """Return metadata as the service takes it: three keys have fields of their own, the others are custom.

    So is what stands in a table `custom`.
    """
    if about is None:
        return {}
    inner, rest = about["custom"], dict(about["rest"])
    if isinstance(inner, dict):
        rest = {**inner, **rest}
    elif inner is not None:
        rest["custom"] = inner
    lifted = {field: about[field] for field in ("mime_type", "description", "tags")}
    return {**lifted, "custom": rest if rest or inner is not None else None}


def _with_metadata(about: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what is said *about* an artifact with what its table `metadata` says besides."""
    if not metadata:
        return about
    customs = [custom for custom in (metadata["custom"], about["custom"]) if custom is not None]
    both = {field: metadata[field] if value is None else value for field, value in about.items()}
    return {**both, "custom": {key: custom[key] for custom in customs for key in custom} if customs else None}


def _given(told: Read | None) -> Read:
    """Return what was given in *told* as arguments of the service's `query`."""
    names = {"session_id": "session", "type": "artifact_type"}
    return {names.get(name, name): value for name, value in (told or {}).items() if value is not None}
