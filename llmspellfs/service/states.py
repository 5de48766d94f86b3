"""Whole states of a session, live or past, as a tree walked from its top; all in the caller's connection."""

from __future__ import annotations

from collections.abc import Iterator

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.session import Session
from llmspellfs.service.grants import Grants
from llmspellfs.service.moments import Moment
from llmspellfs.storage import entries, past
from llmspellfs.storage.index import Connection
from llmspellfs.storage.past import PastRow


def walk(db: Connection, sid: int, top: int, moment: Moment | None = None) -> Iterator[tuple[str, Entry]]:
    """Yield the path and the row of everything below *top* (an ino) in session *sid*, folders before what is in them.

    With a *moment* as it was then, else as it is, drafts included; one query a folder.
    """
    waiting = [(top, "")]
    while waiting:
        folder, prefix = waiting.pop()
        for entry in in_folder(db, sid, folder, moment):
            path = prefix + entry.name
            yield path, entry
            if entry.kind is Kind.FOLDER:
                waiting.append((entry.ino, f"{path}/"))


def in_folder(db: Connection, sid: int, folder: int, moment: Moment | None) -> list[Entry]:
    """Return the rows in *folder*, as it was at *moment* or is."""
    if moment is None:
        return entries.children(db, folder)
    return [entry for entry, _ in past.folder_at(db, sid, folder, moment.seq)]


def granted(db: Connection, session: Session, moment: Moment) -> Iterator[tuple[str, Entry]]:
    """Yield what `walk` does of *session* at *moment*, with no more permissions than the past grants."""
    grants = Grants(db, session.sid)
    for path, row in _past_rows(db, session, moment):
        yield path, grants.entry(row, moment.at_ns)


def _past_rows(db: Connection, session: Session, moment: Moment) -> Iterator[tuple[str, PastRow]]:
    waiting = [(session.ino, "")]
    while waiting:
        folder, prefix = waiting.pop()
        for row in past.folder_at(db, session.sid, folder, moment.seq):
            path = prefix + row[0].name
            yield path, row
            if row[0].kind is Kind.FOLDER:
                waiting.append((row[0].ino, f"{path}/"))


def entry_at(db: Connection, sid: int, top: int, parts: tuple[str, ...], moment: Moment) -> Entry | None:
    """Return what was at the path *parts* below *top* at *moment*, or None."""
    folder, found = top, None
    for depth, part in enumerate(parts, 1):
        row = past.lookup_at(db, sid, folder, part, moment.seq)
        if row is None or (depth < len(parts) and row[0].kind is not Kind.FOLDER):
            return None
        found, folder = row[0], row[0].ino
    return found
