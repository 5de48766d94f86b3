"""The way back from a backup: a store made of it, in the place of what is there.

It is made beside its place, and gets its name in one step once it is whole. Nobody uses what is there meanwhile, and
nobody opens what comes before it is sure to stay.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmspellfs.errors import AlreadyExists, InvalidValue, SpellError, StoreUnusable
from llmspellfs.model.times import NS
from llmspellfs.storage import backup as storage
from llmspellfs.storage import disk, readers
from llmspellfs.storage.building import begun
from llmspellfs.storage.copying import Copier
from llmspellfs.storage.disk import disk_errors
from llmspellfs.storage.index import BUSY_SECONDS
from llmspellfs.storage.mounts import check_place
from llmspellfs.storage.opening import INDEX_NAME, opening_turn
from llmspellfs.storage.planted import check_own, check_store
from llmspellfs.storage.spool import live_owners

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came back: *contents*, of *chunks* or within the index, of *stored_bytes*, as `fsck` counts them."""

    path: str
    contents: int
    chunks: int
    stored_bytes: int
    lost: int
    moved_aside: str | None
    """Where the store is now that was there before."""
    harmed: tuple[str, ...]
    """What the backup lacks or what does not read back in it, and so did not come: hashes, and names in lost+found."""


def restore_store(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    harmed: bool = False,
    allow_network: bool = False,
    progress: Progress | None = None,
    now: Callable[[], int] = time.time_ns,
) -> RestoreReport:
    """Make a store at *target* of the backup *source*, every chunk checked on the way; all of it or nothing.

    With *harmed* a backup that lacks chunks, or has such as do not read back, is restored without them. With
    *allow_network* the store may be on a network file system, where it is opened only if the configuration allows that.

    It is the same store (its uuid, its sessions' ids) as the one that was backed up. Where a store is, a harmed one
    too, AlreadyExists is raised; with *force* it is moved aside to a dated name beside it, unless somebody uses it.
    What is no store stays where it is, *force* or not: StoreUnusable says so. Raises Corrupt, NoSpace, StoreBusy.
    """
    here, there = Path(source).expanduser().resolve(), Path(target).expanduser().resolve()
    if not (here / INDEX_NAME).is_file():
        raise StoreUnusable.missing(here, what="backup")
    check_own(here)
    if here == there or here in there.parents or there in here.parents:
        raise InvalidValue(str(target), "expected a place apart from the backup")
    check_place(there, allow_network=allow_network)
    _check_free(there, force=force)
    with _unused(there):
        pass
    with begun(there) as building, _built(building, there):
        left_out: list[str] | None = [] if harmed else None
        contents, chunks, stored, lost = _restored(str(here), building, progress, left_out)
        aside = _put_in_place(building, there, now(), force=force)
    return RestoreReport(str(there), contents, chunks, stored, lost, aside, tuple(left_out or ()))


@contextmanager
def _built(building: str, there: Path) -> Iterator[None]:
    """On failure leave nothing of *building*, and have the error say the name that it was to get, *there*."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(building, ignore_errors=True)
        if isinstance(error, SpellError):
            error.args = (error.message.replace(building, str(there)),)
        elif isinstance(error, OSError) and str(error.filename).startswith(building):
            error.filename = str(there)
        raise


def _restored(
    source: str, building: str, progress: Progress | None, harmed: list[str] | None
) -> tuple[int, int, int, int]:
    """Copy the store; return how many contents and chunks it has, their bytes, and how many lost items."""
    storage.restore_index(source, building)
    done = chunks = stored = 0
    for is_chunk, size in storage.restore_chunks(source, building, harmed):
        done, chunks, stored = done + 1, chunks + is_chunk, stored + size
        if progress is not None:
            progress(done, done)
    copier = Copier(source, building, hardlink=False)
    lost = copier.lost(harmed)
    copier.sync()
    return storage.count_contents(f"{building}/{INDEX_NAME}"), chunks, stored, lost


def _check_free(there: Path, *, force: bool) -> None:
    """Raise AlreadyExists where a store is *there* and not to be moved, StoreUnusable where anything else is."""
    if _is_taken(there):
        check_store(there)
        if not force:
            raise AlreadyExists("store", f"{there} (--force moves it aside)")


@contextmanager
def _unused(there: Path) -> Iterator[None]:
    """Raise StoreUnusable where anybody has open what is *there*, and keep readers out of it for the block."""
    with readers.kept_out(there) if there.is_dir() else nullcontext(True) as is_unread:
        if not is_unread or live_owners(there):
            raise StoreUnusable(there, "it is in use")
        yield


def _is_taken(there: Path) -> bool:
    return there.exists() and (not there.is_dir() or any(there.iterdir()))


def _put_in_place(building: str, there: Path, now_ns: int, *, force: bool) -> str | None:
    """Rename *building* to *there*, durably; return the name that what was there has now.

    Whoever opens either waits until that is done, or undone. On failure *building* is what it was.
    """
    new = Path(building)
    with opening_turn(new, BUSY_SECONDS), _turn_at(there), readers.kept_out(new), _unused(there), disk_errors(there):
        _check_free(there, force=force)
        if _is_taken(there):
            return _exchange(building, there, now_ns)
        try:
            disk.rename("restore.rename", building, there)
            disk.sync_folder("restore.sync", there.parent)
        except BaseException:
            with suppress(OSError):
                if not os.path.lexists(building):
                    disk.rename("restore.undo", there, building)
            raise
    return None


def _turn_at(there: Path) -> AbstractContextManager[None]:
    """Keep others from opening what is *there*; what is no store, or a harmed one, nobody opens."""
    if not os.path.lexists(there / INDEX_NAME):
        return nullcontext()
    try:
        check_own(there)
    except StoreUnusable:
        return nullcontext()
    return opening_turn(there, BUSY_SECONDS)


def _exchange(building: str, there: Path, now_ns: int) -> str:
    """Have *building* where *there* is, in one step, and what is there at a dated name beside it; return that."""
    aside, restored = _free_name(there, now_ns), os.lstat(building)
    try:
        disk.rename("restore.aside", building, aside)
        disk.exchange("restore.exchange", aside, there)
        disk.sync_folder("restore.sync", there.parent)
    except BaseException:
        with suppress(OSError):
            if os.path.samestat(restored, os.lstat(there)):
                disk.exchange("restore.undo", aside, there)
            if os.path.samestat(restored, os.lstat(aside)):
                disk.rename("restore.undo", aside, building)
        raise
    return aside


def _free_name(path: Path, now_ns: int) -> str:
    """Return a name beside *path* that says when, and that nothing has."""
    stamp = datetime.fromtimestamp(now_ns // NS, UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1000):
        name = f"{path}.{stamp}" + (f"-{number}" if number else "")
        if not os.path.lexists(name):
            return name
    raise AlreadyExists("folder", f"{path}.{stamp}")
