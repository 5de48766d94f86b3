"""A tree in memory, simple enough to be seen to be right: `fake_tree.py MOUNTPOINT [OPTIONS [JOURNAL [GATE]]]`.

A file called "trap-error" makes it raise something unforeseen; content that begins with SLOW takes as long to read as
there is a file "shut" in the folder GATE, where each such read leaves a file; and such that begins with FROZEN cannot
be flushed.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING

from llmspellfs.errors import AlreadyExists, NotAFolder, NotEmpty, NotFound, SessionNotActive
from llmspellfs.tree.api import Attr, Caller, Handle, Statfs, TreeApi

if TYPE_CHECKING:
    from collections.abc import Iterable

_numbers = itertools.count(1)
_reads = itertools.count(1)
_MOST_SECONDS = 60.0
"""How long a slow read takes where nobody opens its gate."""


class Node:
    def __init__(self, mode: int, caller: Caller) -> None:
        self.data = bytearray()
        self.target = ""
        self.children: dict[str, Node] = {}
        self.xattrs: dict[str, bytes] = {}
        now = time.time_ns()
        self.mode, self.uid, self.gid = mode, caller.uid, caller.gid
        self.atime_ns = self.mtime_ns = now
        self.ino = next(_numbers)
        self.cached: Attr | None = None

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def attr(self) -> Attr:
        if self.cached is None:
            size = len(self.data) or len(self.target.encode())
            self.cached = Attr(
                self.mode, self.ino, 2 if self.is_folder else 1, self.uid, self.gid, size, -(-size // 512),
                self.atime_ns, self.mtime_ns, self.mtime_ns,
            )  # fmt: skip
        return self.cached

    def touch(self) -> None:
        self.cached, self.mtime_ns = None, time.time_ns()

    def resize(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data += bytes(size - len(self.data))
        self.touch()


class Open:
    direct_io = False
    keep_cache = False

    def __init__(self, node: Node, *, append: bool, gate: str) -> None:
        self.node = node
        self.append = append
        self.gate = gate

    def read_into(self, view: memoryview, offset: int) -> int:
        data = self.node.data
        if data.startswith(b"SLOW"):
            self.wait()
        length = max(0, min(len(view), len(data) - offset))
        view[:length] = memoryview(data)[offset : offset + length]
        return length

    def wait(self) -> None:
        give_up = time.monotonic() + _MOST_SECONDS
        with open(f"{self.gate}/{next(_reads)}", "w", encoding="utf-8"):
            while os.path.exists(f"{self.gate}/shut") and time.monotonic() < give_up:
                time.sleep(0.01)

    def write(self, view: memoryview, offset: int) -> int:
        data = self.node.data
        if offset > len(data):
            self.node.resize(offset)
        data[offset : offset + len(view)] = view
        self.node.touch()
        return len(view)

    def attr(self) -> Attr:
        return self.node.attr()

    def truncate(self, size: int) -> None:
        self.node.resize(size)

    def flush(self) -> None:
        if self.node.data.startswith(b"FROZEN"):
            raise SessionNotActive("s", "completed")

    def fsync(self, datasync: bool) -> None: ...

    def release(self) -> None: ...


class FakeTree:
    def __init__(self, journal: str | None = None, gate: str = "") -> None:
        self.root = Node(stat.S_IFDIR | 0o755, Caller(os.getuid(), os.getgid(), 0))
        self.limbo: dict[str, Node] = {}
        self.journal = journal
        self.gate = gate

    def note(self, line: str) -> None:
        if self.journal:
            with open(self.journal, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def find(self, path: str) -> Node:
        if path.endswith("/trap-error"):
            raise ZeroDivisionError(path)
        if path in self.limbo:
            return self.limbo[path]
        node = self.root
        for name in path.split("/")[1:]:
            if name:
                if not node.is_folder:
                    raise NotAFolder(path)
                try:
                    node = node.children[name]
                except KeyError:
                    raise NotFound("file", path) from None
        return node

    def place(self, path: str) -> tuple[Node, str]:
        parent, _, name = path.rpartition("/")
        return self.find(parent or "/"), name

    def attr(self, path: str) -> Attr:
        return self.find(path).attr()

    def readlink(self, path: str) -> str:
        return self.find(path).target

    def listdir(self, path: str) -> Iterable[tuple[str, Attr]]:
        return [(name, node.attr()) for name, node in list(self.find(path).children.items())]

    def _make(self, path: str, mode: int, caller: Caller) -> Node:
        parent, name = self.place(path)
        if name in parent.children:
            raise AlreadyExists("file", path)
        node = parent.children[name] = Node(mode, caller)
        return node

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        self._make(path, stat.S_IFDIR | mode, caller)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        self._make(path, stat.S_IFLNK | 0o777, caller).target = target

    def unlink(self, path: str, caller: Caller) -> None:
        self.note(f"unlink {path}")
        if self.limbo.pop(path, None) is None:
            self.find(path)
            parent, name = self.place(path)
            del parent.children[name]

    def rmdir(self, path: str, caller: Caller) -> None:
        if self.find(path).children:
            raise NotEmpty(path)
        parent, name = self.place(path)
        del parent.children[name]

    def rename(self, old: str, new: str, caller: Caller) -> None:
        self.note(f"rename {old} {new}")
        node = self.find(old)
        parent, name = self.place(old)
        target, new_name = self.place(new)
        del parent.children[name]
        target.children[new_name] = node

    def hide(self, path: str, hidden: str, replaced: bool) -> None:
        self.note(f"hide {path} {'replaced' if replaced else 'unlinked'}")
        self.limbo[hidden] = self.find(path)
        parent, name = self.place(path)
        del parent.children[name]

    def chmod(self, path: str, mode: int, caller: Caller) -> None:
        node = self.find(path)
        node.mode = stat.S_IFMT(node.mode) | mode
        node.cached = None

    def chown(self, path: str, uid: int, gid: int, caller: Caller) -> None:
        node = self.find(path)
        node.uid = node.uid if uid == -1 else uid
        node.gid = node.gid if gid == -1 else gid
        node.cached = None

    def utimens(self, path: str, atime_ns: int | None, mtime_ns: int | None, caller: Caller) -> None:
        node = self.find(path)
        node.atime_ns = node.atime_ns if atime_ns is None else atime_ns
        node.mtime_ns = node.mtime_ns if mtime_ns is None else mtime_ns
        node.cached = None

    def truncate(self, path: str, size: int, caller: Caller) -> None:
        self.find(path).resize(size)

    def open(self, path: str, flags: int, caller: Caller) -> Handle:
        node = self.find(path)
        if flags & os.O_TRUNC:
            node.resize(0)
        return Open(node, append=bool(flags & os.O_APPEND), gate=self.gate)

    def create(self, path: str, flags: int, mode: int, caller: Caller) -> Handle:
        return Open(self._make(path, stat.S_IFREG | mode, caller), append=False, gate=self.gate)

    def permit(self, path: str, caller: Caller, bits: int) -> None:
        """Let everybody do everything."""

    def getxattr(self, path: str, name: str) -> bytes:
        try:
            return self.find(path).xattrs[name]
        except KeyError:
            raise OSError(errno.ENODATA, name) from None

    def setxattr(self, path: str, name: str, value: bytes, flags: int, caller: Caller) -> None:
        self.find(path).xattrs[name] = value

    def listxattr(self, path: str) -> list[str]:
        return list(self.find(path).xattrs)

    def removexattr(self, path: str, name: str, caller: Caller) -> None:
        if self.find(path).xattrs.pop(name, None) is None:
            raise OSError(errno.ENODATA, name)

    def statfs(self) -> Statfs:
        return Statfs(4096, 4096, 1000, 900, 800, 700, 600, 500, 255)

    def sync(self) -> None:
        self.note("sync")

    def destroy(self) -> None:
        self.note("destroy")


def main(mountpoint: str, options: str = "", journal: str = "", gate: str = "") -> None:
    from llmspellfs.fuse.mount import Mount, hold_signals
    from llmspellfs.fuse.options import parse_options

    hold_signals()
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()  # must not get the signals
    tree: TreeApi = FakeTree(journal or None, gate)
    words = dict(word.split("=") for word in options.split(",") if word)
    mount = Mount(tree, mountpoint, parse_options(words)[0])
    mount.start()
    mount.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
