"""`.session/artifacts/…`: each artifact's metadata as JSON beside it, to be read and written back."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Kind
from llmspellfs.model.document import (
    ARTIFACT_WRITABLE,
    artifact_document,
    changed_fields,
    to_text,
)
from llmspellfs.model.session import Session
from llmspellfs.model.values import parse_json
from llmspellfs.service.artifacts import check_given
from llmspellfs.service.engine import check_active
from llmspellfs.service.paths import Place
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.control_files import ControlFile, control_folder_attr
from llmspellfs.tree.node import Context, Folder, Node, origin_of


class SidecarFolder(Folder):
    """`.session/artifacts/…`: a sidecar for each artifact, in the folders that the artifacts are in."""

    def __init__(self, ctx: Context, session: Session, ino: int, path: str) -> None:
        """Be the mirror of the folder *ino*, at *path* below the control directory."""
        super().__init__(ctx, path)
        self._session, self._ino = session, ino

    def attr(self) -> Attr:
        """Return what stat shows; no more than the folder itself grants."""
        return control_folder_attr(self.ctx, self._session, self.name, self._ino)

    def child(self, name: str) -> Node:
        """Return a sidecar, or the mirror of a folder; raise NotFound."""
        entry = self.ctx.store.entries.lookup(self._ino, name)
        if entry is not None and entry.kind is Kind.FOLDER:
            return SidecarFolder(self.ctx, self._session, entry.ino, f"{self.name}/{name}")
        if not name.endswith(".json"):
            raise NotFound("sidecar", name)
        return Sidecar(self.ctx, self._session, Place(self._session.sid, self._ino, name[: -len(".json")]), self.name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the sidecars and folders, from one query."""
        listed = []
        for entry in self.ctx.store.entries.rows(self._ino):
            if entry.kind is Kind.FOLDER:
                listed.append((entry.name, self.child(entry.name).attr()))
            elif entry.kind is Kind.FILE:
                place = Place(entry.sid, entry.folder, entry.name)
                listed.append((f"{entry.name}.json", Sidecar(self.ctx, self._session, place, self.name).attr()))
        return listed


class Sidecar(ControlFile):
    """One artifact's sidecar."""

    def __init__(self, ctx: Context, session: Session, place: Place, folder: str) -> None:
        """Be the sidecar of the artifact at *place*; raise NotFound where there is none."""
        self._place = place
        entry = ctx.store.entries.lookup(place.folder, place.name)
        if entry is None or entry.kind is not Kind.FILE:
            raise NotFound("artifact", place.name)
        self._ino, self._mode = entry.ino, entry.attributes.mode
        self._owner = (entry.attributes.uid, entry.attributes.gid)
        path = f"{folder}/{place.name}.json"
        super().__init__(ctx, session, path, self._render, self._take, entry.facts.updated_ns)

    def attr(self) -> Attr:
        """Return what stat shows: the artifact's owner and, without execute bits, its mode."""
        mode = stat.S_IFREG | self._mode & 0o666
        return replace(super().attr(), mode=mode, uid=self._owner[0], gid=self._owner[1])

    def _document(self) -> dict[str, Any]:
        entry = self.ctx.store.entries.lookup(self._place.folder, self._place.name)
        if entry is None or entry.kind is not Kind.FILE:
            raise NotFound("artifact", self._place.name)
        return artifact_document(self.ctx.store.artifacts.of_entry(self.session, entry))

    def _render(self) -> bytes:
        return to_text(self._document())

    def _take(self, content: bytes, caller: Caller) -> None:
        check_active(self.ctx.session(self._place.sid))
        old = self._document()
        fields = changed_fields(parse_json(content, self.name), old, ARTIFACT_WRITABLE, self.name)
        names = ("artifact_type", "mime_type", "description", "tags", "custom")
        given = check_given(*(fields.get(name) for name in names))
        file = self.ctx.opened.by_ino(self._ino)
        with self.ctx.opened.standing(file):
            entry = self.ctx.store.entries.describe(
                self._place.sid, old["sequence"], lambda _: given, by=origin_of(caller)
            )
            if file is not None and file.entry is not None:
                file.follow(entry)
        known = self.ctx.cache.peek(self._place.sid)
        if known is not None:
            known.forget(self._place.folder, self._place.name)
