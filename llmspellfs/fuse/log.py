"""The mount's log: one file in the store's folder, whose lines no name in them can forge."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

FILE_NAME = "mount.log"

_MOST_BYTES = 8 << 20
"""What makes the file large: it is moved aside then, in the place of the one before."""
_REPEAT_SECONDS = 60.0
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class SafeFormatter(logging.Formatter):
    r"""Writes control characters in messages as escapes (`\n`), and indents every line of a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, of printable characters only."""
        return _visible(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """Return the traceback, indented, so that no line of it can pass for a line of the log."""
        text = super().formatException(ei)  # type: ignore[arg-type]  # logging keeps the type of *ei* private
        return "\n".join(f"    {_visible(line)}" for line in text.splitlines())


class _Bounded(logging.Handler):
    """Writes to standard error, which is the file *path*; it begins that anew when it is large, and says repeats once.

    Several mounts write to one file: whoever finds it large first moves it aside, and the others follow. A line is one
    write; where a full disk takes only a part of it, the next begins a line of its own all the same.
    """

    def __init__(self, path: Path) -> None:
        """Write to *path*, which standard error is already."""
        super().__init__()
        self._path = path
        self._last: tuple[object, ...] = ()
        self._said, self._more = 0.0, 0
        self._is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, unless it is the last one again within a minute: such are counted."""
        what = (record.name, record.levelno, record.getMessage(), record.exc_info and record.exc_info[0])
        if what == self._last and record.created < self._said + _REPEAT_SECONDS:
            self._more += 1
            return
        with contextlib.suppress(OSError):  # the log goes on where it is
            self._renew()
        if self._more:
            count = f"the line above came {self._more} times more"
            self._write(logging.LogRecord(record.name, logging.INFO, "", 0, count, None, None))
        self._last, self._said, self._more = what, record.created, 0
        self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        whole = b"\n" + line if self._is_cut else line
        with contextlib.suppress(OSError):  # of a full disk, which those hear of whose calls fail
            self._is_cut = os.write(2, whole) < len(whole)

    def _renew(self) -> None:
        if os.fstat(2).st_size <= _MOST_BYTES:
            return
        fcntl.flock(2, fcntl.LOCK_EX)
        try:
            if self._path.exists() and os.path.samestat(os.lstat(self._path), os.fstat(2)):
                _move_aside(self._path)
            descriptor = _opened(self._path, _FLAGS)
        finally:
            fcntl.flock(2, fcntl.LOCK_UN)
        _take(descriptor)


def log_to_store(store: Path) -> None:
    """Send the log, and C libraries' standard error, to *store*'s `mount.log`, which only its owner reads."""
    path = store / FILE_NAME
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _MOST_BYTES:
            _move_aside(path)
    _take(_opened(path, _FLAGS))
    _log_by(_Bounded(path))


def log_to_nowhere() -> None:
    """Let go of standard error, which was the starter's: a store that cannot be written to keeps no log."""
    _take(_opened(os.devnull, os.O_WRONLY))
    log_to_stderr()


def log_to_stderr() -> None:
    """Send the log to standard error."""
    _log_by(logging.StreamHandler())


def _move_aside(path: Path) -> None:
    path.replace(path.with_suffix(".log.1"))


def _opened(path: str | os.PathLike[str], flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _take(descriptor: int) -> None:
    """Make *descriptor* standard error."""
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _log_by(handler: logging.Handler) -> None:
    handler.setFormatter(SafeFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
