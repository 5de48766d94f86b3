"""Copying a session, as it is or was, from one store into another, contents too; records of runs stay behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Entry, Kind, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.run import FOLDER
from llmspellfs.model.session import Session, Status
from llmspellfs.service.engine import Engine
from llmspellfs.service.moments import Moment
from llmspellfs.service.paths import Place
from llmspellfs.service.reader import Reader
from llmspellfs.service.session_rules import dirname_of, insert_session
from llmspellfs.service.states import walk
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow

if TYPE_CHECKING:
    from llmspellfs.service.store import Store


@dataclass(slots=True)
class _Source:
    """A content as a file that is read from its beginning."""

    reader: Reader
    at: int = 0

    def read(self, size: int) -> bytes:
        block = self.reader.read_at(self.at, size)
        self.at += len(block)
        return block

    def seekable(self) -> bool:
        return False


def entries_of(db: Connection, session: Session, seq: int | None) -> list[tuple[str, Entry]]:
    """Return the path and row of all that *session* had at *seq*, or has, folders before what is in them."""
    moment = None if seq is None else Moment(session.sid, seq, 0)
    found = [(path, row) for path, row in walk(db, session.sid, session.ino, moment) if path.split("/")[0] != FOLDER]
    return sorted(found, key=lambda item: (item[1].file is not None, item[1].file.sequence if item[1].file else 0))


def copy_session(
    source: Engine,
    found: Sequence[tuple[str, Entry]],
    target: Store,
    session: Session,
    *,
    session_id: str,
    name: str | None = None,
    dirname: str | None = None,
    by: Origin | None = None,
) -> list[tuple[str, str]]:
    """Make an active session like *session*, with the entries *found* in *source*, in *target*.

    It is called *name*, or as *session* is. Returns the paths whose content could not be read, each with the reason.
    """
    row_name = session.name if name is None else name
    with target.engine.write(by) as tx:
        free = dirname or dirname_of(tx, row_name)
        row = SessionRow(
            row_name, free, session.description, Status.ACTIVE, session.tags, session.metadata, None, None, None
        )
        own = Ownership(0o755, os.getuid(), os.getgid())
        made = insert_session(tx, session_id, row, session.created_by, own)
    return list(_copy_entries(source, found, target, made, by))


def _copy_entries(
    source: Engine, found: Sequence[tuple[str, Entry]], target: Store, made: Session, by: Origin | None
) -> Iterator[tuple[str, str]]:
    folders = {"": made.ino}
    for path, entry in found:
        above, _, name = path.rpartition("/")
        own = Ownership(entry.attributes.mode, os.getuid(), os.getgid())
        if entry.kind is Kind.FOLDER:
            folders[path] = target.entries.make_folder(Place(made.sid, folders[above], name), own, by=by).ino
        elif entry.kind is Kind.SYMLINK:
            place = Place(made.sid, folders[above], name)
            target.entries.make_symlink(place, entry.target or "", own, by=by)
        else:
            try:
                _copy_file(source, path, entry, target, made, by)
            except SpellError as error:
                yield path, error.message


def _copy_file(source: Engine, path: str, entry: Entry, target: Store, made: Session, by: Origin | None) -> None:
    f = entry.facts
    with Reader(source, f.content, f.content_hash, f.size) as reader:
        target.artifacts.put(
            made.id, path, cast("BinaryIO", _Source(reader)), artifact_type=f.artifact_type, mime_type=f.mime_type,
            description=f.description, tags=f.tags, custom=f.custom, by=by,
        )  # fmt: skip
