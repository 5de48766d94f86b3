"""The WAL of an index, read without SQLite: as far as SQLite believes it, and what is behind that.

The format is https://www.sqlite.org/fileformat2.html, chapter 4. SQLite believes frames up to the first one that does
not go on from the one before it, and of these the transactions that are whole. What is behind is most often not lost
but stale: of before a power cut, of a transaction that was rolled back, of a time that was given up when somebody went
on writing. Nothing tells it from commits that a damaged frame hides, but for one thing: a checksum goes over all frames
before it, so that where one changed byte explains why a frame does not go on, what is behind was written after just
that frame. Such a byte is put back, and SQLite reads on by itself.

Threading: pure functions, and one that writes to a WAL which nobody has open.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from llmspellfs.storage import disk

_HEAD, _FRAME_HEAD, _NUMBER = 32, 24, 8
_MAGIC, _VERSION = 0x377F0682, 3007000
_PAGE_SIZE = 4096
"""Of every index that this program makes."""
_WORD = 0xFFFFFFFF
_NATIVE = "<" if sys.byteorder == "little" else ">"
"""How this machine writes the words of a checksum."""

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wal:
    """The newest version of each page: as SQLite has it, and in whole transactions *behind* where it stops reading."""

    pages: dict[int, bytes]
    behind: dict[int, bytes]


class _Frame(NamedTuple):
    number: int
    size: int
    """Pages of the database after the transaction that ends here; 0 where none does."""
    salts: bytes
    told: Sums
    page: bytes
    covered: bytes
    """What the checksum goes over."""


def read_wal(path: str, page_size: int) -> Wal:
    """Return what the WAL *path* holds; frames of an unfinished transaction, and of an older WAL, are left out."""
    data = _read(path)
    found, waiting = Wal({}, {}), dict[int, bytes]()
    if len(data) < _HEAD:
        return found
    magic = struct.unpack_from(">I", data, 0)[0]
    order = _NATIVE if magic & ~1 != _MAGIC else ">" if magic & 1 else "<"
    is_believed = magic & ~1 == _MAGIC and struct.unpack_from(">II", data, 4) == (_VERSION, page_size)
    sums = _sums(data, 24)
    is_believed = is_believed and checksum(data[:24], order, (0, 0)) == sums
    salts = data[16:24] if is_believed else data[40:48]
    for at in _places(data, page_size):
        frame = _frame(data, at, page_size)
        follows = frame.number > 0 and frame.salts == salts and checksum(frame.covered, order, sums) == frame.told
        is_believed, sums = is_believed and follows, frame.told
        if follows:
            waiting[frame.number] = frame.page
        if follows and frame.size:
            whole = {number: page for number, page in waiting.items() if number <= frame.size}
            (found.pages if is_believed else found.behind).update(whole)
            waiting = {}
    return found


def page_size(path: str) -> int:
    """Return the page size that the WAL *path* tells of, 0 where it is none; damage to that is `read_wal`'s to find."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    size: int = struct.unpack_from(">I", head, 8)[0] if len(head) == _HEAD else 0
    if not size:
        return 0
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else _PAGE_SIZE


def last_commit(path: str, page_size: int) -> int:
    """Return the number of the last frame, from 1 on, that says it ends a transaction of this WAL's time.

    Looked at are the salts alone: of how many frames SQLite believes, this is the most.
    """
    found = 0
    length = _FRAME_HEAD + page_size
    with open(path, "rb", buffering=0) as file:
        first = os.pread(file.fileno(), _HEAD + _FRAME_HEAD, 0)
        times = {first[16:24], first[40:48]}  # either may be harmed
        for number in range(1, (os.fstat(file.fileno()).st_size - _HEAD) // length + 1):
            head = os.pread(file.fileno(), 16, _HEAD + (number - 1) * length)
            if head[8:] in times and head[4:8] != bytes(4):
                found = number
    return found


def harmed_bytes(path: str, page_size: int) -> dict[int, int]:
    """Return, by place, what bytes of the WAL *path* were, for each that hides a transaction from SQLite.

    It is told for one byte a frame, where no other byte explains as much, and for as long as frames go on so: then all
    checksums of 64 bits are right again. The highest bits of a word often have more than one explanation.
    """
    data = bytearray(_read(path))
    if len(data) < _HEAD:
        return {}
    sure, unsure = dict[int, int](), dict[int, int]()
    sums: Sums = (0, 0)
    for at in (0, *_places(data, page_size)):
        harmed = _harmed(data, at, page_size, sums)
        if harmed is None:
            break
        for place, byte in harmed.items():
            unsure[place] = data[place] = byte
        sums = _sums(data, at + 16 if at else 24)
        if at and _frame(data, at, page_size).size:
            sure, unsure = sure | unsure, {}
    return sure


def put_back(path: str, harmed: dict[int, int]) -> None:
    """Write the bytes that were *harmed* into the WAL *path*, which nobody has open; durable, each by itself."""
    with disk.disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for place, byte in harmed.items():
                disk.pwrite("wal.put_back", descriptor, bytes([byte]), place)
            disk.fsync("wal.put_back_sync", descriptor)
        finally:
            os.close(descriptor)


def checksum(data: bytes, order: str, sums: Sums) -> Sums:
    """Return the WAL's checksum of *data*, going on from *sums* (chapter 4.2)."""
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for place in range(0, len(words), 2):
        one = (one + words[place] + two) & _WORD
        two = (two + words[place + 1] + one) & _WORD
    return one, two


def _harmed(data: bytearray, at: int, page_size: int, sums: Sums) -> dict[int, int] | None:
    """Return which byte, by place, is to be put back for the header or frame at *at* to go on from *sums*.

    None says that no one byte alone is it.
    """
    salts = bytes(data[16:24])
    if not at:
        found = _explained(bytes(data[:24]), _sums(data, 24), sums, _following(data, _HEAD, page_size))
        return None if found is None else dict([found][: found != _NOTHING])
    frame = _frame(data, at, page_size)
    wrong = [at + 8 + place for place in _differing(frame.salts, salts)]
    found = _explained(frame.covered, frame.told, sums, _following(data, at + _FRAME_HEAD + page_size, page_size))
    if found is None or len(wrong) + (found != _NOTHING) > 1 or (found == _NOTHING and not frame.number):
        return None
    if found == _NOTHING:
        return {place: salts[place - at - 8] for place in wrong}
    place, byte = found
    length = len(frame.covered)
    return {at + (place if place < _NUMBER else place + 16 if place < length else place - length + 16): byte}


_NOTHING = (-1, -1)
"""What is to be put back where all is right."""


def _following(data: bytearray, at: int, page_size: int) -> _Frame | None:
    return _frame(data, at, page_size) if at + _FRAME_HEAD + page_size <= len(data) else None


def _explained(covered: bytes, told: Sums, sums: Sums, following: _Frame | None) -> tuple[int, int] | None:
    """Return which one byte, of what a checksum goes over or of itself behind that, was what; None for no such.

    Which of the two it is, the frame *following* knows.
    """
    real = checksum(covered, _NATIVE, sums)
    if real == told:
        return _NOTHING
    should = struct.pack(">II", *real)
    wrong = _differing(struct.pack(">II", *told), should)
    found = list(_changed(covered, (told[0] - real[0]) & _WORD, (told[1] - real[1]) & _WORD))
    if len(wrong) == 1:
        own = (len(covered) + wrong[0], should[wrong[0]])
        if following is not None and checksum(following.covered, _NATIVE, real) == following.told:
            return own
        if following is None or checksum(following.covered, _NATIVE, told) != following.told:
            found.append(own)
    return found[0] if len(found) == 1 else None


def _changed(covered: bytes, one: int, two: int) -> Iterator[tuple[int, int]]:
    """Yield which byte of *covered* may have been what, where its checksum is off by *one* and *two*.

    Each sum is the one before it, the one before that and a word: a word that is d higher makes the last two of them
    F(n)·d and F(n+1)·d higher, by the Fibonacci numbers. Of two such numbers one is odd, and so has an inverse.
    """
    first, second = 0, 1
    for at in range(len(covered) - 4, -1, -4):
        change = (one * pow(first, -1, _WORD + 1) if first & 1 else two * pow(second, -1, _WORD + 1)) & _WORD
        if (change * first - one) & _WORD == 0 and (change * second - two) & _WORD == 0:
            old = struct.unpack_from(f"{_NATIVE}I", covered, at)[0]
            was = struct.pack(f"{_NATIVE}I", (old + change) & _WORD)
            wrong = _differing(covered[at : at + 4], was)
            if len(wrong) == 1:
                yield at + wrong[0], was[wrong[0]]
        first, second = second, (first + second) & _WORD


def _differing(one: bytes, two: bytes) -> list[int]:
    return [place for place in range(len(one)) if one[place] != two[place]]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _places(data: bytes | bytearray, page_size: int) -> Iterator[int]:
    length = _FRAME_HEAD + page_size
    yield from range(_HEAD, len(data) - length + 1, length)


def _frame(data: bytes | bytearray, at: int, page_size: int) -> _Frame:
    number, size = struct.unpack_from(">II", data, at)
    page = bytes(data[at + _FRAME_HEAD : at + _FRAME_HEAD + page_size])
    covered = bytes(data[at : at + _NUMBER]) + page
    return _Frame(number, size, bytes(data[at + 8 : at + 16]), _sums(data, at + 16), page, covered)


def _sums(data: bytes | bytearray, at: int) -> Sums:
    one, two = struct.unpack_from(">II", data, at)
    return one, two
