"""The mount's root: the README, `sessions/`, and the views."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from llmspellfs.errors import NotFound, ReadOnly
from llmspellfs.model.times import NS
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.node import Context, File, Folder, Node, misplaced
from llmspellfs.tree.readme import TEXT
from llmspellfs.tree.sessions import SessionsFolder
from llmspellfs.tree.views import ById, ByStatus, ByTag, ByType, SearchFolder, View

_VIEWS: dict[str, Callable[[Context, str], View]] = {
    "by-id": ById,
    "by-status": ByStatus,
    "by-tag": ByTag,
    "by-type": ByType,
    "search": SearchFolder,
}


class Readme(File):
    """`README`: how to use the mount."""

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self.ctx.fixed(0o100444, "/README", len(TEXT.encode()), self.ctx.since_ns // NS * NS)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise ReadOnly(self.name)
        return FixedHandle(self)


class FixedHandle:
    """An open file whose content never changes."""

    direct_io, keep_cache = False, True

    def __init__(self, file: Readme) -> None:
        """Read *file*."""
        self._file = file

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = TEXT.encode()[offset : offset + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Refuse."""
        raise ReadOnly("README")

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self._file.attr()

    def truncate(self, size: int) -> None:
        """Refuse."""
        raise ReadOnly("README")

    def flush(self) -> None:
        """Have nothing to commit."""

    def fsync(self, datasync: bool) -> None:
        """Have nothing to make durable."""

    def release(self) -> None:
        """Let go."""


class Root(Folder):
    """The root."""

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self.ctx.fixed(0o040755, "/")

    def child(self, name: str) -> Node:
        """Return one of the fixed children."""
        if name == "sessions":
            return SessionsFolder(self.ctx, "sessions")
        if name == "README":
            return Readme(self.ctx, "README")
        if name in _VIEWS:
            return _VIEWS[name](self.ctx, name)
        raise NotFound("entry", name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the fixed children."""
        return [(name, self.child(name).attr()) for name in ("README", "sessions", *_VIEWS)]

    def refusal(self, name: str) -> Exception:
        """Say that only sessions stand here."""
        return misplaced(name)
