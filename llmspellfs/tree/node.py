"""What every node is: refusals, until its kind says otherwise."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from blake3 import blake3

from llmspellfs.errors import IsAFolder, NotAFolder, NotFound, NotSupported, ReadOnly
from llmspellfs.model.event import Origin
from llmspellfs.model.session import Session
from llmspellfs.service.store import Store
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.attributes import Change, change_mode, change_owner, change_times, fixed_attr
from llmspellfs.tree.cache import Cache
from llmspellfs.tree.cuts import Cuts
from llmspellfs.tree.listings import Listings
from llmspellfs.tree.opened import Opened
from llmspellfs.tree.scratch import Scratches


@dataclass(frozen=True, slots=True)
class Context:
    """What all nodes of one mount share."""

    store: Store
    cache: Cache
    opened: Opened
    artifact_type: str | None
    """The type of files that are copied in, where the mount says one."""
    uid: int
    gid: int
    since_ns: int
    listings: Listings
    """What views have listed just now."""
    scratches: Scratches
    """What editors keep beside control files."""
    cuts: Cuts
    """Which control files are being emptied."""
    show_session: bool = False
    """Whether `.session` is listed in each session's directory."""

    def fixed(self, mode: int, key: str, size: int = 0, at_ns: int | None = None) -> Attr:
        """Return the attributes of a node that the mount provides under the lasting *key*."""
        moment = self.since_ns if at_ns is None else at_ns
        return fixed_attr(mode, fixed_ino(key), self.uid, self.gid, size, moment)

    def session(self, sid: int) -> Session:
        """Return the session *sid* as it is now; raise NotFound."""
        session = self.store.sessions.load_sid(sid)
        if session is None:
            raise NotFound("session", sid)
        return session


def origin_of(caller: Caller) -> Origin:
    """Return what stands in the audit trail for *caller*."""
    return Origin(f"uid:{caller.uid}", "mount")


@lru_cache(maxsize=65536)
def fixed_ino(key: str) -> int:
    """Return a lasting inode number for a node that has none in the store."""
    return int.from_bytes(blake3(key.encode("utf-8", "surrogateescape")).digest(length=7)) | 1 << 62


class Node(ABC):
    """A node of the tree; each method refuses as POSIX says for what the node is not."""

    is_current = True
    """Whether the node may still be used without looking it up again."""

    def __init__(self, ctx: Context, name: str) -> None:
        """Know the mount's parts, and the *name* that messages use."""
        self.ctx, self.name = ctx, name

    @abstractmethod
    def attr(self) -> Attr:
        """Return what stat shows."""

    def chmod(self, mode: int) -> None:
        """Set the permission bits."""
        raise ReadOnly(self.name)

    def chown(self, uid: int, gid: int, caller: Caller) -> None:
        """Set the owner and the group; -1 leaves one as it is."""
        raise ReadOnly(self.name)

    def utimens(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set the times; None leaves one as it is."""
        raise ReadOnly(self.name)

    def getxattr(self, name: str) -> bytes:
        """Return an extended attribute."""
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def setxattr(self, name: str, value: bytes, flags: int, caller: Caller) -> None:
        """Set an extended attribute."""
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def listxattr(self) -> list[str]:
        """Return the names of the extended attributes."""
        return []

    def removexattr(self, name: str, caller: Caller) -> None:
        """Remove an extended attribute."""
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def target(self) -> str:
        """Return where a symlink leads."""
        raise OSError(errno.EINVAL, "not a symlink")

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading or writing."""
        raise IsAFolder(self.name)

    def truncate(self, size: int, caller: Caller) -> None:
        """Cut or extend."""
        raise ReadOnly(self.name)


class Folder(Node):
    """A node that has children; without more it shows them and changes none."""

    def child(self, name: str) -> Node:
        """Return the child *name*; raise NotFound."""
        raise NotFound("entry", name)

    def child_attr(self, name: str) -> Attr:
        """Return what stat shows of the child *name*; raise NotFound."""
        return self.child(name).attr()

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Yield the name and the attributes of each child that is listed."""
        return ()

    def create(self, name: str, flags: int, mode: int, caller: Caller) -> Handle:
        """Make and open a file."""
        raise self.refusal(name)

    def make_folder(self, name: str, mode: int, caller: Caller) -> None:
        """Make a folder."""
        raise self.refusal(name)

    def make_symlink(self, name: str, target: str, caller: Caller) -> None:
        """Make a symlink."""
        raise self.refusal(name)

    def remove(self, name: str, caller: Caller) -> None:
        """Remove what is no folder."""
        raise self.refusal(name)

    def remove_folder(self, name: str, caller: Caller) -> None:
        """Remove an empty folder."""
        raise self.refusal(name)

    def refusal(self, name: str) -> Exception:
        """Return the error for a change here that the kind of folder does not know."""
        return ReadOnly(name)


class File(Node):
    """A node that can be opened and has no children."""

    def __init__(self, ctx: Context, name: str) -> None:
        """Know the mount's parts and the name."""
        super().__init__(ctx, name)


class Link(Node):
    """A symlink that the mount provides; *target* is relative to where it stands."""

    def __init__(self, ctx: Context, name: str, key: str, target: str) -> None:
        """Lead to *target*; *key* gives the inode number."""
        super().__init__(ctx, name)
        self._key, self._target = key, target

    def attr(self) -> Attr:
        """Return a symlink's attributes."""
        return self.ctx.fixed(0o120777, self._key, len(self._target.encode("utf-8", "surrogateescape")))

    def target(self) -> str:
        """Return where it leads."""
        return self._target

    def open(self, flags: int, caller: Caller) -> Handle:
        """Refuse: the kernel follows symlinks itself."""
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


class Changeable(ABC):
    """A node whose attributes can be set."""

    @abstractmethod
    def change(self, change: Change) -> None:
        """Make *change*."""

    def chmod(self, mode: int) -> None:
        """Set the permission bits."""
        self.change(change_mode(mode))

    def chown(self, uid: int, gid: int, caller: Caller) -> None:
        """Set owner and group; what is no folder loses its setuid and setgid bits unless root asks."""
        self.change(change_owner(uid, gid, drop_bits=caller.uid != 0 and not isinstance(self, Folder)))

    def utimens(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set the times."""
        self.change(change_times(atime_ns, mtime_ns))


def as_folder(node: Node) -> Folder:
    """Return *node* if it is a folder; raise NotAFolder."""
    if not isinstance(node, Folder):
        raise NotAFolder(node.name)
    return node


def misplaced(name: str) -> NotSupported:
    """Return the error for what does not belong where somebody would put it."""
    return NotSupported(f"{name}: only sessions stand here, made with mkdir in sessions/")
