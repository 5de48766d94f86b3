"""What a repair takes out of a store or is about to change: `quarantine/<time>/`, kept until somebody removes it.

`index.db` is the index as it was, `blobs/ab/<hash>` chunks that did not read back, `rows.jsonl` rows that were removed
or changed, a JSON object a line. A folder is made when there is first something to keep.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

from llmspellfs.storage import disk, hidden
from llmspellfs.storage.alone import connect_alone
from llmspellfs.storage.backup import index_errors
from llmspellfs.storage.disk import StrPath, disk_errors
from llmspellfs.storage.index import Connection

FOLDER = "quarantine"
_BLOCK = 1 << 20
_NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
_INDEX_FILES = ("index.db", "index.db-wal", "index.db-journal")
_OF_OPENING = frozenset({hidden.LOOKED_AT, hidden.SEEN})
"""What an opening in the same second keeps there."""


class Quarantine:
    """One repair's folder in the store at *root*."""

    def __init__(self, root: StrPath, now_ns: int) -> None:
        """Name it after *now_ns* (since the epoch)."""
        self._root = os.fspath(root)
        base = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
        taken = set(_names(f"{self._root}/{FOLDER}"))
        names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
        self.name = next(name for name in names if name not in taken)
        self.path = f"{self._root}/{FOLDER}/{self.name}"
        self._rows: list[str] = []

    @property
    def is_used(self) -> bool:
        """Whether anything is kept."""
        return os.path.isdir(self.path)

    @property
    def has_index(self) -> bool:
        """Whether the index is kept as it was."""
        return os.path.exists(f"{self.path}/index.db")

    def keep_index(self, db: Connection) -> None:
        """Keep the index that *db* is open on, by SQLite's backup."""
        with disk_errors(self.path), index_errors(self.path):
            self._make(self.path)
            part = f"{self.path}/index.db.part"
            os.close(disk.create("quarantine.create", part))
            with closing(connect_alone(part)) as copy:
                db.backup(copy, pages=4096)
            self._settle(part, f"{self.path}/index.db")

    def drop_index(self) -> None:
        """Remove the copy of the index again, where it is all that was kept: nothing has been done."""
        names = set(_names(self.path)) - _OF_OPENING
        if not names or not names <= set(_INDEX_FILES):
            return
        with disk_errors(self.path):
            for name in sorted(names):
                disk.unlink("quarantine.unlink", f"{self.path}/{name}")
            for folder in (self.path, os.path.dirname(self.path)):
                with suppress(OSError):
                    disk.rmdir("quarantine.rmdir", folder)

    def keep_index_files(self) -> str:
        """Keep the files of an index that SQLite cannot be asked to copy; return the copy's path.

        Nobody has the index open: neither another process nor a connection of this one.
        """
        with disk_errors(self.path):
            self._make(self.path)
            for name in _INDEX_FILES:
                with suppress(FileNotFoundError):
                    self._copy(f"{self._root}/{name}", f"{self.path}/{name}")
        return f"{self.path}/index.db"

    def take_blob(self, hash_hex: str) -> bool:
        """Move the file of the chunk *hash_hex* here; tell whether there was one."""
        where = f"blobs/{hash_hex[:2]}/{hash_hex}"
        source, folder = f"{self._root}/{where}", os.path.dirname(f"{self.path}/{where}")
        with disk_errors(source):
            if not os.path.lexists(source):
                return False
            self._make(folder)
            disk.rename("quarantine.rename", source, f"{self.path}/{where}")
            disk.sync_folder("quarantine.folder_sync", folder)
            disk.sync_folder("quarantine.source_sync", os.path.dirname(source))
        return True

    def keep_row(self, table: str, why: str, row: dict[str, Any]) -> None:
        """Note the *row* of *table*, which is removed or changed because of *why*; `write_rows` keeps it."""
        self._rows.append(json.dumps({"table": table, "why": why, "row": _sayable(row)}, ensure_ascii=True))

    def write_rows(self) -> None:
        """Keep the rows that were noted; durable on return."""
        if not self._rows:
            return
        with disk_errors(self.path):
            self._make(self.path)
            text = "".join(f"{line}\n" for line in self._rows).encode("ascii")
            numbers = (n for n in range(1, 10**6) if not os.path.lexists(f"{self.path}/rows-{n}.jsonl"))
            disk.write_file("quarantine.rows", f"{self.path}/rows-{next(numbers)}.jsonl", text)
            disk.sync_folder("quarantine.folder_sync", self.path)
        self._rows.clear()

    def _copy(self, source: str, target: str) -> None:
        part = f"{target}.part"
        with open(source, "rb") as file:
            descriptor = disk.create("quarantine.create", part)
            try:
                while block := file.read(_BLOCK):
                    disk.write("quarantine.write", descriptor, block)
            finally:
                os.close(descriptor)
        self._settle(part, target)

    def _settle(self, part: str, target: str) -> None:
        disk.sync_file("quarantine.fsync", part)
        disk.rename("quarantine.rename", part, target)
        disk.sync_folder("quarantine.folder_sync", self.path)

    def _make(self, folder: str) -> None:
        if not os.path.isdir(folder):
            disk.make_folder("quarantine.mkdir", folder)
            disk.sync_folder("quarantine.above_sync", os.path.dirname(folder))
            disk.sync_folder("quarantine.above_sync", self._root)


def kept_blobs(root: StrPath, hash_hex: str) -> Iterator[bytes]:
    """Yield the stored bytes of each file of that hash which earlier repairs of the store at *root* took out."""
    folder = f"{os.fspath(root)}/{FOLDER}"
    for name in sorted(_names(folder), reverse=True):
        if _NAME.fullmatch(name):
            yield from _bytes(f"{folder}/{name}/blobs/{hash_hex[:2]}/{hash_hex}")


def all_blobs(root: StrPath) -> Iterator[bytes]:
    """Yield the stored bytes of every file of a chunk that earlier repairs of the store at *root* took out."""
    folder = f"{os.fspath(root)}/{FOLDER}"
    for name in filter(_NAME.fullmatch, sorted(_names(folder))):
        for path, _, files in os.walk(f"{folder}/{name}/blobs"):
            for file in sorted(files):
                yield from _bytes(f"{path}/{file}")


def _bytes(path: str) -> Iterator[bytes]:
    """Yield what the file *path* holds, where it can be read."""
    with suppress(OSError), os.fdopen(disk.open_file(path), "rb") as file:
        yield file.read()


def _sayable(row: dict[str, Any]) -> dict[str, Any]:
    return {key: {"hex": value.hex()} if isinstance(value, bytes) else value for key, value in row.items()}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
