"""The tree as an adapter sees it: paths resolved to nodes, calls handed to them."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable, Mapping

from llmspellfs.errors import AlreadyExists, NotEmpty, NotFound, ReadOnly
from llmspellfs.model.artifact import Kind
from llmspellfs.model.names import CONTROL
from llmspellfs.model.values import check_type
from llmspellfs.service.store import Store
from llmspellfs.tree.api import Attr, Caller, Handle, Statfs
from llmspellfs.tree.attributes import change_mode, change_owner, change_times
from llmspellfs.tree.cache import Cache
from llmspellfs.tree.cuts import Cuts
from llmspellfs.tree.entries import EntryFolder
from llmspellfs.tree.files import OpenFile
from llmspellfs.tree.handles import FileHandle
from llmspellfs.tree.idleness import Idleness
from llmspellfs.tree.listings import Listings
from llmspellfs.tree.node import Context, Folder, Node, as_folder, misplaced, origin_of
from llmspellfs.tree.opened import Opened
from llmspellfs.tree.readonly import check_permitted
from llmspellfs.tree.root import Root
from llmspellfs.tree.scratch import Scratches
from llmspellfs.tree.scratch_folder import ScratchFolder
from llmspellfs.tree.sessions import SessionsFolder

_BLOCK = 4096
_MANY_FOLDERS = 50_000


class Tree:
    """What *store* looks like as files; *options* are the mount's words for it. See `api.TreeApi`.

    `type` is the artifact type of files that are copied in; `show_session` has `.session` listed.
    """

    def __init__(self, store: Store, options: Mapping[str, str] | None = None) -> None:
        """Begin a mount of *store*; raise InvalidValue for a bad option."""
        kind = (options or {}).get("type")
        cache = Cache(store)
        opened = Opened(store, self._file_changed)
        self._ctx = Context(
            store, cache, opened, None if kind is None else check_type(kind), os.getuid(), os.getgid(),
            time.time_ns(),
            Listings(),
            Scratches(),
            Cuts(),
            show_session="show_session" in (options or {}),
        )  # fmt: skip
        self._idleness = Idleness(store, opened.presence, self._suspended, opened.has_dirty)
        self._root = Root(self._ctx, "/")
        self._folders: dict[str, Folder] = {}
        self._replaced = threading.local()

    def _file_changed(self, file: OpenFile) -> None:
        known = self._ctx.cache.peek(file.place.sid)
        if known is not None:
            known.forget(file.place.folder, file.place.name)

    def _suspended(self, sid: int) -> None:
        self._ctx.cache.drop(sid)

    def _folder(self, path: str) -> Folder:
        """Return the folder at *path*, remembered while nobody else changes its session."""
        folder: Folder = self._root
        names: list[str] = []
        above = path
        while above:
            known = self._folders.get(above)
            if known is not None and known.is_current:
                folder = known
                break
            above, _, name = above.rpartition("/")
            names.append(name)
        while names:
            name = names.pop()
            folder, above = as_folder(folder.child(name)), f"{above}/{name}"
            if len(self._folders) > _MANY_FOLDERS:
                self._folders.clear()
            self._folders[above] = folder
        return folder

    def _split(self, path: str, *, lately: bool = False) -> tuple[Folder, str]:
        self._ctx.cache.refresh(lately=lately)
        above, _, name = path.rpartition("/")
        return self._folder(above), name

    def _node(self, path: str) -> Node:
        if path == "/":
            self._ctx.cache.refresh()
            return self._root
        folder, name = self._split(path)
        return folder.child(name)

    def attr(self, path: str) -> Attr:
        """Return what lstat shows."""
        hidden = self._ctx.opened.hidden(path)
        if hidden is not None:
            return hidden.attr()
        if path == "/":
            return self._root.attr()
        folder, name = self._split(path, lately=f"/{CONTROL}/" not in path)
        return folder.child_attr(name)

    def readlink(self, path: str) -> str:
        """Return where the symlink leads."""
        return self._node(path).target()

    def listdir(self, path: str) -> Iterable[tuple[str, Attr]]:
        """Return the name and the attributes of each entry."""
        if path == "/":
            return self._root.children()
        folder, name = self._split(path)
        node = self._folders.get(path)
        if node is None or not node.is_current:
            node = as_folder(folder.child(name))
        return node.children()

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        """Make a folder, or in `sessions/` a session."""
        folder, name = self._split(path)
        folder.make_folder(name, mode, caller)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        """Make a symlink."""
        folder, name = self._split(path)
        folder.make_symlink(name, target, caller)

    def unlink(self, path: str, caller: Caller) -> None:
        """Remove a file or symlink."""
        if self._ctx.opened.forget_hidden(path):
            return
        folder, name = self._split(path)
        folder.remove(name, caller)
        self._ctx.opened.pages.gone(path)

    def rmdir(self, path: str, caller: Caller) -> None:
        """Remove an empty folder, or a session."""
        folder, name = self._split(path)
        folder.remove_folder(name, caller)
        self._forget_folders()

    def rename(self, old: str, new: str, caller: Caller) -> None:
        """Rename or move; what *new* was becomes an older version, or goes."""
        try:
            is_folder = self._rename(old, new, caller)
        except BaseException:
            self._undo_hide(new)
            raise
        self._replaced.now = None
        self._ctx.opened.pages.moved(old, new, folder=is_folder)

    def _rename(self, old: str, new: str, caller: Caller) -> bool:
        """Rename, and tell whether it was a folder or a session."""
        (source, old_name), (target, new_name) = self._split(old), self._split(new)
        if isinstance(source, SessionsFolder) or isinstance(target, SessionsFolder):
            self._rename_session(source, old_name, target, new_name, caller)
            return True
        if isinstance(source, ScratchFolder):
            source.rename(old_name, target, new_name, caller)
            return False
        if not isinstance(source, EntryFolder) or not isinstance(target, EntryFolder):
            raise (source if not isinstance(source, EntryFolder) else target).refusal(old_name)
        if CONTROL in (old_name if source.key is None else "", new_name if target.key is None else ""):
            raise ReadOnly(CONTROL)
        return self._rename_entry(source, old_name, target, new_name, caller)

    def _rename_session(self, source: Folder, old: str, target: Folder, new: str, caller: Caller) -> None:
        if not isinstance(source, SessionsFolder) or not isinstance(target, SessionsFolder):
            raise misplaced(old)
        source.rename(old, new, caller)
        self._forget_folders()

    def _rename_entry(self, source: EntryFolder, old: str, target: EntryFolder, new: str, caller: Caller) -> bool:
        source.settle(old, caller)
        target.settle(new, caller)
        ctx, moved, over = self._ctx, source.open_file(old), target.find_open_file(new)
        inside = self._open_inside(source, old, target, new, caller)
        with ctx.opened.standing(moved, over, *inside):
            entry = ctx.store.entries.rename(source.place(old), target.place(new), by=origin_of(caller))
            if moved is not None and moved.ino == entry.ino:
                moved.follow(entry)
            if over is not None and over is not moved:
                ctx.opened.remove(over, None)
            for file in inside:
                file.follow(ctx.store.entries.lookup(file.place.folder, file.place.name))
        source.cache.forget(source.ino, old)
        target.cache.forget(target.ino, new)
        if entry.kind is Kind.FOLDER:
            ctx.cache.drop(source.sid)
            ctx.cache.drop(target.sid)
            self._forget_folders()
        return entry.kind is Kind.FOLDER

    def _open_inside(
        self, source: EntryFolder, old: str, target: EntryFolder, new: str, caller: Caller
    ) -> list[OpenFile]:
        """Return the files, open now, that may be in the folder *old* when it changes its session.

        Raises NotEmpty where the folder would replace one with files not committed yet.
        """
        opened, moved = self._ctx.opened, source.child_attr(old)
        if not stat.S_ISDIR(moved.mode):
            return []
        opened.sealer.settle()  # files just closed were in the folder while it had its old name
        source.keep_times(old)
        if opened.pending_in(target.ino_of(new)):
            raise NotEmpty(new)
        if source.sid == target.sid:
            return []
        inside = opened.of_session(source.sid)
        for file in inside:
            if file.entry is None:
                file.commit(origin_of(caller))
        return inside

    def _forget_folders(self) -> None:
        self._folders.clear()

    def hide(self, path: str, hidden: str, replaced: bool) -> None:
        """Take an open file out of sight: unlinked, or replaced by the rename that follows on this thread."""
        folder, name = self._split(path)
        if isinstance(folder, ScratchFolder):
            folder.hide(name, hidden.rpartition("/")[2], replaced=replaced)
            return
        if not isinstance(folder, EntryFolder):
            raise folder.refusal(name)
        self._ctx.opened.pages.gone(path)
        if not replaced:
            folder.hide(name, hidden, Caller(os.getuid(), os.getgid(), 0))
            return
        file = folder.open_file(name)
        if file is not None:
            with self._ctx.opened.standing(file):
                self._ctx.opened.remove(file, hidden)
            self._replaced.now = (path, hidden, file)

    def _undo_hide(self, new: str) -> None:
        path, hidden, file = getattr(self._replaced, "now", None) or (None, "", None)
        self._replaced.now = None
        if path == new and file is not None:
            self._ctx.opened.bring_back(file, hidden)

    def chmod(self, path: str, mode: int, caller: Caller) -> None:
        """Set permission bits."""
        hidden = self._ctx.opened.hidden(path)
        if hidden is not None:
            hidden.change(change_mode(mode))
            return
        self._node(path).chmod(mode)

    def chown(self, path: str, uid: int, gid: int, caller: Caller) -> None:
        """Set owner and group; -1 leaves one as it is."""
        hidden = self._ctx.opened.hidden(path)
        if hidden is not None:
            hidden.change(change_owner(uid, gid, drop_bits=caller.uid != 0))
            return
        self._node(path).chown(uid, gid, caller)

    def utimens(self, path: str, atime_ns: int | None, mtime_ns: int | None, caller: Caller) -> None:
        """Set times; None leaves one as it is."""
        hidden = self._ctx.opened.hidden(path)
        if hidden is not None:
            hidden.change(change_times(atime_ns, mtime_ns))
            return
        self._node(path).utimens(atime_ns, mtime_ns)

    def truncate(self, path: str, size: int, caller: Caller) -> None:
        """Cut or extend, and commit."""
        hidden = self._ctx.opened.hidden(path)
        if hidden is not None:
            hidden.truncate(size)
            return
        self._node(path).truncate(size, caller)

    def open(self, path: str, flags: int, caller: Caller) -> Handle:
        """Open what is there."""
        return self._admitted(path, self._node(path).open(flags, caller))

    def _admitted(self, path: str, handle: Handle) -> Handle:
        """Return *handle*, which knows now how it uses the kernel's pages of *path*."""
        if isinstance(handle, FileHandle):
            self._ctx.opened.pages.admit(path, handle)
        return handle

    def create(self, path: str, flags: int, mode: int, caller: Caller) -> Handle:
        """Make and open a file; an existing one is opened unless O_EXCL is given."""
        folder, name = self._split(path)
        if not isinstance(folder, EntryFolder | ScratchFolder):
            return self._open_existing(folder, name, flags, caller)
        return self._admitted(path, folder.create(name, flags, mode, caller))

    def _open_existing(self, folder: Folder, name: str, flags: int, caller: Caller) -> Handle:
        try:
            node = folder.child(name)
        except NotFound:
            raise folder.refusal(name) from None
        if flags & os.O_EXCL:
            raise AlreadyExists("entry", name)
        return node.open(flags, caller)

    def permit(self, path: str, caller: Caller, bits: int) -> None:
        """Raise NotAllowed where *caller* does not have the permission *bits* on what is at *path* in `.session` now.

        The kernel believes in modes for a second, and those in there rest on other files' and folders'.
        """
        above, control, below = path.partition(f"/{CONTROL}/")
        if caller.uid == 0 or not control:
            return
        here = above + control.rstrip("/")
        names = below.split("/")
        for name in names[:-1]:
            here = f"{here}/{name}"
            check_permitted(self.attr(here), caller, name, 0o1)
        if bits:
            check_permitted(self.attr(f"{here}/{names[-1]}"), caller, names[-1], bits)

    def getxattr(self, path: str, name: str) -> bytes:
        """Return an extended attribute."""
        return self._node(path).getxattr(name)

    def setxattr(self, path: str, name: str, value: bytes, flags: int, caller: Caller) -> None:
        """Set an extended attribute."""
        self._node(path).setxattr(name, value, flags, caller)

    def listxattr(self, path: str) -> list[str]:
        """Return the names of the extended attributes that are set."""
        return self._node(path).listxattr()

    def removexattr(self, path: str, name: str, caller: Caller) -> None:
        """Remove an extended attribute."""
        self._node(path).removexattr(name, caller)

    def statfs(self) -> Statfs:
        """Return how full the store's disk is."""
        space = self._ctx.store.space()
        blocks, free, available = (n // _BLOCK for n in (space.total, space.free, space.available))
        spare = max(free, 1)
        return Statfs(_BLOCK, _BLOCK, blocks, free, available, space.artifacts + spare, spare, spare, namemax=255)

    def sync(self) -> None:
        """Return when everything committed so far survives power loss."""
        self._ctx.store.sync()

    def destroy(self) -> None:
        """Commit everything: the mount is gone."""
        self._idleness.close()
        self._ctx.opened.commit_all()
