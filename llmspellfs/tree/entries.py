"""A session's folders as the store has them, with this mount's open files over what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from llmspellfs.errors import AlreadyExists, NotAFolder, NotEmpty, NotFound
from llmspellfs.model.artifact import Attributes, Entry, Kind, Ownership
from llmspellfs.model.names import CONTROL, check_component
from llmspellfs.service import limits
from llmspellfs.service.engine import check_active
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.attributes import (
    Change,
    dirent_attr,
    entry_attr,
    folder_attr,
    with_listing_changed,
)
from llmspellfs.tree.cache import SessionCache
from llmspellfs.tree.entry_files import EntryFile, EntryLink
from llmspellfs.tree.files import OpenFile
from llmspellfs.tree.node import Changeable, Context, Folder, Node, origin_of


class EntryFolder(Changeable, Folder):
    """A folder in a session; its top is a subclass, `sessions.SessionTop`."""

    def __init__(self, ctx: Context, cache: SessionCache, ino: int, key: tuple[int, str] | None, name: str) -> None:
        """Be the folder *ino*, which stands at *key* (None: the session's top)."""
        super().__init__(ctx, name)
        self.cache, self.ino, self.key = cache, ino, key
        self.sid = cache.session.sid
        if key is not None:
            cache.folders[ino] = key

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether nobody else has changed the session since."""
        return self.cache.is_alive

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self._with_pending(self._attr())

    def _with_pending(self, attr: Attr) -> Attr:
        """Return the *attr* of a folder with the times at which files not committed yet came and went in it."""
        return with_listing_changed(attr, self.ctx.opened.listing_changed_ns(attr.ino))

    def _attr(self) -> Attr:
        if self.key is not None:
            known = self.cache.attrs.get(self.key)
            if known is not None:
                return known
        elif self.cache.top is not None:
            return self.cache.top
        generation = self.cache.generation
        attr = folder_attr(self.ino, self.attributes(), self.ctx.store.entries.subfolders(self.ino))
        if generation == self.cache.generation:
            if self.key is None:
                self.cache.top = attr
            else:
                self.cache.remember_attr(self.key, attr, generation)
        return attr

    def attributes(self) -> Attributes:
        """Return the folder's own attributes."""
        return self.ctx.store.entries.attributes(self.ino)

    def place(self, name: str) -> Place:
        """Return the place of *name* here."""
        return Place(self.sid, self.ino, name)

    def entry(self, name: str) -> Entry:
        """Return the live row of *name*; raise NotFound."""
        key = (self.ino, name)
        found = self.cache.entries.get(key)
        if found is not None:
            return found
        if key in self.cache.missing:
            raise NotFound("entry", name)
        generation = self.cache.generation
        entry = self.ctx.store.entries.lookup(self.ino, check_component(name))
        if entry is None:
            self.cache.remember_missing(key, generation)
            raise NotFound("entry", name)
        self.cache.remember(key, entry, generation)
        return entry

    def child(self, name: str) -> Node:
        """Return the child *name*; raise NotFound."""
        pending = self.ctx.opened.pending(self.ino, name)
        if pending is not None:
            return EntryFile(self.ctx, self, name, None, pending)
        generation = self.cache.generation
        entry = self.entry(name)
        if entry.kind is Kind.FOLDER:
            return EntryFolder(self.ctx, self.cache, entry.ino, (self.ino, name), name)
        if entry.kind is Kind.SYMLINK:
            return EntryLink(self.ctx, self, name, entry)
        return EntryFile(self.ctx, self, name, entry, self.ctx.opened.by_ino(entry.ino), generation)

    def child_attr(self, name: str) -> Attr:
        """Return what stat shows of the child *name*, without a query where it is remembered."""
        opened = self.ctx.opened
        pending = opened.pending(self.ino, name)
        if pending is not None:
            return pending.attr()
        key = (self.ino, name)
        attr = self.cache.attrs.get(key)
        if attr is None:
            generation = self.cache.generation
            attr = entry_attr(self.entry(name))
            self.cache.remember_attr(key, attr, generation)
        if stat.S_ISDIR(attr.mode):
            return self._with_pending(attr)
        file = opened.by_ino(attr.ino)
        return attr if file is None or not file.is_dirty else file.attr()

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the name and the attributes of each child, from one query, and remember them."""
        generation, ino = self.cache.generation, self.ino
        # first: what is not pending any more is in the store
        pending = [(file.place.name, file) for file in self.ctx.opened.pending_in(ino)]
        listed = {}
        for dirent in self.ctx.store.entries.listing(ino):
            attr = dirent_attr(dirent)
            self.cache.remember_attr((ino, dirent.name), attr, generation)
            file = self.ctx.opened.by_ino(attr.ino)
            listed[dirent.name] = attr if file is None or not file.is_dirty else file.attr()
        inos = {attr.ino for attr in listed.values()} if pending else set()
        listed |= {name: file.attr() for name, file in pending if not file.is_removed and file.ino not in inos}
        return listed.items()

    def create(self, name: str, flags: int, mode: int, caller: Caller) -> Handle:
        """Make a file, pending until its first commit, and open it; raise AlreadyExists with O_EXCL."""
        try:
            node = self.child(name)
        except NotFound:
            return self._create(name, flags, mode, caller)
        if flags & os.O_EXCL:
            raise AlreadyExists("entry", name)
        return node.open(flags, caller)

    def _create(self, name: str, flags: int, mode: int, caller: Caller) -> Handle:
        self.check_writable(name)
        self._check_room()
        now = self.ctx.opened.now()
        attributes = self._owned(mode, caller, is_folder=False).at(now)
        handle = self.ctx.opened.create(self.place(name), attributes, flags, origin_of(caller))
        if self.ctx.artifact_type is not None:
            handle.file.given = Given(artifact_type=self.ctx.artifact_type)
        return handle

    def _check_room(self) -> None:
        """Raise LimitExceeded where the session is full, here already: shells do not look at what close() says."""
        config = self.ctx.store.config
        if config.max_artifacts_per_session:
            pending = self.ctx.opened.count_pending(self.sid)
            limits.check_artifacts(config, self.ctx.session(self.sid).artifact_count + pending + 1)

    def check_writable(self, name: str) -> None:
        """Raise SessionNotActive where the session is frozen, AlreadyExists for the reserved name at its top."""
        check_active(self.cache.session)
        if self.key is None and name == CONTROL:
            raise AlreadyExists("control directory", name)

    def _owned(self, mode: int, caller: Caller, *, is_folder: bool) -> Ownership:
        """Return who owns what *caller* makes here; a setgid folder hands its group down."""
        here = self.cache.owners.get(self.ino)
        if here is None:
            attributes = self.attributes()
            here = self.cache.owners[self.ino] = (attributes.mode, attributes.gid)
        if not here[0] & stat.S_ISGID:
            return Ownership(mode, caller.uid, caller.gid)
        return Ownership(mode | stat.S_ISGID if is_folder else mode, caller.uid, here[1])

    def make_folder(self, name: str, mode: int, caller: Caller) -> None:
        """Make an empty folder."""
        self._check_free(name)
        own = self._owned(mode, caller, is_folder=True)
        self.ctx.store.entries.make_folder(self.place(name), own, by=origin_of(caller))
        self.cache.forget(self.ino, name)

    def make_symlink(self, name: str, target: str, caller: Caller) -> None:
        """Make a symlink."""
        self._check_free(name)
        own = self._owned(0o777, caller, is_folder=False)
        self.ctx.store.entries.make_symlink(self.place(name), target, own, by=origin_of(caller))
        self.cache.forget(self.ino, name)

    def _check_free(self, name: str) -> None:
        if self.ctx.opened.pending(self.ino, name) is not None:
            raise AlreadyExists("entry", name)

    def remove(self, name: str, caller: Caller) -> None:
        """Unlink a file or a symlink."""
        self.hide(name, None, caller)

    def hide(self, name: str, hidden: str | None, caller: Caller) -> None:
        """Unlink *name*; where it is open it lives on as *hidden* until its last close."""
        opened = self.ctx.opened
        with opened.standing(self.find_open_file(name)) as files:
            if opened.pending(self.ino, name) is None:
                self.ctx.store.entries.remove(self.place(name), folder=False, by=origin_of(caller))
            for file in files:
                opened.remove(file, hidden)
        self.cache.forget(self.ino, name)

    def open_file(self, name: str) -> OpenFile | None:
        """Return the open file called *name*, pending or not, or None; raise NotFound where nothing is."""
        pending = self.ctx.opened.pending(self.ino, name)
        return pending or self.ctx.opened.by_ino(self.child_attr(name).ino)

    def ino_of(self, name: str) -> int:
        """Return the inode number of *name*, or 0 where nothing is."""
        try:
            return self.child_attr(name).ino
        except NotFound:
            return 0

    def find_open_file(self, name: str) -> OpenFile | None:
        """Return the open file called *name*, or None, also where nothing is."""
        try:
            return self.open_file(name)
        except NotFound:
            return None

    def remove_folder(self, name: str, caller: Caller) -> None:
        """Remove an empty folder."""
        node = self.child(name)
        if not isinstance(node, EntryFolder):
            raise NotAFolder(name)
        if self.ctx.opened.pending_in(node.ino):
            raise NotEmpty(name)
        self.ctx.store.entries.remove(self.place(name), folder=True, by=origin_of(caller))
        self.cache.forget(self.ino, name)
        self.ctx.cache.drop(self.sid)

    def settle(self, name: str, caller: Caller) -> None:
        """Commit *name* where it is pending, so that it can be renamed."""
        pending = self.ctx.opened.pending(self.ino, name)
        if pending is not None:
            pending.commit(origin_of(caller))

    def keep_times(self, name: str) -> None:
        """Have the store know the times that the folder *name* shows; the ctime of a rename would stand before them."""
        folder = self.child(name)
        if isinstance(folder, EntryFolder):
            at_ns = self.ctx.opened.listing_changed_ns(folder.ino)
            if at_ns > folder.attributes().ctime_ns:
                folder.change(lambda shown, _: shown)

    def change(self, change: Change) -> None:
        """Make *change* of what is shown."""

        def change_shown(old: Attributes, now_ns: int) -> Attributes:
            return change(with_listing_changed(old, self.ctx.opened.listing_changed_ns(self.ino)), now_ns)

        self.ctx.store.entries.set_attributes(self.sid, self.ino, change_shown)
        self.cache.owners.pop(self.ino, None)
        self.cache.forget_folder(self.ino)
