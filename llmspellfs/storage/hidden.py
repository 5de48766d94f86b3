"""Commits that a WAL has behind the place at which SQLite stops reading, kept before an opening lets go of them.

SQLite folds what it believes into the database and then removes the WAL, or writes over it. Where that would be the end
of whole transactions, whoever opens a store that was killed first keeps the WAL in `quarantine/<time>/hidden.wal`:
`fsck` tells of it, and a repair puts back what goes on from what the store has, if the store has not gone on without
it. What the index was then stands beside it, in `hidden.json`. After a clean end there is no WAL, and the question
costs one look for it; after a `kill -9` SQLite is asked how far it reads (a 4 MiB WAL: 13 to 18 ms, on a machine under
load).

Threading: the caller has the turn to open the store.
"""

from __future__ import annotations

import dataclasses
import filecmp
import json
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime

from llmspellfs.errors import NoSpace, SpellError
from llmspellfs.storage import connections, disk, uncovered
from llmspellfs.storage.disk import StrPath
from llmspellfs.storage.reserve import Reserve
from llmspellfs.storage.salvage_wal import harmed_bytes, last_commit, page_size, read_wal
from llmspellfs.storage.spool import live_owners
from llmspellfs.storage.uncovered import Seen

_log = logging.getLogger(__name__)

NAME, LOST, LOOKED_AT = "hidden.wal", "lost.wal", "looked-at.wal"
"""A WAL that was kept; one whose commits a repair has found lost, since the store has gone on without them, or `gc` has
given up; and one that it has put back, or found to be of a time that was given up."""
SEEN = "hidden.json"
"""What stands beside each of them: what the index was as SQLite read it, and whether changed bytes explain the WAL."""
_FOLDER = "quarantine"
_MOST, _MOST_BYTES = 4, 256 << 20
"""How many are kept, the newest, and how large one may be."""
_WORTH = (LOOKED_AT, LOST, NAME)
"""Which of them goes first."""
_BLOCK = 1 << 20
_SHM_HEAD = struct.Struct("=IIIBBHI")
"""The beginning of a wal-index: the last number is that of the frames which SQLite reads."""


def keep(root: StrPath, name: str = NAME) -> bool:
    """Keep the WAL of the store at *root* where it hides commits and nobody has it open; tell whether it hides any.

    It is kept as *name*. What stands in the way of that, such as a full disk, is logged: the store is opened all the
    same.
    """
    store = os.fspath(root)
    index, wal = f"{store}/index.db", f"{store}/index.db-wal"
    try:
        if not os.path.getsize(wal) or not os.path.getsize(index) or live_owners(store) or not _hides(index, wal):
            return False
        size = os.path.getsize(wal)
        if size > _MOST_BYTES:
            _log.warning("%s hides commits, and is not kept: it has %d bytes", wal, size)
            return True
        kept = _kept(store, wal, name)
    except FileNotFoundError:
        return False
    except (OSError, SpellError) as error:
        _log.warning("whether %s hides commits cannot be told, or it cannot be kept: %s", wal, error)
        return False
    if name == NAME:
        how = "see `llmspellfs fsck --repair`"
        _log.warning("%s hides commits behind what SQLite reads: kept as %s (%s)", wal, kept, how)
    return True


def kept(root: StrPath) -> list[str]:
    """Return the paths of the WALs of the store at *root* that no repair has looked at, oldest first."""
    return [path for path in _copies(os.fspath(root)) if path.endswith(f"/{NAME}")]


def lost(root: StrPath) -> list[str]:
    """Return the paths of the WALs whose commits the store at *root* has gone on without, oldest first."""
    return [path for path in _copies(os.fspath(root)) if path.endswith(f"/{LOST}")]


def seen(path: str) -> Seen | None:
    """Return what the index was when the WAL *path* was kept, None where nothing says it."""
    match _told(path):
        case {"events": int(events), "uncovered": str(digest), "layout": int(layout)}:
            return Seen(events, digest, layout)
    return None


def _told(path: str) -> object:
    """Return what stands beside the kept WAL *path*, None where nothing does that can be read."""
    try:
        with os.fdopen(disk.open_file(f"{os.path.dirname(path)}/{SEEN}"), encoding="ascii") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError):
        return None


def explained(path: str) -> dict[int, int]:
    """Return what bytes of the kept WAL *path* were, by place, where that explains what it hides.

    Where nothing explains it, it may be of before a power cut.
    """
    size = page_size(path)
    return harmed_bytes(path, size) if size else {}


def is_explained(path: str) -> bool:
    """Tell whether changed bytes explain what the kept WAL *path* hides; where it cannot be read they may.

    Every opening asks while one waits, and a large one takes seconds to look through: it was noted when it was kept.
    """
    match _told(path):
        case {"explained": bool(noted)}:
            return noted
    try:
        return bool(explained(path))
    except FileNotFoundError:  # settled meanwhile
        return False
    except OSError:
        return True


def settle(path: str, name: str = LOOKED_AT) -> None:
    """Have the kept WAL *path*, which a repair has looked at, be *name*: nobody tells of it again, but of `LOST`."""
    with disk.disk_errors(path), suppress(FileNotFoundError):
        disk.rename("quarantine.rename", path, f"{os.path.dirname(path)}/{name}")


def copy(source: str, target: str) -> None:
    """Make the file *target* a durable copy of the WAL *source*."""
    with os.fdopen(disk.open_file(source), "rb") as file:
        _write(iter(lambda: file.read(_BLOCK), b""), target)


def _write(blocks: Iterable[bytes], target: str) -> None:
    """Make the file *target* of *blocks*, durably."""
    descriptor = disk.create("quarantine.create", target)
    try:
        for block in blocks:
            disk.write("quarantine.write", descriptor, block)
        disk.fsync("quarantine.fsync", descriptor)
    finally:
        os.close(descriptor)


def _hides(index: str, wal: str) -> bool:
    """Tell whether there are whole transactions behind what SQLite reads of *wal*, as cheaply as may be."""
    size = page_size(wal)
    return bool(size and last_commit(wal, size) > _believed(index) and read_wal(wal, size).behind)


def _believed(index: str) -> int:
    """Return how many frames SQLite reads of the WAL of *index*.

    A connection that may not write leaves the WAL as it is, and behind it the wal-index that it has made of it.
    """
    with suppress(sqlite3.Error), closing(connections.look(index)) as db:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    with suppress(FileNotFoundError), open(f"{index}-shm", "rb") as file:
        head = file.read(_SHM_HEAD.size)
        if len(head) == _SHM_HEAD.size:
            frames: int = _SHM_HEAD.unpack(head)[-1]
            return frames
    return 0


def _kept(store: str, wal: str, name: str) -> str:
    """Keep *wal* as *name*, where the disk is full in the room of the reserve; return where it is."""
    same = next((path for path in _copies(store) if filecmp.cmp(path, wal, shallow=False)), None)
    if same is not None:  # an opening has kept it, and was killed before it let go of it
        return same
    _remove_parts(store)
    try:
        return _copied(store, wal, name)
    except NoSpace:
        if not Reserve(store).release():
            raise
        return _copied(store, wal, name)


def _copied(store: str, wal: str, name: str) -> str:
    """Copy *wal* durably, and then remove older copies, those first that a repair has looked at."""
    known = _seen(f"{store}/index.db")
    folder = _new_folder(store)
    part = f"{folder}/{NAME}.part"
    with disk.disk_errors(folder):
        disk.make_folder("quarantine.mkdir", folder)
        try:
            copy(wal, part)
            if known is not None:
                note = dataclasses.asdict(known) | {"explained": bool(explained(part))}
                _write([json.dumps(note).encode("ascii")], f"{folder}/{SEEN}")
            disk.rename("quarantine.rename", part, f"{folder}/{name}")
        except BaseException:
            for path in (part, f"{folder}/{SEEN}"):
                disk.undo("salvage.undo", path)
            with suppress(OSError):
                disk.rmdir("quarantine.rmdir", folder)
            raise
        for above in (folder, os.path.dirname(folder), store):
            disk.sync_folder("quarantine.folder_sync", above)
    new = f"{folder}/{name}"
    alone = [path for path in _copies(store) if not os.path.exists(f"{os.path.dirname(path)}/index.db")]  # no repair's
    copies = sorted(alone, key=lambda path: (path == new, _WORTH.index(os.path.basename(path)), path))
    for old in copies[:-_MOST]:
        if old.endswith(f"/{LOST}"):
            _log.warning("%s, of commits that are lost, is removed: no more than %d WALs are kept", old, _MOST)
        with suppress(OSError):
            _remove(old)
    return new


def _seen(index: str) -> Seen | None:
    try:
        with closing(connections.look(index)) as db:
            return uncovered.seen(db)
    except sqlite3.Error:
        return None


def _remove(copy: str) -> None:
    folder = os.path.dirname(copy)
    for path in (copy, f"{folder}/{SEEN}"):
        with suppress(FileNotFoundError):
            disk.unlink("quarantine.unlink", path)
    disk.rmdir("quarantine.rmdir", folder)


def _remove_parts(store: str) -> None:
    """Remove what processes have left that were killed while they kept a WAL."""
    for part in list(_found(f"{store}/{_FOLDER}", f"{NAME}.part")):
        with suppress(OSError):
            _remove(part)


def _new_folder(store: str) -> str:
    stamp = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (stamp if number == 1 else f"{stamp}-{number}" for number in range(1, 10**6))
    return next(path for path in (f"{store}/{_FOLDER}/{name}" for name in names) if not os.path.lexists(path))


def _copies(store: str) -> list[str]:
    return sorted(_found(f"{store}/{_FOLDER}", NAME, LOST, LOOKED_AT))


def _found(folder: str, *names: str) -> Iterator[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            for name in names:
                path = f"{entry.path}/{name}"
                if entry.is_dir(follow_symlinks=False) and os.path.isfile(path) and not os.path.islink(path):
                    yield path
