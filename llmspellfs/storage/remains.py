"""What is left of an index that is gone: nothing that opens the store may take it for the beginning of a new one.

Threading: as `opening`, whose caller holds the turn.
"""

from __future__ import annotations

import os
from pathlib import Path

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import disk
from llmspellfs.storage.blobs import FileBlobs

INDEX_GONE = "its index is gone: only a backup can bring it back"
_WAL_HEADER = 32
"""Bytes before the first frame of a WAL."""
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


def check_not_lost(path: Path) -> None:
    """Raise StoreUnusable where the index *path* is missing, or empty, and content or its WAL is there.

    An index that knows nothing of the content would have it taken for garbage, and SQLite removes the WAL of an empty
    one.
    """
    if path.exists() and path.stat().st_size:
        return
    if has_only_wal(path):
        raise StoreUnusable(path.parent, f"its index is gone, but not {path.name}-wal: `fsck --repair` brings it back")
    if _is_of_lost_index(path.with_name(f"{path.name}-journal")):
        raise StoreUnusable(path.parent, INDEX_GONE)
    if _has_been_open(path):
        raise StoreUnusable(path.parent, INDEX_GONE)
    blobs = FileBlobs(path.parent)
    if any(blobs.put_ns(name) is not None for name, _ in blobs.iterate()):
        raise StoreUnusable(path.parent, INDEX_GONE)


def has_only_wal(path: Path) -> bool:
    """Tell whether the index *path* is missing, or empty, and its WAL has pages of it."""
    return _length(path) == 0 and _length(path.with_name(f"{path.name}-wal")) > _WAL_HEADER


def stand_in(path: Path) -> None:
    """Put an empty file in the place of the index *path* where only a WAL is left of it, which is salvaged then."""
    if has_only_wal(path) and not path.exists():
        with disk.disk_errors(path):
            os.close(disk.create("opening.create", path))


def _has_been_open(path: Path) -> bool:
    """Tell whether the store of the index *path*, which is empty, was open: a spool is made once the index has pages.

    Those are durable by then.
    """
    return path.exists() and path.with_name("spool").is_dir()


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_of_lost_index(journal: Path) -> bool:
    """Tell whether *journal*, if it is there, is of a database that had pages; the one that begins a new one is not.

    Its header has the pages of the database at 16: https://www.sqlite.org/fileformat2.html#the_rollback_journal
    """
    try:
        with journal.open("rb") as file:
            header = file.read(20)
    except FileNotFoundError:
        return False
    return header[:8] == _JOURNAL_MAGIC and any(header[16:20])
