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
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs"}
    | {"fuse.afp", "fuse.beegfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse"}
    | {"fuse.glusterfs", "fuse.juicefs", "fuse.mfs", "fuse.moosefs", "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs"}
    | {"fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse"}
)
"""File systems (by their type in TABLE) that more than one machine can have mounted, or a machine and its guests."""


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
    if on.kind in NETWORK and not allow_network:
        why = f"{on.place} is a network file system ({on.kind}), on which SQLite's locks and shared memory do not hold"
        raise StoreUnusable(path, f"{why}; allow_network_store = true lets one machine alone use it")


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
