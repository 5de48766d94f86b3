"""Where else in a store's folder there are bytes that were meant for a session, or for an artifact of it.

Nothing is changed here; what another process is still writing is its own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from llmspellfs.storage.lost import LostFound, read_description
from llmspellfs.storage.spool import FOLDER, live_owners

_QUARANTINE = "quarantine"


def lost(found: LostFound | None, session_id: str, names: Collection[str] | None) -> list[str]:
    """Return the items of lost+found that were meant for the session, or in it for one of *names*."""
    items = [] if found is None else found.list()
    return [item.id for item in items if item.session == session_id and (names is None or item.name in names)]


def open_files(store: Path | None, session_id: str, names: Collection[str] | None) -> list[str]:
    """Return the files of the spool, as `spool/…`, in which living processes have bytes for them."""
    return [] if store is None else sorted(_open_files(store, session_id, names))


def _open_files(store: Path, session_id: str, names: Collection[str] | None) -> Iterator[str]:
    for owner in live_owners(store):
        folder = store / FOLDER / owner
        for about in folder.glob("*.json"):
            told = read_description(about)
            if told.get("session") == session_id and (names is None or told.get("name") in names):
                yield f"{FOLDER}/{owner}/{about.stem}"


def copies(store: Path | None) -> list[str]:
    """Return the folders, as `quarantine/…`, in which repairs have kept the index as it was."""
    try:
        names = [] if store is None else os.listdir(store / _QUARANTINE)
    except FileNotFoundError:
        return []
    return sorted(f"{_QUARANTINE}/{name}" for name in names)
