"""A session's files and symlinks as the store has them, with this mount's open files over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.values import is_same
from llmspellfs.service.engine import check_active
from llmspellfs.service.versions import Given, metadata_of
from llmspellfs.tree import xattrs
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.attributes import (
    Change,
    entry_attr,
)
from llmspellfs.tree.files import OpenFile
from llmspellfs.tree.handles import is_changing
from llmspellfs.tree.node import Changeable, Context, File, origin_of

if TYPE_CHECKING:
    from llmspellfs.tree.entries import EntryFolder


class _Child(Changeable, File):
    """A file or a symlink in a folder of a session."""

    def __init__(self, ctx: Context, folder: EntryFolder, name: str, entry: Entry | None) -> None:
        super().__init__(ctx, name)
        self.folder, self.entry = folder, entry

    def change(self, change: Change) -> None:
        """Make *change*."""
        assert self.entry is not None
        self.ctx.store.entries.set_attributes(self.folder.sid, self.entry.ino, change)
        self.folder.cache.forget(self.folder.ino, self.name)


class EntryLink(_Child):
    """A symlink as the store has it."""

    def attr(self) -> Attr:
        """Return what lstat shows."""
        assert self.entry is not None
        return entry_attr(self.entry)

    def target(self) -> str:
        """Return where it leads."""
        assert self.entry is not None
        return self.entry.target or ""


class EntryFile(_Child):
    """An artifact as a file; *file* is its open file, which alone knows it while it is pending."""

    def __init__(
        self,
        ctx: Context,
        folder: EntryFolder,
        name: str,
        entry: Entry | None,
        file: OpenFile | None,
        generation: int = 0,
    ) -> None:
        """Be the file of row *entry*, None while it is pending, as it was at the cache's *generation*."""
        super().__init__(ctx, folder, name, entry)
        self.file, self._generation = file, generation

    def attr(self) -> Attr:
        """Return what stat shows."""
        if self.file is not None and (self.entry is None or self.file.is_dirty):
            return self.file.attr()
        assert self.entry is not None
        return entry_attr(self.entry)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open; for writing the session must be active."""
        if is_changing(flags):
            check_active(self.folder.cache.session)
        if self.entry is None:
            assert self.file is not None
            return self.ctx.opened.reopen(self.file, flags, origin_of(caller))
        while True:
            handle = self.ctx.opened.open(self.entry, flags, origin_of(caller), self._is_current)
            if handle is not None:
                return handle
            self._look_again()

    def _is_current(self) -> bool:
        return self._generation == self.folder.cache.generation

    def _look_again(self) -> None:
        self._generation = self.folder.cache.generation
        self.entry = self.ctx.store.entries.lookup(self.folder.ino, self.name)
        if self.entry is None or self.entry.kind is not Kind.FILE:
            raise NotFound("entry", self.name)

    def truncate(self, size: int, caller: Caller) -> None:
        """Cut or extend, and commit."""
        handle = self.open(os.O_WRONLY, caller)
        try:
            handle.truncate(size)
            if self.entry is not None:
                self.ctx.opened.commit(self.entry.ino, origin_of(caller))
        finally:
            handle.release()

    def change(self, change: Change) -> None:
        file = self.file
        with self.ctx.opened.standing(file):
            if file is not None:
                file.change(change)
            known = self._known()
            if known is not None:
                self.ctx.store.entries.set_attributes(known.sid, known.ino, change)
                self.folder.cache.forget(self.folder.ino, self.name)

    def _known(self) -> Entry | None:
        """Return the row of the file, which may have been pending when it was looked up and not be any more."""
        if self.entry is None and self.file is not None:
            return self.file.entry
        return self.entry

    def getxattr(self, name: str) -> bytes:
        """Return an extended attribute; see `xattrs`."""
        session_id = self.folder.cache.session.id
        return xattrs.get_of_artifact(self.described(), self.name, self.entry, session_id, name)

    def listxattr(self) -> list[str]:
        """Return the names that are set."""
        return xattrs.list_of_artifact(self.described(), self.name)

    def setxattr(self, name: str, value: bytes, flags: int, caller: Caller) -> None:
        """Set one."""
        self.describe(lambda now: xattrs.with_value(now, self.name, name, value, flags), caller)

    def removexattr(self, name: str, caller: Caller) -> None:
        """Remove one."""
        self.describe(lambda now: xattrs.without(now, self.name, name), caller)

    def described(self) -> Given:
        """Return the metadata as it is, what a pending file will have included."""
        if self.entry is not None:
            return metadata_of(self.entry)
        assert self.file is not None
        return self.file.given

    def describe(self, change: Callable[[Given], Given], caller: Caller) -> None:
        """Give the artifact what *change* makes of its metadata; a pending file keeps it for its first commit."""
        check_active(self.folder.cache.session)
        file = self.file
        with self.ctx.opened.standing(file):
            known = self._known()
            if known is None:
                assert file is not None
                given = change(file.given).onto(file.given)
                if given != file.given or not is_same(given.custom, file.given.custom):
                    file.given = given
                    file.touch_ctime()
                return
            entry = self.ctx.store.entries.describe(known.sid, known.facts.sequence, change, by=origin_of(caller))
            if file is not None and file.entry is not None:
                file.follow(entry)
        self.folder.cache.forget(self.folder.ino, self.name)
