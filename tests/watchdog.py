"""Ends what no signal can: a test that waits in the kernel for an answer of a mount.

A process that waits for a FUSE request is woken by nothing but a deadly signal or the end of the connection, so a
timeout by signal cannot end such a test. This cuts the connections of the mounts that tests have made, whereupon the
call that waits fails, and the test with it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EVERYBODYS = f"/var/tmp/llmspellfs-test-{os.getpid()}-"
"""How this process's folders begin that other users reach too."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_STDERR = 2
_GRACE_SECONDS = 60
_FORCE = 1
"""MNT_FORCE of <sys/mount.h>: the file system aborts its connection, even where the mount point stays busy."""


def mounts_beneath(folder: Path, table: str) -> list[bytes]:
    """Return the mount points of FUSE beneath *folder* in the mountinfo *table* (proc(5)), the last mounted first.

    Those too that tests make for other users, in a folder of their own.
    """
    found, prefixes = [], (os.fsencode(folder) + b"/", EVERYBODYS.encode())
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        path = before.split(" ")[4].encode("utf-8", "surrogateescape")
        path = path.decode("unicode_escape").encode("latin-1", "surrogateescape")
        if after.startswith("fuse") and path.startswith(prefixes):
            found.append(path)
    return found[::-1]


@contextmanager
def watch(
    what: str, folder: Callable[[], Path | None], seconds: float, uncover: Callable[[], object]
) -> Iterator[None]:
    """Cut the connections of the mounts beneath *folder*, where there is one, if the block takes *seconds* or more.

    If it goes on for a minute nevertheless, end the process, after *uncover* has seen that its last words are heard.
    """
    timers = (
        threading.Timer(seconds, lambda: _cut(what, folder())),
        threading.Timer(seconds + _GRACE_SECONDS, lambda: _end(what, uncover)),
    )
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _tell(what: str) -> None:
    os.write(_STDERR, f"\n{what}\n".encode())
    faulthandler.dump_traceback(_STDERR)


def _end(what: str, uncover: Callable[[], object]) -> None:
    uncover()
    _tell(f"{what} hangs: its process ends")
    os._exit(1)


def _cut(what: str, folder: Path | None) -> None:
    _tell(f"{what} hangs: its mounts are cut off")
    if folder is None:
        return
    for path in mounts_beneath(folder, Path("/proc/self/mountinfo").read_text(errors="surrogateescape")):
        _LIBC.umount2(path, _FORCE)
