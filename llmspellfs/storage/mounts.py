"""What kind of file system a store is on: some cannot hold one, and some cannot be written to.

An index in WAL mode is shared through memory that all who have it open map, so they have to be on one machine
("WAL does not work over a network filesystem", sqlite.org/wal.html): two machines would write over each other's
commits, and a lock that one takes the other may not see.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from llmspellfs.errors import StoreUnusable

TABLE = "/proc/self/mountinfo"
OWN = "fuse.llmspellfs"
NETWORK = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "cvfs", "davfs", "fhgfs", "gfs", "gfs2", "glusterfs"}
    | {"gpfs", "ibrix", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3"}
    | {"smbfs", "snfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs"}
)
"""File systems (by their type in TABLE) that more than one machine can have mounted, or a machine and its guests."""
LOCAL_FUSE = frozenset(
    {"fuse.bindfs", "fuse.cryfs", "fuse.encfs", "fuse.exfat", "fuse.fuse-ext2", "fuse.fuse-overlayfs", "fuse.fuse2fs"}
    | {"fuse.gocryptfs", "fuse.mergerfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.securefs", "fuse.squashfuse"}
    | {"fuse.unionfs", "fuse.unionfs-fuse", "fuse.zfs", "fuse.zfs-fuse"}
)
"""File systems in user space over what this machine has.

Most others bring a server or an object store near, and more of them are made than can be listed: what is not known here
counts as such. One on a block device ("fuseblk") is local.
"""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the table: where, of which type, and the options of the file system itself."""

    place: str
    kind: str
    options: tuple[str, ...]


def check_place(path: Path, *, allow_network: bool) -> None:
    """Raise StoreUnusable where *path*, or what is there of it, is on a file system that no store can be on.

    *allow_network* lets one on a network file system pass, for who knows that one machine alone uses it.
    """
    on = file_system(path)
    if on is None:
        return
    if on.kind == OWN:
        raise StoreUnusable(path, f"it would be inside the mount of a store, at {on.place}")
    if _may_be_shared(on.kind) and not allow_network:
        what = "is a network file system" if on.kind in NETWORK else "may be a network file system"
        why = f"{on.place} {what} ({on.kind}), on which SQLite's locks and shared memory do not hold"
        raise StoreUnusable(path, f"{why}; allow_network_store = true lets one machine alone use it")


def _may_be_shared(kind: str) -> bool:
    is_fuse = kind == "fuse" or kind.startswith("fuse.")
    return kind in NETWORK or (is_fuse and kind not in LOCAL_FUSE)


def is_superblock_read_only(path: Path) -> bool:
    """Tell whether the whole file system of *path* is read-only, however it is mounted elsewhere."""
    on = file_system(path)
    return on is not None and "ro" in on.options


def file_system(path: Path) -> Mounted | None:
    """Return what *path*, or the nearest folder above it that exists, is on; None where the system does not say."""
    real = os.path.realpath(path)
    found = None
    for mounted in _mounts():
        prefix = mounted.place.rstrip("/") + "/"
        if (real + "/").startswith(prefix) and (found is None or len(mounted.place) >= len(found.place)):
            found = mounted
    return found


def _mounts() -> list[Mounted]:
    try:
        text = Path(TABLE).read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    lines = (line.partition(" - ") for line in text.splitlines())
    return [_mounted(before.split(" "), after.split(" ")) for before, _, after in lines if after]


def _mounted(before: list[str], after: list[str]) -> Mounted:
    place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before[4])
    return Mounted(place, after[0], tuple(after[2].split(",")) if len(after) > 2 else ())
