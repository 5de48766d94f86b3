"""Where a script's `print` and `io.write` go: one stream, so that they come out in the order of the calls.

It belongs to the script's thread. Lines appear at once on a terminal and in a pipe; elsewhere at `flush`, or when the
stream's own buffer is full.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import IO, Any


class Output:
    """Bytes for a *stream* of bytes or text; None is this process's standard output."""

    def __init__(self, stream: IO[Any] | None = None) -> None:
        """Write to *stream*; what text it has buffered goes out first."""
        self._stream: IO[Any] = sys.stdout if stream is None else stream
        self._stream.flush()
        self._bytes: IO[bytes] | None = _binary(self._stream)
        self._by_line = _is_watched(self._stream)
        self._is_midline = False

    def write(self, data: bytes) -> None:
        """Write *data*."""
        if self._bytes is None:
            self._stream.write(data.decode("utf-8", "backslashreplace"))
        else:
            self._bytes.write(data)
        if data:
            self._is_midline = not data.endswith(b"\n")
        if self._by_line and b"\n" in data:
            self.flush()

    def end_line(self) -> None:
        """End the line that has begun, if one has."""
        if self._is_midline:
            self.write(b"\n")

    def flush(self) -> None:
        """Hand what was written to the system."""
        (self._bytes or self._stream).flush()


def _binary(stream: IO[Any]) -> IO[bytes] | None:
    # Text streams have the bytes' stream beneath them, except those that are in memory only.
    if hasattr(stream, "encoding"):
        return getattr(stream, "buffer", None)
    return stream


def _is_watched(stream: IO[Any]) -> bool:
    # Somebody may be following: everything but regular files and what is in memory only.
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return stream.isatty()
