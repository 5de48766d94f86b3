"""Bytes that were written but not committed: `lost+found/<id>`, and what is known of them, `<id>.json`.

The description comes first: what it needs of the disk is had before the bytes are moved, so that what fails
changes nothing; on a full disk the store's reserve gives it. Both are durable on return. Bytes without a description
are listed all the same; a description without bytes, which a crash can leave, is not, and `remove_leftovers` takes it.

Threading: every method may be called from any thread, and from several processes on one folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from llmspellfs.errors import NoSpace, NotFound, SpellError
from llmspellfs.storage import destination, disk, turns
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.disk import StrPath, disk_errors
from llmspellfs.storage.reserve import Reserve

FOLDER = "lost+found"
_BESIDE = 4096
"""Bytes that an item takes of the disk beside its own: its description's, and what the last block has too many."""
PART = "; this is a part: a write was refused"
"""What ends the reason of bytes that are not all that was to be written."""
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LostItem:
    """Lost bytes: the *session* (id) and *name* they were meant for, if known, and *why* they are here."""

    id: str
    session: str | None
    name: str | None
    size: int
    at_ns: int
    """When they were lost, or last written."""
    why: str

    @property
    def taken(self) -> int:
        """Bytes that it takes of the disk."""
        return taken(self.size)

    @property
    def is_part(self) -> bool:
        """Whether more was to be written, and refused."""
        return self.why.endswith(PART)


def taken(size: int) -> int:
    """Return the bytes that an item of *size* takes of the disk."""
    return size + _BESIDE


class LostFound:
    """The folder `lost+found` of a store."""

    def __init__(self, root: StrPath) -> None:
        """Use the store at *root*; the folder is made when the first bytes come."""
        self._root = os.fspath(root)
        self._folder = os.path.join(self._root, FOLDER)

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """Have nobody else who takes a turn, in whichever process, add to it for the length of the block.

        Who has waited for *seconds*, or has no room to ask, goes on without: bytes count for more than a limit does.
        """
        descriptor = -1
        with suppress(OSError, SpellError):
            disk.make_folder("lost.mkdir", self._folder)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            turns.wait_for(descriptor, fcntl.LOCK_EX, seconds)
        try:
            yield
        finally:
            if descriptor >= 0:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has it too
                os.close(descriptor)

    def add(
        self,
        source: StrPath | bytes,
        meant_for: Destination,
        why: str,
        at_ns: int,
        *,
        is_synced: bool = False,
    ) -> str:
        """Keep *source*, bytes or a file of the store (moved here), and return the id; durable on return.

        *why* says the reason, *at_ns* when; *is_synced*: after `sync`. Raises NoSpace, the file being where it was, and
        NotFound where it is gone. Bytes, which are nowhere else, are kept even where there is no room to say what they
        are.
        """
        told = meant_for.told(why=why, at_ns=at_ns)
        try:
            return self._add(source, told, is_synced=is_synced)
        except NoSpace:  # a file brings its bytes' room with it: only what is said of it needs some
            if isinstance(source, bytes) or not Reserve(self._root).release():
                raise
            return self._add(source, told, is_synced=is_synced)

    def _add(self, source: StrPath | bytes, told: bytes, *, is_synced: bool) -> str:
        item_id = secrets.token_hex(8)
        path = self._path(item_id)
        with disk_errors(path):
            disk.make_folder("lost.mkdir", self._folder)
            self._describe(path, told, is_needed=not isinstance(source, bytes))
            try:
                self._place(source, path, is_synced=is_synced)
            except BaseException:
                disk.undo("lost.undo", f"{path}.json")
                raise
        return item_id

    def _describe(self, path: str, told: bytes, *, is_needed: bool) -> None:
        """Write what is *told*; where it is not needed, failure is no reason to lose the bytes too."""
        try:
            disk.write_file("lost.about", f"{path}.json", told)
        except OSError:
            if is_needed:
                raise

    def _place(self, source: StrPath | bytes, path: str, *, is_synced: bool) -> None:
        if not isinstance(source, bytes):
            return self._move(os.fspath(source) if is_synced else _synced(source), path)
        part = f"{path}.part"
        disk.write_file("lost.bytes", part, source)
        try:
            return self._move(part, path)
        except BaseException:
            disk.undo("lost.undo", part)
            raise

    def _move(self, source: str, path: str) -> None:
        """Move *source* to *path*, durably; where that fails it is where it was."""
        disk.rename("lost.rename", source, path)
        try:
            disk.sync_folder("lost.folder_sync", self._folder)
            disk.sync_folder("lost.above_sync", os.path.dirname(self._folder))
        except BaseException:
            with suppress(OSError):
                disk.rename("lost.back", path, source)
            raise

    def remove_leftovers(self, older_than_seconds: float) -> None:
        """Remove descriptions without bytes, and bytes not wholly written, that are older than *older_than_seconds*."""
        before = time.time() - older_than_seconds
        for name in os.listdir(self._folder) if os.path.isdir(self._folder) else []:
            item_id, _, kind = name.partition(".")
            path = self._path(name)
            is_leftover = kind == "part" or (kind == "json" and not os.path.lexists(self._path(item_id)))
            with suppress(OSError):
                if is_leftover and os.lstat(path).st_mtime < before:
                    disk.unlink("lost.leftover", path)

    def list(self) -> list[LostItem]:
        """Return everything here, oldest first."""
        ids = filter(_ID.fullmatch, self._names())
        items = [item for item in map(self._item, ids) if item is not None]
        return sorted(items, key=lambda item: (item.at_ns, item.id))

    def get(self, item_id: str) -> LostItem:
        """Return the item *item_id*; raises NotFound."""
        item = self._item(item_id) if _ID.fullmatch(item_id) else None
        if item is None:
            raise NotFound("lost item", item_id)
        return item

    def open(self, item_id: str) -> BinaryIO:
        """Return the bytes of *item_id* as an open file; raises NotFound."""
        path = self._path(self.get(item_id).id)
        try:
            with disk_errors(path):
                return os.fdopen(disk.open_file(path), "rb")
        except FileNotFoundError:
            raise NotFound("lost item", item_id) from None

    def remove(self, item_id: str) -> None:
        """Remove *item_id* for good; raises NotFound.

        A power cut may bring it back, and what is left of its description goes with `remove_leftovers`.
        """
        path = self._path(self.get(item_id).id)
        with disk_errors(path), suppress(FileNotFoundError):
            disk.unlink("lost.unlink", path)
            disk.undo("lost.unlink_about", f"{path}.json")

    def destinations(self) -> Iterator[tuple[str, Destination]]:
        """Yield the id of each item that is described, and what it was meant for; of those not wholly written too."""
        for name in self._names():
            if name.endswith(".json") and _ID.fullmatch(name[:-5]):
                yield name[:-5], destination.read(self._path(name))[0]

    def wipe(self, items: Sequence[str]) -> None:
        """Remove all there is of *items*, whole or not, durably."""
        for path in (f"{self._path(item)}{kind}" for item in items for kind in ("", ".part", ".json")):
            with disk_errors(path), suppress(FileNotFoundError):
                disk.unlink("lost.wipe", path)
        if items:
            with disk_errors(self._folder):
                disk.sync_folder("lost.wipe_sync", self._folder)

    def _names(self) -> Sequence[str]:
        try:
            with disk_errors(self._folder):
                return os.listdir(self._folder)
        except FileNotFoundError:
            return ()

    def _path(self, item_id: str) -> str:
        return f"{self._folder}/{item_id}"

    def _item(self, item_id: str) -> LostItem | None:
        path = self._path(item_id)
        try:
            with disk_errors(path):
                status = os.lstat(path)
        except FileNotFoundError:
            return None
        meant_for, known = destination.read(f"{path}.json")
        at_ns, why = known.get("at_ns"), known.get("why")
        return LostItem(
            item_id,
            meant_for.session,
            meant_for.name,
            status.st_size,
            at_ns if isinstance(at_ns, int) else status.st_mtime_ns,
            why if isinstance(why, str) else "unknown",
        )


def sync(source: StrPath) -> None:
    """Have the bytes of the file *source* durable, which may take long, so that `add` does not; raise NotFound."""
    with disk_errors(source):
        _synced(source)


def _synced(path: StrPath) -> str:
    """Return *path*, the file's bytes and its mode of an uncommitted one durable; raise NotFound."""
    try:
        descriptor = disk.open_file(path)
    except FileNotFoundError:
        raise NotFound("file", os.fspath(path)) from None
    try:
        disk.fchmod("lost.chmod", descriptor, 0o600)
        disk.fsync("lost.fsync", descriptor)
    finally:
        os.close(descriptor)
    return os.fspath(path)
