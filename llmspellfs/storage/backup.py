"""A store copied while it is in use, and copied back: the index by SQLite's backup API, chunks as files.

A backup is a folder that is a store itself, with the file `backup.json` that says of which store. Its index comes last:
a snapshot under a temporary name, then the chunks that it names, then fsync, then the snapshot renamed into place; what
the new index does not name is removed after that. So a backup that is cut short leaves the one before it whole.

Threading: one backup at a time into one folder, held by its `opening.lock`, under which nobody opens it as a store.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import Corrupt, InvalidValue, NoSpace, StoreBusy, StoreUnusable
from llmspellfs.storage import contents, disk
from llmspellfs.storage.blobs import FileBlobs
from llmspellfs.storage.changelog import last_change
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.connections import connect, look
from llmspellfs.storage.disk import StrPath, disk_errors
from llmspellfs.storage.index import Connection
from llmspellfs.storage.opening import INDEX_NAME
from llmspellfs.storage.planted import check_own

MARK = "backup.json"
PART = f"{INDEX_NAME}.part"
_FORMAT = 1
_KEYS = ("backup_event", "backup_change", "backup_ns", "backup_drafts")
"""What a backup's index has in `store` beyond its source's."""
_RUN = "backup_run"
"""Besides these, how many backups there have been in the folder."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a backup has: everything up to the store-wide *event* and *change* number, as it was at *at_ns*."""

    event: int
    change: int
    at_ns: int


def store_uuid(db: Connection) -> str:
    """Return the uuid of the store that the index is of; a backup, and what is restored from it, has the same."""
    return str(db.execute("SELECT value FROM store WHERE key = 'uuid'").fetchone()[0])


def claim(folder: str, uuid: str) -> None:
    """Make *folder* one for backups of the store *uuid*, or see that it is; raise InvalidValue where it is not.

    Raises StoreUnusable where it holds what a store does not put there, such as links under its own names.
    """
    with disk_errors(folder):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise InvalidValue(folder, "expected a folder")
        disk.make_folder("backup.mkdir", folder)
        check_own(Path(folder))
        names = set(os.listdir(folder)) - {f"{MARK}.part"}
        if MARK in names:
            _check_mark(folder, uuid)
            return
        if names:
            found = min(names)
            raise InvalidValue(folder, f"expected an empty folder or a backup of this store; it has {found!r}")
        disk.chmod("backup.chmod", folder, 0o700)
        with suppress(FileNotFoundError):
            disk.unlink("backup.unlink", f"{folder}/{MARK}.part")
        text = json.dumps({"format": _FORMAT, "backup_of": uuid}) + "\n"
        disk.write_file("backup.mark", f"{folder}/{MARK}.part", text.encode("ascii"))
        disk.rename("backup.mark_rename", f"{folder}/{MARK}.part", f"{folder}/{MARK}")
        disk.sync_folder("backup.sync", folder)
        disk.sync_folder("backup.sync", os.path.dirname(os.path.abspath(folder)))


def _check_mark(folder: str, uuid: str) -> None:
    try:
        with open(f"{folder}/{MARK}", encoding="ascii") as file:
            known = json.loads(file.read(1 << 16))
        is_it = known["format"] == _FORMAT and known["backup_of"] == uuid
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_it = False
    if not is_it:
        raise InvalidValue(folder, "expected an empty folder or a backup of this store; it is another store's")


def release_index(folder: str) -> None:
    """See that nobody has *folder*'s index open and that it has no WAL, since it is about to be replaced.

    Raises StoreBusy where it is in use, and InvalidValue where it was written to since it was made.
    """
    path = f"{folder}/{INDEX_NAME}"
    if not os.path.exists(path):
        return
    with disk_errors(path), index_errors(path), closing(connect(path, timeout=1)) as db:
        if _was_used(db):
            raise InvalidValue(folder, "it was used as a store since the last backup: what was written would be lost")
        disk.execute("backup.release", db, "PRAGMA journal_mode = DELETE")


def count_runs(folder: str) -> int:
    """Return how many backups there have been in *folder*; nobody has its index open."""
    path = f"{folder}/{INDEX_NAME}"
    if not os.path.exists(path):
        return 0
    with index_errors(path), closing(look(path)) as db:
        row = db.execute("SELECT value FROM store WHERE key = ?", (_RUN,)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def take_snapshot(db: Connection, folder: str, at_ns: int, run: int) -> Moment:
    """Copy the index that *db* is open on into *folder*, under a temporary name, and return what it has; durable.

    It is the backup of that folder after *run* others.
    """
    path = f"{folder}/{PART}"
    with disk_errors(path), index_errors(path):
        for name in (path, f"{path}-journal", f"{path}-wal"):
            with suppress(FileNotFoundError):
                disk.unlink("backup.unlink", name)
        os.close(disk.create("backup.create", path))
        disk.point("backup.snapshot")
        with closing(connect(path)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            event, change = _moment(copy)
            drafts = copy.execute("SELECT count(*) FROM entry WHERE seq_from IS NULL").fetchone()[0]
            values = zip((*_KEYS, _RUN), (event, change, at_ns, drafts, run + 1), strict=True)
            copy.executemany("INSERT OR REPLACE INTO store (key, value) VALUES (?, ?)", values)
        disk.sync_file("backup.snapshot_fsync", path)
    return Moment(event, change, at_ns)


def _moment(db: Connection) -> tuple[int, int]:
    """Return the last event and the last change number of the index *db*."""
    event: int = db.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
    return event, last_change(db)


def _was_used(db: Connection) -> bool:
    """Tell whether a backup's index was written to: more than opening it does, which seals drafts and suspends."""
    marks = ", ".join("?" * len(_KEYS))
    known = dict(db.execute(f"SELECT key, value FROM store WHERE key IN ({marks})", _KEYS))  # noqa: S608
    if set(known) != set(_KEYS):
        return True
    kinds = dict(db.execute("SELECT kind, count(*) FROM event WHERE id > ? GROUP BY kind", (known["backup_event"],)))
    by_itself = kinds.pop("artifact.stored", 0), kinds.pop("session.suspended", 0)
    changes = _moment(db)[1] - known["backup_change"]
    return bool(kinds) or by_itself[0] > known["backup_drafts"] or changes > sum(by_itself)


def place_index(folder: str) -> None:
    """Rename the snapshot into place, once all that it names is there; durable on return."""
    with disk_errors(folder):
        disk.rename("backup.index", f"{folder}/{PART}", f"{folder}/{INDEX_NAME}")
        disk.sync_folder("backup.sync", folder)


def named_chunks(path: str) -> Iterator[tuple[str, int]]:
    """Yield the hash and the stored bytes of each chunk that the index *path* says is a file, by hash.

    Nobody else has that index open.
    """
    with index_errors(path), closing(look(path)) as db:
        for digest, size in db.execute("SELECT hash, stored_size FROM chunk WHERE data IS NULL ORDER BY hash"):
            yield digest.hex(), size


def lacking_contents(path: str) -> list[str]:
    """Return the hashes of the contents that the index *path*, which nobody else has open, does not know whole."""
    with index_errors(path), closing(look(path)) as db:
        return contents.lacking(db)


def restore_index(source: str, target: str) -> None:
    """Copy the index of the store *source*, checked page by page, into the folder *target*; durable."""
    path, new = f"{source}/{INDEX_NAME}", f"{target}/{INDEX_NAME}"
    with disk_errors(new), index_errors(path, grows=new):
        os.close(disk.create("restore.create", new))
        disk.point("restore.index")
        with closing(_open_source(path)) as db, closing(connect(new)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            found = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"]:
                raise Corrupt(f"index {path}: {found[0]}")
            copy.execute("DELETE FROM store WHERE key GLOB 'backup_*'")
        disk.sync_file("restore.fsync", new)


def _open_source(path: str) -> Connection:
    """Open the index of a backup for reading; on a medium that cannot be written to, as a file that does not change."""
    try:
        db = look(path)
        db.execute("SELECT 1 FROM store").fetchone()
    except sqlite3.OperationalError:
        if os.path.exists(f"{path}-wal"):
            raise
        db = look(path, "immutable=1")
    return db


def count_contents(path: str) -> int:
    """Return how many contents the index *path* has, which nobody else has open."""
    with index_errors(path), closing(look(path)) as db:
        count: int = db.execute("SELECT count(*) FROM content").fetchone()[0]
    return count


def restore_chunks(source: str, target: str, harmed: list[str] | None = None) -> Iterator[tuple[bool, int]]:
    """Copy every chunk that *target*'s index names, each checked against its hash; yield the bytes of each.

    Content within the index is checked too; before the bytes it is said whether they are a chunk's. Raises Corrupt;
    with *harmed*, what is missing or does not read back is not copied, and its hash noted there.
    """
    blobs, new = FileBlobs(source), FileBlobs(target)
    query = (
        "SELECT 0, hash, size, codec, data FROM content WHERE data IS NOT NULL"
        " UNION ALL SELECT 1, hash, size, codec, data FROM chunk"
    )
    path = f"{target}/{INDEX_NAME}"
    with index_errors(path), closing(look(path)) as db:
        for is_chunk, digest, size, codec, data in db.execute(query):
            try:
                stored = blobs.get(digest.hex()) if data is None else data
                decode_checked(codec, stored, size, digest)
            except Corrupt:
                if harmed is None:
                    raise
                harmed.append(digest.hex())
                continue
            if data is None:
                new.put(digest.hex(), stored)
            yield bool(is_chunk), len(stored)
    new.sync()


@contextmanager
def index_errors(path: StrPath, *, grows: StrPath | None = None) -> Iterator[None]:
    """Raise what SQLite says of the index *path* as this package's errors; *grows*: what it is copied to, if it is."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StoreBusy(1) from None
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace(path if grows is None else grows) from None
        if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise Corrupt(f"index {os.fspath(path)}: {error}") from None
        raise StoreUnusable(path, str(error)) from None
