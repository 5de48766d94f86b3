"""Files that are being written, one folder a process, and what is done with a dead process's folder.

`spool/PID-<random>/` holds a file `lock` under an exclusive flock for as long as its process lives: the
kernel drops it with the process, however that ends. A folder gets its name only once its lock is held, so one
whose lock can be taken has no living owner. Bytes in here are not durable; they become so with their commit. What a
process holds is noted in files `hold-<word>.<pid>`.

Threading: every function may be called from any thread and any process; a `SpoolFile` has one owner. A fork
without exec shares the lock, and with it the folder: that lives until both have let go of it, and neither removes
what the other has made in it; what the child holds is under a lock of its own, since the folder may outlive it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from llmspellfs.errors import Corrupt, NoSpace, StoreBusy, StoreUnusable
from llmspellfs.storage import destination, disk, turns
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.disk import StrPath, disk_errors
from llmspellfs.storage.lost import LostFound

FOLDER = "spool"
_LOCK = "lock"
_NAME = re.compile(r"\d+-[0-9a-f]+")
_UNBORN, _HOLD = ".new-", "hold-"
_ERASED = ".erased"
_UNBORN_SECONDS = 3600
_GLANCE_SECONDS = 0.1
"""How long others may hold a lock that they only look at, or a process that is about to become another."""
_DIRTY, _COMMITTED = 0o600, 0o400
_log = logging.getLogger(__name__)
_WHY = "its process ended before the bytes were committed"


class SpoolFile:
    """A file of its own for bytes on their way in: *descriptor* to write and read it, *path* to move it."""

    def __init__(self, path: str) -> None:
        """Make the file *path*."""
        self.path, self._pid = path, os.getpid()
        with disk_errors(path):
            self.fd = disk.create("spool.create", path, os.O_RDWR, _DIRTY)

    def describe(self, meant_for: Destination) -> None:
        """Note beside the file, still empty, what it is *meant_for*, for whoever finds it; raises NoSpace.

        Where that cannot be written, the file goes too.
        """
        try:
            with disk_errors(self.path):
                descriptor = disk.create("spool.about_create", f"{self.path}.json")
                try:
                    disk.write("spool.about_write", descriptor, meant_for.told())
                finally:
                    os.close(descriptor)
        except BaseException:
            self._undo()
            raise

    def write(self, data: disk.Buffer, offset: int) -> None:
        """Write all of *data* at *offset*; raises OSError."""
        disk.pwrite("spool.write", self.fd, data, offset)

    def truncate(self, size: int) -> None:
        """Cut or extend it with zeros to *size* bytes; raises OSError."""
        disk.ftruncate("spool.truncate", self.fd, size)

    def mark_committed(self) -> None:
        """Note that all of its bytes are committed: if the process dies now, nothing of it is lost."""
        with disk_errors(self.path):
            disk.fchmod("spool.mark", self.fd, _COMMITTED)

    def mark_dirty(self) -> None:
        """Note, before writing after a commit, that its bytes are nowhere else; a new file begins so."""
        with disk_errors(self.path):
            disk.fchmod("spool.unmark", self.fd, _DIRTY)

    def discard(self) -> None:
        """Close it, and remove it where this process has made it; a second time does nothing."""
        if self.fd < 0:
            return
        descriptor, self.fd = self.fd, -1
        os.close(descriptor)
        if self._pid != os.getpid():
            return
        for path in (self.path, f"{self.path}.json", f"{self.path}{_ERASED}"):
            with disk_errors(path), suppress(FileNotFoundError):
                disk.unlink("spool.unlink", path)

    def _undo(self) -> None:
        descriptor, self.fd = self.fd, -1
        os.close(descriptor)
        for path in (f"{self.path}.json", self.path):
            disk.undo("spool.undo", path)


class Spool:
    """The running process's folder in the spool of a store; *name* says whose it is."""

    def __init__(self, root: StrPath) -> None:
        """Make the folder in the store at *root* and take its lock."""
        spool = _folder(root)
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._path = os.path.join(spool, self.name)
        self._pid, self._serial = os.getpid(), count(1)
        self._locks: dict[str, int] = {}
        """By path, the locks of what is held in a forked child."""
        unborn = os.path.join(spool, _UNBORN + self.name)
        self._lock = -1
        try:
            with disk_errors(self._path):
                disk.make_folder("spool.mkdir", unborn)
                self._lock = _open_lock(unborn)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                disk.rename("spool.rename", unborn, self._path)
        except BaseException:
            self._undo(unborn)
            raise

    def _undo(self, unborn: str) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        with suppress(OSError):
            _remove(unborn)

    def new(self) -> SpoolFile:
        """Return a new, empty file; raises NoSpace."""
        while True:
            with suppress(FileExistsError):  # a fork counts on from the same number
                return SpoolFile(f"{self._path}/{next(self._serial)}")

    def hold(self, word: str) -> None:
        """Note *word* for as long as this process lives, or until `free`; raise NoSpace."""
        path = self._note(word)
        with disk_errors(path), suppress(FileExistsError):
            if os.getpid() == self._pid:
                os.close(disk.create("spool.hold", path))
            elif path not in self._locks:
                self._locks[path] = self._locked(path)

    def _locked(self, path: str) -> int:
        """Return the lock of the new file *path*, which gets its name once that is held."""
        unborn = f"{self._path}/{_UNBORN}{os.path.basename(path)}"
        descriptor = disk.create("spool.hold", unborn)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            disk.rename("spool.hold_rename", unborn, path)
        except BaseException:
            os.close(descriptor)
            disk.undo("spool.hold_undo", unborn)
            raise
        return descriptor

    def free(self, word: str) -> None:
        """Take back what `hold` has noted; where that fails it goes with the process."""
        path = self._note(word)
        try:
            with suppress(FileNotFoundError):
                disk.unlink("spool.free", path)
        except OSError as error:
            _log.warning("%s stays until its process ends: %s", path, error)
        if (descriptor := self._locks.pop(path, None)) is not None:
            os.close(descriptor)

    def _note(self, word: str) -> str:
        return f"{self._path}/{_HOLD}{word}.{os.getpid()}"

    def close(self) -> None:
        """Let go of the folder, which goes where nobody shares it; with bytes that were not committed it stays."""
        if self._lock < 0:
            return
        descriptor, self._lock = self._lock, -1
        os.close(descriptor)
        with disk_errors(self._path), _dead(self._path, _GLANCE_SECONDS if self._pid == os.getpid() else 0) as is_last:
            if is_last and not any(_is_loss(f"{self._path}/{name}") for name in _names(self._path)):
                _remove(self._path)


def is_alive(root: StrPath, name: str) -> bool:
    """Tell whether the process that the spool folder *name* of the store at *root* belongs to still lives.

    While another process salvages the folder it counts as alive: its drafts are not yet anybody else's.
    """
    return bool(_NAME.fullmatch(name)) and _is_locked(os.path.join(_folder(root), name, _LOCK))


def _is_locked(path: str) -> bool:
    """Tell whether a living process has the lock of the file *path*."""
    try:
        descriptor = disk.open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:  # another user's: it is for that user, or for root, to salvage
        return True
    except OSError as error:  # somebody has put a link there, or a socket
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return False
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def live_owners(root: StrPath) -> list[str]:
    """Return the spool folders of the processes that have the store at *root* open."""
    return [name for name in _names(_folder(root)) if is_alive(root, name)]


def held(root: StrPath) -> set[str]:
    """Return the words that living processes hold in the store at *root*; see `Spool.hold`. Raises SpellError."""
    folder = _folder(root)
    words: set[str] = set()
    with disk_errors(folder):
        for name in filter(_NAME.fullmatch, _names(folder)):
            with suppress(PermissionError):
                notes = [each for each in _names(f"{folder}/{name}") if each.startswith(_HOLD)]
                if notes and is_alive(root, name):
                    words |= {_word(each) for each in notes if _is_held(f"{folder}/{name}", each)}
    return words


def _word(note: str) -> str:
    return note.removeprefix(_HOLD).rpartition(".")[0]


def _is_held(path: str, note: str) -> bool:
    """Tell whether who has made *note* in the folder *path*, which is alive, lives: its owner, or a forked child."""
    owner = os.path.basename(path).partition("-")[0]
    return note.rpartition(".")[2] == owner or _is_locked(f"{path}/{note}")


def erase(path: StrPath) -> None:
    """Note that what the file *path* of a living process's folder is for was purged: nobody salvages it."""
    with disk_errors(path), suppress(FileExistsError, FileNotFoundError):
        os.close(disk.create("spool.erase", f"{os.fspath(path)}{_ERASED}"))


def salvage(
    root: StrPath,
    lost: LostFound,
    current: Callable[[Destination], Destination | None] = lambda told: told,
    forget: Callable[[str], None] = lambda _: None,
) -> tuple[str, ...]:
    """Move what dead processes left in the spool of the store at *root* to *lost*; return the new items' ids.

    *current* says what bytes are meant for by now, of what they were when they were written, and None where that was
    purged. These, and those that a purge has noted, *forget* hears of, by their path, before they are removed; empty
    files, and those whose bytes were all committed, go too. What is another user's is left, and so is, for the next
    time, what the disk has no room to move. Several processes may do it at once.
    """
    ids: list[str] = []
    spool = _folder(root)
    for name in _names(spool):
        path = os.path.join(spool, name)
        if name.startswith(_UNBORN):
            _remove_unborn(path)
        elif _NAME.fullmatch(name):
            try:
                with disk_errors(path), _dead(path) as dead:
                    if dead:
                        _salvage_folder(path, lost, ids, current, forget)
                        _remove(path)
            except (NoSpace, Corrupt, StoreBusy, StoreUnusable) as error:
                _log.warning("%s is left for the next who opens the store: %s", path, error)
    return tuple(ids)


def _salvage_folder(
    path: str,
    lost: LostFound,
    ids: list[str],
    current: Callable[[Destination], Destination | None],
    forget: Callable[[str], None],
) -> None:
    """Move what was lost in the folder *path* to *lost*, and add the items' *ids*; have what was purged forgotten."""
    before = len(ids)
    for name in sorted(filter(str.isdecimal, _names(path)), key=int):
        file = os.path.join(path, name)
        status, is_erased = os.lstat(file), _is_erased(file)
        if is_erased or _is_loss(file):
            meant_for = None if is_erased else current(destination.read(f"{file}.json")[0])
            if meant_for is None:
                forget(file)
            else:
                ids.append(lost.add(file, meant_for, _WHY, status.st_mtime_ns))
    if len(ids) > before:
        disk.sync_folder("spool.salvage_sync", path)


def _is_erased(file: str) -> bool:
    """Tell whether a purge has noted that what the spool's *file* is for is gone."""
    return os.path.lexists(f"{file}{_ERASED}")


def _is_loss(file: str) -> bool:
    """Tell whether the spool's *file* holds bytes that were not committed."""
    if not os.path.basename(file).isdecimal() or _is_erased(file):
        return False
    status = os.lstat(file)
    return bool(status.st_size) and stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != _COMMITTED


@contextmanager
def _dead(path: str, patience: float = 0) -> Iterator[bool]:
    """Say True, holding the lock of the folder *path*; False where its owner or another salvager holds it.

    *patience*: seconds to wait for it.
    """
    try:
        descriptor = _open_lock(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        yield False
        return
    try:
        yield _take(descriptor, os.path.join(path, _LOCK), patience)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: str, patience: float) -> bool:
    try:
        turns.wait_for(descriptor, fcntl.LOCK_EX, patience)
        # Another salvager may have removed the lock, and the folder, after it was opened here.
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (StoreBusy, FileNotFoundError):
        return False


def _remove_unborn(path: str) -> None:
    """Remove a folder whose process died between making and naming it; there is no work in it."""
    with disk_errors(path), suppress(FileNotFoundError, NotADirectoryError):
        if os.lstat(path).st_mtime < time.time() - _UNBORN_SECONDS:
            _remove(path)


def _remove(path: str) -> None:
    """Remove the folder *path*, its lock last; where somebody put something into it meanwhile it stays."""
    names = _names(path)
    for name in sorted(names, key=lambda name: name == _LOCK):
        with suppress(FileNotFoundError):
            disk.unlink("spool.remove", os.path.join(path, name))
    with suppress(OSError):
        disk.rmdir("spool.rmdir", path)


def _open_lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return disk.open_lock("spool.lock", os.path.join(path, _LOCK), flags, 0o600)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folder(root: StrPath) -> str:
    return os.path.join(os.fspath(root), FOLDER)
