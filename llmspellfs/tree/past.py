"""A session as it was: `checkpoints/N/`, `at/SEQ/` and `at/TIME/`, with sidecars and control files, to be read.

What is here is as little readable as what it is in the present; `service.past` says how much that is. Inode numbers
are those of rows, not of live files: tools that take equal numbers for the same file see that it is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmspellfs.errors import NotFound, ReadOnly
from llmspellfs.model.artifact import Attributes, Entry, Kind
from llmspellfs.model.names import CONTROL
from llmspellfs.model.session import Session
from llmspellfs.service.moments import Moment
from llmspellfs.service.versions import metadata_of
from llmspellfs.tree import xattrs
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.attributes import entry_attr, folder_attr
from llmspellfs.tree.node import Context, File, Folder, Node, fixed_ino
from llmspellfs.tree.past_control import PastControl
from llmspellfs.tree.readonly import ReadOnlyHandle, check_permitted, check_reading

_ROWS = 1 << 61
"""Added to a row's number it is an inode number that nothing else has."""


@dataclass(frozen=True, slots=True)
class View:
    """What the nodes of one past share: the session, the moment, and whether their path means that for good."""

    session: Session
    moment: Moment
    is_fixed: bool


class PastNode(Node):
    """A node of the past: no attribute of it can be set."""

    def setxattr(self, name: str, value: bytes, flags: int, caller: Caller) -> None:
        """Refuse."""
        raise ReadOnly(self.name)

    def removexattr(self, name: str, caller: Caller) -> None:
        """Refuse."""
        raise ReadOnly(self.name)


class PastFolder(PastNode, Folder):
    """A folder as it was."""

    def __init__(self, ctx: Context, view: View, ino: int, path: str, attributes: Attributes) -> None:
        """Be the folder *ino*, then at *path* below the session's top ("" is that), with the past's *attributes*."""
        super().__init__(ctx, path)
        self._view, self._ino, self._path, self._attributes = view, ino, path, attributes
        self._cache = ctx.cache.peek(view.session.sid)

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be used again: its path means that moment, and nobody has changed the session since."""
        return self._view.is_fixed and self._cache is not None and self._cache.is_alive

    def attr(self) -> Attr:
        """Return what stat shows."""
        return uncounted(past_folder_ino(self._view, self._ino), self._attributes)

    def child(self, name: str) -> Node:
        """Return the child *name* as it was; raise NotFound."""
        entry = self.ctx.store.past.lookup(self._view.moment, self._ino, name)
        if entry is None:
            raise NotFound("entry", name)
        if entry.kind is Kind.FOLDER:
            path = f"{self._path}/{name}" if self._path else name
            return PastFolder(self.ctx, self._view, entry.ino, path, entry.attributes)
        kind = PastLink if entry.kind is Kind.SYMLINK else PastFile
        return kind(self.ctx, self._view, entry)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return everything that was here, from one query."""
        listed = self.ctx.store.past.listing(self._view.moment, self._ino)
        return [(entry.name, past_attr(self._view, entry)) for entry in listed]


class PastTop(PastFolder):
    """A session's directory as it was."""

    def __init__(self, ctx: Context, view: View, path: str) -> None:
        """Be the session of *view* at its moment, shown at *path* below the control directory."""
        own = ctx.store.entries.attributes(view.session.ino)
        at_ns = view.moment.at_ns
        past = replace(own, mtime_ns=min(own.mtime_ns, at_ns), ctime_ns=min(own.ctime_ns, at_ns), atime_ns=None)
        super().__init__(ctx, view, view.session.ino, "", past)
        self._shown_at = path

    def child(self, name: str) -> Node:
        """Return the child *name*; the control directory is there by name and never listed."""
        if name == CONTROL:
            return PastControl(self.ctx, self._view.session, self._view.moment, f"{self._shown_at}/{CONTROL}")
        return super().child(name)

    def getxattr(self, name: str) -> bytes:
        """Return an extended attribute of the session as it was."""
        return xattrs.get_of_session(self.ctx.store.past.session(self._view.moment), name)

    def listxattr(self) -> list[str]:
        """Return the names that were set."""
        return xattrs.list_of_session(self.ctx.store.past.session(self._view.moment))


class PastLink(PastNode):
    """A symlink as it was."""

    def __init__(self, ctx: Context, view: View, entry: Entry) -> None:
        """Be the symlink of row *entry*."""
        super().__init__(ctx, entry.name)
        self._view, self._entry = view, entry

    def attr(self) -> Attr:
        """Return what lstat shows."""
        return past_attr(self._view, self._entry)

    def target(self) -> str:
        """Return where it led."""
        return self._entry.target or ""


class PastFile(PastNode, File):
    """A file as it was."""

    def __init__(self, ctx: Context, view: View, entry: Entry) -> None:
        """Be the file of row *entry*."""
        super().__init__(ctx, entry.name)
        self._view, self.entry = view, entry

    def attr(self) -> Attr:
        """Return what stat shows."""
        return past_attr(self._view, self.entry)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        check_reading(self.name, flags)
        check_permitted(self.attr(), caller, self.name)
        reader = self.ctx.store.past.open_content(self.entry)
        # A path that will mean another moment goes past the kernel's pages.
        return ReadOnlyHandle(self, reader.read_into, direct_io=not self._view.is_fixed)

    def truncate(self, size: int, caller: Caller) -> None:
        """Refuse."""
        raise ReadOnly(self.name)

    def getxattr(self, name: str) -> bytes:
        """Return an extended attribute as it was."""
        session_id = self._view.session.id
        return xattrs.get_of_artifact(metadata_of(self.entry), self.entry.name, self.entry, session_id, name)

    def listxattr(self) -> list[str]:
        """Return the names that were set."""
        return xattrs.list_of_artifact(metadata_of(self.entry), self.entry.name)


def past_folder_ino(view: View, ino: int) -> int:
    """Return the inode number of the folder *ino* as it was in *view*."""
    return fixed_ino(f"{view.session.id}/{view.moment.seq}/{ino}")


def past_attr(view: View, entry: Entry) -> Attr:
    """Return the attributes of a row of the past."""
    if entry.kind is Kind.FOLDER:
        return uncounted(past_folder_ino(view, entry.ino), entry.attributes)
    return replace(entry_attr(entry), ino=_ROWS + entry.eid)


def uncounted(ino: int, own: Attributes) -> Attr:
    """Return the attributes of a folder whose link count says that its subfolders are not counted."""
    return replace(folder_attr(ino, own, 0), nlink=1)
