"""The one transaction of an import: sessions with their whole past, or new ones that begin with what others were."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmspellfs.errors import AlreadyExists, LimitExceeded, Vanished
from llmspellfs.model.archive import MAX_INO
from llmspellfs.model.artifact import Attributes, Kind, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session, Status
from llmspellfs.model.values import check_text
from llmspellfs.service import limits
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.parents import settle_parents
from llmspellfs.service.session_rules import Dirnames, fresh, insert_session
from llmspellfs.storage import archive_rows, contents, entries, inodes, sessions
from llmspellfs.storage.archive_rows import Arrived, Record
from llmspellfs.storage.batches import NewFile, insert_files
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.index import Connection
from llmspellfs.storage.numbering import Numbering
from llmspellfs.storage.sessions import SessionRow
from llmspellfs.storage.staging import Staging

_BATCH = 1000
_KINDS = {Kind.FOLDER: "folder.created", Kind.SYMLINK: "symlink.created"}
_OPEN = (Status.ACTIVE, Status.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Imported:
    """A session that came out of an archive: as what, and what it was there; *events* came along."""

    id: str
    dirname: str
    was: str
    """The id it had."""
    events: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session of an archive, verified: its records are staged as number *s*."""

    s: int
    facts: Record
    numbering: Numbering
    """By the archive's numbers."""
    trail_size: int


def arrive(
    engine: Engine, staging: Staging, arrivals: Sequence[Arrival], *, name: str | None, keeps: bool, by: Origin | None
) -> tuple[Imported, ...]:
    """Make the sessions of *arrivals*: as they were with all of their past where *keeps* says so, else new ones.

    A new one is called *name*, or as it was. Raises AlreadyExists, LimitExceeded, Vanished, StoreBusy.
    """
    _find_contents(engine, staging, live_only=not keeps)
    ids = {} if keeps else {arrival.facts["id"]: engine.new_id() for arrival in arrivals}
    with engine.write(by, durable=True) as tx:
        _rely_on(tx, staging, live_only=not keeps)
        company, made = _Company(engine, tx, staging), []
        for arrival in arrivals:
            arriving = _Arriving(company, arrival)
            made.append(arriving.whole() if keeps else arriving.anew(ids, name))
        settle_parents(tx, made)
        found = [fresh(tx, session.sid) for session in made]
        return tuple(
            Imported(session.id, session.dirname, arrival.facts["id"], arrival.facts["seq"] if keeps else 0)
            for session, arrival in zip(found, arrivals, strict=True)
        )


def _find_contents(engine: Engine, staging: Staging, *, live_only: bool) -> None:
    """Note the number that each content has here, while nobody has to wait for that."""
    for batch in staging.wanted(live_only=live_only):
        with engine.index.read() as db:
            staging.note_cids(contents.cids_of(db, [digest for digest, _ in batch]))


def _rely_on(tx: Transaction, staging: Staging, *, live_only: bool) -> None:
    """See that the contents are there still, and that they stay; raise Vanished."""
    for batch in staging.wanted(live_only=live_only):
        cids = [cid for _, cid in batch if cid is not None]
        if len(cids) == len(batch) and contents.are_in_use(tx.db, cids):
            continue
        for digest, cid in batch:
            if cid is None or contents.use(tx.db, bytes.fromhex(digest)) != cid:
                raise Vanished(digest)


def refuse_known(db: Connection, session_id: str) -> None:
    """Raise AlreadyExists where the store has, or had, a session called *session_id*."""
    found = sessions.by_id(db, session_id, deleted=True)
    if found is not None:
        state = "deleted" if found.deleted_ns is not None else found.dirname
        raise AlreadyExists("session", f"{session_id} ({state})")
    if sessions.purged_by_id(db, session_id) is not None:
        raise AlreadyExists("session", f"{session_id} (purged)")


def new_entry(said: Record, sid: int, folder: int, ino: int) -> NewEntry:
    """Return the record *said* as a row of session *sid*, by the inode numbers *folder* and *ino*."""
    kind = Kind(said["kind"])
    common = (sid, folder, said["name"], ino, kind, said.get("target"))
    if kind is not Kind.FILE:
        return NewEntry(*common)
    return NewEntry(
        *common, said["sequence"], said["version"], None, said["hash"], said["size"], said["type"], said["mime_type"],
        said["description"], tuple(json.loads(said["tags"])), json.loads(said["custom"]), said["created_ns"],
        said["updated_ns"],
    )  # fmt: skip


def session_row(said: Record) -> SessionRow:
    """Return the record *said* as a row of a session's own."""
    return SessionRow(
        said["name"], said["dirname"], said["description"], Status(said["status"]), tuple(json.loads(said["tags"])),
        json.loads(said["metadata"]), said["parent"], said["ended_ns"], said["failure_reason"],
    )  # fmt: skip


class _Company:
    """What the sessions of one import share, so that nothing is counted or looked for anew for each."""

    def __init__(self, engine: Engine, tx: Transaction, staging: Staging) -> None:
        self.engine, self.tx, self.staging = engine, tx, staging
        self.dirnames = Dirnames(tx)
        self.last_eid = archive_rows.last_entry(tx.db)
        self._open: int | None = None

    def check_open(self, status: str) -> None:
        """Count one more session of *status*; raise LimitExceeded (`max_sessions`)."""
        limit = self.engine.config.max_sessions
        if status not in _OPEN or not limit:
            return
        self._open = sessions.count_open(self.tx.db) if self._open is None else self._open
        self._open += 1
        limits.check_sessions(limit, self._open)


class _Arriving:
    """One session on its way into the index."""

    def __init__(self, company: _Company, arrival: Arrival) -> None:
        self._company, self._arrival = company, arrival
        self._tx, self._staging = company.tx, company.staging
        self._renamed: SessionRow | None = None

    def whole(self) -> Session:
        """Make it as it was, with all of its past."""
        tx, a, facts = self._tx, self._arrival, self._arrival.facts
        refuse_known(tx.db, facts["id"])
        _, files, size = self._staging.live(a.s)
        self._check_room(files)
        shift = self._shift()
        shifts = Numbering(a.numbering.until, tuple(each - shift for each in a.numbering.shifts))
        sid = archive_rows.insert_session(tx.db, Arrived(facts, shift, shifts, a.trail_size, files, size))
        self._insert_own_rows(sid)
        archive_rows.insert_events(tx.db, self._staging.events(a.s, sid))
        archive_rows.insert_checkpoints(tx.db, sid, self._staging.checkpoints(a.s))
        archive_rows.insert_inodes(tx.db, ((row[0] + shift, *_owned(row)) for row in self._staging.inodes(a.s)))
        after = self._company.last_eid
        rows, labelled = self._staging.entry_rows(a.s, sid, shift, after), self._staging.labelled(a.s, after)
        archive_rows.insert_entries(tx.db, rows, labelled)
        sessions.note_listing(tx.db, tx.now_ns)
        self._settle_dirname(sid)
        return fresh(tx, sid)

    def _shift(self) -> int:
        """Reserve inode numbers for the session, and return what is to be added to those that it comes with."""
        first, last = self._staging.span(self._arrival.s)
        here = inodes.reserve(self._tx.db, last - first + 1)
        if here + last - first > MAX_INO:
            raise LimitExceeded("inode numbers of imported sessions", MAX_INO)
        return here - first

    def _insert_own_rows(self, sid: int) -> None:
        """Insert the session's own rows; the live one waits where its directory name is taken."""
        records = []
        for said in self._staging.rows(self._arrival.s):
            records.append(said)
            if said["seq_to"] is None:
                self._company.check_open(said["status"])
                if sessions.dirname_taken(self._tx.db, said["dirname"]):
                    self._renamed = session_row(said)
                    said["seq_to"] = self._arrival.facts["seq"] + 1
        archive_rows.insert_rows(self._tx.db, sid, records)

    def _settle_dirname(self, sid: int) -> None:
        """Give the session another directory name, by an event, where its own was taken."""
        if self._renamed is None:
            return
        tx = self._tx
        row = replace(self._renamed, dirname=self._company.dirnames.free(self._renamed.name))
        seq = tx.journal.append(sid, "session.updated", row.state, name=row.dirname, fields=["dirname"])
        sessions.insert_row(tx.db, sid, row, seq)

    def _check_room(self, files: int) -> None:
        limits.check_artifacts(self._company.engine.config, files)

    def anew(self, ids: dict[str, str], name: str | None) -> Session:
        """Make a new session with what it had at last; its parent is the one that became of its own, if any did."""
        tx, a, facts = self._tx, self._arrival, self._arrival.facts
        was = next(session_row(said) for said in self._staging.rows(a.s) if said["seq_to"] is None)
        self._company.check_open(was.status)
        self._check_room(self._staging.live(a.s)[1])
        called = was.name if name is None else check_text(name, "as")
        parent = None if was.parent is None else ids.get(was.parent, was.parent)
        directory = was.dirname if name is None and not sessions.dirname_taken(tx.db, was.dirname) else None
        row = replace(was, name=called, dirname=directory or self._company.dirnames.free(called), parent=parent)
        owned = {values[0]: Attributes(*_owned(values)) for values in self._staging.inodes(a.s)}
        top = owned[facts["ino"]]
        own = Ownership(top.mode, top.uid, top.gid)
        made = insert_session(tx, ids[facts["id"]], row, facts["created_by"], own)
        told = {"session": facts["id"], "name": was.dirname, "seq": facts["seq"], "head": facts["head"]}
        tx.journal.append(made.sid, "session.imported", None, name=made.dirname, **{"from": told})
        self._insert_entries(made, owned)
        return fresh(tx, made.sid)

    def _insert_entries(self, made: Session, owned: dict[int, Attributes]) -> None:
        tx, inos = self._tx, {self._arrival.facts["ino"]: made.ino}
        paths = {made.ino: ""}
        files: list[NewFile] = []
        for said in self._in_order(inos):
            ino, folder = next(tx.inos), inos[said["folder"]]
            path = paths[folder] + said["name"]
            if said["kind"] == Kind.FILE:
                files.append(self._new_file(said, folder, path, ino, owned[said["ino"]]))
                if len(files) == _BATCH:
                    insert_files(tx.journal, made.sid, files)
                    files = []
                continue
            if said["kind"] == Kind.FOLDER:
                inos[said["ino"]], paths[ino] = ino, f"{path}/"
            new = new_entry(said, made.sid, folder, ino)
            inodes.insert(tx.db, ino, owned[said["ino"]])
            entries.insert(tx.db, new, tx.journal.append(made.sid, _KINDS[new.kind], new.state, name=path))
        if files:
            insert_files(tx.journal, made.sid, files)

    def _in_order(self, inos: dict[int, int]) -> Iterator[Record]:
        """Yield the live entries: folders after those that they are in, then symlinks and files by sequence."""
        waiting: dict[int, list[Record]] = {}
        for said in self._staging.live_entries(self._arrival.s):
            if said["kind"] == Kind.FOLDER and said["folder"] not in inos:
                waiting.setdefault(said["folder"], []).append(said)
                continue
            yield said
            ready = [said["ino"]] if said["kind"] == Kind.FOLDER else []
            while ready:
                for inner in waiting.pop(ready.pop(), ()):
                    yield inner
                    ready.append(inner["ino"])

    def _new_file(self, said: Record, folder: int, path: str, ino: int, a: Attributes) -> NewFile:
        columns = (a.mode, a.uid, a.gid, a.mtime_ns, a.ctime_ns, a.atime_ns)
        return NewFile(
            folder, said["name"], path, ino, columns, self._staging.cid(said["hash"]), said["hash"], said["size"],
            said["type"], said["mime_type"], said["description"], tuple(json.loads(said["tags"])),
            json.loads(said["custom"]), said["created_ns"],
        )  # fmt: skip


def _owned(inode: tuple[int, ...]) -> tuple[int, int, int, int, int, int]:
    """Return the attributes of *inode* as whoever imports may have them: root any, others files of their own."""
    _, mode, uid, gid, mtime_ns, ctime_ns, atime_ns = inode
    if os.getuid() and uid != os.getuid():
        mode, uid, gid = mode & 0o1777, os.getuid(), os.getgid()
    return mode, uid, gid, mtime_ns, ctime_ns, atime_ns
