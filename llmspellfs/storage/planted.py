"""What somebody may have put into a store's folder before it was a store's: links that would be written through.

A store's own names are plain files and folders. Whoever could write to the folder before may have made one of them a
symbolic link to a file of its later owner's, or a FIFO at which opening waits for ever. Such a store is not opened.
Files further down need no look here: they are made anew under names that are free, read without following links
and without waiting (`disk.open_file`), and replaced by renaming over them.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import disk
from llmspellfs.storage.disk import disk_errors

_log = logging.getLogger(__name__)
_FILES = (
    "index.db", "index.db-wal", "index.db-shm", "index.db-journal", "index.db.ready", "index.db.part", "backup.json",
    "opening.lock", "erasing.lock", "scrub.lock", "reading.lock", "mount.log", "mount.log.1",
)  # fmt: skip
_FOLDERS = ("blobs", "spool", "lost+found", "reserve", "quarantine")
_DEEP = ("blobs", "spool", "quarantine")
"""Folders of folders."""


def check_own(path: Path) -> None:
    """Raise StoreUnusable where one of the own names of the store at *path* is not what a store has by that name."""
    with disk_errors(path):
        for name in _FILES:
            _check(path, name, stat.S_IFREG)
        for name in _FOLDERS:
            if _check(path, name, stat.S_IFDIR) and name in _DEEP:
                _check_folders(path, name)


def check_store(path: Path) -> None:
    """Raise StoreUnusable where what is at *path* is no store: neither one with an index, nor what is left of one."""
    with disk_errors(path):
        if not path.is_dir():
            raise StoreUnusable(path, "not a folder")
        if os.path.lexists(path / _FILES[0]):
            return
        foreign = sorted(set(os.listdir(path)).difference(_FILES, _FOLDERS))
    if foreign:
        raise StoreUnusable.foreign(path, foreign[0])


def take_over(path: Path) -> None:
    """Make the folder *path*, and what it holds of a store's beginnings, this user's alone.

    Raises StoreUnusable where any of it is another user's, who could look into it whatever its mode.
    """
    check_own(path)
    with disk_errors(path):
        for name in ("", *_FOLDERS, *_FILES):
            if os.path.lexists(path / name):
                status = os.lstat(path / name)
                if status.st_uid != os.geteuid():
                    raise StoreUnusable(path, f"{name or 'the folder'} belongs to another user (uid {status.st_uid})")
                mode = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
                if stat.S_IMODE(status.st_mode) != mode:
                    disk.chmod("opening.chmod", path / name, mode)


def keep_private(path: Path) -> None:
    """Take from everybody but its owner what the mode of the folder *path*, a store's, lets them do, and log that.

    Nobody else reaches what is in it then, whatever the modes there. Raises StoreUnusable where the folder or the index
    is another user's: that one could look into it whatever the mode. Root may use it, and hears what comes of that.
    """
    status = os.lstat(path)
    for each, what in ((status, "it"), (os.lstat(path / _FILES[0]), "its index")):
        if each.st_uid != os.geteuid():
            why = f"{what} belongs to another user (uid {each.st_uid})"
            if os.geteuid():
                raise StoreUnusable(path, why)
            _log.warning("the store %s: %s, who cannot use what root adds until `fsck --repair`", path, why)
            break
    if status.st_mode & 0o077:
        what = f"{path}: others than its owner could use it ({stat.S_IMODE(status.st_mode):04o})"
        try:
            disk.chmod("opening.chmod", path, stat.S_IMODE(status.st_mode) & 0o700)
        except PermissionError:  # a file system that has no modes
            _log.warning("the store %s", what)
        else:
            _log.warning("the store %s, and cannot now", what)


def _check(path: Path, name: str, kind: int) -> bool:
    """Tell whether there is a *name*; raise StoreUnusable where it is not of the *kind* (of stat's)."""
    try:
        mode = os.lstat(path / name).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_IFMT(mode) != kind:
        wanted = "a folder" if kind == stat.S_IFDIR else "a file"
        found = "a symbolic link, which is not followed" if stat.S_ISLNK(mode) else "not"
        raise StoreUnusable(path, f"{name} should be {wanted} and is {found}")
    return True


def _check_folders(path: Path, name: str) -> None:
    with os.scandir(path / name) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise StoreUnusable(path, f"{name}/{entry.name} is a symbolic link, which is not followed")
