"""`.session/artifacts/…`: each artifact's metadata as JSON beside it, to be read and written back."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.document import (
    ARTIFACT_WRITABLE,
    artifact_document,
    changed_fields,
    to_text,
)
from llmspellfs.model.session import Session
from llmspellfs.model.values import parse_json
from llmspellfs.service.engine import check_active
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, check_given
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.control_files import ControlFile, control_folder_attr
from llmspellfs.tree.node import Context, Node, origin_of
from llmspellfs.tree.scratch_folder import ScratchFolder


class SidecarFolder(ScratchFolder):
    """`.session/artifacts/…`: a sidecar for each artifact, in the folders that the artifacts are in."""

    def __init__(self, ctx: Context, session: Session, ino: int, path: str) -> None:
        """Be the mirror of the folder *ino*, at *path* below the control directory."""
        super().__init__(ctx, path, session.sid, ino)
        self._session, self._ino = session, ino

    def attr(self) -> Attr:
        """Return what stat shows; no more than the folder itself grants."""
        return control_folder_attr(self.ctx, self._session, self.name, self.ctx.store.entries.attributes(self._ino))

    def takes(self, name: str) -> bool:
        """Tell whether a scratch file may have *name*: not one that a sidecar may be meant by."""
        return not name.endswith(".json")

    def control(self, name: str) -> Node:
        """Return a sidecar, or the mirror of a folder; raise NotFound."""
        entry = self.ctx.store.entries.lookup(self._ino, name)
        if entry is not None and entry.kind is Kind.FOLDER:
            return SidecarFolder(self.ctx, self._session, entry.ino, f"{self.name}/{name}")
        entry = self.ctx.store.entries.lookup(self._ino, name[: -len(".json")]) if name.endswith(".json") else None
        if entry is None or entry.kind is not Kind.FILE:
            raise NotFound("sidecar", name)
        return Sidecar(self.ctx, self._session, entry, self.name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the sidecars and folders, whose rows are one query, and what editors keep here."""
        listed = list(self.scratch_children())
        for entry in self.ctx.store.entries.rows(self._ino):
            if entry.kind is Kind.FOLDER:
                path = f"{self.name}/{entry.name}"
                listed.append((entry.name, control_folder_attr(self.ctx, self._session, path, entry.attributes)))
            elif entry.kind is Kind.FILE:
                listed.append((f"{entry.name}.json", Sidecar(self.ctx, self._session, entry, self.name).attr()))
        return listed


class Sidecar(ControlFile):
    """One artifact's sidecar."""

    def __init__(self, ctx: Context, session: Session, entry: Entry, folder: str) -> None:
        """Be the sidecar of the artifact *entry*, in the control folder at *folder*."""
        self._entry, self._place = entry, Place(session.sid, entry.folder, entry.name)
        path = f"{folder}/{entry.name}.json"
        super().__init__(ctx, session, path, self._render, self._take, entry.facts.updated_ns)

    def attr(self) -> Attr:
        """Return what stat shows: the artifact's owner and, without execute bits, its mode."""
        own = self._entry.attributes
        key = f"{self.session.id}/{self.name}"
        fixed = self.ctx.fixed(stat.S_IFREG | own.mode & 0o666, key, len(self.render()), self.at_ns)
        return replace(fixed, uid=own.uid, gid=own.gid)

    def _render(self) -> bytes:
        return to_text(self._document(self._entry))

    def _document(self, entry: Entry) -> dict[str, Any]:
        return artifact_document(self.ctx.store.artifacts.of_entry(self.session, entry))

    def _look_again(self) -> Entry:
        entry = self.ctx.store.entries.lookup(self._place.folder, self._place.name)
        if entry is None or entry.kind is not Kind.FILE:
            raise NotFound("artifact", self._place.name)
        return entry

    def check(self, content: bytes) -> None:
        """Raise InvalidValue for a whole document that `apply` would refuse."""
        try:
            document = parse_json(content, self.name)
        except InvalidValue:
            return  # more may come
        self._given(document, self._document(self._look_again()))

    def _given(self, document: object, old: dict[str, Any]) -> Given:
        """Return the metadata that *document* changes of *old*."""
        fields = changed_fields(document, old, ARTIFACT_WRITABLE, self.name)
        names = ("artifact_type", "mime_type", "description", "tags", "custom")
        return check_given(*(fields.get(name) for name in names))

    def _take(self, content: bytes, caller: Caller) -> None:
        check_active(self.ctx.session(self._place.sid))
        old = self._document(self._look_again())
        given = self._given(parse_json(content, self.name), old)
        file = self.ctx.opened.by_ino(self._entry.ino)
        with self.ctx.opened.standing(file):
            entry = self.ctx.store.entries.describe(
                self._place.sid, old["sequence"], lambda _: given, by=origin_of(caller)
            )
            if file is not None and file.entry is not None:
                file.follow(entry)
        known = self.ctx.cache.peek(self._place.sid)
        if known is not None:
            known.forget(self._place.folder, self._place.name)
