"""Entries by their place: what a file system door does to folders, symlinks, files and their attributes.

A place is a folder's ino and a name in it; sessions' top folders have the session's ino. Artifacts by name, for
scripts and people, are `service.artifacts`, over the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmspellfs.errors import AlreadyExists, IsAFolder, NotAFolder, NotFound, StoreBusy
from llmspellfs.model.artifact import Attributes, Dirent, Entry, Kind, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.names import CONTROL, check_component
from llmspellfs.model.session import Session
from llmspellfs.service import moves, versions
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.paths import Place, path_of
from llmspellfs.service.provisional import Provisional
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage import contents, entries, inodes, sessions
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.ingest import Staged


class Entries:
    """The tree of every session by place; `store.entries`."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine

    def lookup(self, folder: int, name: str) -> Entry | None:
        """Return the live entry *name* in the folder with the ino *folder*, or None; never waits for a writer."""
        with self._engine.index.read() as db:
            return entries.lookup_counted(db, folder, name)

    def listing(self, folder: int) -> list[Dirent]:
        """Return what listing *folder* needs of each live entry, in one query."""
        with self._engine.index.read() as db:
            return list(entries.dirents(db, folder))

    def rows(self, folder: int) -> list[Entry]:
        """Return the live rows in *folder*, in one query."""
        with self._engine.index.read() as db:
            return entries.children(db, folder)

    def has_children(self, folder: int) -> bool:
        """Tell whether *folder* has live entries."""
        with self._engine.index.read() as db:
            return entries.has_children(db, folder)

    def list_tops(self) -> list[tuple[str, int, Attributes, int]]:
        """Return each live session's directory name, ino, attributes and number of folders in it, in one query."""
        with self._engine.index.read() as db:
            return entries.tops(db)

    def tops_in_all(self) -> tuple[int, int | None]:
        """Return how many sessions are live, and when (in ns) one was last made, renamed, deleted or restored."""
        with self._engine.index.read() as db:
            return entries.tops_in_all(db)

    def subfolders(self, folder: int) -> int:
        """Return how many live folders are in the folder with the ino *folder*."""
        with self._engine.index.read() as db:
            return entries.subfolders(db, folder)

    def attributes(self, ino: int) -> Attributes:
        """Return the attributes of inode *ino*; raise NotFound."""
        with self._engine.index.read() as db:
            found = inodes.load(db, ino)
        if found is None:
            raise NotFound("inode", ino)
        return found

    def whereabouts(self, place: Place) -> tuple[str | None, str]:
        """Return the id of *place*'s session, deleted ones' too, and the path there; None and the name without one."""
        with self._engine.index.read() as db:
            session = sessions.load_any(db, place.sid)
            if session is None:
                return None, place.name
            return session.id, path_of(db, session.ino, place.folder, place.name)

    def make_folder(self, place: Place, own: Ownership, *, by: Origin | None = None) -> Entry:
        """Make an empty folder at *place*; raise AlreadyExists, NotFound (its folder), SessionNotActive."""
        with self._engine.write(by) as tx:
            session = tx.active_session(place.sid)
            return make(tx, session, place, Kind.FOLDER, own)

    def make_symlink(self, place: Place, target: str, own: Ownership, *, by: Origin | None = None) -> Entry:
        """Make a symlink to *target* (any text) at *place*; raises as `make_folder`."""
        with self._engine.write(by) as tx:
            session = tx.active_session(place.sid)
            return make(tx, session, place, Kind.SYMLINK, own, target)

    def remove(self, place: Place, *, folder: bool, by: Origin | None = None) -> Entry:
        """Delete the entry at *place*, an empty folder or (not *folder*) anything else; return it as it was.

        Raises NotFound, NotAFolder, IsAFolder, NotEmpty, SessionNotActive.
        """
        with self._engine.write(by, frees=True) as tx:
            session = tx.active_session(place.sid)
            entry = _existing(tx, place)
            if folder and entry.kind is not Kind.FOLDER:
                raise NotAFolder(place.name)
            if not folder and entry.kind is Kind.FOLDER:
                raise IsAFolder(place.name)
            return moves.remove(tx, session, entry)

    def rename(self, old: Place, new: Place, *, by: Origin | None = None) -> Entry:
        """Move the entry at *old* to *new*, in its session or to another, and return its new row.

        Raises as rename(2) does: NotFound, NotEmpty, IsAFolder, NotAFolder, InvalidValue; SessionNotActive.
        """
        check_name(self._top(new.sid), new)
        with self._engine.write(by) as tx:
            session, to = tx.active_session(old.sid), tx.active_session(new.sid)
            check_folder(tx, to, new.folder)
            return moves.rename(tx, self._engine.config, session, _existing(tx, old), to, new)

    def set_attributes(self, sid: int, ino: int, change: Callable[[Attributes, int], Attributes]) -> Attributes:
        """Replace inode *ino*'s attributes by *change*(now, time in ns) and return them; not part of history."""
        with self._engine.write() as tx:
            tx.active_session(sid)
            old = inodes.load(tx.db, ino)
            if old is None:
                raise NotFound("inode", ino)
            new = change(old, tx.now_ns)
            inodes.update(tx.db, ino, new)
            tx.journal.touch(sid)
            return new

    def reserve_ino(self) -> int:
        """Return an inode number for a file that is not committed yet."""
        return self._engine.reserve_ino()

    def expect_files(self) -> None:
        """Have inode numbers at hand soon, so that `reserve_ino` need not wait for writers."""
        self._engine.stock_soon()

    def commit(
        self,
        place: Place,
        staged: Staged,
        given: Given,
        inode: tuple[int, Attributes],
        writer: Writer,
        *,
        known: Entry | None = None,
        durable: bool = False,
        by: Origin | None = None,
    ) -> Entry:
        """Commit *staged* as *writer*'s draft and return its row.

        *known* is the file that the handle was opened on: it is followed where it was renamed or moved meanwhile,
        and NotFound where it was deleted. A new file is stored at *place*. Raises SessionNotActive, LimitExceeded,
        NotFound (the folder is gone), Vanished.
        """
        with Provisional(self._engine, (staged,), StoreBusy), self._engine.write(by, durable=durable) as tx:
            if known is not None:
                live = entries.live_of_sequence(tx.db, known.sid, known.facts.sequence)
                live = live or entries.live_of_ino(tx.db, known.ino)
                if live is None:
                    raise NotFound("artifact", known.name)
                place = Place(live.sid, live.folder, live.name)
            session = tx.active_session(place.sid)
            check_folder(tx, session, place.folder)
            placed = contents.place(tx.db, staged, self._engine.rooms.blobs)
            return versions.store(tx, self._engine.config, session, place, placed, given, inode=inode, writer=writer)

    def describe(self, sid: int, sequence: int, change: Callable[[Given], Given], *, by: Origin | None = None) -> Entry:
        """Give the live artifact *sequence* what *change* makes of the metadata it has, and return its row.

        *change* runs inside the transaction, so that no change made through another door in between is lost; what it
        leaves None stays. Raises NotFound, SessionNotActive, and what *change* raises.
        """
        with self._engine.write(by) as tx:
            session = tx.active_session(sid)
            entry = entries.live_of_sequence(tx.db, sid, sequence)
            if entry is None:
                raise NotFound("artifact", sequence)
            given = change(versions.metadata_of(entry))
            return versions.describe(tx, session, versions.sealed(tx, session, entry), given)

    def seal(self, drafts: Sequence[tuple[Entry, Origin]]) -> list[Entry]:
        """Put *drafts*, each by its origin, into history in one transaction, since their handles have ended.

        What the table has then is sealed; what somebody has sealed or erased before is left, and so is what has no
        place in the tree for harm. Returns the new rows.
        """
        rows = []
        with self._engine.write(frees=True) as tx:  # their closes have succeeded: a full disk must not refuse them now
            owners: dict[int, Session | None] = {}
            for draft, origin in drafts:
                if draft.sid not in owners:
                    owners[draft.sid] = sessions.load_any(tx.db, draft.sid)
                session, row = owners[draft.sid], entries.load(tx.db, draft.eid)
                if session is not None and row is not None and row.seq_from is None:
                    tx.journal.origin = origin
                    whole = versions.sealed_if_placed(tx, session, row)
                    rows += [whole] if whole is not None else []
        return rows

    def _top(self, sid: int) -> int:
        with self._engine.index.read() as db:
            session = sessions.load(db, sid)
        if session is None:
            raise NotFound("session", sid)
        return session.ino


def check_name(top: int, place: Place) -> None:
    """Raise InvalidName where *place* may not be: a bad component, or the reserved name in a session's *top*."""
    check_component(place.name)
    if place.folder == top and place.name == CONTROL:
        raise AlreadyExists("control directory", CONTROL)


def check_folder(tx: Transaction, session: Session, folder: int) -> None:
    """Raise NotFound where *folder* is no live folder of *session*."""
    if folder != session.ino and not entries.is_live_folder(tx.db, session.sid, folder):
        raise NotFound("folder", folder)


def make(
    tx: Transaction,
    session: Session,
    place: Place,
    kind: Kind,
    own: Ownership,
    target: str | None = None,
    *,
    path: str | None = None,
) -> Entry:
    """Make a folder, or a symlink to *target*, at *place*; raise AlreadyExists or NotFound (its folder).

    *path* is the place's, where the caller knows it: finding it out takes a query for each folder above.
    """
    check_name(session.ino, place)
    check_folder(tx, session, place.folder)
    if entries.lookup(tx.db, place.folder, place.name) is not None:
        raise AlreadyExists("entry", place.name)
    new = NewEntry(session.sid, place.folder, place.name, next(tx.inos), kind, target)
    inodes.insert(tx.db, new.ino, own.at(tx.now_ns))
    inodes.touch(tx.db, place.folder, tx.now_ns)
    path = path or path_of(tx.db, session.ino, place.folder, place.name)
    seq = tx.journal.append(session.sid, f"{moves.NOUNS[kind]}.created", new.state, name=path)
    return versions.inserted(tx, new, seq)


def _existing(tx: Transaction, place: Place) -> Entry:
    entry = entries.lookup(tx.db, place.folder, place.name)
    if entry is None:
        raise NotFound("entry", place.name)
    return entry
