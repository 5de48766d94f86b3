"""The control directory of a session as it was: its fields, sidecars and the trail up to then, to be read."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Attributes, Entry, Kind
from llmspellfs.model.document import artifact_document, to_text
from llmspellfs.model.session import Session
from llmspellfs.service.moments import Moment
from llmspellfs.service.paths import to_artifact
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.control_files import ControlFile, control_attr, control_folder_attr
from llmspellfs.tree.fields import FIELDS
from llmspellfs.tree.node import Context, File, Folder, Node
from llmspellfs.tree.readonly import ReadOnlyHandle, check_reading, filling
from llmspellfs.tree.trail import OWNERS_ALONE


class PastControl(Folder):
    """`.session/` of the past."""

    is_current = False

    def __init__(self, ctx: Context, session: Session, moment: Moment, path: str) -> None:
        """Be the control directory of *session* at *moment*, shown at *path* below the present one."""
        super().__init__(ctx, path)
        self._session, self._moment = session, moment

    def attr(self) -> Attr:
        """Return what stat shows."""
        return replace(control_folder_attr(self.ctx, self._session, self.name), mtime_ns=self._moment.at_ns)

    def child(self, name: str) -> Node:
        """Return a control file, or the sidecars; raise NotFound."""
        path = f"{self.name}/{name}"
        if name == "artifacts":
            own = self.ctx.store.entries.attributes(self._session.ino)
            return PastSidecars(self.ctx, self._session, self._moment, self._session.ino, (path, ""), own)
        if name == "events.jsonl":
            return PastTrail(self.ctx, self._session, self._moment, path)
        if name not in FIELDS:
            raise NotFound("control file", name)
        content = FIELDS[name].render(self.ctx.store.past.session(self._moment))
        return ControlFile(self.ctx, self._session, path, lambda: content, None, self._moment.at_ns)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return everything that is here."""
        return [(name, self.child(name).attr()) for name in (*FIELDS, "artifacts", "events.jsonl")]


class PastTrail(File):
    """`events.jsonl` up to the moment."""

    def __init__(self, ctx: Context, session: Session, moment: Moment, path: str) -> None:
        """Be the trail of *session* up to *moment*."""
        super().__init__(ctx, path)
        self._session, self._moment = session, moment
        self.size = ctx.store.past.trail_size(moment)

    def attr(self) -> Attr:
        """Return what stat shows."""
        attr = control_attr(self.ctx, self._session, self.name, self.size, self._moment.at_ns, False)
        return replace(attr, mode=attr.mode & OWNERS_ALONE)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        check_reading(self.name, flags)
        return ReadOnlyHandle(self, filling(self.read_at), direct_io=True)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on."""
        room = max(0, min(size, self.size - offset))
        return self.ctx.store.sessions.trail_bytes(self._moment.sid, offset, room) if room else b""


class PastSidecars(Folder):
    """`.session/artifacts/…` of the past: a sidecar for each artifact, in the folders that they were in."""

    is_current = False

    def __init__(
        self, ctx: Context, session: Session, moment: Moment, ino: int, paths: tuple[str, str], own: Attributes
    ) -> None:
        """Mirror the folder *ino* with the past's attributes *own*; *paths*: where it is shown, and its name then."""
        super().__init__(ctx, paths[0])
        self._session, self._moment, self._ino, self._prefix, self._own = session, moment, ino, paths[1], own

    def attr(self) -> Attr:
        """Return what stat shows; no more than the folder itself grants."""
        shown = control_folder_attr(self.ctx, self._session, self.name, self._own)
        return replace(shown, mtime_ns=self._moment.at_ns)

    def child(self, name: str) -> Node:
        """Return a sidecar, or the mirror of a folder; raise NotFound."""
        lookup, place = self.ctx.store.past.lookup, (self._moment, self._ino)
        entry = lookup(*place, name)
        if entry is None or entry.kind is not Kind.FOLDER:
            entry = lookup(*place, name[: -len(".json")]) if name.endswith(".json") else None
        if entry is None:
            raise NotFound("sidecar", name)
        return self._node(entry)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the sidecars and folders, from one query."""
        rows = self.ctx.store.past.listing(self._moment, self._ino)
        nodes = ((row, self._node(row)) for row in rows if row.kind is not Kind.SYMLINK)
        return [(row.name if row.file is None else f"{row.name}.json", node.attr()) for row, node in nodes]

    def _node(self, entry: Entry) -> Node:
        path = f"{self.name}/{entry.name}"
        if entry.kind is Kind.FOLDER:
            names = (path, f"{self._prefix}{entry.name}/")
            return PastSidecars(self.ctx, self._session, self._moment, entry.ino, names, entry.attributes)
        if entry.file is None:
            raise NotFound("sidecar", entry.name)
        return PastSidecar(self.ctx, self._session, f"{path}.json", self._prefix + entry.name, entry)


class PastSidecar(ControlFile):
    """One artifact's sidecar as it was."""

    def __init__(self, ctx: Context, session: Session, path: str, name: str, entry: Entry) -> None:
        """Be the sidecar of the artifact then called *name*, of row *entry*, shown at *path*."""
        content = to_text(artifact_document(to_artifact(session.id, name, entry)))
        super().__init__(ctx, session, path, lambda: content, None, entry.facts.updated_ns)
        self._own, self._size = entry.attributes, len(content)

    def attr(self) -> Attr:
        """Return what stat shows: what the artifact's mode grants of reading."""
        mode, key = stat.S_IFREG | self._own.mode & 0o444, f"{self.session.id}/{self.name}"
        return replace(self.ctx.fixed(mode, key, self._size, self.at_ns), uid=self._own.uid, gid=self._own.gid)
