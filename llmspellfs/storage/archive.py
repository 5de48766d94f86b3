"""The file that an archive is: a tar of regular files in one zstd frame, written and read as a stream.

The same members give the same bytes: owner, times and modes are fixed, and nothing is said of who wrote it. Reading
takes nothing on trust: one frame and nothing after it, headers as this module writes them (`TarInfo` parses each; the
rest of `tarfile` would read extended headers of any length into memory, and take a bad header for the archive's end),
and never more in memory than a few blocks, whatever a header claims.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from tarfile import BLOCKSIZE, DIRTYPE, PAX_FORMAT, REGTYPE, XHDTYPE, HeaderError, TarInfo
from typing import BinaryIO

from blake3 import blake3

from llmspellfs.errors import LimitExceeded, TooLarge
from llmspellfs.model.archive import MAX_LINE, Limits, refuse

_LEVEL = 3
_WINDOW = 8 << 20
"""Bytes of the largest window that reading allocates; level 3 takes 2 MiB."""
_PACKED, _PIECE = 1 << 16, 1 << 11
"""Bytes that are read, and decompressed, at once: a piece makes 64 MiB at the very most."""
_BLOCK = 1 << 20
_RECORD = 20 * BLOCKSIZE
_MAX_PAX = 1024
_PAX_SIZE = re.compile(rb"(\d{1,3}) size=(\d{1,19})\n")
_ZERO = bytes(BLOCKSIZE)


class PartFile:
    """A part on its way into an archive: it is written before its length and its hash are known."""

    def __init__(self) -> None:
        """Begin with an empty file, which has no name."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._hash = blake3()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append *data*."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def hash(self) -> str:
        """The BLAKE3 (hex) of all that was written."""
        return self._hash.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Yield what was written."""
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            yield block

    def lines(self, where: str) -> Iterator[bytes]:
        """Yield the lines of what was written, as `ArchiveReader.lines` does."""
        for lines in _split(self.blocks(), where):
            yield from lines

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class ArchiveWriter:
    """An archive that is written to *file*, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin."""
        from zstandard import ZstdCompressor

        packer = ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=False)
        self._out = packer.stream_writer(file, closefd=False)
        self._written = 0

    def add(self, name: str, size: int, blocks: Iterable[bytes]) -> None:
        """Add the member *name*, whose *size* bytes are *blocks*."""
        header = TarInfo(name)
        header.size, header.mode, header.type = size, 0o600, REGTYPE
        self._write(header.tobuf(PAX_FORMAT, "utf-8", "strict"))
        before = self._written
        for block in blocks:
            self._write(block)
        assert self._written - before == size, name
        self._write(bytes(-size % BLOCKSIZE))

    def finish(self) -> None:
        """Write the end; nothing may be added afterwards."""
        self._write(2 * _ZERO)
        self._write(bytes(-self._written % _RECORD))
        self._out.close()  # type: ignore[no-untyped-call]

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._written += len(data)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive."""

    name: str
    size: int


class ArchiveReader:
    """An archive that is read from *file* in order; each method raises Corrupt, TooLarge or LimitExceeded."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        """Begin; nothing is read yet."""
        self._plain = _Plain(file)
        self._limits = limits
        self._left = self._padding = self._count = self._total = 0

    def next(self) -> Member | None:
        """Return the next member, once the one before is read to its end, or None at the end of the whole."""
        assert self._left == 0
        self._plain.exactly(self._padding)
        while True:
            block = self._plain.exactly(BLOCKSIZE)
            if block == _ZERO:
                self._plain.end()
                return None
            header = self._header(block)
            self.count(1)
            if header.type != DIRTYPE:
                break
            if header.size:
                raise refuse(repr(header.name[:200]), "a folder with content")
        self._total += header.size
        if self._total > self._limits.size:
            raise TooLarge("--max-size", self._limits.size)
        self._left, self._padding = header.size, -header.size % BLOCKSIZE
        return Member(header.name, header.size)

    def count(self, number: int) -> None:
        """Count *number* members or records more; raise LimitExceeded beyond the limit."""
        self._count += number
        if self._count > self._limits.entries:
            raise LimitExceeded("--max-entries", self._limits.entries)

    def blocks(self) -> Iterator[bytes]:
        """Yield what is left of the member."""
        while self._left:
            block = self._plain.some(min(self._left, _BLOCK))
            self._left -= len(block)
            yield block

    def lines(self, where: str, digest: str) -> Iterator[bytes]:
        """Yield the lines of the member, whose BLAKE3 (hex) is *digest*, each ended by a newline, without these."""
        whole = blake3()
        for lines in _split(_hashed(self.blocks(), whole), where):
            self.count(len(lines))
            yield from lines
        if whole.hexdigest() != digest:
            raise refuse(where, "its bytes have another hash than the manifest says")

    def _header(self, block: bytes) -> TarInfo:
        header = _parsed(block)
        if header.type == XHDTYPE:
            size = self._pax_size(header)
            header = _parsed(self._plain.exactly(BLOCKSIZE))
            header.size = size
            if header.type != REGTYPE:
                raise refuse(repr(header.name[:200]), "an extended header before what is no file")
        name = header.name
        if name.startswith("/") or ".." in name.split("/") or not name:
            raise refuse(repr(name[:200]), "a path that leads out of the archive")
        if header.type not in {REGTYPE, DIRTYPE}:
            raise refuse(repr(name[:200]), "neither a file nor a folder")
        if header.size < 0:
            raise refuse(repr(name[:200]), "a size below 0")
        return header

    def _pax_size(self, header: TarInfo) -> int:
        if not 0 < header.size <= _MAX_PAX:
            raise refuse("tar", "an extended header of more than a size")
        data = self._plain.exactly(header.size)
        self._plain.exactly(-header.size % BLOCKSIZE)
        found = _PAX_SIZE.fullmatch(data)
        if found is None or int(found[1]) != len(data):
            raise refuse("tar", "an extended header of more than a size")
        return int(found[2])


def _hashed(blocks: Iterable[bytes], whole: blake3) -> Iterator[bytes]:
    for block in blocks:
        whole.update(block)
        yield block


def _split(blocks: Iterable[bytes], where: str) -> Iterator[list[bytes]]:
    """Yield the lines in each of *blocks*, each line ended by a newline, without these; raise Corrupt."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield lines
        if len(rest) > MAX_LINE:
            raise refuse(where, f"a line of more than {MAX_LINE} bytes")
    if rest:
        raise refuse(where, "its last line has no end")


def _parsed(block: bytes) -> TarInfo:
    try:
        return TarInfo.frombuf(block, "utf-8", "strict")
    except (HeaderError, ValueError):
        raise refuse("tar", "a header that is none") from None


class _Plain:
    """The plain bytes of one zstd frame, as they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin; nothing is read yet."""
        from zstandard import ZstdDecompressor

        self._file = file
        self._frame = ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self._packed = self._ready = b""
        self._packed_at = self._at = 0

    def some(self, most: int) -> bytes:
        """Return at least one byte and at most *most*; raise Corrupt at the end."""
        while self._at == len(self._ready):
            if not self._more():
                raise refuse("zstd", "it ends too early")
        data = self._ready[self._at : self._at + most]
        self._at += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        """Return *size* bytes, which are few; raise Corrupt where there are fewer."""
        parts = []
        while size:
            part = self.some(size)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def end(self) -> None:
        """See that only zeros, as many as fill a tar's last record, and nothing after the frame are left."""
        left = 0
        while self._at < len(self._ready) or self._more():
            rest = self._ready[self._at :]
            self._at += len(rest)
            left += len(rest)
            if left > _RECORD or rest.strip(b"\0"):
                raise refuse("tar", "there is more after its end")

    def _more(self) -> bool:
        """Decompress a piece; return False once the frame is whole and nothing follows it."""
        from zstandard import ZstdError

        if self._frame.eof:
            if self._frame.unused_data or self._packed_at < len(self._packed) or self._file.read(1):
                raise refuse("zstd", "there is more after its end")
            return False
        if self._packed_at == len(self._packed):
            self._packed, self._packed_at = self._file.read(_PACKED), 0
            if not self._packed:
                raise refuse("zstd", "it ends too early")
        piece = self._packed[self._packed_at : self._packed_at + _PIECE]
        self._packed_at += len(piece)
        try:
            self._ready, self._at = self._frame.decompress(piece), 0
        except ZstdError as error:
            raise refuse("zstd", str(error)) from None
        return True
