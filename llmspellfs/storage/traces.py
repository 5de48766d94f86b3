"""Where else in a store's folder there are bytes that were meant for a session, or for an artifact of it.

What another process is still writing is its own: it is told of, and kept from being salvaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from llmspellfs.errors import SpellError
from llmspellfs.storage import destination, disk, erasing
from llmspellfs.storage.blobs import BlobStore
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.former import Owner
from llmspellfs.storage.index import Index
from llmspellfs.storage.ingest import chunk_hashes
from llmspellfs.storage.lost import LostFound
from llmspellfs.storage.spool import FOLDER, erase, live_owners

Follow: TypeAlias = Callable[[Destination], Destination]
_QUARANTINE = "quarantine"
_NOTED = 1000
"""Chunks that one transaction notes."""


def lost(found: LostFound, owner: Owner) -> list[str]:
    """Return the items of lost+found that were meant for *owner*, those too that were not wholly written."""
    return [item_id for item_id, meant_for in found.destinations() if owner.owns(meant_for)]


def erase_open_files(store: Path, owner: Owner, follow: Follow) -> dict[str, bool]:
    """Return the files of the spool, as `spool/…`, in which living processes have bytes for *owner*, in order.

    What is surely its own of them, which is said beside each, nobody salvages, should these processes end before they
    let go of it. What a file is for by now is what *follow* makes of what is told beside it.
    """
    found = dict[str, bool]()
    for process in live_owners(store):
        for path, told in _told(store / FOLDER / process):
            meant_for = follow(told)
            is_sure = owner.owns_surely(meant_for)
            found |= {f"{FOLDER}/{process}/{path.name}": is_sure} if owner.owns(meant_for) else {}
            if is_sure:
                erase(path)
    return dict(sorted(found.items()))


def chunks_ahead(store: Path, found: LostFound, items: Iterable[str], open_files: Iterable[str]) -> set[str]:
    """Return the chunks (hex) that the bytes of *items* of lost+found, and of *open_files* of the spool, are cut into.

    They may have been stored ahead of a commit. What cannot be read is passed over: there is nothing to find them by.
    """
    chunks = set[str]()
    openers: list[Callable[[], BinaryIO]] = [partial(found.open, item) for item in items]
    openers += [partial(_opened, store / name) for name in open_files]
    for opener in openers:
        with suppress(OSError, SpellError), opener() as file:
            chunks.update(chunk_hashes(file))
    return chunks


def forget_ahead(index: Index, blobs: BlobStore, path: str) -> None:
    """Note that the chunks which the file *path* of the spool, whose bytes were purged, is cut into are to go.

    Its process has stored them ahead of a commit that never came. Raises StoreBusy, NoSpace.
    """
    with suppress(OSError), _opened(Path(path)) as file:
        ahead = sorted({chunk for chunk in chunk_hashes(file) if blobs.put_ns(chunk) is not None})
        for start in range(0, len(ahead), _NOTED):
            with index.write(durable=True, frees=True) as db:  # the file goes next, and with it what tells of them
                erasing.doom(db, ahead[start : start + _NOTED])


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(disk.open_file(path), "rb")


def open_inos(store: Path | None) -> set[int]:
    """Return the inode numbers of the files in the spool, dead processes' too, as far as they are told."""
    folders = [] if store is None else list((store / FOLDER).glob("*"))
    return {told.ino for folder in folders for _, told in _told(folder) if told.ino is not None}


def _told(folder: Path) -> Iterator[tuple[Path, Destination]]:
    for about in folder.glob("*.json"):
        yield about.with_suffix(""), destination.read(about)[0]


def copies(store: Path | None) -> list[str]:
    """Return the folders, as `quarantine/…`, in which repairs have kept the index as it was."""
    try:
        names = [] if store is None else os.listdir(store / _QUARANTINE)
    except FileNotFoundError:
        return []
    return sorted(f"{_QUARANTINE}/{name}" for name in names)
