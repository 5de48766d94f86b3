"""The pages of a damaged index, read without SQLite: rows of whatever tree pages can still be made out.

The file format is https://www.sqlite.org/fileformat2.html: chapter 1.6 for b-trees, 2.1 for records. Pages that the WAL
has are read from there (`salvage_wal`).

Threading: pure functions and one reader of bytes. The file is read, never mapped: who cuts it off meanwhile would end
this process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from llmspellfs.storage.salvage_wal import read_wal

MAGIC = b"SQLite format 3\0"
PAGE_SIZE = 4096
"""Of every index that this program makes, for when the header does not say."""
TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x05, 0x0A, 0x02
_MOST_COLUMNS = 64

Value: TypeAlias = "int | float | str | bytes | None"


@dataclass(frozen=True, slots=True)
class Cell:
    """A row as a page has it; *rowid* is None in the trees of tables without one."""

    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The pages of the database *path* as its WAL leaves them, the newest version of each."""

    def __init__(self, path: str, wal_path: str | None = None, *, is_beyond: bool = False) -> None:
        """Open the file and read its WAL: as SQLite does, or with *is_beyond* what is behind that as well.

        *wal_path* is where that is, if not beside the file; "" leaves it out.
        """
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self._file).st_size
        self.size = _page_size(os.pread(self._file, 100, 0))
        wal = read_wal(f"{path}-wal" if wal_path is None else wal_path, self.size)
        self.from_wal = wal.pages | wal.behind if is_beyond else wal.pages
        self.has_behind = bool(wal.behind)
        self._in_file = size // self.size
        self._most = self._in_file + len(self.from_wal)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the pages that are there."""
        yield from range(1, self._in_file + 1)
        yield from sorted(number for number in self.from_wal if number > self._in_file)

    def page(self, number: int) -> bytes:
        """Return page *number*, from 1 on; empty where there is none."""
        found = self.from_wal.get(number)
        if found is not None:
            return found
        data = os.pread(self._file, self.size, (number - 1) * self.size) if 0 < number <= self._in_file else b""
        return data if len(data) == self.size else b""

    def is_of_tree(self, number: int, *, has_rowid: bool) -> bool:
        """Tell whether the page *number* is one of a table by rowid, or else of an index or a table without one."""
        kind, _ = _kind(self.page(number), number)
        return kind in ({TABLE_LEAF, TABLE_INTERIOR} if has_rowid else {INDEX_LEAF, INDEX_INTERIOR})

    def is_leaf(self, number: int) -> bool:
        """Tell whether the page *number* may have rows of a table."""
        return _kind(self.page(number), number)[0] in {TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR}

    def children(self, number: int) -> list[int]:
        """Return the pages below the interior page *number*."""
        page = self.page(number)
        kind, start = _kind(page, number)
        if kind not in {TABLE_INTERIOR, INDEX_INTERIOR}:
            return []
        below = [struct.unpack_from(">I", page, at)[0] for at in self._pointers(page, start, 12) if at + 4 <= len(page)]
        return [*below, struct.unpack_from(">I", page, start + 8)[0]]

    def cells(self, number: int) -> Iterator[Cell | None]:
        """Yield the rows on page *number*, None for one that cannot be made out."""
        page = self.page(number)
        kind, start = _kind(page, number)
        if kind not in {TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR}:
            return
        for at in self._pointers(page, start, 12 if kind == INDEX_INTERIOR else 8):
            try:
                yield self._cell(page, at + (4 if kind == INDEX_INTERIOR else 0), has_rowid=kind == TABLE_LEAF)
            except (ValueError, IndexError, struct.error, OverflowError):
                yield None

    def _pointers(self, page: bytes, start: int, header: int) -> list[int]:
        count = struct.unpack_from(">H", page, start + 3)[0]
        most = (len(page) - start - header) // 2
        first = start + header
        return [struct.unpack_from(">H", page, first + 2 * n)[0] for n in range(min(count, most))]

    def _cell(self, page: bytes, at: int, *, has_rowid: bool) -> Cell:
        length, at = _varint(page, at)
        rowid: int | None = None
        if has_rowid:
            rowid, at = _varint(page, at)
            rowid -= (1 << 64) if rowid >> 63 else 0
        return Cell(rowid, record(self._payload(page, at, length, is_table=has_rowid)))

    def _payload(self, page: bytes, at: int, length: int, *, is_table: bool) -> bytes:
        """Return the *length* bytes that begin at *at* and may go on in overflow pages (chapter 1.6)."""
        most = self.size - 35 if is_table else (self.size - 12) * 64 // 255 - 23
        if length <= most:
            return _exactly(page[at : at + length], length)
        if length > self.size * self._most:
            raise ValueError("longer than the file")
        least = (self.size - 12) * 32 // 255 - 23
        here = least + (length - least) % (self.size - 4)
        here = here if here <= most else least
        parts, rest = [page[at : at + here]], length - here
        follow = struct.unpack_from(">I", page, at + here)[0]
        seen: set[int] = set()
        while rest > 0 and follow and follow not in seen:
            seen.add(follow)
            more = self.page(follow)
            parts.append(_exactly(more, self.size)[4 : 4 + rest])
            rest, follow = rest - (self.size - 4), struct.unpack_from(">I", more, 0)[0]
        return _exactly(b"".join(parts), length)


def record(data: bytes) -> tuple[Value, ...]:
    """Return the values of the record *data* (chapter 2.1); raises ValueError where it is none."""
    end, at = _varint(data, 0)
    kinds = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    if at != end or len(kinds) > _MOST_COLUMNS:
        raise ValueError("no record")
    values = []
    for kind in kinds:
        value, at = _value(data, at, kind)
        values.append(value)
    if at != len(data):
        raise ValueError("no record")
    return tuple(values)


_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(_exactly(data[at:end], end - at), "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if kind in {0, 8, 9}:
        return (None if kind == 0 else kind - 8), at
    if kind < 12:
        raise ValueError("no record")
    end = at + (kind - 12) // 2
    raw = _exactly(data[at:end], end - at)
    return (raw if kind % 2 == 0 else raw.decode("utf-8")), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(at, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError("cut off")
    return data


def _kind(page: bytes, number: int) -> tuple[int, int]:
    """Return the kind of the tree page and where its header begins: page 1 has the file's before it."""
    start = 100 if number == 1 else 0
    return (page[start] if page else 0), start


def _page_size(header: bytes) -> int:
    if header[:16] != MAGIC:
        return PAGE_SIZE
    size: int = struct.unpack_from(">H", header, 16)[0]
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else PAGE_SIZE
