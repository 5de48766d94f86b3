"""The mount's log: one file in the store's folder, whose lines no name in them can forge."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "mount.log"

_MOST_BYTES = 8 << 20
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


def log_to_store(store: Path) -> None:
    """Send the log, and C libraries' standard error, to *store*'s `mount.log`, which only its owner reads."""
    path = store / FILE_NAME
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_suffix(".log.1"))
    _send_to(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)


def log_to_nowhere() -> None:
    """Let go of standard error, which was the starter's: a store that cannot be written to keeps no log."""
    _send_to(os.devnull, os.O_WRONLY)


def _send_to(path: str | os.PathLike[str], flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    log_to_stderr()


def log_to_stderr() -> None:
    """Send the log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
