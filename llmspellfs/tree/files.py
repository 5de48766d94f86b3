"""Open files: one `OpenFile` for each file object that is open, shared by all its handles.

The commit point is here. A handle's `flush` commits bytes that are not committed yet, as a draft that later commits of
the file amend; the last writer's `release` commits what was created or truncated and never written, and puts the draft
into history. Bytes that cannot be committed go to lost+found, and the caller gets the error.

Threading: `OpenFile.turn` serializes changes of the bytes and is never held while anything is committed; `ordering`
serializes commits; `committing` is held for a commit's transaction only, and by whoever else changes the file's row.
Attributes are read without any.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from llmspellfs.errors import SpellError, StoreBusy, TooLarge, Vanished
from llmspellfs.model.artifact import Attributes, Entry
from llmspellfs.model.event import Origin
from llmspellfs.service.paths import Place
from llmspellfs.service.reader import Reader
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage.lost import PART
from llmspellfs.tree.api import Attr
from llmspellfs.tree.attributes import Change, drop_privileges, file_attr, without_privileges
from llmspellfs.tree.buffer import Buffer
from llmspellfs.tree.follower import Followers

if TYPE_CHECKING:
    from llmspellfs.storage.ingest import Staged
    from llmspellfs.tree.opened import Opened
    from llmspellfs.tree.pages import Page


_PATIENCE = 3
"""How often more a commit is tried that nobody waits for."""
_STAGINGS = 8
"""How often content is staged anew because somebody cut the file meanwhile."""


class OpenFile:
    """A file that is open: its bytes as this mount sees them, and what of them is committed."""

    def __init__(self, opened: Opened, place: Place, ino: int, attributes: Attributes, entry: Entry | None) -> None:
        """Begin with the content of *entry*, or, where it is None, as a new file that nobody has committed."""
        self.opened, self.place, self.ino, self.attributes, self.entry = opened, place, ino, attributes, entry
        self.made_ns = attributes.ctime_ns if entry is None else None
        self.turn = threading.RLock()
        self.ordering, self.committing = threading.Lock(), threading.Lock()
        self.pages: set[Page] = set()
        """The kernel's pages that it has cached handles on; `Pages` keeps it."""
        self.failures = 0
        self.failure: Exception | None = None
        """How many commits have failed, and the last one's error: every writer's next flush raises it once."""
        self.is_own = entry is None
        """Whether what is committed came through this mount, so that the kernel knows its size."""
        self.handles = self.writers = 0
        self.given = Given()
        self.buffer: Buffer | None = None if entry is not None else self._new_buffer()
        self.is_removed = False
        """Unlinked while open: nothing is committed any more."""
        self.has_bytes = False
        """Bytes were written that are not committed."""
        self.is_changed = entry is None
        """Created or truncated, and not committed since."""
        self.is_committing = False
        """What was waiting is on its way, and nobody else sees it yet."""
        self._writes = 0
        self._is_part = False
        """A write was refused: what there is of the bytes is not all that was to be."""
        self._draft: int | None = None
        self._drafter: object = None
        """The handle whose commits the draft is: what another one commits is a version of its own."""
        self._is_others = False
        """Whether the draft is of another handle than the one that commits now."""
        self._reader: Reader | None = None
        self._hold = None if entry is None else opened.store.hold_content(entry)
        """What it was opened with stays readable, whatever becomes of the file."""
        self._followers = Followers(opened.intake, opened.workers)

    @property
    def size(self) -> int:
        """Bytes of the content as this mount sees it."""
        buffer = self.buffer
        return buffer.size if buffer is not None else self.entry.facts.size if self.entry is not None else 0

    @property
    def sequence(self) -> int | None:
        """Which artifact of its session it is; None while nobody has committed it."""
        return None if self.entry is None else self.entry.facts.sequence

    @property
    def is_dirty(self) -> bool:
        """Whether anything waits to be committed."""
        return (self.has_bytes or self.is_changed or self.is_committing) and not self.is_removed

    @property
    def token(self) -> tuple[int, str] | None:
        """The inode and the BLAKE3 of what is committed, where nothing else is in the file; else None."""
        entry = self.entry
        return None if entry is None or self.is_dirty else (self.ino, entry.facts.content_hash)

    def attr(self) -> Attr:
        """Return what stat shows of the file as this mount sees it."""
        stored = self.entry.facts.stored_size if self.entry is not None and not self.is_dirty else self.size
        return file_attr(self.ino, self.attributes, self.size, stored, nlink=0 if self.is_removed else 1)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on; return how many bytes there were. Raises Corrupt."""
        buffer = self.buffer
        if buffer is not None:
            return buffer.read_into(view, offset)
        if offset >= self.size:
            return 0
        return self._base().read_into(view, offset)

    def _base(self) -> Reader:
        reader = self._reader
        if reader is None:
            assert self.entry is not None
            reader = self._reader = self.opened.store.open_content(self.entry)
        return reader

    def write(self, view: memoryview, offset: int) -> int:
        """Take *view* as the bytes from *offset* on; return their number.

        Raises TooLarge, LimitExceeded (it is past a quota already), OSError, Corrupt.
        """
        with self.turn:
            try:
                return self._write(view, offset)
            except BaseException:
                self._is_part = True
                raise

    def append(self, view: memoryview) -> int:
        """Take *view* as the bytes behind the last, wherever that is by now; otherwise as `write`."""
        with self.turn:
            return self.write(view, self.size)

    def _write(self, view: memoryview, offset: int) -> int:
        self._check_size(offset + len(view))
        self._begin_change()
        buffer = self._own_bytes()
        count = buffer.write(view, offset)
        self._writes += 1
        self.has_bytes = True
        if (fd := buffer.fd) is not None:
            self._followers.wrote(fd, offset, offset + count)
        self._touch()
        return count

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros to *size* bytes. Raises TooLarge, OSError, Corrupt."""
        self._check_size(size)
        with self.turn:
            self._begin_change()
            if size == 0 and self.buffer is None:
                self.buffer = self._new_buffer()
            self._own_bytes().truncate(size)
            self._writes += 1
            self.is_changed = True
            self._is_part = self._is_part and size > 0
            self._followers.broke()
            self._touch()

    def _begin_change(self) -> None:
        """Have the session not suspended as idle while bytes wait; raise SessionNotActive where it is already."""
        if not self.is_dirty:
            self.opened.presence.hold(self.place.sid)

    def _new_buffer(self) -> Buffer:
        return Buffer(lambda: self.opened.new_spool_file(self))

    def _own_bytes(self) -> Buffer:
        """Return the buffer, filled with the committed content where nobody has written yet."""
        if self.buffer is None:
            self.buffer = self._filled(self._new_buffer())
        return self.buffer

    def _filled(self, buffer: Buffer) -> Buffer:
        """Return *buffer* with the committed content; it leaves nothing behind where that cannot be read or kept."""
        try:
            for block in self._base().blocks():
                buffer.write(block, buffer.size)
        except BaseException:
            buffer.discard()
            raise
        return buffer

    def _check_size(self, size: int) -> None:
        if size > self.opened.max_size:
            raise TooLarge("max_artifact_size", self.opened.max_size)

    def _touch(self) -> None:
        now = self.opened.now()
        self.attributes = replace(self.attributes, mtime_ns=now, ctime_ns=now)

    def commit(self, origin: Origin, *, by: object = None, durable: bool = False, patient: bool = False) -> bool:
        """Commit what is not committed, as *by*'s, a handle, or whoever's; tell whether that was anything.

        *durable*: it survives power loss then.

        *patient*: nobody waits, and nobody would hear of a store that is busy, so it is tried again then. Where it
        fails the bytes go to lost+found, and the error is raised, here and to the other writers.
        """
        with self.ordering:
            if not self.is_dirty:
                return False
            if by is not None and by is not self._drafter:
                self._drafter, self._is_others = by, True
            try:
                self._try_to_commit(origin, durable, _PATIENCE if patient else 0)
            except Exception as error:
                self.failures, self.failure = self.failures + 1, error
                self._lose(error)
                raise
            finally:
                self._followers.take_back()
            return True

    def _try_to_commit(self, origin: Origin, durable: bool, more: int) -> None:
        try:
            self._commit(origin, durable)
        except StoreBusy:
            if not more or self.opened.is_ending:
                raise
            self._try_to_commit(origin, durable, more - 1)

    def _commit(self, origin: Origin, durable: bool) -> None:
        with self.turn:
            writes, has_bytes = self._writes, self.has_bytes
            self.has_bytes = self.is_changed = False
            self.is_committing = True
        try:
            try:
                self._publish(self._stage(trusting=True), origin, durable)
            except Vanished:
                with self.opened.intake.incoming():
                    self._publish(self._stage(trusting=False), origin, durable)
        except BaseException:
            with self.turn:
                self.has_bytes, self.is_changed = self.has_bytes or has_bytes, True
            raise
        finally:
            self.is_committing = False
        self.opened.pages.committed(self)
        with self.turn:
            if self.buffer is not None and writes == self._writes:
                self.buffer.mark(committed=True)

    def _publish(self, staged: Staged, origin: Origin, durable: bool) -> None:
        """Commit *staged*, unless the file was removed while it was staged."""
        with self.committing:
            if self.is_removed:
                return
            own = None if self._is_others else self._draft
            writer, before = Writer(self.opened.owner, own, self.made_ns), self.entry
            entry = self.opened.entries.commit(
                self.place, staged, self.given, (self.ino, self.attributes), writer,
                known=before, durable=durable, by=origin,
            )  # fmt: skip
            if before is None and entry.ino != self.ino:
                self.opened.renumber(self, entry.ino)
            self.entry, self.given, self.is_own = entry, Given(), True
            self.place = Place(entry.sid, entry.folder, entry.name)
            if entry.seq_from is None or self._draft is not None:
                self._draft, self._is_others = entry.eid, False
            self._reader = None
            self.opened.committed(self)

    def _stage(self, *, trusting: bool) -> Staged:
        """Return the bytes staged: little is left to do where a worker has followed."""
        for _ in range(_STAGINGS):
            with self.turn:
                buffer, follower = self._own_bytes(), self._followers.take()
                fd, size = buffer.fd, buffer.size
                content = buffer.memory() if fd is None else b""
            if fd is None:
                return self.opened.intake.stage(content, trusting=trusting)
            staged = self._followers.finish(follower, fd, size, trusting=trusting)
            if staged is not None:
                return staged
        raise OSError(errno.EIO, "the file was cut again and again while it was committed")

    def _lose(self, error: Exception) -> None:
        """Keep what cannot be committed in lost+found, and forget that it waits; who opens the file next reads it anew.

        Handles that are open go on with the bytes that they have.
        """
        why = error.message if isinstance(error, SpellError) else str(error)
        why += PART if self._is_part else ""
        with self.turn:
            self.has_bytes = self.is_changed = False
            self._followers.abandon()
            buffer, source = self.buffer, None
            if buffer is not None and buffer.size:
                source = buffer.memory() if buffer.fd is None else buffer.give_away()
        self.opened.part_with(self)
        if source is not None and not self.opened.lose(self, source, why) and buffer is not None:
            buffer.keep()

    def take_draft(self) -> Entry | None:
        """Return the draft that this file's commits have made, to be sealed, or None."""
        with self.committing:
            draft, self._draft = self._draft, None
        if draft is None or self.entry is None or self.entry.eid != draft or self.entry.seq_from is not None:
            return None
        return self.entry

    def sealed(self, row: Entry) -> None:
        """Hear that the file's draft is in history as *row*."""
        if self.entry is not None and self.entry.eid == row.eid:
            self.entry = replace(self.entry, seq_from=row.seq_from)

    def follow(self, entry: Entry | None) -> None:
        """Hear that the file's row is now *entry*: it was renamed, moved or described anew through this mount.

        A row that is none, or another file's, changes nothing.
        """
        if entry is None or entry.ino != self.ino:
            return
        self.entry, self.place, self._draft = entry, Place(entry.sid, entry.folder, entry.name), None
        self.attributes = replace(self.attributes, ctime_ns=max(self.attributes.ctime_ns, entry.attributes.ctime_ns))

    def change(self, change: Change) -> None:
        """Change the attributes, to be committed with the next bytes; all there is of a removed file."""
        self.attributes = change(self.attributes, self.opened.now())

    def drop_privileges(self) -> None:
        """Clear setuid and setgid, as the kernel does itself for truncate and for writes that go through its pages."""
        if self.attributes.mode == without_privileges(self.attributes.mode):
            return
        with self.committing:
            self.change(drop_privileges)
            if self.entry is not None and not self.is_removed:
                self.opened.set_attributes(self, drop_privileges)

    def touch_ctime(self) -> None:
        """Hear that something else than bytes and attributes has changed: metadata, or that it has a name."""
        self.attributes = replace(self.attributes, ctime_ns=self.opened.now())

    def discard(self) -> None:
        """Let go of the bytes: the last handle is gone."""
        self._followers.abandon()
        self._followers.take_back()
        for held in (self._reader, self._hold):
            if held is not None:
                held.close()
        if self.buffer is not None:
            self.buffer.discard()
