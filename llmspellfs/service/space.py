"""How much room there is, for `df`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from llmspellfs.errors import NoSpace
from llmspellfs.service.engine import Engine
from llmspellfs.storage import figures, usage

_MEMORY = 1 << 36


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the disk that the store is on, *free* for root and *available* for others, and live artifacts.

    Under a quota they are those of the quota, and no more is free than the disk has.
    """

    total: int
    free: int
    available: int
    artifacts: int


def space(engine: Engine) -> Space:
    """Return the room of *engine*'s store; one in memory shows 64 GiB less what it holds."""
    found, quota = _disk(engine), engine.config.storage_quota
    if not quota:
        return found
    with engine.index.read() as db:
        left = max(0, quota - usage.total(db))
    return Space(quota, min(left, found.free), min(left, found.available), found.artifacts)


def _disk(engine: Engine) -> Space:
    with engine.index.read() as db:
        artifacts = figures.count_files(db)
        if engine.rooms.path is None:
            free = max(0, _MEMORY - figures.stored_bytes(db))
            return Space(_MEMORY, free, free, artifacts)
    disk = os.statvfs(engine.rooms.path)
    block = disk.f_frsize
    return Space(disk.f_blocks * block, disk.f_bfree * block, disk.f_bavail * block, artifacts)


def check_space(engine: Engine) -> None:
    """Raise NoSpace where *engine*'s disk has not one block left, or none but what is kept for deletions."""
    path = engine.rooms.path
    if path is not None and not os.statvfs(path).f_bfree:
        raise NoSpace(path)
    engine.index.check_room()
