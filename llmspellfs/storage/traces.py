"""Where else in a store's folder there are bytes that were meant for a session, or for an artifact of it.

What another process is still writing is its own: it is told of, and kept from being salvaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmspellfs.storage.former import Owner
from llmspellfs.storage.lost import LostFound, read_description
from llmspellfs.storage.spool import FOLDER, erase, live_owners

_QUARANTINE = "quarantine"


def lost(found: LostFound, owner: Owner) -> list[str]:
    """Return the items of lost+found that were meant for *owner*, those too that were not wholly written."""
    return [item_id for item_id, told in found.descriptions() if owner.owns(told)]


def open_files(store: Path, owner: Owner) -> list[str]:
    """Return the files of the spool, as `spool/…`, in which living processes have bytes for *owner*."""
    return sorted(name for name, told in _open_files(store) if owner.owns(told))


def erase_open_files(store: Path, owner: Owner) -> None:
    """Have nobody salvage what is surely *owner*'s of them, should these processes end before they let go of it."""
    for name, told in _open_files(store):
        if owner.owns_surely(told):
            erase(store / name)


def _open_files(store: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for process in live_owners(store):
        for about in (store / FOLDER / process).glob("*.json"):
            yield f"{FOLDER}/{process}/{about.stem}", read_description(about)


def copies(store: Path | None) -> list[str]:
    """Return the folders, as `quarantine/…`, in which repairs have kept the index as it was."""
    try:
        names = [] if store is None else os.listdir(store / _QUARANTINE)
    except FileNotFoundError:
        return []
    return sorted(f"{_QUARANTINE}/{name}" for name in names)
