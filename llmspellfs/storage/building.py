"""A folder that is made beside the place it is for, `.NAME.restoring-<random>`, and what a killed process left of one.

Who makes one holds an flock on it, which ends with the process. Where a file system has no such locks nobody can tell
the dead from the living, and nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmspellfs.storage import disk
from llmspellfs.storage.turns import is_of


@contextmanager
def begun(there: Path) -> Iterator[str]:
    """Have a new, empty folder beside *there*, held for the block, and nothing of those whose makers were killed."""
    _remove_dead(there)
    while True:
        building = there.parent / f".{there.name}.restoring-{secrets.token_hex(4)}"
        with disk.disk_errors(there):
            disk.make_folder("restore.mkdir", building)
        try:
            with disk.disk_errors(building):
                descriptor = _open(building)
        except FileNotFoundError:  # another has taken it for a dead one's, before the lock: as below
            continue
        try:
            _take(descriptor)
            if is_of(building, descriptor):
                yield os.fspath(building)
                return
        finally:
            os.close(descriptor)


def _remove_dead(there: Path) -> None:
    name = re.compile(rf"\.{re.escape(there.name)}\.restoring-[0-9a-f]{{8}}")
    with suppress(OSError), os.scandir(there.parent) as entries:
        for entry in filter(lambda entry: name.fullmatch(entry.name), list(entries)):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    _remove(Path(entry.path))


def _remove(building: Path) -> None:
    descriptor = _open(building)
    try:
        if _take(descriptor) and is_of(building, descriptor):
            shutil.rmtree(building, ignore_errors=True)
    finally:
        os.close(descriptor)


def _open(building: Path) -> int:
    return os.open(building, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else holds it, or there are no such locks
        return False
    return True
