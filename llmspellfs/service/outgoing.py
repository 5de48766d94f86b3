"""How content leaves for the host's files: whole or not at all. Any thread."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def write_whole(path: str, blocks: Iterable[bytes], progress: Callable[[int], None] | None = None) -> None:
    """Write *blocks* to the file *path*, as `replacing` does; *progress* is called with the bytes written so far.

    Raises OSError, and what reading *blocks* does.
    """
    with replacing(path) as file:
        file.writelines(_counted(blocks, progress))


@contextlib.contextmanager
def replacing(path: str, *, is_private: bool = False) -> Iterator[BinaryIO]:
    """Lend a file that takes the place of the file *path* when the block has ended; until then that is as it is.

    It has the owner and the mode of the one it replaces; where it *is_private* it is this user's alone, and durable.
    What is no regular file (a device, a pipe) is written to. Raises OSError.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with io.BufferedWriter(_Target(path, "wb")) as file:
            yield file
        return
    target = os.path.realpath(path)
    folder, base = os.path.split(target)
    partial = os.path.join(folder, f".{base[:40]}.{os.getpid()}.{threading.get_native_id()}.part")
    try:
        with io.BufferedWriter(_Target(partial, "xb", opener=_private if is_private else None)) as file:
            yield file
            if is_private:
                file.flush()
                with _named(partial):
                    os.fsync(file.fileno())
        if not is_private:
            _take_attributes(target, partial)
        os.replace(partial, target)
    except BaseException as error:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(error, OSError) and error.filename == partial:
            error.filename = path
        raise


class _Target(io.FileIO):
    """A file whose errors in writing name it, as those in opening do."""

    def write(self, data: ReadableBuffer, /) -> int:
        with _named(str(self.name)):
            return super().write(data)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Have an OSError that names no file name *path*."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
