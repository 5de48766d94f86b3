"""Where a mount may be, what is mounted there, which process serves it, and how it is taken away."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmspellfs.errors import MountFailed
from llmspellfs.fuse.processes import Daemon, daemons, processes

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND = "fuse.llmspellfs"
"""The file system's type in `/proc/self/mountinfo`."""

_LAZY = 2  # MNT_DETACH
_NEW_NAME_SPACE = 0x20000  # CLONE_NEWNS
_BUSY_FOR = 0.5  # seconds; a process that is just ending still counts as using the mount
_MOST_USERS = 3
_libc = ctypes.CDLL(None, use_errno=True)


def mounted_kind(mountpoint: str) -> str | None:
    """Return the type of the file system on top at *mountpoint* (a real path), None if there is none."""
    return dict(_mounted()).get(mountpoint)


def check(mountpoint: str, store: str | None) -> None:
    """Raise MountFailed with the reason why *store* cannot be mounted at *mountpoint*; both are real paths.

    A mount of ours whose process is gone is taken away first.
    """
    if mounted_kind(mountpoint) == KIND and is_dead(mountpoint):
        take_away(mountpoint, lazy=True)
    if store is not None:
        _check_apart(mountpoint, store)
    _check_folder(mountpoint)


def take_away(mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount *mountpoint*, *lazy* even while in use; raise MountFailed with the reason, or its users."""
    flags = _LAZY if lazy else 0
    if _libc.umount2(os.fsencode(mountpoint), flags) == 0:
        return
    code = ctypes.get_errno()
    if code == errno.EPERM:
        _fusermount(mountpoint, lazy=lazy)
    elif code == errno.EBUSY:
        raise MountFailed(mountpoint, _busy(mountpoint))
    else:
        raise MountFailed(mountpoint, os.strerror(code))


def take_away_when_idle(mountpoint: str) -> None:
    """Unmount *mountpoint*, waiting a moment for those just leaving; raise MountFailed with the reason."""
    give_up = time.monotonic() + _BUSY_FOR
    while True:
        try:
            return take_away(mountpoint)
        except MountFailed:
            if time.monotonic() > give_up or mounted_kind(mountpoint) is None:
                raise
            time.sleep(_BUSY_FOR / 10)


def daemon_of(mountpoint: str) -> int | None:
    """Return the id of the process that serves *mountpoint* (a real path), None if it is not to be seen."""
    found = [daemon.pid for daemon in daemons() if daemon.mountpoint == mountpoint]
    return found[-1] if found else None


def live_mounts() -> list[Daemon]:
    """Return the daemons whose mounts can be reached, oldest first.

    A mount whose process is gone is not among them, nor a process whose mount was taken away.
    """
    newest = {daemon.mountpoint: daemon for daemon in daemons()}
    kinds = dict(_mounted())
    return [daemon for place, daemon in newest.items() if kinds.get(place) == KIND]


def dead_mounts() -> list[str]:
    """Return where mounts are whose process is gone, and which nobody has taken away."""
    served = {daemon.mountpoint for daemon in daemons()}
    kinds = dict(_mounted())
    return [place for place, kind in kinds.items() if kind == KIND and place not in served and is_dead(place)]


def is_dead(mountpoint: str) -> bool:
    """Ask the mount at *mountpoint* for its figures, and say whether nobody serves it."""
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    return False


def enter_name_space(path: str) -> None:
    """Go on in the mount name space at *path* (as in `/proc/PID/ns/mnt`); raise OSError with the reason."""
    place = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(place, _NEW_NAME_SPACE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(place)


def _check_apart(mountpoint: str, store: str) -> None:
    both = os.path.commonpath([mountpoint, store])
    if both == mountpoint:
        raise MountFailed(mountpoint, f"holds the store {store}")
    if both == store:
        raise MountFailed(mountpoint, f"is inside the store {store}")


def _check_folder(mountpoint: str) -> None:
    kind = mounted_kind(mountpoint)
    if kind is not None:
        raise MountFailed(mountpoint, "already mounted" if kind == KIND else f"a {kind} file system is mounted there")
    try:
        with os.scandir(mountpoint) as entries:
            used = next(entries, None) is not None
    except OSError as error:
        raise MountFailed(mountpoint, (error.strerror or str(error)).lower()) from None
    if used:
        raise MountFailed(mountpoint, "not empty")


def _fusermount(mountpoint: str, *, lazy: bool) -> None:
    command = ["fusermount", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise MountFailed(mountpoint, "fusermount is not installed") from None
    if done.returncode:
        busy = "busy" in done.stderr
        raise MountFailed(mountpoint, _busy(mountpoint) if busy else done.stderr.strip() or "fusermount failed")


def _busy(mountpoint: str) -> str:
    users = list(_users(mountpoint))
    more = ", …" if len(users) > _MOST_USERS else ""
    return "busy" + (f": in use by {', '.join(users[:_MOST_USERS])}{more}" if users else "")


def _users(mountpoint: str) -> Iterator[str]:
    for folder in processes():
        with contextlib.suppress(OSError):
            links = [folder / "cwd", folder / "root", *(folder / "fd").iterdir()]
            if any(_is_below(link, mountpoint) for link in links):
                yield f"{(folder / 'comm').read_text(errors='replace').strip()} ({folder.name})"


def _is_below(link: Path, mountpoint: str) -> bool:
    with contextlib.suppress(OSError):
        target = os.readlink(link)
        return target == mountpoint or target.startswith(mountpoint + "/")
    return False


def _mounted() -> Iterator[tuple[str, str]]:
    """Yield each mount point and the type of what is mounted there, what covers another after it."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        yield _unescaped(before.split(" ")[4]), after.split(" ")[0]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
