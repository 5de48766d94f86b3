"""The bytes of a file that is being written: in memory while few, in a spool file beyond.

Threading: the owner serializes writes and truncations; reads may run beside them. What sits in the spool when its
process dies is salvaged into lost+found by the next process that opens the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol, TypeAlias

from llmspellfs.errors import SpellError

Buffered: TypeAlias = bytes | bytearray | memoryview
SPILL = 1 << 18
"""Bytes up to which content stays in memory."""


class SpoolFile(Protocol):
    """A file of the spool, as storage hands it out."""

    @property
    def fd(self) -> int:
        """The descriptor."""

    @property
    def path(self) -> str | None:
        """Where it is, None where it has no name."""

    def write(self, data: Buffered, offset: int) -> None:
        """Write all of *data* at *offset*; raises OSError."""

    def truncate(self, size: int) -> None:
        """Cut or extend it with zeros to *size* bytes; raises OSError."""

    def mark_committed(self) -> None:
        """Note that its bytes are committed."""

    def mark_dirty(self) -> None:
        """Note that they are not, any more."""

    def discard(self) -> None:
        """Close and remove it."""


class Buffer:
    """Growing bytes with holes of zeros; *spool* makes the file that they move to beyond 256 KiB."""

    def __init__(self, new_file: SpoolMaker) -> None:
        """Begin empty, in memory."""
        self._new_file = new_file
        self._memory: bytearray | None = bytearray()
        self._file: SpoolFile | None = None
        self._given: list[SpoolFile] = []
        """Files given away: open until the end, since a reader may be in one, and never written again."""
        self._is_committed = self._is_kept = False
        self.size = 0

    @property
    def fd(self) -> int | None:
        """The spool file's descriptor, or None while the bytes are in memory."""
        return None if self._file is None else self._file.fd

    @property
    def path(self) -> str | None:
        """Where the spool file is, or None while there is none."""
        return None if self._file is None else self._file.path

    def mark(self, *, committed: bool) -> None:
        """Note for whoever salvages the spool whether the bytes are committed."""
        if self._file is None or self._is_committed == committed:
            return
        if committed:
            with suppress(OSError, SpellError):  # what is salvaged although it is committed is no loss
                self._file.mark_committed()
                self._is_committed = True
        else:
            self._file.mark_dirty()
            self._is_committed = False

    def give_away(self) -> str | None:
        """Return where the spool file is, for somebody to keep as it is now; what is written next goes to a copy.

        None while the bytes are in memory.
        """
        if self._file is not None and self._file not in self._given:
            self._given.append(self._file)
        return self.path

    def keep(self) -> None:
        """Leave what was given away where it is, for whoever salvages the spool: nobody could take it."""
        self._is_kept = True

    def memory(self) -> bytes:
        """Return all bytes, which are in memory."""
        assert self._memory is not None
        return bytes(self._memory)

    def write(self, view: memoryview | bytes, offset: int) -> int:
        """Take *view* as the bytes from *offset* on; return their number. Raises OSError (no space)."""
        end = offset + len(view)
        if self._memory is not None and end <= SPILL:
            self._write_memory(view, offset)
        else:
            file = self._spill()
            self.mark(committed=False)
            self._write_file(file, view, offset)
        self.size = max(self.size, end)
        return len(view)

    def _write_file(self, file: SpoolFile, view: Buffered, offset: int) -> None:
        try:
            file.write(view, offset)
        except BaseException:
            with suppress(OSError):  # what was written beyond the end would show in a hole of zeros
                file.truncate(self.size)
            raise

    def _write_memory(self, view: memoryview | bytes, offset: int) -> None:
        memory = self._memory
        assert memory is not None
        if offset > len(memory):
            memory.extend(bytes(offset - len(memory)))
        memory[offset : offset + len(view)] = view

    def _spill(self) -> SpoolFile:
        if self._file is None or self._file in self._given:
            file = self._new_file()
            try:
                for block, start in self._blocks():
                    file.write(block, start)
            except BaseException:
                file.discard()
                raise
            self._file, self._memory, self._is_committed = file, None, False
        return self._file

    def _blocks(self) -> Iterator[tuple[bytes | bytearray, int]]:
        if self._file is None:
            yield self._memory or b"", 0
            return
        for start in range(0, self.size, SPILL):
            yield os.pread(self._file.fd, SPILL, start), start

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros to *size* bytes. Raises OSError."""
        if self._memory is not None and size <= SPILL:
            del self._memory[size:]
            self._memory.extend(bytes(size - len(self._memory)))
        else:
            self._spill().truncate(size)
        self.size = size

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on; return how many bytes there were."""
        memory = self._memory
        if memory is None:
            assert self._file is not None
            return os.preadv(self._file.fd, [view], offset)
        piece = bytes(memory[offset : offset + len(view)])
        view[: len(piece)] = piece
        return len(piece)

    def discard(self) -> None:
        """Let go of the bytes."""
        for file in {id(file): file for file in (*self._given, self._file) if file is not None}.values():
            if self._is_kept and file in self._given:
                os.close(file.fd)
            else:
                file.discard()
        self._file, self._memory, self.size = None, bytearray(), 0
        self._given.clear()


class SpoolMaker(Protocol):
    """What makes a new spool file."""

    def __call__(self) -> SpoolFile:
        """Return an empty file, open for reading and writing."""
