"""The files of a store, brought to the folder of a backup: chunks and lost+found, linked or copied, each once.

A chunk that is there under its name is most often not looked into: it is named by what it holds, and nobody writes into
it. Yet what lies for years may rot, so that each run reads a share of the copies, and brings again what is harmed there
and not in the store. A chunk of another length than the store's is another writing of the same bytes, or harmed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from llmspellfs.errors import Corrupt
from llmspellfs.storage import disk
from llmspellfs.storage.codec import recover
from llmspellfs.storage.disk import StrPath, disk_errors
from llmspellfs.storage.lost import FOLDER as LOST

_BLOBS = "blobs"
_HASH = re.compile(r"[0-9a-f]{64}")
_LOST_NAME = re.compile(r"[0-9a-f]{16}(\.json)?")
_log = logging.getLogger(__name__)
SHARES = 16
"""In how many runs all copies are read once."""
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


class Copier:
    """Brings the files of the store at *source* to the folder *target*: linked where that is possible, else copied."""

    def __init__(self, source: StrPath, target: str, *, hardlink: bool, share: int = 0) -> None:
        """Begin; with *hardlink* false every file is copied. *share*: the number of that which is read, of SHARES."""
        self._source, self._target, self._share = os.fspath(source), target, share
        self._links = hardlink
        self._dirty: set[str] = set()
        self._lost: set[str] = set()
        self.linked = self.copied = self.copied_bytes = 0

    def chunk(self, name: str) -> bool:
        """Bring the chunk *name* where it is not there yet; return False where the source does not have it."""
        return self._bring(f"{_BLOBS}/{name[:2]}", name)

    def lost(self, harmed: list[str] | None = None) -> int:
        """Bring what is in the source's `lost+found`; return how many items it has.

        Raises Corrupt; with *harmed*, what does not read back is left, and its name noted there.
        """
        folder = f"{self._source}/{LOST}"
        named = (name for name in _names(folder) if _LOST_NAME.fullmatch(name))
        self._lost = here = {name for name in named if _status(f"{folder}/{name}") is not None}
        chunks = self.linked, self.copied, self.copied_bytes
        for name in sorted(here, reverse=True):
            try:
                self._bring(LOST, name)
            except Corrupt:
                if harmed is None:
                    raise
                harmed.append(f"{LOST}/{name}")
        self.linked, self.copied, self.copied_bytes = chunks
        return sum(1 for name in here if not name.endswith(".json"))

    def remove_lost(self) -> None:
        """Remove from `lost+found` what `lost` did not find in the source."""
        for name in sorted(set(_names(f"{self._target}/{LOST}")) - self._lost):  # bytes before what tells of them
            self._remove(LOST, name)

    def remove_but(self, wanted: Iterator[str]) -> int:
        """Remove the chunks that are not among *wanted*, which come in order, and temporary files; count the former."""
        following = next(wanted, None)
        removed = 0
        for folder in sorted(_names(f"{self._target}/{_BLOBS}")):
            for name in sorted(_names(f"{self._target}/{_BLOBS}/{folder}")):
                while following is not None and following < name:
                    following = next(wanted, None)
                if following != name:
                    self._remove(f"{_BLOBS}/{folder}", name)
                    removed += _HASH.fullmatch(name) is not None
        self.sync()
        return removed

    def sync(self) -> None:
        """Return when every name brought or removed so far survives power loss."""
        for folder in sorted(self._dirty):
            disk.sync_folder("backup.sync", f"{self._target}/{folder}")
        for folder in {os.path.dirname(folder) for folder in self._dirty} | {""}:
            disk.sync_folder("backup.sync", f"{self._target}/{folder}")
        self._dirty.clear()

    def _bring(self, folder: str, name: str) -> bool:
        source, target = f"{self._source}/{folder}/{name}", f"{self._target}/{folder}/{name}"
        with disk_errors(target):
            there, here = _status(source), _status(target)
            if here is not None and (there is None or self._is_kept(source, target, there, here)):
                return True
            if there is None:
                return False
            if folder not in self._dirty:
                disk.make_folder("backup.mkdir", f"{self._target}/{folder}")
                self._dirty.add(folder)
            try:
                self._place(source, target, is_there=os.path.lexists(target))
            except FileNotFoundError:
                return False
        return True

    def _is_kept(self, source: str, target: str, there: os.stat_result, here: os.stat_result) -> bool:
        """Tell whether the file *target* stays, since it is as good as *source*, or better."""
        name = os.path.basename(target)
        if os.path.samestat(there, here) or not _HASH.fullmatch(name):
            return here.st_size == there.st_size
        if here.st_size != there.st_size:
            return not _is_whole(source)
        if int(name[:2], 16) % SHARES != self._share or _is_whole(target) or not _is_whole(source):
            return True
        _log.warning("%s was harmed, and is brought again", target)
        return False

    def _place(self, source: str, target: str, *, is_there: bool) -> None:
        temporary = f"{os.path.dirname(target)}/.part-{os.path.basename(target)}"
        with suppress(FileNotFoundError):
            disk.unlink("backup.unlink", temporary) if is_there or not self._links else None
        if self._links and self._link(source, temporary if is_there else target):
            if is_there:
                disk.rename("backup.rename", temporary, target)
            self.linked += 1
            return
        data = _whole(source)
        with suppress(FileNotFoundError):
            disk.unlink("backup.unlink", temporary)
        disk.write_file("backup.copy", temporary, data)
        disk.rename("backup.rename", temporary, target)
        self.copied += 1
        self.copied_bytes += len(data)

    def _link(self, source: str, target: str) -> bool:
        try:
            disk.link("backup.link", source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._links = False
            return False
        return True

    def _remove(self, folder: str, name: str) -> None:
        path = f"{self._target}/{folder}/{name}"
        with disk_errors(path), suppress(FileNotFoundError):
            disk.unlink("backup.unlink", path)
            self._dirty.add(folder)


def _status(path: str) -> os.stat_result | None:
    """Return the status of the file *path*, None where there is none: a link or a FIFO is nothing of a store's."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_whole(path: str) -> bool:
    """Tell whether the file *path* can be read, and has the bytes of the chunk that it is named for."""
    try:
        return recover(_whole(path), bytes.fromhex(os.path.basename(path))) is not None
    except OSError:
        return False


def _whole(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
