"""`Artifact.*`: reads its arguments, makes one call on the service, and answers with ids and tables.

Content crosses as Lua strings, with one copy each way; from and to files it goes in blocks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.lua.options import Options
from llmspellfs.lua.values import number_text
from llmspellfs.model.times import iso

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
        return {
            "store": self._store, "store_file": self._store_file, "get": self._get, "list": self._list,
            "query": self._query, "delete": self._delete, "restore": self._restore, "update": self._update,
            "exists": self._exists, "versions": self._versions, "save_to_file": self._save_to_file,
        }  # fmt: skip

    def _store(
        self, ref: Raw = None, kind: Raw = None, name: Raw = None, content: Raw = None, raw: Raw = None
    ) -> bytes:
        session, told = self._context.session(ref), self._told(raw, "Artifact.store: metadata")
        artifact = self._artifacts.put(
            session, self._values.text(name, "Artifact.store: name"), self._content(content),
            artifact_type=self._type(kind, "Artifact.store: type"), **told, by=self._context.origin,
        )  # fmt: skip
        return artifact.id.encode()

    def _store_file(self, ref: Raw = None, path: Raw = None, kind: Raw = None, raw: Raw = None) -> bytes:
        session, told = self._context.session(ref), self._told(raw, "Artifact.storeFile: metadata")
        artifact = self._artifacts.put_file(
            session, self._path(path, "Artifact.storeFile: path"),
            artifact_type=self._type(kind, "Artifact.storeFile: type"), **told, by=self._context.origin,
        )  # fmt: skip
        return artifact.id.encode()

    def _get(self, ref: Raw = None, which: Raw = None) -> Raw:
        artifact = self._find(ref, which)
        return self._shown(artifact, content=self._artifacts.read(artifact))

    def _list(self, ref: Raw = None, raw: Raw = None) -> Raw:
        options = Options(self._values, raw, "Artifact.list")
        limit, offset = options.integer("limit"), options.integer("offset") or 0
        options.done()
        if ref in {None, b""} and self._context.current is None:
            # A guide lists right after it cleared the current session; that is no error there.
            return self._values.array(()), b"no current session is set"
        return self._all(self._artifacts.list(self._context.session(ref), limit=limit, offset=offset))

    def _query(self, raw: Raw = None) -> Raw:
        if isinstance(raw, bytes):
            return self._all(self._artifacts.query(self._values.text(raw, "Artifact.query")))
        options = Options(self._values, raw, "Artifact.query")
        session = options.raw("session_id")
        filters: dict[str, Any] = {
            "query": options.text("query"), "artifact_type": options.text("type", "artifact_type"),
            "tags": options.texts("tags") or (), "name_pattern": options.text("name_pattern"),
            "created_after": options.moment("created_after"),
            "created_before": options.moment("created_before"),
            "updated_after": options.moment("updated_after"),
            "updated_before": options.moment("updated_before"),
            "min_size": options.integer("min_size"), "max_size": options.integer("max_size"),
            "limit": options.integer("limit"), "offset": options.integer("offset") or 0,
            "sort_by": options.text("sort_by"), "order": options.text("order") or "asc",
        }  # fmt: skip
        options.done()
        within = None if session is None else self._context.session(session)
        return self._all(self._artifacts.query(session=within, **filters))

    def _delete(self, ref: Raw = None, which: Raw = None) -> bool:
        session, artifact = self._context.session(ref), self._context.artifact(which)
        self._artifacts.delete(session, artifact, by=self._context.origin)
        return True

    def _restore(self, ref: Raw = None, which: Raw = None, raw: Raw = None) -> bytes:
        options = Options(self._values, raw, "Artifact.restore")
        name = options.text("name")
        options.done()
        session, artifact = self._context.session(ref), self._context.artifact(which)
        return self._artifacts.restore(session, artifact, name=name, by=self._context.origin).id.encode()

    def _update(self, ref: Raw = None, which: Raw = None, raw: Raw = None) -> bytes:
        session, artifact = self._context.session(ref), self._context.artifact(which)
        options = Options(self._values, raw, "Artifact.update")
        name, kind = options.text("name"), options.text("artifact_type", "type")
        changes = self._lifted(options)
        updated = self._artifacts.update(
            session, artifact, name=name, artifact_type=kind, **changes, by=self._context.origin
        )
        return updated.id.encode()

    def _exists(self, ref: Raw = None, which: Raw = None) -> bool:
        try:
            self._find(ref, which)
        except NotFound:
            return False
        return True

    def _versions(self, ref: Raw = None, which: Raw = None) -> Raw:
        session, artifact = self._context.session(ref), self._context.artifact(which)
        return self._all(self._artifacts.history(session, artifact))

    def _save_to_file(self, ref: Raw = None, which: Raw = None, path: Raw = None) -> int:
        target, artifact = self._path(path, "Artifact.saveToFile: path"), self._find(ref, which)
        with self._artifacts.open(artifact) as reader, open(target, "wb") as file:
            file.writelines(reader.blocks())
        return artifact.size

    def _find(self, ref: Raw, which: Raw) -> Artifact:
        return self._artifacts.get(self._context.session(ref), self._context.artifact(which))

    def _content(self, value: Raw) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value).encode()
        raise InvalidValue("Artifact.store: content", f"expected a string, not {self._values.kind(value)}")

    def _type(self, value: Raw, where: str) -> str | None:
        return None if value is None else self._values.text(value, where)

    def _path(self, value: Raw, where: str) -> str:
        if isinstance(value, bytes) and value and b"\0" not in value:
            return os.fsdecode(value)
        raise InvalidValue(where, f"expected the name of a file, not {self._values.kind(value)}")

    def _told(self, raw: Raw, where: str) -> dict[str, Any]:
        return {} if raw is None else self._lifted(Options(self._values, raw, where))

    def _lifted(self, options: Options) -> dict[str, Any]:
        # Three keys have fields of their own; the others are custom, as is what stands in a table `custom`.
        lifted: dict[str, Any] = {
            "mime_type": options.text("mime_type"), "description": options.text("description"),
            "tags": options.texts("tags"),
        }  # fmt: skip
        inner, rest = options.json("custom"), options.rest()
        if isinstance(inner, dict):
            rest = {**inner, **rest}
        elif inner is not None:
            rest["custom"] = inner
        return {**lifted, "custom": rest if rest or inner is not None else None}

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
