"""The rules of removing and renaming: within a session, over what is there, and from one session to another.

Every function runs in the caller's transaction, on sessions whose content may change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue, IsAFolder, NotAFolder, NotEmpty
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Transaction
from llmspellfs.service.paths import Place, path_of
from llmspellfs.service.versions import DEFAULT_TYPE, check_room, inserted, sealed
from llmspellfs.storage import entries, inodes
from llmspellfs.storage.entries import NewEntry

NOUNS = {Kind.FILE: "artifact", Kind.FOLDER: "folder", Kind.SYMLINK: "symlink"}


def remove(tx: Transaction, session: Session, entry: Entry) -> Entry:
    """End *entry*'s validity with its `deleted` event and return it as it was; raise NotEmpty for a full folder."""
    if entry.kind is Kind.FOLDER and entries.has_children(tx.db, entry.ino):
        raise NotEmpty(entry.name)
    return take_out(tx, session, entry)


def take_out(tx: Transaction, session: Session, entry: Entry) -> Entry:
    """End *entry*'s validity as `remove` does, whatever a folder holds."""
    if entry.kind is Kind.FILE:
        entry = sealed(tx, session, entry)
    seq = tx.journal.append(session.sid, f"{NOUNS[entry.kind]}.deleted", None, **_told(tx, session, entry))
    _end(tx, entry, seq)
    inodes.touch(tx.db, entry.folder, tx.now_ns)
    return entry


def rename(tx: Transaction, config: Config, session: Session, entry: Entry, to: Session, place: Place) -> Entry:
    """Move *entry* of *session* to *place* in *to* (the same session, or another) and return its new row.

    A file over a file makes the next version of the target's sequence. Raises IsAFolder, NotAFolder, NotEmpty, and
    InvalidValue for a folder moved into itself.
    """
    target = entries.lookup(tx.db, place.folder, place.name)
    if target is not None and target.ino == entry.ino:
        return entry
    if entry.kind is Kind.FOLDER:
        _check_not_inside(tx, entry, place)
    if target is not None:
        _check_kinds(tx, entry, target)
    if entry.kind is Kind.FILE:
        entry = sealed(tx, session, entry)
    merges = target is not None and entry.kind is Kind.FILE and target.kind is Kind.FILE
    if target is not None and merges:
        target = sealed(tx, to, target)
    elif target is not None:
        remove(tx, to, target)
        target = None
    inodes.touch(tx.db, entry.folder, tx.now_ns)
    inodes.touch(tx.db, place.folder, tx.now_ns)
    inodes.touch_ctime(tx.db, entry.ino, tx.now_ns)
    if session.sid == to.sid:
        return _rename_within(tx, session, entry, place, target)
    here = path_of(tx.db, session.ino, entry.folder, entry.name)
    there = path_of(tx.db, to.ino, place.folder, place.name)
    return _Move(tx, config, session, to).whole(entry, place, target, (here, there))


def _rename_within(tx: Transaction, session: Session, entry: Entry, place: Place, target: Entry | None) -> Entry:
    new = replace(NewEntry.of(entry), folder=place.folder, name=place.name)
    if entry.kind is Kind.FILE:
        new = replace(_merged(new, entry.name, target) if target else _renamed_mime(new, entry), updated_ns=tx.now_ns)
    told = _told(tx, session, entry)
    told |= {"from": told["name"], "name": path_of(tx.db, session.ino, place.folder, place.name)}
    if target is not None:
        told |= {"from_sequence": told["sequence"], "sequence": new.sequence, "version": new.version}
    seq = tx.journal.append(session.sid, f"{NOUNS[entry.kind]}.renamed", new.state, **told)
    entries.end(tx.db, entry, seq)
    if target is not None:
        _end(tx, target, seq)
    return inserted(tx, new, seq)


@dataclass(frozen=True, slots=True)
class _Move:
    """A move from *session* to the session *to*, in one transaction."""

    tx: Transaction
    config: Config
    session: Session
    to: Session

    def whole(self, entry: Entry, place: Place, target: Entry | None, paths: tuple[str, str]) -> Entry:
        """Move *entry*, and all that is in it, to *place*; *paths* are its names here and there."""
        moved = self._one(entry, place, target, paths)
        waiting = [(entry, paths)]
        while waiting:
            folder, (here, there) = waiting.pop()
            for child in entries.children(self.tx.db, folder.ino) if folder.kind is Kind.FOLDER else ():
                inside = (f"{here}/{child.name}", f"{there}/{child.name}")
                whole = sealed(self.tx, self.session, child) if child.kind is Kind.FILE else child
                self._one(whole, Place(self.to.sid, folder.ino, child.name), None, inside)
                waiting.append((whole, inside))
        return moved

    def _one(self, entry: Entry, place: Place, target: Entry | None, paths: tuple[str, str]) -> Entry:
        tx, to = self.tx, self.to
        if entry.kind is Kind.FILE and target is None:
            check_room(tx, self.config, to)
        new = _new_home(tx, entry, to, place, target)
        self._tell(entry, new, paths)
        if target is not None:
            _end(tx, target, tx.journal.touch(to.sid).seq)
        if new.kind is Kind.FILE:
            tally = tx.journal.touch(to.sid)
            tally.artifact_count += 1
            tally.total_size += new.size or 0
        return inserted(tx, new, tx.journal.touch(to.sid).seq)

    def _tell(self, entry: Entry, new: NewEntry, paths: tuple[str, str]) -> None:
        noun, journal = NOUNS[entry.kind], self.tx.journal
        here = {"name": paths[0], "sequence": entry.file.sequence if entry.file else None}
        there = {"name": paths[1], "sequence": new.sequence}
        content = {"hash": new.content_hash, "size": new.size}
        away = _without_none({"session": self.to.id, **there})
        seq = journal.append(self.session.sid, f"{noun}.moved_out", None, **here, **content, to=away)
        _end(self.tx, entry, seq)
        origin = {"from": _without_none({"session": self.session.id, **here})}
        journal.append(self.to.sid, f"{noun}.moved_in", new.state, **there, version=new.version, **content, **origin)


def _new_home(tx: Transaction, entry: Entry, to: Session, place: Place, target: Entry | None) -> NewEntry:
    new = replace(NewEntry.of(entry), sid=to.sid, folder=place.folder, name=place.name)
    if entry.kind is not Kind.FILE:
        return new
    if target is not None:
        return replace(_merged(new, entry.name, target), updated_ns=tx.now_ns)
    tally = tx.journal.touch(to.sid)
    tally.next_sequence += 1
    new = replace(_renamed_mime(new, entry), sequence=tally.next_sequence - 1, version=1)
    return replace(new, updated_ns=tx.now_ns)


def _merged(source: NewEntry, source_name: str, target: Entry) -> NewEntry:
    """Return *source* as the next version of *target*: what was set on the source wins, the rest is the target's."""
    old = target.facts
    is_guess = source.mime_type in {guess_mime(source_name), guess_mime("")}
    return replace(
        source,
        sequence=old.sequence,
        version=old.version + (source.content != old.content),
        artifact_type=old.artifact_type if source.artifact_type == DEFAULT_TYPE else source.artifact_type,
        mime_type=old.mime_type if is_guess else source.mime_type,
        description=source.description or old.description,
        tags=source.tags or old.tags,
        custom=old.custom | (source.custom or {}),
        created_ns=old.created_ns,
    )


def _renamed_mime(new: NewEntry, entry: Entry) -> NewEntry:
    """Return *new* with the MIME type its new name suggests, where the old one was but what its old name suggested."""
    if entry.facts.mime_type != guess_mime(entry.name):
        return new
    return replace(new, mime_type=guess_mime(new.name))


def _check_not_inside(tx: Transaction, folder: Entry, place: Place) -> None:
    if any(above == folder.ino for above, _ in entries.way_up(tx.db, None, place.folder, place.name)):
        raise InvalidValue(folder.name, "a folder cannot be moved into itself")


def _check_kinds(tx: Transaction, entry: Entry, target: Entry) -> None:
    if entry.kind is Kind.FOLDER:
        if target.kind is not Kind.FOLDER:
            raise NotAFolder(target.name)
        if entries.has_children(tx.db, target.ino):
            raise NotEmpty(target.name)
    elif target.kind is Kind.FOLDER:
        raise IsAFolder(target.name)


def _end(tx: Transaction, entry: Entry, seq: int) -> None:
    entries.end(tx.db, entry, seq)
    if entry.kind is Kind.FILE:
        tally = tx.journal.touch(entry.sid)
        tally.artifact_count -= 1
        tally.total_size -= entry.facts.size


def _told(tx: Transaction, session: Session, entry: Entry) -> dict[str, object]:
    """Return what an event's line tells of *entry*."""
    told: dict[str, object] = {"name": path_of(tx.db, session.ino, entry.folder, entry.name)}
    if entry.file is not None:
        told |= {"sequence": entry.file.sequence, "hash": entry.file.content_hash, "size": entry.file.size}
    return told


def _without_none(fields: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value is not None}
