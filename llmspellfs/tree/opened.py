"""The open files of one mount: found by inode, pending ones by place, removed ones by libfuse's hidden path.

Here is decided which handles share bytes, and what the kernel may keep of them. Threading: `turn` guards the tables
and is held for dictionary work only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from llmspellfs.errors import LimitExceeded, NotFound, SpellError
from llmspellfs.model.artifact import Attributes, Entry
from llmspellfs.model.event import Origin
from llmspellfs.service.engine import check_active
from llmspellfs.service.paths import Place
from llmspellfs.service.store import Store
from llmspellfs.storage.destination import Destination
from llmspellfs.tree.attributes import Change
from llmspellfs.tree.files import OpenFile
from llmspellfs.tree.handles import FileHandle
from llmspellfs.tree.pages import Pages
from llmspellfs.tree.sealer import Sealer

if TYPE_CHECKING:
    from llmspellfs.tree.buffer import SpoolFile

log = logging.getLogger(__name__)
_WORKERS = 2
_RELEASED_SECONDS = 0.25
_CLOSING_SECONDS = 0.02
_MANY = 50_000
_LARGEST = (1 << 44) - (1 << 12)
"""Bytes of the largest file where the configuration names no limit: ext4's, with blocks of 4 KiB. Other file systems
let a spool file have holes of exbibytes, which no close would ever have read."""


class Opened:
    """The table of open files over *store*; *changed* is called with a file whose attributes changed."""

    def __init__(self, store: Store, changed: Callable[[OpenFile], None]) -> None:
        """Begin with nothing open."""
        self.store, self.entries, self.intake = store, store.entries, store.intake
        self.workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ingest")
        self.is_ending = False
        """The mount is about to go: nothing is tried again, so that its end is bounded."""
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="closing")
        self.sealer = Sealer(store.entries, self._sealed)
        self.owner = store.intake.owner
        self.max_size = store.config.max_artifact_size or _LARGEST
        self.presence = store.presence()
        self.now: Callable[[], int] = time.time_ns
        self.turn = threading.Lock()
        self._changed = changed
        self._files: dict[int, OpenFile] = {}
        self._pending: dict[tuple[int, str], OpenFile] = {}
        self._hidden: dict[str, OpenFile] = {}
        self._all: set[OpenFile] = set()
        """Every file with handles, those too that a newer content or a failed commit has put out of the tables."""
        self._own: dict[int, int] = {}
        """The row (eid) of each inode's last commit through this mount: the kernel knows what came of it."""
        self._listings_changed: dict[int, int] = {}
        """When files that nobody had committed were made in, or removed from, each folder."""
        self.pages = Pages(self.now)
        self.entries.expect_files()

    def _sealed(self, row: Entry) -> None:
        file = self._files.get(row.ino)
        if file is not None:
            file.sealed(row)

    def by_ino(self, ino: int) -> OpenFile | None:
        """Return the open file of inode *ino*, or None."""
        return self._files.get(ino)

    def pending(self, folder: int, name: str) -> OpenFile | None:
        """Return the file made at the place and not committed yet, or None."""
        return self._pending.get((folder, name)) if self._pending else None

    def pending_in(self, folder: int) -> list[OpenFile]:
        """Return the files in *folder* that are not committed yet."""
        if not self._pending:
            return []
        with self.turn:
            return [file for (parent, _), file in self._pending.items() if parent == folder]

    def count_pending(self, sid: int) -> int:
        """Return how many files of session *sid* are not committed yet."""
        with self.turn:
            return sum(file.place.sid == sid for file in self._pending.values())

    def hidden(self, path: str) -> OpenFile | None:
        """Return the removed file that libfuse calls *path*, or None."""
        return self._hidden.get(_name(path)) if self._hidden else None

    def create(self, place: Place, attributes: Attributes, flags: int, origin: Origin) -> FileHandle:
        """Open a new file at *place* that nobody has committed yet."""
        self.presence.hold(place.sid)
        file = OpenFile(self, place, self.entries.reserve_ino(), attributes, None)
        with self.turn:
            self._files[file.ino] = self._pending[place.folder, place.name] = file
            self._listing_changed(place.folder, attributes.ctime_ns)
            return self._handle(file, flags, origin)

    def _listing_changed(self, folder: int, at_ns: int) -> None:
        if len(self._listings_changed) > _MANY:
            self._listings_changed.clear()
        self._listings_changed[folder] = at_ns

    def listing_changed_ns(self, folder: int) -> int:
        """Return when the listing of *folder* last changed without the store knowing yet, 0 where it knows all."""
        return self._listings_changed.get(folder, 0)

    def open(self, entry: Entry, flags: int, origin: Origin, is_current: Callable[[], bool]) -> FileHandle | None:
        """Open the committed file *entry*; handles of one content share one OpenFile.

        None where *entry* would be needed and is not *is_current* any more: a file that commits and is let go
        between its lookup and here would be forgotten. Raises Corrupt where it is listed as empty and is not: of such a
        file the kernel reads nothing, and so would be told nothing.
        """
        if not entry.facts.size and not flags & os.O_TRUNC:
            self.store.open_content(entry).close()
        with self.turn:
            file = self._files.get(entry.ino)
            if file is None or self._is_behind(file, entry):
                if not is_current():
                    return None
                file = self._caught_up(file, entry)
            handle = self._handle(file, flags, origin)
        if flags & os.O_TRUNC:
            handle.empty()
        return handle

    def reopen(self, file: OpenFile, flags: int, origin: Origin) -> FileHandle:
        """Open *file*, which is pending, once more."""
        with self.turn:
            handle = self._handle(file, flags, origin)
        if flags & os.O_TRUNC:
            handle.empty()
        return handle

    def _is_behind(self, file: OpenFile, entry: Entry) -> bool:
        """Tell whether *entry* is another row than *file* shows, and *file* has no bytes of its own."""
        return not file.is_dirty and file.entry is not None and file.entry.eid != entry.eid

    def _caught_up(self, file: OpenFile | None, entry: Entry) -> OpenFile:
        """Return the open file that shows *entry*: *file* where the content is the same, else a new one."""
        if file is not None and file.entry is not None and file.entry.facts.content == entry.facts.content:
            file.follow(entry)
            return file
        place = Place(entry.sid, entry.folder, entry.name)
        self._files[entry.ino] = fresh = OpenFile(self, place, entry.ino, entry.attributes, entry)
        fresh.is_own = self._own.get(entry.ino) == entry.eid
        return fresh

    def _handle(self, file: OpenFile, flags: int, origin: Origin) -> FileHandle:
        handle = FileHandle(file, flags, origin)
        file.handles += 1
        file.writers += handle.is_writer
        self._all.add(file)
        return handle

    def release(self, handle: FileHandle, origin: Origin) -> None:
        """Count a handle out; the last writer commits what waits and puts the draft into history.

        Nobody waits for a release, and the kernel has only a dozen of them and of its reads ahead answered at a time:
        what takes long goes on in a thread of its own.
        """
        file = handle.file
        with self.turn:
            file.writers -= handle.is_writer
            is_last_writer = handle.is_writer and file.writers == 0
        if not is_last_writer or not (file.is_dirty or file.ordering.locked() or file.committing.locked()):
            self._release(handle, origin, is_last_writer=is_last_writer)
            return
        released = self._closing.submit(self._release, handle, origin, is_last_writer=True)
        if wait([released], _CLOSING_SECONDS).done:
            released.result()
        else:
            released.add_done_callback(lambda _: _note_failure(file, released))

    def _release(self, handle: FileHandle, origin: Origin, *, is_last_writer: bool) -> None:
        try:
            if is_last_writer:
                self._settle(handle, origin)
        finally:
            self.pages.release(handle)
            self._let_go(handle.file)

    def _settle(self, handle: FileHandle, origin: Origin) -> None:
        file = handle.file
        try:
            file.commit(origin, by=handle, patient=True)
        finally:
            draft = file.take_draft()
            if draft is not None and not file.is_removed:
                self.sealer.add(draft, origin)

    def _let_go(self, file: OpenFile) -> None:
        with self.turn:
            file.handles -= 1
            if file.handles:
                return
            self._all.discard(file)
            self._forget(file)
        file.discard()

    def _forget(self, file: OpenFile) -> None:
        if self._files.get(file.ino) is file:
            del self._files[file.ino]
        if self._pending.get((file.place.folder, file.place.name)) is file:
            del self._pending[file.place.folder, file.place.name]

    def part_with(self, file: OpenFile) -> None:
        """Hear that *file* holds bytes that were not committed: it is its handles' alone now."""
        self.pages.spoil(file)
        self._changed(file)
        with self.turn:
            self._forget(file)

    def committed(self, file: OpenFile) -> None:
        """Hear that *file* is committed: it is pending no longer."""
        self._changed(file)  # first: what is not pending any more is looked for in the store
        with self.turn:
            if file.entry is not None:
                self._own = {} if len(self._own) > _MANY else self._own
                self._own[file.ino] = file.entry.eid
            for key in [key for key, other in self._pending.items() if other is file]:
                del self._pending[key]

    def set_attributes(self, file: OpenFile, change: Change) -> None:
        """Change the stored attributes of *file*, which is committed."""
        self.entries.set_attributes(file.place.sid, file.ino, change)
        self._changed(file)

    def renumber(self, file: OpenFile, ino: int) -> None:
        """Hear that *file* became a version of an existing artifact, whose inode it now is."""
        with self.turn:
            if self._files.get(file.ino) is file:
                del self._files[file.ino]
            file.ino = ino
            self._files[ino] = file

    @contextmanager
    def standing(self, *files: OpenFile | None) -> Iterator[list[OpenFile]]:
        """Give *files*, each once and without None, while none of them is being committed: their rows change."""
        order = sorted({id(file): file for file in files if file is not None}.values(), key=id)
        with ExitStack() as stack:
            for file in order:
                stack.enter_context(file.committing)
            yield order

    def remove(self, file: OpenFile, hidden: str | None) -> None:
        """Take *file* out of sight; libfuse calls it *hidden* until its last close."""
        with self.turn:
            file.is_removed = True
            file.touch_ctime()
            if self._files.get(file.ino) is file:
                del self._files[file.ino]
            if self._pending.pop((file.place.folder, file.place.name), None) is not None:
                self._listing_changed(file.place.folder, self.now())
            if hidden is not None:
                self._hidden[_name(hidden)] = file

    def bring_back(self, file: OpenFile, hidden: str) -> None:
        """Undo `remove`: the rename that was to replace *file* failed."""
        with self.turn:
            file.is_removed = False
            self._files.setdefault(file.ino, file)
            self._hidden.pop(_name(hidden), None)

    def forget_hidden(self, path: str) -> bool:
        """Forget the removed file that libfuse called *path*; tell whether there was one."""
        with self.turn:
            return self._hidden.pop(_name(path), None) is not None

    def commit(self, ino: int, origin: Origin) -> None:
        """Commit what the open file of inode *ino* has not committed; raise what that raises."""
        file = self._files.get(ino)
        if file is not None:
            file.commit(origin)

    def has_dirty(self, sid: int) -> bool:
        """Tell whether files of session *sid* have bytes that are not committed."""
        with self.turn:
            return any(file.place.sid == sid and file.is_dirty for file in self._all)

    def wait_until_clean(self, sid: int) -> bool:
        """Tell whether no file of session *sid* has bytes that are not committed, after a moment where need be.

        The kernel releases a file some time after its last close has returned.
        """
        give_up = time.monotonic() + _RELEASED_SECONDS
        while self.has_dirty(sid):
            if time.monotonic() > give_up:
                return False
            time.sleep(_RELEASED_SECONDS / 50)
        return True

    def of_session(self, sid: int) -> list[OpenFile]:
        """Return the open files of session *sid*."""
        with self.turn:
            return [file for file in self._all if file.place.sid == sid]

    def commit_all(self) -> None:
        """Commit and seal every open file: the mount ends. What fails goes to lost+found and into the log."""
        self.is_ending = True
        self._closing.shutdown()
        with self.turn:
            files = list(self._all)
        for file in files:
            try:
                file.commit(self.store.origin)
                draft = file.take_draft()
                if draft is not None:
                    self.sealer.add(draft, self.store.origin)
            except (SpellError, OSError) as error:
                log.warning("%r could not be committed at the end: %s", file.place.name, error)
            except Exception:
                log.exception("%r could not be committed at the end", file.place.name)
        self.sealer.close()
        self.workers.shutdown()

    def check_changeable(self, file: OpenFile) -> None:
        """Raise SessionNotActive, NotFound or NoSpace where a commit of *file* is certain to fail."""
        session = self.store.sessions.load_sid(file.place.sid)
        if session is None:
            raise NotFound("session", file.place.sid)
        check_active(session)
        self.store.check_space()

    def new_spool_file(self, file: OpenFile) -> SpoolFile:
        """Return an empty spool file for *file*."""
        return self.intake.spool_file(self._destination(file))

    def lose(self, file: OpenFile, source: str | bytes, why: str) -> bool:
        """Keep bytes of *file* that could not be committed in lost+found; but what was purged is kept nowhere.

        Tell whether there is no more to do: False says that they are to stay in the spool, for who salvages it.
        """
        try:
            item = self.intake.lose(source, self._destination(file), why)
            kept = "kept nowhere, since it was purged" if item is None else f"kept as lost item {item}"
            log.error("%r could not be committed (%s): %s", file.place.name, why, kept)
            return True
        except (SpellError, OSError) as error:
            log.error("%r could not be committed (%s), nor kept: %s", file.place.name, why, error)  # noqa: TRY400 - foreseen
            return isinstance(error, LimitExceeded)  # the spool would bring there what a quota keeps out

    def _destination(self, file: OpenFile) -> Destination:
        session, path = self.entries.whereabouts(file.place)
        return Destination(session, path, file.ino, file.sequence)


def _name(path: str) -> str:
    """Return the last component of *path*: libfuse gives each hidden file its own, and folders above are renamed."""
    return path.rpartition("/")[2]


def _note_failure(file: OpenFile, released: Future[None]) -> None:
    error = released.exception()
    if isinstance(error, SpellError | OSError):
        log.warning("%r could not be committed when it was closed: %s", file.place.name, error)
    elif error is not None:
        log.error("%r could not be committed when it was closed", file.place.name, exc_info=error)
