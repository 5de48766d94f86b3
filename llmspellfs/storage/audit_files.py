"""What stands in a store's folder beside the index: blobs that rows name and others, leftovers, modes and owners.

Nothing is opened here but folders; no link is followed. Every function reads only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from llmspellfs.storage import hidden
from llmspellfs.storage.index import Connection
from llmspellfs.storage.spool import is_alive

_HASH = re.compile(r"[0-9a-f]{64}")
_FOLDERS = ("blobs", "spool", "lost+found", "quarantine")


@dataclass(frozen=True, slots=True)
class Blob:
    """A chunk that the index says is a file: its kid and hash, and the bytes it takes there and by the index.

    *length* is None where there is no such file, -1 where something else than a file has its name.
    """

    kid: int
    hash: bytes
    stored_size: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Strange:
    """Something in the folder: its *path* from there, and *what* is to be said of it, of that *kind*."""

    kind: str
    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A chunk's file that no row names: its *path* from the store's folder, and its bytes."""

    path: str
    length: int


def blobs(db: Connection, root: str) -> Iterator[Blob | Orphan | Strange]:
    """Yield each chunk that should be a file of the store at *root*, and what is in `blobs` beside them."""
    seen = set()
    for folder in sorted(_names(f"{root}/blobs"), key=lambda entry: entry.name):
        prefix = folder.name
        if not re.fullmatch("[0-9a-f]{2}", prefix) or not folder.is_dir(follow_symlinks=False):
            yield Strange("stray", f"blobs/{prefix}", "nothing of a store's has that name")
            continue
        seen.add(prefix)
        yield from _folder(db, root, prefix)
    for number in range(256):
        if f"{number:02x}" not in seen:
            for kid, digest, size in _rows(db, number):
                yield Blob(kid, digest, size, None)


def _folder(db: Connection, root: str, prefix: str) -> Iterator[Blob | Orphan | Strange]:
    there = {entry.name: _length(entry) for entry in _names(f"{root}/blobs/{prefix}")}
    for kid, digest, size in _rows(db, int(prefix, 16)):
        yield Blob(kid, digest, size, there.pop(digest.hex(), None))
    for name, length in there.items():
        path = f"blobs/{prefix}/{name}"
        if name.startswith(".part-"):
            yield Strange("temporary", path, f"a file half written, of {length} bytes: `gc` removes it, an hour old")
        elif _HASH.fullmatch(name) and name.startswith(prefix) and length >= 0:
            yield Orphan(path, length)
        else:
            yield Strange("stray", path, "nothing of a store's has that name")


def _rows(db: Connection, number: int) -> list[tuple[int, bytes, int]]:
    query = "SELECT kid, hash, stored_size FROM chunk WHERE data IS NULL AND hash >= ?"
    if number == 255:
        return db.execute(query, (b"\xff",)).fetchall()
    return db.execute(f"{query} AND hash < ?", (bytes([number]), bytes([number + 1]))).fetchall()


def leftovers(root: str) -> Iterator[Strange]:
    """Yield what dead processes left in the spool, and what is in lost+found."""
    for entry in sorted(_names(f"{root}/spool"), key=lambda entry: entry.name):
        if not is_alive(root, entry.name):
            yield Strange("spool", f"spool/{entry.name}", "its process is gone: the next to open salvages it")
    for entry in sorted(_names(f"{root}/lost+found"), key=lambda entry: entry.name):
        if re.fullmatch("[0-9a-f]{16}", entry.name):
            yield Strange("lost", f"lost+found/{entry.name}", f"{_length(entry)} bytes: `llmspellfs lost` shows them")


def exposed(root: str) -> Iterator[Strange]:
    """Yield what others than the store's owner may read or write, what others own, and links in place of files."""
    try:
        top = os.lstat(root)
    except FileNotFoundError:
        return
    for path, status in [(".", top), *_walk(root)]:
        if stat.S_ISLNK(status.st_mode):
            yield Strange("mode", path, "a symbolic link, which nothing here follows")
        elif status.st_mode & 0o077:
            yield Strange("mode", path, f"others than its owner may use it ({stat.S_IMODE(status.st_mode):04o})")
        if status.st_uid != top.st_uid:
            yield Strange("owner", path, f"user {status.st_uid} owns it, and {top.st_uid} the store")


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in _names(root):
        yield from _tree(root, entry.name)


def hidden_commits(root: str) -> Iterator[tuple[Strange, bool]]:
    """Yield the WALs that openings have kept, and whether changed bytes explain what they hide: that was lost."""
    for path in hidden.lost(root):
        yield _hidden(root, path, "a byte of the WAL changed", "lost, since the store has gone on without them"), True
    for path in hidden.kept(root):
        if hidden.is_explained(path):
            then = "`fsck --repair` puts them back, unless the store has gone on without them"
            yield _hidden(root, path, "a byte of the WAL changed", then), True
        else:
            then = "`fsck --repair` puts them back only where a trail is broken without them"
            yield _hidden(root, path, "after a power cut they may be such as never were durable", then), False


def _hidden(root: str, path: str, why: str, then: str) -> Strange:
    what = f"commits that SQLite did not read when the store was opened ({why}): {then}"
    return Strange("hidden", os.path.relpath(path, root), what)


def _tree(root: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        status = os.lstat(f"{root}/{path}")
    except FileNotFoundError:
        return
    yield path, status
    if stat.S_ISDIR(status.st_mode) and path.split("/", 1)[0] in _FOLDERS:
        for entry in _names(f"{root}/{path}"):
            yield from _tree(root, f"{path}/{entry.name}")


def _length(entry: os.DirEntry[str]) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _names(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            with os.scandir(path) as entries:
                yield from entries
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
