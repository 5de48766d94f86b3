"""A salvaged index takes the damaged one's place, however often it is cut short on the way."""

from __future__ import annotations

import os
from contextlib import suppress

from llmspellfs.storage import disk

READY = "index.db.ready"
"""A salvaged index that is whole, and only has to take the place of the old one."""
PART = f"{READY}.part"
"""One that is being made, which nobody takes for an index."""


def make_ready(path: disk.StrPath) -> None:
    """Have the salvaged index that was made as `PART` be the one that `finish_swap` puts in place, come what may."""
    root = os.fspath(path)
    disk.rename("salvage.ready", f"{root}/{PART}", f"{root}/{READY}")
    disk.sync_folder("salvage.folder_sync", root)


def finish_swap(path: disk.StrPath) -> bool:
    """Let a salvaged index that is ready take the place of the damaged one, whose copy is kept; tell whether it was.

    Called by whoever opens the store next, holding its turn: a repair may have ended at any moment of it.
    """
    root = os.fspath(path)
    if not os.path.lexists(f"{root}/{READY}"):
        return False
    for name in ("index.db-wal", "index.db-shm", "index.db-journal"):
        with suppress(FileNotFoundError):
            disk.unlink("salvage.unlink", f"{root}/{name}")
    disk.sync_folder("salvage.folder_sync", root)
    disk.rename("salvage.swap", f"{root}/{READY}", f"{root}/index.db")
    disk.sync_folder("salvage.folder_sync", root)
    return True
