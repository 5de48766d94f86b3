"""How content leaves for the host's files: whole or not at all. Any thread."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator


def write_whole(path: str, blocks: Iterable[bytes], progress: Callable[[int], None] | None = None) -> None:
    """Write *blocks* to the file *path*, which is replaced when all of them are there, and left as it is until then.

    What is no regular file (a device, a pipe) is written to. *progress* is called with the bytes written so far. Raises
    OSError, and what reading *blocks* does.
    """
    target, counted = os.path.realpath(path), _counted(blocks, progress)
    if os.path.lexists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            file.writelines(counted)
        return
    folder, base = os.path.split(target)
    partial = os.path.join(folder, f".{base[:40]}.{os.getpid()}.{threading.get_native_id()}.part")
    try:
        with open(partial, "xb") as file:
            file.writelines(counted)
        _take_attributes(target, partial)
        os.replace(partial, target)
    except BaseException as error:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(error, OSError) and error.filename == partial:
            error.filename = path
        raise


def _counted(blocks: Iterable[bytes], progress: Callable[[int], None] | None) -> Iterator[bytes]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        if progress is not None:
            progress(done)


def _take_attributes(target: str, partial: str) -> None:
    """Give *partial* the owner, where that is allowed, and the mode of the file *target*, if there is one."""
    try:
        was = os.stat(target)
    except FileNotFoundError:
        return
    with contextlib.suppress(PermissionError):
        os.chown(partial, was.st_uid, was.st_gid)
    os.chmod(partial, was.st_mode & 0o7777)
