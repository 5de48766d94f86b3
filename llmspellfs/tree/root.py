"""The mount's root: the README, `sessions/`, and the views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from llmspellfs.errors import NotFound
from llmspellfs.model.times import NS
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.node import Context, File, Folder, Node, misplaced
from llmspellfs.tree.readme import TEXT
from llmspellfs.tree.readonly import ReadOnlyHandle, check_reading, filling
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
        check_reading(self.name, flags)
        content = TEXT.encode()
        return ReadOnlyHandle(self, filling(lambda offset, size: content[offset : offset + size]), keep_cache=True)


class Root(Folder):
    """The root."""

    def attr(self) -> Attr:
        """Return what stat shows; `sessions/` and each view link to it."""
        return replace(self.ctx.fixed(0o040755, "/"), nlink=3 + len(_VIEWS))

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
