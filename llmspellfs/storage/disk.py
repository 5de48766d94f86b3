"""The one place through which a store's folder is written to: each step to the disk has a name here.

Every other module calls `disk.rename("blob.rename", a, b)` where it would call `os.rename(a, b)`, and ends its
transactions by `disk.execute("index.commit", connection, "COMMIT")`. What fails between two steps, and what a kill
there leaves behind, can so be tried step by step: `hook` is called with the step's name before it, and with the
name and ".done" after it. A hook that raises is the disk that fails; one that returns a number cuts the next write
to that many bytes, and hears of the rest as the name and ".rest".

Without a hook a step costs 0.15 µs more than the call that it wraps. `faults` is imported only where the environment
arms it, which only tests do.

Threading: as the calls that are wrapped; a hook is called by whichever thread takes the step.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from llmspellfs.errors import Corrupt, NoSpace, SpellError, StoreUnusable

Buffer: TypeAlias = bytes | bytearray | memoryview
StrPath: TypeAlias = str | os.PathLike[str]
Hook: TypeAlias = Callable[[str], "int | None"]
P = ParamSpec("P")
R = TypeVar("R")

ARMED_BY = "LLMSPELLFS_FAULTS"
"""The environment variable that arms `faults` in this process."""
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""From linux/fcntl.h and linux/fs.h."""

hook: Hook | None = None
"""What hears of each step; None outside of tests."""


def _named(call: Callable[P, R]) -> Callable[Concatenate[str, P], R]:
    def step(name: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if hook is None:
            return call(*args, **kwargs)
        hook(name)
        result = call(*args, **kwargs)
        hook(f"{name}.done")
        return result

    step.__doc__ = f"Take the step *name*: `{call.__name__}`."
    return step


rename = _named(os.rename)
link = _named(os.link)
unlink = _named(os.unlink)
mkdir = _named(os.mkdir)
rmdir = _named(os.rmdir)
fsync = _named(os.fsync)
ftruncate = _named(os.ftruncate)
allot = _named(os.posix_fallocate)
fchmod = _named(os.fchmod)
chmod = _named(os.chmod)
chown = _named(os.chown)
utime = _named(os.utime)
open_lock = _named(os.open)
"""For files that hold nothing but a lock, and may be there already; new ones are made by `create`."""


def point(name: str) -> None:
    """Name a moment that is no call of this module, such as one within a migration."""
    if hook is not None:
        hook(name)


def create(name: str, path: StrPath, flags: int = os.O_WRONLY, mode: int = 0o600) -> int:
    """Make the file *path*, which must be new and no link, and return its descriptor; raises FileExistsError."""
    point(name)
    descriptor = os.open(path, flags | _NEW, mode)
    try:
        point(f"{name}.done")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def exchange(name: str, first: StrPath, second: StrPath) -> None:
    """Have *first* and *second* change names; where the file system can, in one step, neither being missing between."""
    point(name)
    if not _exchanged(first, second):
        third = f"{os.fspath(first)}.exchanging"
        os.rename(second, third)
        try:
            os.rename(first, second)
        except BaseException:
            os.rename(third, second)
            raise
        os.rename(third, first)
    point(f"{name}.done")


def _exchanged(first: StrPath, second: StrPath) -> bool:
    """Exchange two names by renameat2(2); return False where that is not known here."""
    import ctypes  # here: hardly anything needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS}:
        return False
    raise OSError(code, os.strerror(code), os.fspath(first), None, os.fspath(second))


def open_file(path: StrPath) -> int:
    """Return a descriptor that the file *path* is read by; raise OSError where it is no file, or a link.

    It never waits: whoever can write to a store's folder may have put a FIFO there, at which opening waits for ever.
    """
    return open_sized(path)[0]


def open_sized(path: StrPath) -> tuple[int, int]:
    """Return what `open_file` does, and how many bytes the file has."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    raise OSError(errno.ENXIO, "not a file", os.fspath(path))  # as of a socket


def write(name: str, descriptor: int, data: Buffer) -> None:
    """Write all of *data* at the place of *descriptor*, however often that takes."""
    done = 0 if hook is not None else os.write(descriptor, data)
    if hook is not None or done < len(data):
        _write_on(name, data, done, lambda piece, _at: os.write(descriptor, piece))


def pwrite(name: str, descriptor: int, data: Buffer, offset: int) -> None:
    """Write all of *data* at *offset* of *descriptor*, however often that takes."""
    done = 0 if hook is not None else os.pwrite(descriptor, data, offset)
    if hook is not None or done < len(data):
        _write_on(name, data, done, lambda piece, at: os.pwrite(descriptor, piece, offset + at))


def _write_on(name: str, data: Buffer, done: int, call: Callable[[memoryview, int], int]) -> None:
    limit = None if hook is None else hook(name)
    with memoryview(data).cast("B") as view:
        while done < len(view):
            done += call(view[done:] if limit is None else view[done : done + limit], done)
            limit = None if hook is None or done == len(view) else hook(f"{name}.rest")
    point(f"{name}.done")


def execute(name: str, connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Execute *statement* (COMMIT, BEGIN, a checkpoint of the WAL: what SQLite goes to the disk for)."""
    if hook is None:
        return connection.execute(statement)
    hook(name)
    result = connection.execute(statement)
    hook(f"{name}.done")
    return result


def write_file(name: str, path: StrPath, data: Buffer) -> None:
    """Write *data* to the new file *path* (0600) and on to the disk; on failure nothing is left of it.

    Its steps are *name* and ".create", ".write", ".fsync", and on failure ".undo".
    """
    descriptor = create(f"{name}.create", path)
    try:
        write(f"{name}.write", descriptor, data)
        fsync(f"{name}.fsync", descriptor)
    except BaseException:
        undo(f"{name}.undo", path)
        raise
    finally:
        os.close(descriptor)


def undo(name: str, path: StrPath) -> None:
    """Remove *path* after another step has failed; should that fail too, the first failure is the one to tell."""
    with suppress(OSError):
        unlink(name, path)


def make_folder(name: str, path: StrPath) -> None:
    """Make the folder *path* (0700) and those above it that are missing; each is the step *name*."""
    above = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(above):
        make_folder(name, above)
    with suppress(FileExistsError):
        mkdir(name, path, 0o700)


def sync_file(name: str, path: StrPath) -> None:
    """Return when the bytes of the file *path* survive power loss; raises FileNotFoundError."""
    _sync(name, path, os.O_NOFOLLOW)


def sync_folder(name: str, path: StrPath) -> None:
    """Return when the names in the folder *path* survive power loss."""
    with disk_errors(path):
        _sync(name, path, os.O_NOFOLLOW | os.O_DIRECTORY)


def _sync(name: str, path: StrPath, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        fsync(name, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(where: StrPath) -> Iterator[None]:
    """Turn what the disk says about *where* into NoSpace, Corrupt (it cannot be read) or StoreUnusable.

    FileNotFoundError and FileExistsError pass: what they mean is known only to the caller.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise mapped(where, error) from None


def mapped(where: StrPath, error: OSError) -> SpellError:
    """Return what the disk's *error* about *where* is here."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(where)
    if error.errno in {errno.EIO, errno.EUCLEAN, errno.ELOOP, errno.EISDIR, errno.ENXIO}:
        return Corrupt(f"{os.fspath(where)}: {error.strerror}")
    return StoreUnusable(where, error.strerror or str(error))


if ARMED_BY in os.environ:
    from llmspellfs.storage import faults

    hook = faults.armed(os.environ[ARMED_BY])
