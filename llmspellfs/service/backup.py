"""Backing up a store while it is used, and bringing it back; `store.upkeep.backup` and `restore_store`.

Writers go on meanwhile. The backup is the store as it was when its index was read. A chunk that is erased between that
and its turn is no part of the store any more, so the index is read again; one that the store names and does not have is
told of, and everything else is backed up.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmspellfs.errors import AlreadyExists, InvalidValue, NotSupported, StoreBusy, StoreUnusable
from llmspellfs.model.times import NS
from llmspellfs.service.engine import Engine
from llmspellfs.storage import backup as storage
from llmspellfs.storage import contents, disk
from llmspellfs.storage.backup import Moment
from llmspellfs.storage.copying import SHARES, Copier
from llmspellfs.storage.index import BUSY_SECONDS
from llmspellfs.storage.opening import INDEX_NAME, opening_turn
from llmspellfs.storage.spool import live_owners

Progress = Callable[[int, int], None]
_TRIES = 100


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup did: the store *uuid* up to *event* and *change*, at *at_ns*, is in *path*."""

    path: str
    uuid: str
    event: int
    """Store-wide id of the last event."""
    change: int
    at_ns: int
    chunks: int
    """Chunks that are files, in all."""
    linked: int
    copied: int
    copied_bytes: int
    removed: int
    lost: int
    """Items of lost+found."""
    missing: tuple[str, ...]
    """Chunks that the store itself does not have, by hash: it is harmed, see `fsck`."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came back: *chunks*, whole contents within the index among them, of *stored_bytes*."""

    path: str
    chunks: int
    stored_bytes: int
    lost: int
    moved_aside: str | None
    """Where the store is now that was there before."""


def back_up(
    engine: Engine, target: str | os.PathLike[str], *, hardlink: bool = True, progress: Progress | None = None
) -> BackupReport:
    """Make the folder *target* a backup of *engine*'s store; see `Upkeep.backup`."""
    source = engine.rooms.path
    if source is None:
        raise NotSupported("a store in memory cannot be backed up; `export` its sessions")
    folder = _checked_target(source, Path(target))
    with engine.index.read() as db:
        uuid = storage.store_uuid(db)
    storage.claim(folder, uuid)
    with opening_turn(Path(folder), BUSY_SECONDS):
        _check_unused(folder)
        storage.release_index(folder)
        run = storage.count_runs(folder)
        copier = Copier(source, folder, hardlink=hardlink, share=run % SHARES)
        moment, count, missing = _bring_all(engine, folder, run, copier, progress)
        lost = copier.lost()
        copier.sync()
        storage.place_index(folder)
        copier.remove_lost()
        removed = copier.remove_but(storage.named_chunks(f"{folder}/{INDEX_NAME}"))
    return BackupReport(
        folder, uuid, moment.event, moment.change, moment.at_ns, count, copier.linked, copier.copied,
        copier.copied_bytes, removed, lost, missing,
    )  # fmt: skip


def _checked_target(source: Path, target: Path) -> str:
    here, there = source.resolve(), target.expanduser().resolve()
    if here == there:
        raise InvalidValue(str(target), "it is the store itself")
    if here in there.parents:
        raise InvalidValue(str(target), "it is inside the store")
    if there in here.parents:
        raise InvalidValue(str(target), "the store is inside it")
    return str(there)


def _check_unused(folder: str) -> None:
    if live_owners(folder):
        raise StoreUnusable(folder, "it is in use as a store")


def _bring_all(
    engine: Engine, folder: str, run: int, copier: Copier, progress: Progress | None
) -> tuple[Moment, int, tuple[str, ...]]:
    """Take a snapshot of the index and bring the chunks that it names, again until none has been erased meanwhile."""
    with engine.index.read() as db:
        total = contents.count_chunks(db)
    for _ in range(_TRIES):
        with engine.index.read() as db:
            moment = storage.take_snapshot(db, folder, engine.now(), run)
        count, missing = 0, []
        for chunk in storage.named_chunks(f"{folder}/{storage.PART}"):
            count += 1
            if not copier.chunk(chunk):
                missing.append(chunk)
            if progress is not None:
                progress(count, max(count, total))
        if all(_is_harmed(engine, chunk) for chunk in missing):
            return moment, count, tuple(missing)
    raise StoreBusy(BUSY_SECONDS)


def _is_harmed(engine: Engine, chunk: str) -> bool:
    """Tell whether the store names *chunk* and lacks it; under the write lock, beside which no chunk is erased."""
    with engine.index.write() as db:
        return contents.has_chunk(db, chunk) and not engine.rooms.blobs.exists(chunk)


def restore_store(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
    now: Callable[[], int] = time.time_ns,
) -> RestoreReport:
    """Make a store at *target* of the backup *source*, every chunk checked on the way; all of it or nothing.

    It is the same store (its uuid, its sessions' ids) as the one that was backed up. Where a store is, or a folder that
    holds anything, AlreadyExists is raised; with *force* that is moved aside to a dated name beside it. Raises Corrupt,
    NoSpace, StoreUnusable.
    """
    here, there = Path(source).expanduser().resolve(), Path(target).expanduser().resolve()
    if not (here / INDEX_NAME).is_file():
        raise StoreUnusable.missing(here)
    if here == there or here in there.parents or there in here.parents:
        raise InvalidValue(str(target), "expected a place apart from the backup")
    is_taken = there.exists() and (not there.is_dir() or any(there.iterdir()))
    if is_taken and not force:
        raise AlreadyExists("store", there)
    if is_taken and live_owners(str(there)):
        raise StoreUnusable(there, "it is in use")
    building = f"{there.parent}/.{there.name}.restoring-{secrets.token_hex(4)}"
    disk.make_folder("restore.mkdir", building)
    aside = None
    try:
        report = _restored(str(here), building, progress)
        aside = _move_aside(there, now()) if is_taken else None
        disk.rename("restore.rename", building, there)
        disk.sync_folder("restore.sync", there.parent)
    except BaseException:
        _undo_restore(building, there, aside)
        raise
    return RestoreReport(str(there), report[0], report[1], report[2], aside)


def _undo_restore(building: str, there: Path, aside: str | None) -> None:
    """Remove what was brought, and have *there* again what was moved *aside*."""
    with suppress(OSError):
        if not os.path.lexists(building):
            disk.rename("restore.undo", there, building)
        if aside is not None:
            disk.rename("restore.undo", aside, there)
    shutil.rmtree(building, ignore_errors=True)


def _restored(source: str, building: str, progress: Progress | None) -> tuple[int, int, int]:
    storage.restore_index(source, building)
    count = stored = 0
    for size in storage.restore_chunks(source, building):
        count, stored = count + 1, stored + size
        if progress is not None:
            progress(count, count)
    copier = Copier(source, building, hardlink=False)
    lost = copier.lost()
    copier.sync()
    return count, stored, lost


def _move_aside(path: Path, now_ns: int) -> str:
    """Rename *path* to a name beside it that says when, and return that."""
    stamp = datetime.fromtimestamp(now_ns // NS, UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1000):
        aside = f"{path}.{stamp}" + (f"-{number}" if number else "")
        if not os.path.lexists(aside):
            disk.rename("restore.aside", path, aside)
            return aside
    raise AlreadyExists("folder", f"{path}.{stamp}")
