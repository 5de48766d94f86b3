"""Chunks too large to live in the index: one blob each, named by the BLAKE3 (hex) of its plain bytes.

A blob is stored whole or not at all: a temporary name in the same folder, fsync, rename. The new name itself
is durable once `sync` has returned. What the bytes mean (plain or compressed) is `codec`'s business; nothing
here looks into them, and nothing here knows which rows refer to them.

Threading: every method may be called from any thread, and from several processes on one folder.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import count
from typing import NamedTuple, Protocol

from llmspellfs.errors import Corrupt
from llmspellfs.storage import disk, inherited
from llmspellfs.storage.disk import Buffer, StrPath, disk_errors

_HASH = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_TEMPORARY = ".part-"


class Put(NamedTuple):
    """When a blob was put (epoch nanoseconds), and when it had been put *before*, None where it was not there."""

    before_ns: int | None
    ns: int


class BlobStore(Protocol):
    """What stands behind the store for large chunks; an object store could."""

    def put(self, hash_hex: str, data: Buffer) -> Put:
        """Store *data* as *hash_hex*, durable after the next `sync`, and return when; raises NoSpace.

        Nothing is written where a blob of that name and these bytes exists; its age begins anew.
        """

    def get(self, hash_hex: str, offset: int = 0, size: int | None = None) -> bytes:
        """Return *size* bytes from *offset*, or all from there; raises Corrupt where any is missing."""

    def exists(self, hash_hex: str) -> bool:
        """Tell whether the blob is there."""

    def delete(self, hash_hex: str) -> None:
        """Remove the blob; no error where there is none."""

    def iterate(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the size in bytes of each blob, in no order."""

    def put_ns(self, hash_hex: str) -> int | None:
        """Return when the blob was last put (epoch nanoseconds), or None where there is none."""

    def sync(self) -> None:
        """Return when every earlier `put` of this object survives power loss."""


class FileBlobs:
    """Blobs as the files `blobs/ab/<hash>` of the store at *root*."""

    def __init__(self, root: StrPath) -> None:
        """Use the folder `blobs` of *root*, made at the first put."""
        self._folder = os.path.join(os.fspath(root), "blobs")
        self._turn = inherited.lock()
        self._syncing = inherited.lock()
        self._dirty: dict[str, set[str]] = {}
        """By folder, the blobs put there whose names are not durable yet."""
        self._unproven: set[str] = set()
        """Blobs whose folder could not be synced: another fsync would prove nothing, so they count as missing."""
        self._settled: set[str] = set()
        self._serial = count()

    def put(self, hash_hex: str, data: Buffer) -> Put:
        path = self._path(hash_hex)
        with disk_errors(path):
            put = None if path in self._unproven else _renewed(path, data)
            if put is None:
                put = self._write(path, data)
        with self._turn:
            self._unproven.discard(path)
            self._dirty.setdefault(os.path.dirname(path), set()).add(path)
        return put

    def _write(self, path: str, data: Buffer) -> Put:
        folder = os.path.dirname(path)
        temporary = f"{folder}/{_TEMPORARY}{os.getpid()}-{next(self._serial)}-{time.monotonic_ns()}"
        try:
            disk.write_file("blob", temporary, data)
        except FileNotFoundError:
            disk.make_folder("blob.mkdir", folder)
            disk.write_file("blob", temporary, data)
        try:
            put = Put(self._put_ns(path), os.lstat(temporary).st_mtime_ns)
            disk.rename("blob.rename", temporary, path)
        except BaseException:
            disk.undo("blob.undo", temporary)
            raise
        return put

    def get(self, hash_hex: str, offset: int = 0, size: int | None = None) -> bytes:
        path = self._path(hash_hex)
        try:
            with disk_errors(path):
                return _read(path, offset, size)
        except FileNotFoundError:
            raise Corrupt(f"chunk {hash_hex} is missing") from None
        except EOFError:
            raise Corrupt(f"chunk {hash_hex} is too short") from None

    def exists(self, hash_hex: str) -> bool:
        return self._path(hash_hex) not in self._unproven and self.put_ns(hash_hex) is not None

    def delete(self, hash_hex: str) -> None:
        path = self._path(hash_hex)
        with disk_errors(path), suppress(FileNotFoundError):
            disk.unlink("blob.unlink", path)
            with self._turn:
                self._dirty.setdefault(os.path.dirname(path), set())

    def iterate(self) -> Iterator[tuple[str, int]]:
        for entry in self._entries():
            if _HASH.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False).st_size

    def put_ns(self, hash_hex: str) -> int | None:
        path = self._path(hash_hex)
        with disk_errors(path):
            return self._put_ns(path)

    @staticmethod
    def _put_ns(path: str) -> int | None:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None

    def remove_leftovers(self, older_than_seconds: float) -> int:
        """Remove temporary files last written before *older_than_seconds* ago; return how many there were."""
        removed, before = 0, time.time() - older_than_seconds
        for entry in self._entries():
            with disk_errors(entry.path), suppress(FileNotFoundError):
                if entry.name.startswith(_TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime <= before:
                    disk.unlink("blob.leftover", entry.path)
                    removed += 1
        return removed

    def sync(self) -> None:
        # In turns, so that nobody returns while another still syncs a folder that was dirty for both.
        with self._syncing:
            with self._turn:
                folders, self._dirty = self._dirty, {}
            try:
                self._sync(folders.keys())
            except BaseException:
                with self._turn:
                    self._unproven.update(*folders.values())
                    for folder in folders:
                        self._dirty.setdefault(folder, set())
                raise

    def _sync(self, folders: AbstractSet[str]) -> None:
        for folder in folders:
            disk.sync_folder("blob.folder_sync", folder)
        # Another process may have made a folder and not yet synced the entry for it.
        if folders - self._settled:
            disk.sync_folder("blob.above_sync", self._folder)
            disk.sync_folder("blob.above_sync", os.path.dirname(self._folder))
            self._settled |= folders

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in _scan(self._folder):
            if _FOLDER.fullmatch(folder.name):
                yield from _scan(folder.path)

    def _path(self, hash_hex: str) -> str:
        assert _HASH.fullmatch(hash_hex), hash_hex
        return f"{self._folder}/{hash_hex[:2]}/{hash_hex}"


class MemoryBlobs:
    """Blobs in memory, for the life of the object."""

    def __init__(self) -> None:
        """Begin empty."""
        self._turn = inherited.lock()
        self._blobs: dict[str, tuple[bytes, int]] = {}

    def put(self, hash_hex: str, data: Buffer) -> Put:
        with self._turn:
            put = Put(self.put_ns(hash_hex), time.time_ns())
            self._blobs[hash_hex] = (bytes(data), put.ns)
        return put

    def get(self, hash_hex: str, offset: int = 0, size: int | None = None) -> bytes:
        with self._turn:
            found = self._blobs.get(hash_hex)
        if found is None:
            raise Corrupt(f"chunk {hash_hex} is missing")
        data = found[0][offset:] if size is None else found[0][offset : offset + size]
        if offset > len(found[0]) or (size is not None and len(data) != size):
            raise Corrupt(f"chunk {hash_hex} is too short")
        return data

    def exists(self, hash_hex: str) -> bool:
        return hash_hex in self._blobs

    def delete(self, hash_hex: str) -> None:
        with self._turn:
            self._blobs.pop(hash_hex, None)

    def iterate(self) -> Iterator[tuple[str, int]]:
        with self._turn:
            sizes = [(name, len(data)) for name, (data, _) in self._blobs.items()]
        yield from sizes

    def put_ns(self, hash_hex: str) -> int | None:
        found = self._blobs.get(hash_hex)
        return found[1] if found else None

    def sync(self) -> None:
        """Return at once: nothing here survives the process."""


def _read(path: str, offset: int, size: int | None) -> bytes:
    descriptor, length = disk.open_sized(path)
    try:
        wanted = length - offset if size is None else size
        if wanted < 0:
            raise EOFError
        data = os.pread(descriptor, wanted, offset)
        while len(data) < wanted:
            more = os.pread(descriptor, wanted - len(data), offset + len(data))
            if not more:
                raise EOFError
            data += more
        return data
    finally:
        os.close(descriptor)


def _renewed(path: str, data: Buffer) -> Put | None:
    """Where *path* is a file of the bytes *data* let its age begin anew, and return since when; else None.

    Its length alone would not do: what has been harmed since is to be healed by whoever brings the right bytes. The
    time is told to the nanosecond, finer than what Linux takes for now, so that no two who put it tell the same.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(data) or _read(path, 0, None) != data:
            return None
        before_ns, now = os.lstat(path).st_mtime_ns, time.time_ns()  # anew: somebody may have put it while it was read
        disk.utime("blob.touch", path, ns=(now, now))
        return Put(before_ns, now)
    except (FileNotFoundError, EOFError):
        return None


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with disk_errors(folder), os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
