"""Where else in a store's folder there are bytes that were meant for a session, or for an artifact of it.

Nothing is changed here; what another process is still writing is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from llmspellfs.storage.former import Owner
from llmspellfs.storage.lost import LostFound, read_description
from llmspellfs.storage.spool import FOLDER, live_owners

_QUARANTINE = "quarantine"


def lost(found: LostFound, owner: Owner) -> list[str]:
    """Return the items of lost+found that were meant for *owner*, those too that were not wholly written."""
    return [item_id for item_id, told in found.descriptions() if owner.owns(told)]


def open_files(store: Path, owner: Owner) -> list[str]:
    """Return the files of the spool, as `spool/…`, in which living processes have bytes for *owner*."""
    return sorted(_open_files(store, owner))


def _open_files(store: Path, owner: Owner) -> Iterator[str]:
    for process in live_owners(store):
        for about in (store / FOLDER / process).glob("*.json"):
            if owner.owns(read_description(about)):
                yield f"{FOLDER}/{process}/{about.stem}"


def copies(store: Path | None) -> list[str]:
    """Return the folders, as `quarantine/…`, in which repairs have kept the index as it was."""
    try:
        names = [] if store is None else os.listdir(store / _QUARANTINE)
    except FileNotFoundError:
        return []
    return sorted(f"{_QUARANTINE}/{name}" for name in names)
