"""Sessions as directories: `sessions/` itself, the top of each session, and symlinks to a session's children."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from llmspellfs.errors import NotEmpty, NotFound, ReadOnly, SessionBusy
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.names import CONTROL
from llmspellfs.model.session import Session
from llmspellfs.tree import xattrs
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.attributes import folder_attr
from llmspellfs.tree.cache import SessionCache
from llmspellfs.tree.changes import set_status, update_session
from llmspellfs.tree.control import ControlFolder
from llmspellfs.tree.control_files import control_folder_attr
from llmspellfs.tree.entries import EntryFolder
from llmspellfs.tree.node import Context, Folder, Link, Node, misplaced, origin_of
from llmspellfs.tree.xattr_values import decode_tags, decode_text


class SessionsFolder(Folder):
    """`sessions/`: one directory per session; mkdir creates one, rename renames it, rmdir deletes it."""

    def attr(self) -> Attr:
        """Return what stat shows; each session links to it."""
        count, listed_ns = self.ctx.store.entries.tops_in_all()
        return replace(self.ctx.fixed(0o040755, "/sessions", at_ns=listed_ns), nlink=2 + count)

    def child(self, name: str) -> Node:
        """Return the session's directory; raise NotFound."""
        cache = self.ctx.cache.by_dirname(name)
        if cache is None:
            raise NotFound("session", name)
        return SessionTop(self.ctx, cache)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return every session, from one query."""
        listed = self.ctx.store.entries.list_tops()
        return [(dirname, folder_attr(ino, attributes, inside)) for dirname, ino, attributes, inside in listed]

    def make_folder(self, name: str, mode: int, caller: Caller) -> None:
        """Create a session."""
        own = Ownership(mode, caller.uid, caller.gid)
        self.ctx.store.sessions.create(dirname=name, created_by=f"uid:{caller.uid}", own=own, by=origin_of(caller))

    def remove_folder(self, name: str, caller: Caller) -> None:
        """Delete a session: an active one when it is empty, a frozen one whole."""
        top = self.child(name)
        assert isinstance(top, SessionTop)
        session = self.ctx.session(top.sid)
        if session.is_active and (self.ctx.opened.pending_in(top.ino) or self.ctx.store.entries.has_children(top.ino)):
            raise NotEmpty(name)
        if self.ctx.opened.has_dirty(session.sid):
            raise SessionBusy(name)
        self.ctx.store.sessions.delete(session.id, full=False, by=origin_of(caller))
        self.ctx.cache.drop(session.sid)

    def rename(self, old: str, new: str, caller: Caller) -> None:
        """Rename the session *old*; raise AlreadyExists where *new* is one."""
        top = self.child(old)
        assert isinstance(top, SessionTop)
        self.ctx.store.sessions.rename(top.cache.session.id, new, by=origin_of(caller))
        self.ctx.cache.drop(top.sid)

    def refusal(self, name: str) -> Exception:
        """Say that only sessions stand here."""
        return misplaced(name)


class SessionTop(EntryFolder):
    """A session's directory."""

    def __init__(self, ctx: Context, cache: SessionCache) -> None:
        """Be the top of the session that *cache* remembers."""
        super().__init__(ctx, cache, cache.session.ino, None, cache.session.dirname)

    def child(self, name: str) -> Node:
        """Return the child *name*; the control directory is there by name and never listed."""
        if name == CONTROL:
            return ControlFolder(self.ctx, self.sid, lambda session: Children(self.ctx, session))
        return super().child(name)

    def child_attr(self, name: str) -> Attr:
        """Return what stat shows of the child *name*."""
        if name == CONTROL:
            return self.child(name).attr()
        return super().child_attr(name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return what is in the session; the control directory too where the mount says so."""
        if not self.ctx.show_session:
            return super().children()
        return [(CONTROL, self.child_attr(CONTROL)), *super().children()]

    def remove_folder(self, name: str, caller: Caller) -> None:
        """Remove an empty folder; never the control directory."""
        if name == CONTROL:
            raise ReadOnly(name)
        super().remove_folder(name, caller)

    def getxattr(self, name: str) -> bytes:
        """Return an extended attribute; see `xattrs`."""
        return xattrs.get_of_session(self.ctx.session(self.sid), name)

    def listxattr(self) -> list[str]:
        """Return the names that are set."""
        return xattrs.list_of_session(self.ctx.session(self.sid))

    def setxattr(self, name: str, value: bytes, flags: int, caller: Caller) -> None:
        """Set a field, the status, or a metadata key."""
        session = self.ctx.session(self.sid)
        field = xattrs.field_of(name)
        if field is None:
            self._update(session, caller, metadata=lambda now: xattrs.with_key(now, name, value, flags))
            return
        xattrs.check_flags(xattrs.PREFIX + field in self.listxattr(), flags)
        self._set_field(session, field, value, caller)

    def _set_field(self, session: Session, field: str, value: bytes, caller: Caller) -> None:
        if field == "tags":
            self._update(session, caller, tags=decode_tags(value))
        elif field == "status":
            set_status(self.ctx, session, decode_text(value, "status"), caller)
        elif field in {"name", "description"}:
            self._update(session, caller, **{field: decode_text(value, field)})
        elif field == "parent":
            self._update(session, caller, parent=decode_text(value, "parent").strip() or None)
        else:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def removexattr(self, name: str, caller: Caller) -> None:
        """Remove a metadata key, or set a field to nothing."""
        session = self.ctx.session(self.sid)
        if name not in self.listxattr() and xattrs.ALIASES.get(name) not in self.listxattr():
            raise xattrs.missing()
        field = xattrs.field_of(name)
        if field is None:
            key = xattrs.key_of(name)
            self._update(session, caller, metadata=lambda now: {k: v for k, v in now.items() if k != key})
            return
        empty: dict[str, Any] = {"tags": (), "description": "", "parent": None}
        self._update(session, caller, **{field: empty[field]})

    def _update(self, session: Session, caller: Caller, **fields: Any) -> None:
        update_session(self.ctx, session, caller, **fields)


class Children(Folder):
    """`.session/children/`: a symlink to each child session; mkdir here creates one."""

    is_current = False

    def __init__(self, ctx: Context, session: Session) -> None:
        """Show the children of *session*."""
        super().__init__(ctx, "children")
        self._session = session

    def attr(self) -> Attr:
        """Return what stat shows."""
        return control_folder_attr(self.ctx, self._session, "children")

    def child(self, name: str) -> Node:
        """Return the symlink to the child session called *name*; raise NotFound."""
        cache = self.ctx.cache.by_dirname(name)
        if cache is None or cache.session.parent_session_id != self._session.id:
            raise NotFound("child session", name)
        return _link_to(self.ctx, self._session, name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the symlinks, from one query."""
        children = self.ctx.store.sessions.children(self._session.id)
        return [(child.dirname, _link_to(self.ctx, self._session, child.dirname).attr()) for child in children]

    def make_folder(self, name: str, mode: int, caller: Caller) -> None:
        """Create a child session."""
        own = Ownership(mode, caller.uid, caller.gid)
        self.ctx.store.sessions.create(
            dirname=name, parent=self._session.id, created_by=f"uid:{caller.uid}", own=own, by=origin_of(caller)
        )

    def remove_folder(self, name: str, caller: Caller) -> None:
        """Delete a child session, as rmdir does in `sessions/`."""
        self.child(name)
        SessionsFolder(self.ctx, "sessions").remove_folder(name, caller)


_UP = "../../../"
"""From `sessions/NAME/.session/children/` to `sessions/`."""


def _link_to(ctx: Context, parent: Session, dirname: str) -> Link:
    """Return the symlink from *parent*'s children to the session called *dirname*."""
    return Link(ctx, dirname, f"{parent.id}/children/{dirname}", _UP + dirname)
