"""The control directory `.session/` at the top of each session: its fields, sidecars and audit trail as files.

What is here is made when it is read and applied whole when it is written: at the flush that has new bytes, and for an
empty truncation at the release. Nothing of it is kept by the kernel.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from llmspellfs.errors import InvalidValue, NotFound, ReadOnly
from llmspellfs.model.artifact import Kind
from llmspellfs.model.document import (
    ARTIFACT_WRITABLE,
    SESSION_WRITABLE,
    artifact_document,
    changed_fields,
    session_document,
    to_text,
)
from llmspellfs.model.session import Session
from llmspellfs.model.values import check_tags, parse_json
from llmspellfs.service.artifacts import check_given
from llmspellfs.service.engine import check_active
from llmspellfs.service.paths import Place
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.changes import set_status, update_session
from llmspellfs.tree.node import Context, File, Folder, Node, origin_of

_MAX_WRITTEN = 2 << 20
"""Bytes that can be written to a control file."""
Render = Callable[[], bytes]
Apply = Callable[[bytes, Caller], None]


class ControlHandle:
    """An open control file: what it said when it was opened, and what is being written."""

    direct_io, keep_cache = True, False

    def __init__(self, file: ControlFile, flags: int, caller: Caller) -> None:
        """Read the file as it is now; O_TRUNC begins with nothing."""
        self._file, self._caller = file, caller
        self._turn = threading.Lock()
        is_cut = bool(flags & os.O_TRUNC) and flags & os.O_ACCMODE != os.O_RDONLY
        self._bytes = bytearray() if is_cut else bytearray(file.render())
        self._is_new, self._is_cut = False, is_cut
        self._is_appending = bool(flags & os.O_APPEND)
        self._is_whole = True
        """Nothing that should be in it was refused."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = bytes(self._bytes[offset : offset + len(view)])
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Take *view*, behind the last byte where the file is open for appending; nothing is applied yet."""
        if self._is_appending:
            offset = len(self._bytes)
        self._check_size(offset + len(view))
        with self._turn:
            self._bytes.extend(bytes(max(0, offset - len(self._bytes))))
            self._bytes[offset : offset + len(view)] = view
            self._is_new = True
        return len(view)

    def _check_size(self, size: int) -> None:
        if size > _MAX_WRITTEN:
            self._is_whole = False
        if not self._is_whole:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return replace(self._file.attr(), size=len(self._bytes))

    def truncate(self, size: int) -> None:
        """Cut or extend; nothing is applied yet."""
        self._check_size(size)
        with self._turn:
            del self._bytes[size:]
            self._bytes.extend(bytes(size - len(self._bytes)))
            self._is_cut = True

    def flush(self) -> None:
        """Apply what was written, whole, or change nothing and raise why."""
        with self._turn:
            if not self._is_new:
                return
            self._check_size(0)
            self._is_new = self._is_cut = False
            content = bytes(self._bytes)
        self._file.apply(content, self._caller)

    def fsync(self, datasync: bool) -> None:
        """Apply, and return when it survives power loss."""
        self.flush()
        self._file.ctx.store.sync()

    def release(self) -> None:
        """Apply a truncation that nothing was written after."""
        self.flush()
        if self._is_cut and self._is_whole:
            self._is_cut = False
            self._file.apply(bytes(self._bytes), self._caller)


class ControlFile(File):
    """A file whose content *render* makes and *apply*, where there is one, takes."""

    def __init__(
        self, ctx: Context, session: Session, path: str, render: Render, apply: Apply | None, at_ns: int
    ) -> None:
        """Be `.session/PATH` of *session*."""
        super().__init__(ctx, path)
        self._session, self.render, self._apply, self._at_ns = session, render, apply, at_ns

    def attr(self) -> Attr:
        """Return what stat shows; the size is that of the content as it is now."""
        return control_attr(
            self.ctx, self._session, self.name, len(self.render()), self._at_ns, self._apply is not None
        )

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open; for writing only where it can be written."""
        if flags & os.O_ACCMODE != os.O_RDONLY and self._apply is None:
            raise ReadOnly(self.name)
        self.ctx.opened.sealer.settle()
        return ControlHandle(self, flags, caller)

    def apply(self, content: bytes, caller: Caller) -> None:
        """Take *content* whole, or raise and change nothing."""
        if self._apply is None:
            raise ReadOnly(self.name)
        self._apply(content, caller)

    def truncate(self, size: int, caller: Caller) -> None:
        """Cut; applied at once where something is left, for an editor or a shell that writes on otherwise."""
        handle = self.open(os.O_WRONLY, caller)
        if size:
            handle.truncate(size)
            handle.release()

    def utimens(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Take no note: what is made when it is read has the session's times."""
        if self._apply is None:
            raise ReadOnly(self.name)


class TrailHandle:
    """`events.jsonl`, open: read from the index as it grows."""

    direct_io, keep_cache = True, False

    def __init__(self, file: TrailFile) -> None:
        """Read from the trail of *file*'s session."""
        self._file = file

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = self._file.ctx.store.sessions.trail_bytes(self._file.sid, offset, len(view))
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self._file.attr()

    def truncate(self, size: int) -> None:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def flush(self) -> None:
        """Have nothing to commit."""

    def fsync(self, datasync: bool) -> None:
        """Have nothing to make durable."""

    def release(self) -> None:
        """Let go."""


class TrailFile(File):
    """`events.jsonl`: the audit trail, of exact size, so that `wc` and `tail -f` work."""

    def __init__(self, ctx: Context, session: Session) -> None:
        """Be the trail of *session*."""
        super().__init__(ctx, "events.jsonl")
        self._session, self.sid = session, session.sid

    def attr(self) -> Attr:
        """Return what stat shows."""
        session = self.ctx.session(self.sid)
        size = self.ctx.store.sessions.trail_size(self.sid)
        return control_attr(self.ctx, session, self.name, size, session.updated_ns, False)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise ReadOnly(self.name)
        self.ctx.opened.sealer.settle()
        return TrailHandle(self)


class ControlFolder(Folder):
    """`.session/`; checkpoints, the past and children have their place here as further children."""

    def __init__(self, ctx: Context, sid: int) -> None:
        """Be the control directory of session *sid*."""
        super().__init__(ctx, ".session")
        self._sid = sid

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be remembered: never, since nothing here may be stale."""
        return False

    def attr(self) -> Attr:
        """Return what stat shows."""
        return control_folder_attr(self.ctx, self.ctx.session(self._sid), "")

    def child(self, name: str) -> Node:
        """Return the control file or folder *name*; raise NotFound."""
        session = self.ctx.session(self._sid)
        if name == "artifacts":
            return SidecarFolder(self.ctx, session, session.ino, "artifacts")
        if name == "events.jsonl":
            return TrailFile(self.ctx, session)
        if name not in _FIELDS:
            raise NotFound("control file", name)
        render, apply = _FIELDS[name]
        return self._file(session, name, render, apply)

    def _file(
        self,
        session: Session,
        name: str,
        render: Callable[[Session], bytes],
        apply: Callable[[Context, Session, bytes, Caller], None] | None,
    ) -> ControlFile:
        ctx, sid = self.ctx, self._sid

        def write(content: bytes, caller: Caller) -> None:
            assert apply is not None
            apply(ctx, ctx.session(sid), content, caller)

        taken = None if apply is None else write
        return ControlFile(ctx, session, name, lambda: render(ctx.session(sid)), taken, session.updated_ns)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return everything that is here."""
        return [(name, self.child(name).attr()) for name in (*_FIELDS, "artifacts", "events.jsonl")]


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
        return artifact_document(self.ctx.store.artifacts.of_entry(self._session, entry))

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


def control_attr(ctx: Context, session: Session, path: str, size: int, at_ns: int, is_writable: bool) -> Attr:
    """Return the attributes of a control file: the session directory's owner, no more than its mode grants."""
    own = ctx.store.entries.attributes(session.ino)
    mode = stat.S_IFREG | (own.mode & 0o666 if is_writable else own.mode & 0o444)
    key = f"{session.id}/{path}"
    return replace(ctx.fixed(mode, key, size, at_ns), uid=own.uid, gid=own.gid)


def control_folder_attr(ctx: Context, session: Session, path: str, ino: int | None = None) -> Attr:
    """Return the attributes of a control folder, which mirrors the folder *ino*, by default the session's top."""
    own = ctx.store.entries.attributes(session.ino if ino is None else ino)
    mode = stat.S_IFDIR | own.mode & 0o777
    return replace(ctx.fixed(mode, f"{session.id}/{path}/", 0, session.updated_ns), uid=own.uid, gid=own.gid)


def _line(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(where, "expected UTF-8 text") from None
    return text.removesuffix("\n")


def _one_line(content: bytes, where: str) -> str:
    text = _line(content, where)
    if "\n" in text:
        raise InvalidValue(where, "expected one line")
    return text


def _take_status(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    set_status(ctx, session, _one_line(content, "status"), caller)


def _take_name(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    name = _one_line(content, "name")
    if not name:
        raise InvalidValue("name", "expected a name")
    update_session(ctx, session, caller, name=name)


def _take_description(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, description=_line(content, "description"))


def _take_tags(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    tags = check_tags(line.strip() for line in _line(content, "tags").split("\n") if line.strip())
    update_session(ctx, session, caller, tags=tags)


def _take_parent(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, parent=_one_line(content, "parent").strip() or None)


def _take_document(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    old = session_document(session)
    fields = changed_fields(parse_json(content, "session.json"), old, SESSION_WRITABLE, "session.json")
    if "parent_session_id" in fields:
        fields["parent"] = fields.pop("parent_session_id")
    if fields:
        update_session(ctx, session, caller, **fields)


def _text(value: str | None) -> bytes:
    return b"" if not value else f"{value}\n".encode("utf-8", "surrogateescape")


_FIELDS: dict[str, tuple[Callable[[Session], bytes], Callable[[Context, Session, bytes, Caller], None] | None]] = {
    "id": (lambda s: _text(s.id), None),
    "status": (lambda s: _text(s.status), _take_status),
    "name": (lambda s: _text(s.name), _take_name),
    "description": (lambda s: _text(s.description), _take_description),
    "tags": (lambda s: _text("\n".join(s.tags)), _take_tags),
    "parent": (lambda s: _text(s.parent_session_id), _take_parent),
    "session.json": (lambda s: to_text(session_document(s)), _take_document),
}
"""The control files of a session: how each is shown, and how it is written where it can be."""
