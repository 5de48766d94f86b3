"""Whole states of a session, live or past, as a tree walked from its top; all in the caller's connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.session import Session
from llmspellfs.service.grants import Grants
from llmspellfs.service.moments import Moment
from llmspellfs.storage import entries, past
from llmspellfs.storage.index import Connection
from llmspellfs.storage.past import PastRow


def walk(db: Connection, sid: int, top: int, moment: Moment | None = None) -> Iterator[tuple[str, Entry]]:
    """Yield the path and the row of everything below *top* (an ino) in session *sid*, folders before what is in them.

    With a *moment* as it was then, else as it is, drafts included; one query a folder. Raises Corrupt where a folder is
    in two places.
    """
    for path, (entry, _) in _descend(top, lambda folder: ((one, None) for one in in_folder(db, sid, folder, moment))):
        yield path, entry


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
    return _descend(session.ino, lambda folder: past.folder_at(db, session.sid, folder, moment.seq))


def _descend(top: int, rows_in: Callable[[int], Iterable[PastRow]]) -> Iterator[tuple[str, PastRow]]:
    waiting, seen = [(top, "")], {top}
    while waiting:
        folder, prefix = waiting.pop()
        for row in rows_in(folder):
            entry, path = row[0], prefix + row[0].name
            yield path, row
            if entry.kind is Kind.FOLDER:
                if entry.ino in seen:
                    raise Corrupt(f"folder {path!r} (inode {entry.ino}): it is inside itself, or in two places")
                seen.add(entry.ino)
                waiting.append((entry.ino, f"{path}/"))


def entry_at(db: Connection, sid: int, top: int, parts: tuple[str, ...], moment: Moment) -> Entry | None:
    """Return what was at the path *parts* below *top* at *moment*, or None."""
    folder, found = top, None
    for depth, part in enumerate(parts, 1):
        row = past.lookup_at(db, sid, folder, part, moment.seq)
        if row is None or (depth < len(parts) and row[0].kind is not Kind.FOLDER):
            return None
        found, folder = row[0], row[0].ino
    return found
