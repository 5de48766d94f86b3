"""Handles of files: one for each open descriptor, over the `OpenFile` that all of them share.

A handle decides what its own calls do: where an append goes, which flush commits, which error it has not told yet, and
when a write takes setuid away. Threading: the kernel may use one from several threads at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmspellfs.model.event import Origin
from llmspellfs.tree.api import Attr
from llmspellfs.tree.files import OpenFile

if TYPE_CHECKING:
    from llmspellfs.tree.pages import Page

_ROOT = "uid:0"


def is_changing(flags: int) -> bool:
    """Tell whether an open with *flags* may change the file: one for reading may make it, and on Linux empty it."""
    return bool(flags & (os.O_ACCMODE | os.O_TRUNC | os.O_CREAT))


class FileHandle:
    """One open descriptor of a file, as the adapter holds it."""

    def __init__(self, file: OpenFile, flags: int, origin: Origin) -> None:
        """Open *file* with the *flags* of open(2) for *origin*; `Opened` has counted it already."""
        self.file, self._origin = file, origin
        self.is_writer = is_changing(flags)
        self.is_appending = self.is_writer and bool(flags & os.O_APPEND)
        """Writes go behind the last byte: the offset that the kernel gives is where it believes that to be."""
        self.direct_io = self.keep_cache = False
        self.page: Page | None = None
        """The kernel's pages that it uses, where it does; `Pages` keeps it."""
        self._seen = file.failures

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        return self.file.read_into(view, offset)

    def write(self, view: memoryview, offset: int) -> int:
        """Take all of *view*."""
        if self.direct_io:
            self._drop_privileges()
        return self.file.append(view) if self.is_appending else self.file.write(view, offset)

    def _drop_privileges(self) -> None:
        if self._origin.actor != _ROOT:
            self.file.drop_privileges()

    def empty(self) -> None:
        """Cut the file to nothing, as O_TRUNC does."""
        self._drop_privileges()
        self.file.truncate(0)

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self.file.attr()

    def truncate(self, size: int) -> None:
        """Cut or extend."""
        self.file.truncate(size)

    def flush(self) -> None:
        """Commit bytes that are not committed; what was only created or truncated waits for the release.

        Nobody hears of what fails there: what is certain to fail is refused here.
        """
        if not self.is_writer:
            return
        wanted = self.file.has_bytes or self.file.is_committing
        if self.file.is_dirty and not wanted:
            self.file.opened.check_changeable(self.file)
        self._commit(wanted=wanted)

    def fsync(self, datasync: bool) -> None:
        """Commit and make durable; a clean file may still have commits that a power cut would take."""
        if not self._commit(wanted=True, durable=True):
            self.file.opened.store.sync()

    def _commit(self, *, wanted: bool, durable: bool = False) -> bool:
        """Commit where that is *wanted*, and raise what has failed since this handle last heard of it."""
        try:
            done = wanted and self.file.commit(self._origin, by=self, durable=durable)
        finally:
            has_failed, self._seen = self._seen != self.file.failures, self.file.failures
        if has_failed and self.is_writer and self.file.failure is not None:
            raise self.file.failure
        return done

    def release(self) -> None:
        """Finish; the last writer commits what waits and puts the draft into history."""
        self.file.opened.release(self, self._origin)
