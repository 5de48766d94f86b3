"""Bytes that were written but not committed: `lost+found/<id>`, and what is known of them, `<id>.json`.

The bytes are durable before their description is written; without a description they are listed all the same.

Threading: every method may be called from any thread, and from several processes on one folder.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from llmspellfs.errors import NotFound
from llmspellfs.storage.blobs import StrPath, disk_errors, make_folder, sync_folder, write_file

FOLDER = "lost+found"
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


class LostFound:
    """The folder `lost+found` of a store."""

    def __init__(self, root: StrPath) -> None:
        """Use the store at *root*; the folder is made when the first bytes come."""
        self._folder = os.path.join(os.fspath(root), FOLDER)

    def add(self, source: StrPath | bytes, session_id: str | None, name: str | None, why: str, at_ns: int) -> str:
        """Keep *source*, bytes or a file of the store (moved here), and return the id; durable on return.

        *session_id* and *name* say what it was meant for, *why* the reason, *at_ns* when. Raises NoSpace, and
        NotFound where the file is gone.
        """
        item_id = secrets.token_hex(8)
        path = self._path(item_id)
        with disk_errors(path):
            make_folder(self._folder)
            self._place(source, path)
            sync_folder(self._folder)
            sync_folder(os.path.dirname(self._folder))
            known = {"session": session_id, "name": name, "why": why, "at_ns": at_ns}
            # ASCII: a name whose bytes were no UTF-8 is kept too.
            write_file(f"{path}.part", json.dumps(known).encode("ascii"))
            os.rename(f"{path}.part", f"{path}.json")
            sync_folder(self._folder)
        return item_id

    def _place(self, source: StrPath | bytes, path: str) -> None:
        if isinstance(source, bytes):
            write_file(f"{path}.part", source)
            os.rename(f"{path}.part", path)
            return
        try:
            _sync_file(source)
            os.rename(source, path)
        except FileNotFoundError:
            raise NotFound("file", os.fspath(source)) from None
        os.chmod(path, 0o600)

    def list(self) -> list[LostItem]:
        """Return everything here, oldest first."""
        try:
            with disk_errors(self._folder):
                ids = [name for name in os.listdir(self._folder) if _ID.fullmatch(name)]
        except FileNotFoundError:
            return []
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
                return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except FileNotFoundError:
            raise NotFound("lost item", item_id) from None

    def remove(self, item_id: str) -> None:
        """Remove *item_id* for good; raises NotFound."""
        path = self._path(self.get(item_id).id)
        with disk_errors(path), suppress(FileNotFoundError):
            os.unlink(path)
            os.unlink(f"{path}.json")
        sync_folder(self._folder)

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
        with open(path, "rb") as file:
            known = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _sync_file(path: StrPath) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
