"""Bytes that were written but not committed: `lost+found/<id>`, and what is known of them, `<id>.json`.

The description comes first: what it needs of the disk is had before the bytes are moved, so that what fails
changes nothing. Both are durable on return. Bytes without a description are listed all the same; a description
without bytes, which a crash can leave, is not, and `remove_leftovers` takes it.

Threading: every method may be called from any thread, and from several processes on one folder.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from llmspellfs.errors import NotFound
from llmspellfs.storage import disk
from llmspellfs.storage.disk import StrPath, disk_errors

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
        self._folder = os.path.join(os.fspath(root), FOLDER)

    def add(
        self,
        source: StrPath | bytes,
        session_id: str | None,
        name: str | None,
        why: str,
        at_ns: int,
        *,
        ino: int | None = None,
        sequence: int | None = None,
    ) -> str:
        """Keep *source*, bytes or a file of the store (moved here), and return the id; durable on return.

        *session_id* and *name* say what it was meant for, *ino* and *sequence*, where there were any, which file
        object and artifact that is by whatever name; *why* the reason, *at_ns* when. Raises NoSpace, the file
        being where it was, and NotFound where it is gone. Bytes, which are nowhere else, are kept even where there
        is no room to say what they are.
        """
        item_id = secrets.token_hex(8)
        path = self._path(item_id)
        known = {"session": session_id, "name": name, "ino": ino, "sequence": sequence, "why": why, "at_ns": at_ns}
        with disk_errors(path):
            disk.make_folder("lost.mkdir", self._folder)
            self._describe(path, known, is_needed=not isinstance(source, bytes))
            try:
                self._place(source, path)
            except BaseException:
                disk.undo("lost.undo", f"{path}.json")
                raise
        return item_id

    def _describe(self, path: str, known: dict[str, Any], *, is_needed: bool) -> None:
        """Write what is *known*; where it is not needed, failure is no reason to lose the bytes too."""
        try:
            # ASCII: a name whose bytes were no UTF-8 is kept too.
            disk.write_file("lost.about", f"{path}.json", json.dumps(known).encode("ascii"))
        except OSError:
            if is_needed:
                raise

    def _place(self, source: StrPath | bytes, path: str) -> None:
        if not isinstance(source, bytes):
            return self._move(_synced(source), path)
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

    def descriptions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and the description of each item that has one, those too that are not wholly written."""
        for name in self._names():
            if name.endswith(".json") and _ID.fullmatch(name[:-5]):
                yield name[:-5], read_description(self._path(name))

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
        known = read_description(f"{path}.json")
        at_ns, why = known.get("at_ns"), known.get("why")
        return LostItem(
            item_id,
            _text(known.get("session")),
            _text(known.get("name")),
            status.st_size,
            at_ns if isinstance(at_ns, int) else status.st_mtime_ns,
            why if isinstance(why, str) else "unknown",
        )


def read_description(path: StrPath) -> dict[str, Any]:
    """Return the JSON object in the file *path*, empty where there is none that can be read."""
    try:
        with os.fdopen(disk.open_file(path), "rb") as file:
            known = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


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
