"""From an artifact's name to its place in the tree and back; all in the caller's connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmspellfs.errors import NotAFolder, NotFound
from llmspellfs.model.artifact import Artifact, Entry, Kind
from llmspellfs.model.climb import climb
from llmspellfs.model.names import split_path
from llmspellfs.model.session import Session
from llmspellfs.storage import entries
from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry is: the session, the ino of the folder, and the name there."""

    sid: int
    folder: int
    name: str


def find_folder(db: Connection, session: Session, parts: Sequence[str]) -> int | None:
    """Return the ino of the live folder at *parts* below *session*'s top, or None; raise NotAFolder at a file."""
    folder = session.ino
    for part in parts:
        entry = entries.lookup(db, folder, part)
        if entry is None:
            return None
        if entry.kind is not Kind.FOLDER:
            raise NotAFolder("/".join(parts))
        folder = entry.ino
    return folder


def find_entry(db: Connection, session: Session, path: str) -> Entry:
    """Return the live entry at *path* in *session*; raise NotFound, NotAFolder or InvalidName."""
    *folders, name = split_path(path)
    folder = find_folder(db, session, folders)
    entry = None if folder is None else entries.lookup(db, folder, name)
    if entry is None:
        raise NotFound("artifact", f"{session.dirname}:{path}")
    return entry


def path_of(db: Connection, session_ino: int, folder: int, name: str) -> str:
    """Return the path below the session's top of *name* in *folder*, deleted folders by their last names.

    Raises Corrupt where the folders go in a circle.
    """
    if folder == session_ino:
        return name
    way = entries.way_up(db, session_ino, folder, name)
    return "/".join(reversed([part for _, part in way]))


def to_artifact(session_id: str, path: str, entry: Entry) -> Artifact:
    """Return the file *entry* of *session_id* as the artifact called *path*."""
    f = entry.facts
    return Artifact(
        session_id, f.sequence, f.version, path, f.content, f.content_hash, f.size, f.stored_size, f.artifact_type,
        f.mime_type, f.description, f.tags, f.custom, f.created_ns, f.updated_ns, entry.eid, entry.ino, entry.folder,
        entry.seq_to is None,
    )  # fmt: skip


def to_artifacts(db: Connection, session: Session, rows: Sequence[Entry]) -> list[Artifact]:
    """Return the file *rows* of *session* as artifacts; folders' names are read once."""
    paths = to_paths(db, session, [(row.folder, row.name) for row in rows])
    return [to_artifact(session.id, path, row) for path, row in zip(paths, rows, strict=True)]


def to_paths(db: Connection, session: Session, places: Sequence[tuple[int, str]]) -> list[str]:
    """Return the path in *session* of each of *places*, a folder (an ino) and a name; folders' names are read once.

    Raises Corrupt where folders go in a circle.
    """
    names = entries.folder_names(db, session.sid) if any(folder != session.ino for folder, _ in places) else {}
    prefixes = {session.ino: ""}

    def above(folder: int) -> int | None:
        return names[folder][0] if folder in names and folder not in prefixes else None

    def prefix(folder: int) -> str:
        if folder not in prefixes:
            for each in reversed(list(climb(folder, above, f"folder with inode {folder}"))):
                if each in names:
                    prefixes.setdefault(each, f"{prefixes[names[each][0]]}{names[each][1]}/")
                elif each not in prefixes:
                    prefixes[each] = path_of(db, session.ino, each, "")
        return prefixes[folder]

    return [prefix(folder) + name for folder, name in places]
