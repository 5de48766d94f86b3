"""The files of a store, brought to the folder of a backup: chunks and lost+found, linked or copied, each once.

A chunk that is there under its name is most often not looked into: it is named by what it holds, and nobody writes into
it. Yet what lies for years may rot, so that each run reads a share of the copies, and brings again what is harmed there
and not in the store. A chunk of another length than the store's, or than the index says, is another writing of the same
bytes, or harmed. Nothing is copied that does not have the bytes it is named for, and so takes no sound copy's place.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass

from llmspellfs.errors import Corrupt
from llmspellfs.storage import disk
from llmspellfs.storage.codec import recover
from llmspellfs.storage.disk import StrPath, disk_errors, mapped
from llmspellfs.storage.lost import FOLDER as LOST

_BLOBS = "blobs"
_HASH = re.compile(r"[0-9a-f]{64}")
_LOST_NAME = re.compile(r"[0-9a-f]{16}(\.json)?")
_log = logging.getLogger(__name__)
SHARES = 16
"""In how many runs all copies are read once."""
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


@dataclass(frozen=True, slots=True)
class Harm:
    """A *chunk* (its hash) that the source lacks, or has other bytes for; and whether the target has it, sound."""

    chunk: str
    is_missing: bool
    is_kept: bool


class Copier:
    """Brings the files of the store at *source* to the folder *target*: linked where that is possible, else copied."""

    def __init__(
        self,
        source: StrPath,
        target: str,
        *,
        hardlink: bool,
        share: int = 0,
        suspects: Container[str] = frozenset(),
    ) -> None:
        """Begin; with *hardlink* false every file is copied. *share*: the number of that which is read, of SHARES.

        *suspects* are chunks that are believed to be harmed in the source, and read there before anything else.
        """
        self._source, self._target, self._share = os.fspath(source), target, share
        self._suspects = suspects
        self._shares, self._links = hardlink, hardlink
        """Whether files may be the source's by another name, and whether new ones can become that."""
        self._dirty: set[str] = set()
        self._lost: set[str] = set()
        self.linked = self.copied = self.copied_bytes = 0

    def chunk(self, name: str, size: int) -> Harm | None:
        """Bring the chunk *name*, which is of *size* bytes as stored, where it is not there yet.

        Returns what is found to be wrong with it in the source: a chunk that is linked is read only where its length is
        another, and one that stays is not read, but for those that are suspected.
        """
        folder = f"{_BLOBS}/{name[:2]}"
        source, target = self._paths(folder, name)
        with disk_errors(target):
            there, here = _status(source), _status(target)
            if there is None:
                return Harm(name, is_missing=True, is_kept=here is not None and _is_sound(target))
            if name in self._suspects and not _is_sound(source):
                return Harm(name, is_missing=False, is_kept=here is not None and _is_sound(target))
            if here is not None and self._stays(target, there, here, size):
                return None
            if (here is not None or there.st_size != size) and not _is_sound(source):
                return Harm(name, is_missing=False, is_kept=here is not None and _is_sound(target))
            if here is not None and here.st_size == there.st_size and not os.path.samestat(there, here):
                _log.warning("%s was harmed, and is brought again", target)
            try:
                is_sound = self._place(folder, name)
            except FileNotFoundError:
                return Harm(name, is_missing=True, is_kept=False)
        return None if is_sound else Harm(name, is_missing=False, is_kept=False)

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
                self._bring_lost(name)
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

    def _paths(self, folder: str, name: str) -> tuple[str, str]:
        return f"{self._source}/{folder}/{name}", f"{self._target}/{folder}/{name}"

    def _stays(self, target: str, there: os.stat_result, here: os.stat_result, size: int) -> bool:
        """Tell whether the chunk's file *target*, which is *here*, is to be left, for all that is known of it."""
        name = os.path.basename(target)
        if os.path.samestat(there, here):
            return self._shares and (there.st_size == size or _is_sound(target))
        if here.st_size != there.st_size:
            return False
        is_due = here.st_size != size or int(name[:2], 16) % SHARES == self._share
        return not is_due or _is_sound(target)

    def _bring_lost(self, name: str) -> None:
        """Bring a file of lost+found; raises Corrupt where it cannot be read."""
        source, target = self._paths(LOST, name)
        with disk_errors(target):
            there, here = _status(source), _status(target)
            if there is None:
                return
            if here is None or here.st_size != there.st_size or (os.path.samestat(there, here) and not self._shares):
                with suppress(FileNotFoundError):
                    self._place(LOST, name)

    def _place(self, folder: str, name: str) -> bool:
        """Link or copy a file; return False, with nothing done, where it is a chunk and has not the bytes of it."""
        source, target = self._paths(folder, name)
        if folder not in self._dirty:
            disk.make_folder("backup.mkdir", f"{self._target}/{folder}")
            self._dirty.add(folder)
        is_there = os.path.lexists(target)
        temporary = f"{self._target}/{folder}/.part-{name}"
        with suppress(FileNotFoundError):
            disk.unlink("backup.unlink", temporary) if is_there or not self._links else None
        if self._links and self._link(source, temporary if is_there else target):
            if is_there:
                disk.rename("backup.rename", temporary, target)
            self.linked += 1
            return True
        data = _whole(source) if folder == LOST else _sound(source)
        if data is None:
            return False
        with suppress(FileNotFoundError):
            disk.unlink("backup.unlink", temporary)
        disk.write_file("backup.copy", temporary, data)
        disk.rename("backup.rename", temporary, target)
        self.copied += 1
        self.copied_bytes += len(data)
        return True

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


def _is_sound(path: str) -> bool:
    """Tell whether the file *path* can be read, and has the bytes of the chunk that it is named for."""
    try:
        return _sound(path) is not None
    except FileNotFoundError:
        return False


def _sound(path: str) -> bytes | None:
    """Return what is in the file *path*, or None where that is not the chunk that it is named for."""
    try:
        data = _whole(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(mapped(path, error), Corrupt):
            return None
        raise
    return data if recover(data, bytes.fromhex(os.path.basename(path))) is not None else None


def _whole(path: str) -> bytes:
    with os.fdopen(disk.open_file(path), "rb") as file:
        return file.read()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
