"""Folders of control files: editors may keep scratch files beside them, and save by renaming one over a control file.

Renaming a scratch file over a control file applies its content whole, or fails and leaves both as they were. Renaming
a control file to a scratch name, as for a backup, copies it: a control file is always there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmspellfs.errors import AlreadyExists, NotFound
from llmspellfs.model.artifact import Attributes
from llmspellfs.model.names import check_component
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.attributes import Change
from llmspellfs.tree.control_files import ControlFile
from llmspellfs.tree.node import Changeable, Context, File, Folder, Node
from llmspellfs.tree.scratch import ScratchFile, ScratchHandle

if TYPE_CHECKING:
    from llmspellfs.tree.scratch import Key


class Scratch(Changeable, File):
    """A scratch file as a node."""

    def __init__(self, ctx: Context, name: str, file: ScratchFile) -> None:
        """Be *file*, called *name*."""
        super().__init__(ctx, name)
        self.file = file

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self.file.attr()

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open it."""
        return ScratchHandle(self.file, flags)

    def truncate(self, size: int, caller: Caller) -> None:
        """Cut or extend it."""
        self.file.truncate(size)

    def change(self, change: Change) -> None:
        """Make *change*."""
        self.file.change(change)


class ScratchFolder(Folder):
    """A folder of control files, which a subclass names with `control`, and of scratch files."""

    def __init__(self, ctx: Context, name: str, sid: int, ino: int) -> None:
        """Be a control folder of session *sid* that mirrors the folder *ino*, 0 where it mirrors none."""
        super().__init__(ctx, name)
        self.sid, self._mirrored = sid, ino

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be remembered: never, since nothing here may be stale."""
        return False

    def control(self, name: str) -> Node:
        """Return what the mount itself provides as *name*; raise NotFound."""
        raise NotFound("control file", name)

    def child(self, name: str) -> Node:
        """Return a control file or folder, or a scratch file; raise NotFound."""
        key = self._key(name)
        try:
            return self.control(self.ctx.scratches.replaced(key) or name)
        except NotFound:
            file = self.ctx.scratches.get(key)
            if file is None:
                raise
            return Scratch(self.ctx, name, file)

    def scratch_children(self) -> Iterable[tuple[str, Attr]]:
        """Yield the scratch files that are here."""
        for name, file in self.ctx.scratches.listed(self.sid, self._mirrored):
            yield name, file.attr()

    def _key(self, name: str) -> Key:
        return (self.sid, self._mirrored, name)

    def new_key(self, name: str) -> Key:
        """Return the key of a scratch file to be made; raise ReadOnly or InvalidName where *name* cannot be one's."""
        if not self.takes(name):
            raise self.refusal(name)
        return self._key(check_component(name))

    def takes(self, name: str) -> bool:
        """Tell whether a scratch file may have *name*."""
        return True

    def find(self, name: str) -> Node | None:
        """Return the child *name*, or None."""
        try:
            return self.child(name)
        except NotFound:
            return None

    def create(self, name: str, flags: int, mode: int, caller: Caller) -> Handle:
        """Make and open a scratch file, or open what is there."""
        node = self.find(name)
        if node is None:
            now = self.ctx.opened.now
            made = ScratchFile(Attributes(mode, caller.uid, caller.gid, now(), now()), now)
            self.ctx.scratches.put(self.new_key(name), made)
            return ScratchHandle(made, flags)
        if flags & os.O_EXCL:
            raise AlreadyExists("entry", name)
        return node.open(flags, caller)

    def remove(self, name: str, caller: Caller) -> None:
        """Remove a scratch file."""
        key = self._key(name)
        if not self.ctx.scratches.drop(key) and self.ctx.scratches.replaced(key) is None:
            raise self.refusal(name)

    def hide(self, name: str, hidden: str, *, replaced: bool) -> None:
        """Hear that *name* is open and is *hidden* from now on: unlinked, or *replaced* by the rename that follows."""
        if self.ctx.scratches.move(self._key(name), self._key(hidden)):
            return
        if not replaced:
            raise self.refusal(name)
        self.ctx.scratches.replace(self._key(name), self._key(hidden))

    def rename(self, old: str, target: Folder, new: str, caller: Caller) -> None:
        """Rename a scratch file, apply it to the control file *new*, or copy the control file *old*."""
        if not isinstance(target, ScratchFolder) or target.sid != self.sid:
            raise self.refusal(old)
        source, over = self.child(old), target.find(new)
        is_free = over is None or isinstance(over, Scratch)
        if isinstance(source, Scratch) and is_free:
            self.ctx.scratches.move(self._key(old), target.new_key(new))
        elif isinstance(source, Scratch) and isinstance(over, ControlFile):
            over.apply(bytes(source.file.content), caller)
            self.ctx.scratches.drop(self._key(old))
        elif isinstance(source, ControlFile) and is_free:
            self.ctx.scratches.put(target.new_key(new), _copy(source))
        else:
            raise self.refusal(old)


def _copy(source: ControlFile) -> ScratchFile:
    """Return a scratch file that says what *source* says, and grants no more."""
    a, now = source.attr(), source.ctx.opened.now
    return ScratchFile(Attributes(a.mode & 0o7777, a.uid, a.gid, a.mtime_ns, now()), now, source.render())
