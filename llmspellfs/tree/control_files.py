"""Files that are made when they are read and applied whole when they are written.

Written bytes are applied at the flush that has new ones, an empty truncation at the release. The kernel keeps nothing
of such a file.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace

from llmspellfs.errors import ReadOnly, SpellError
from llmspellfs.model.artifact import Attributes
from llmspellfs.model.session import Session
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.node import Context, File
from llmspellfs.tree.readonly import check_reading
from llmspellfs.tree.scratch import MAX_CONTENT

Render = Callable[[], bytes]
Apply = Callable[[bytes, Caller], None]
_appending = threading.Lock()
"""Held while something is appended to what a control file says just then."""


class ControlHandle:
    """An open control file: what it said when it was opened, and what is being written."""

    direct_io, keep_cache = True, False

    def __init__(self, file: ControlFile, flags: int, caller: Caller) -> None:
        """Read the file as it is now; O_TRUNC begins with nothing."""
        self._file, self._caller, self._cuts = file, caller, file.ctx.cuts
        self._turn = threading.Lock()
        is_cut = bool(flags & os.O_TRUNC) and flags & os.O_ACCMODE != os.O_RDONLY
        self._bytes = bytearray() if is_cut else bytearray(file.render())
        self._is_new, self._is_cut = False, is_cut
        self._is_appending = bool(flags & os.O_APPEND)
        self._tail: bytearray | None = bytearray() if self._is_appending and not is_cut else None
        """What is to be put behind whatever the file says by then; None where the content is all this handle's."""
        self._is_whole = True
        """Nothing that should be in it was refused."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = bytes(self._bytes[offset : offset + len(view)])
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Take *view*, behind the last byte where the file is open for appending; nothing is applied yet."""
        with self._turn:
            if self._is_appending:
                offset = len(self._bytes)
            self._check_size(offset + len(view))
            before, was_new = bytes(self._bytes), self._is_new
            self._bytes.extend(bytes(max(0, offset - len(self._bytes))))
            self._bytes[offset : offset + len(view)] = view
            self._is_new = True
            try:
                self._file.check(bytes(self._bytes))
            except SpellError:
                self._bytes, self._is_new, self._is_cut = bytearray(before), was_new, False
                raise
            if self._tail is not None:
                self._tail.extend(view)
        return len(view)

    def _check_size(self, size: int) -> None:
        if size > MAX_CONTENT:
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
            self._is_cut, self._tail = True, None

    def flush(self) -> None:
        """Apply what was written, whole, or change nothing and raise why."""
        with self._turn:
            if not self._is_new:
                if self._is_cut:
                    self._cuts.add(self._file.key, id(self))
                return
            self._check_size(0)
            self._is_new = self._is_cut = False
            content, tail = bytes(self._bytes), self._tail
        if tail is None:
            self._file.apply(content, self._caller)
        else:
            self._append(tail)

    def _append(self, tail: bytearray) -> None:
        with _appending:
            self._file.apply(self._file.render() + bytes(tail), self._caller)
        tail.clear()

    def fsync(self, datasync: bool) -> None:
        """Apply, and return when it survives power loss."""
        self.flush()
        self._file.ctx.store.sync()

    def release(self) -> None:
        """Apply a truncation that nothing was written after."""
        try:
            self.flush()
            if self._is_cut and self._is_whole:
                self._is_cut = False
                self._file.apply(bytes(self._bytes), self._caller)
        finally:
            self._cuts.remove(self._file.key, id(self))


class ControlFile(File):
    """A file whose content *render* makes and *apply*, where there is one, takes."""

    def __init__(
        self, ctx: Context, session: Session, path: str, render: Render, apply: Apply | None, at_ns: int
    ) -> None:
        """Be `.session/PATH` of *session*."""
        super().__init__(ctx, path)
        self.session, self.render, self._apply, self.at_ns = session, render, apply, at_ns
        self.key = f"{session.id}/{path}"

    def attr(self) -> Attr:
        """Return what stat shows; the size is that of the content as it is now."""
        return control_attr(self.ctx, self.session, self.name, len(self.render()), self.at_ns, self._apply is not None)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open; for writing only where it can be written."""
        if self._apply is None:
            check_reading(self.name, flags)
        self.ctx.opened.sealer.settle()
        self.ctx.cuts.settle(self.key)
        return ControlHandle(self, flags, caller)

    def check(self, content: bytes) -> None:
        """Raise what `apply` certainly will; by default nothing is certain before.

        It is asked at each write, since shells look at what write() says and not at what close() does.
        """

    def apply(self, content: bytes, caller: Caller) -> None:
        """Take *content* whole, or raise and change nothing."""
        if self._apply is None:
            raise ReadOnly(self.name)
        self._apply(content, caller)

    def truncate(self, size: int, caller: Caller) -> None:
        """Cut or extend, and apply that at once."""
        handle = self.open(os.O_WRONLY, caller)
        handle.truncate(size)
        handle.release()

    def chmod(self, mode: int) -> None:
        """Take no note of the bits that it has; the others are the session's or the artifact's."""
        if mode != self.attr().mode & 0o7777:
            raise ReadOnly(self.name)

    def chown(self, uid: int, gid: int, caller: Caller) -> None:
        """Take no note of the owner that it has."""
        own = self.attr()
        if uid not in {-1, own.uid} or gid not in {-1, own.gid}:
            raise ReadOnly(self.name)

    def utimens(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Take no note: what is made when it is read has the session's times."""
        if self._apply is None:
            raise ReadOnly(self.name)


def control_attr(ctx: Context, session: Session, path: str, size: int, at_ns: int, is_writable: bool) -> Attr:
    """Return the attributes of a control file: the session directory's owner, no more than its mode grants."""
    own = ctx.store.entries.attributes(session.ino)
    mode = stat.S_IFREG | (own.mode & 0o666 if is_writable else own.mode & 0o444)
    key = f"{session.id}/{path}"
    return replace(ctx.fixed(mode, key, size, at_ns), uid=own.uid, gid=own.gid)


def control_folder_attr(ctx: Context, session: Session, path: str, own: Attributes | None = None) -> Attr:
    """Return the attributes of a control folder, which mirrors a folder with *own*, by default the session's top."""
    own = own or ctx.store.entries.attributes(session.ino)
    mode = stat.S_IFDIR | own.mode & 0o1777
    return replace(ctx.fixed(mode, f"{session.id}/{path}/", 0, session.updated_ns), uid=own.uid, gid=own.gid)
