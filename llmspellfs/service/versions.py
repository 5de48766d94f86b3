"""The rules of storing content under a name: sequences, versions, drafts, and what a new version inherits.

Every function runs in the caller's transaction. A commit through an open handle is a *draft*: live for every door,
amended by the handle's later commits, and put into the history with one event when the handle ends (`seal`), or when
anybody else touches the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmspellfs.config import Config
from llmspellfs.errors import AlreadyExists, Corrupt, IsAFolder
from llmspellfs.model.artifact import Attributes, Entry, Kind
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.session import Session
from llmspellfs.model.values import check_metadata, check_tags, check_text, check_type, is_same
from llmspellfs.service import limits
from llmspellfs.service.engine import Transaction
from llmspellfs.service.paths import Place, path_of
from llmspellfs.storage import entries, inodes
from llmspellfs.storage.contents import Placed
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.schema import SUPERSEDED

_log = logging.getLogger(__name__)

DEFAULT_TYPE = "user_input"


@dataclass(frozen=True, slots=True)
class Given:
    """Metadata that comes with content; None keeps what the artifact has, or the default of a new one."""

    artifact_type: str | None = None
    mime_type: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    custom: dict[str, Any] | None = None

    def over(self, old: NewEntry) -> NewEntry:
        """Return *old* with what is given here in its place: itself where that changes nothing."""
        told: dict[str, Any] = {} if self.custom is None else {"custom": self.custom}
        for name in ("artifact_type", "mime_type", "description", "tags"):
            value = getattr(self, name)
            if value is not None and value != getattr(old, name):
                told[name] = value
        return replace(old, **told) if told else old

    def onto(self, earlier: Given) -> Given:
        """Return *earlier* with what is given here in its place, for content that is not stored yet."""
        return Given(
            earlier.artifact_type if self.artifact_type is None else self.artifact_type,
            earlier.mime_type if self.mime_type is None else self.mime_type,
            earlier.description if self.description is None else self.description,
            earlier.tags if self.tags is None else self.tags,
            earlier.custom if self.custom is None else self.custom,
        )


_NOTHING = Given()


def check_given(
    artifact_type: str | None,
    mime_type: str | None,
    description: str | None,
    tags: Iterable[str] | None,
    custom: Mapping[str, Any] | None,
) -> Given:
    """Return the metadata, each part checked where it is given; raise InvalidValue."""
    return Given(
        None if artifact_type is None else check_type(artifact_type),
        None if mime_type is None else check_text(mime_type, "mime_type"),
        None if description is None else check_text(description, "description"),
        None if tags is None else check_tags(tags),
        None if custom is None else check_metadata(custom),
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """The open handle that commits: its spool folder's name, and the row that it made before, if any."""

    owner: str
    eid: int | None = None
    made_ns: int | None = None
    """When it made the file, which is when the folder's listing changed; None: at the commit."""


def store(
    tx: Transaction,
    config: Config,
    session: Session,
    place: Place,
    placed: Placed,
    given: Given,
    *,
    inode: tuple[int, Attributes],
    writer: Writer | None = None,
) -> Entry:
    """Store *placed* under *place* in *session* and return its row: a new artifact, a new version, or no change.

    *inode* is used where the name is new; the same content with nothing new given changes only the file's times.
    With a *writer* the row is a draft. Raises IsAFolder, AlreadyExists (a symlink), LimitExceeded.
    """
    live = live_file(tx, session, place, writer)
    if live is None:
        return _store_first(tx, config, session, place, placed, given, inode, writer)
    inodes.touch(tx.db, live.ino, inode[1].mtime_ns, tx.now_ns if writer is None else inode[1].ctime_ns)
    if writer is not None and live.eid == writer.eid and live.seq_from is None:
        return _amend(tx, live, placed, given)
    old = NewEntry.of(live)
    new = given.over(old)
    content: dict[str, Any] = {}
    if placed.cid != live.facts.content:
        version = live.facts.version + 1
        content = {"content": placed.cid, "content_hash": placed.hash, "size": placed.size, "version": version}
    elif new is old or (new == old and is_same(new.custom, old.custom)):
        tx.journal.touch(session.sid)
        return live
    return _replace(tx, session, live, replace(new, updated_ns=tx.now_ns, **content), writer)


def live_file(tx: Transaction, session: Session, place: Place, writer: Writer | None = None) -> Entry | None:
    """Return the live file at *place*, sealed where it is another handle's draft, or None; raise what is no file."""
    live = entries.lookup(tx.db, place.folder, place.name)
    if live is None:
        return None
    if live.kind is Kind.FOLDER:
        raise IsAFolder(place.name)
    if live.kind is Kind.SYMLINK:
        raise AlreadyExists("symlink", place.name)
    if live.seq_from is None and (writer is None or writer.eid != live.eid):
        return seal(tx, session, live)
    return live


def seal(tx: Transaction, session: Session, draft: Entry) -> Entry:
    """Put *draft* into history with its one event, and return the row as it is then; raise Corrupt where it is none."""
    if draft.file is None or draft.seq_to is not None:
        raise Corrupt(f"{draft.name} is a draft, which only a live file can be: `llmspellfs fsck` tells more")
    f = draft.facts
    seq = tx.journal.append(
        session.sid, "artifact.stored", NewEntry.of(draft).state,
        name=path_of(tx.db, session.ino, draft.folder, draft.name),
        sequence=f.sequence, version=f.version, hash=f.content_hash, size=f.size,
    )  # fmt: skip
    entries.seal_draft(tx.db, draft, seq)
    return replace(draft, seq_from=seq)


def sealed_if_placed(tx: Transaction, session: Session, draft: Entry) -> Entry | None:
    """Return *draft* sealed; one whose folders are harmed is left, live as it is, until they are mended: None."""
    try:
        return seal(tx, session, draft)
    except Corrupt as error:
        _log.warning("a draft of session %s is not put into history yet: %s", session.dirname, error.message)
        return None


def sealed(tx: Transaction, session: Session, entry: Entry) -> Entry:
    """Return *entry*, sealed first where it is a draft."""
    return seal(tx, session, entry) if entry.seq_from is None else entry


def seal_all(tx: Transaction, session: Session) -> None:
    """Put every draft of *session* into history: its state is about to be frozen or named."""
    for draft in entries.drafts(tx.db, session.sid):
        seal(tx, session, draft)


def metadata_of(entry: Entry) -> Given:
    """Return the metadata that the file *entry* has."""
    f = entry.facts
    return Given(f.artifact_type, f.mime_type, f.description, f.tags, f.custom)


def describe(tx: Transaction, session: Session, entry: Entry, given: Given) -> Entry:
    """Give the live artifact of row *entry* the metadata that is *given* and return its row."""
    old = NewEntry.of(entry)
    new = given.over(old)
    if new == old and is_same(new.custom, old.custom):
        return entry
    inodes.touch_ctime(tx.db, entry.ino, tx.now_ns)
    return _replace(tx, session, entry, replace(new, updated_ns=tx.now_ns), None)


def take_back(tx: Transaction, session: Session, live: Entry, old: Entry) -> Entry:
    """Give the live file *live*, which is no draft, the content and the metadata of the row *old*; return its row."""
    before = NewEntry.of(live)
    new = metadata_of(old).over(before)
    if old.facts.content != live.facts.content:
        f = old.facts
        new = replace(new, content=f.content, content_hash=f.content_hash, size=f.size, version=live.facts.version + 1)
        inodes.touch(tx.db, live.ino, tx.now_ns)
    if new == before and is_same(new.custom, before.custom):
        return live
    inodes.touch_ctime(tx.db, live.ino, tx.now_ns)
    return _replace(tx, session, live, replace(new, updated_ns=tx.now_ns), None)


def check_room(tx: Transaction, config: Config, session: Session) -> None:
    """Raise LimitExceeded where *session* may have no further artifact."""
    limits.check_artifacts(config, tx.journal.touch(session.sid).artifact_count + 1)


def _store_first(
    tx: Transaction,
    config: Config,
    session: Session,
    place: Place,
    placed: Placed,
    given: Given,
    inode: tuple[int, Attributes],
    writer: Writer | None,
) -> Entry:
    check_room(tx, config, session)
    tally = tx.journal.touch(session.sid)
    fresh = NewEntry(
        session.sid, place.folder, place.name, inode[0], Kind.FILE, None, tally.next_sequence, 1, placed.cid,
        placed.hash, placed.size, DEFAULT_TYPE, guess_mime(place.name), "", (), {}, tx.now_ns, tx.now_ns,
    )  # fmt: skip
    tally.next_sequence += 1
    tally.artifact_count += 1
    tally.total_size += placed.size
    inodes.insert(tx.db, *inode)
    inodes.touch_since(tx.db, place.folder, tx.now_ns if writer is None or writer.made_ns is None else writer.made_ns)
    return insert_file(tx, session, given.over(fresh), writer, (inode[1], placed.stored_size))


def insert_file(
    tx: Transaction,
    session: Session,
    new: NewEntry,
    writer: Writer | None = None,
    known: tuple[Attributes, int] | None = None,
) -> Entry:
    """Insert the file row *new* with its `artifact.stored` event, or as *writer*'s draft without, and return it.

    *known* are the inode's attributes and the stored size, where the caller has them: that spares reading the row.
    """
    seq = None
    if writer is None:
        seq = tx.journal.append(
            session.sid, "artifact.stored", new.state, name=path_of(tx.db, session.ino, new.folder, new.name),
            sequence=new.sequence, version=new.version, hash=new.content_hash, size=new.size,
        )  # fmt: skip
    return inserted(tx, new, seq, writer, known)


def inserted(
    tx: Transaction,
    new: NewEntry,
    seq: int | None,
    writer: Writer | None = None,
    known: tuple[Attributes, int] | None = None,
) -> Entry:
    """Insert the row *new*, valid from *seq*, and return it as an Entry; *known* as in `insert_file`."""
    eid = entries.insert(tx.db, new, seq, writer.owner if writer else None)
    if known is not None:
        return new.as_entry(eid, seq, *known)
    entry = entries.load(tx.db, eid)
    assert entry is not None
    return entry


def _amend(tx: Transaction, draft: Entry, placed: Placed, given: Given) -> Entry:
    tally = tx.journal.touch(draft.sid)
    tally.total_size += placed.size - draft.facts.size
    tally.amended.setdefault(draft.eid, draft.facts.content)
    entries.amend_draft(tx.db, draft.eid, placed.cid, placed.size, tx.now_ns)
    if given != _NOTHING:
        entries.describe_draft(tx.db, draft.eid, given.over(NewEntry.of(draft)))
    entry = entries.load(tx.db, draft.eid)
    assert entry is not None
    return entry


def _replace(tx: Transaction, session: Session, live: Entry, new: NewEntry, writer: Writer | None) -> Entry:
    tally = tx.journal.touch(session.sid)
    tally.total_size += (new.size or 0) - live.facts.size
    if writer is not None:
        entries.end(tx.db, live, SUPERSEDED)
        return insert_file(tx, session, new, writer)
    kind = "artifact.stored" if new.content != live.facts.content else "artifact.updated"
    seq = tx.journal.append(
        session.sid, kind, new.state, name=path_of(tx.db, session.ino, new.folder, new.name),
        sequence=new.sequence, version=new.version, hash=new.content_hash, size=new.size,
    )  # fmt: skip
    entries.end(tx.db, live, seq)
    return inserted(tx, new, seq)
