"""Backing up a store while it is used: `store.upkeep.backup`. The way back is `restoring`.

Writers go on meanwhile. The backup is the store as it was when its index was read. A chunk that is erased between that
and its turn is no part of the store any more, so the index is read again; one that the store names and lacks, or has
harmed, is told of, and everything else is backed up. What an earlier backup has of it stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import InvalidValue, NotSupported, StoreBusy, StoreUnusable
from llmspellfs.service.engine import Engine
from llmspellfs.storage import backup as storage
from llmspellfs.storage import contents, scrubbing
from llmspellfs.storage.backup import Moment
from llmspellfs.storage.copying import SHARES, Copier, Harm
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
    harmed: tuple[str, ...] = ()
    """Chunks of which it has other bytes, as far as they were read: they are not copied."""
    kept: tuple[str, ...] = ()
    """Those of both that the backup has all the same, sound, from an earlier one."""
    lacking: tuple[str, ...] = ()
    """Contents, by hash, of which the store's index does not say which chunks they are: it is harmed, see `fsck`."""


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
        suspects = {digest.hex() for digest in scrubbing.harmed(db)}
    storage.claim(folder, uuid)
    with opening_turn(Path(folder), BUSY_SECONDS):
        _check_unused(folder)
        storage.release_index(folder)
        run = storage.count_runs(folder)
        copier = Copier(source, folder, hardlink=hardlink, share=run % SHARES, suspects=suspects)
        moment, count, harms = _bring_all(engine, folder, run, copier, progress)
        lost = copier.lost()
        copier.sync()
        storage.place_index(folder)
        copier.remove_lost()
        lacking = tuple(storage.lacking_contents(f"{folder}/{INDEX_NAME}"))
        removed = copier.remove_but(chunk for chunk, _ in storage.named_chunks(f"{folder}/{INDEX_NAME}"))
    missing = tuple(harm.chunk for harm in harms if harm.is_missing)
    harmed = tuple(harm.chunk for harm in harms if not harm.is_missing)
    kept = tuple(harm.chunk for harm in harms if harm.is_kept)
    return BackupReport(
        folder, uuid, moment.event, moment.change, moment.at_ns, count, copier.linked, copier.copied,
        copier.copied_bytes, removed, lost, missing, harmed, kept, lacking,
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
) -> tuple[Moment, int, list[Harm]]:
    """Take a snapshot of the index and bring the chunks that it names, again until none has been erased meanwhile."""
    with engine.index.read() as db:
        total = contents.count_chunks(db)
    for _ in range(_TRIES):
        with engine.index.read() as db:
            moment = storage.take_snapshot(db, folder, engine.now(), run)
        count, harms = 0, list[Harm]()
        for chunk, size in storage.named_chunks(f"{folder}/{storage.PART}"):
            count += 1
            if (harm := copier.chunk(chunk, size)) is not None:
                harms.append(harm)
            if progress is not None:
                progress(count, max(count, total))
        still = [harm for harm in harms if _is_still(engine, harm)]
        if all(harm in still or harm.is_kept for harm in harms):
            return moment, count, still
    raise StoreBusy(BUSY_SECONDS)


def _is_still(engine: Engine, harm: Harm) -> bool:
    """Tell whether the store names the chunk of *harm*, and lacks it if it did.

    It is asked under the write lock, beside which no chunk is erased. Who may only read asks what there is to be read.
    """
    with engine.index.write() if engine.rooms.read_only is None else engine.index.read() as db:
        return contents.has_chunk(db, harm.chunk) and not (harm.is_missing and engine.rooms.blobs.exists(harm.chunk))
