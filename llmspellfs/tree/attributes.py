"""What stat shows of each kind of node, and what chmod, chown and utimens make of it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from llmspellfs.model.artifact import Attributes, Dirent, Entry, Kind
from llmspellfs.tree.api import Attr

Times = TypeVar("Times", Attr, Attributes)
_MAX_NS = (1 << 63) - 1
_TYPES = {Kind.FILE: stat.S_IFREG, Kind.FOLDER: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}


def file_attr(ino: int, a: Attributes, size: int, stored_size: int, nlink: int = 1) -> Attr:
    """Return the attributes of a file of *size* bytes that takes *stored_size*."""
    return _attr(stat.S_IFREG | a.mode, ino, a, size, stored_size, nlink)


def folder_attr(ino: int, a: Attributes, subfolders: int) -> Attr:
    """Return the attributes of a folder with *subfolders* in it; each links to it, as do its name and its own dot."""
    return _attr(stat.S_IFDIR | a.mode, ino, a, 0, 0, 2 + subfolders)


def entry_attr(entry: Entry) -> Attr:
    """Return the attributes of the live row *entry*."""
    if entry.file is not None:
        return file_attr(entry.ino, entry.attributes, entry.file.size, entry.file.stored_size)
    if entry.kind is Kind.FOLDER:
        return folder_attr(entry.ino, entry.attributes, entry.subfolders)
    return _attr(stat.S_IFLNK | 0o777, entry.ino, entry.attributes, len((entry.target or "").encode()), 0)


def dirent_attr(dirent: Dirent) -> Attr:
    """Return the attributes of a listed entry."""
    if dirent.kind is Kind.FOLDER:
        return folder_attr(dirent.ino, dirent.attributes, dirent.subfolders)
    mode, size = 0o777 if dirent.kind is Kind.SYMLINK else dirent.attributes.mode, dirent.size
    return _attr(_TYPES[dirent.kind] | mode, dirent.ino, dirent.attributes, size, dirent.stored_size)


def fixed_attr(mode: int, ino: int, uid: int, gid: int, size: int, at_ns: int, nlink: int = 1) -> Attr:
    """Return the attributes of a node that the mount itself provides; *mode* has the type's bits.

    A folder with an *nlink* of 1 does not count its subfolders, which programs know to mean that there may be any.
    """
    return Attr(mode, ino, nlink, uid, gid, size, -(-size // 512), at_ns, at_ns, at_ns)


def _attr(mode: int, ino: int, a: Attributes, size: int, stored_size: int, nlink: int = 1) -> Attr:
    atime = a.mtime_ns if a.atime_ns is None else a.atime_ns
    return Attr(mode, ino, nlink, a.uid, a.gid, size, -(-stored_size // 512), atime, a.mtime_ns, a.ctime_ns)


def with_listing_changed(shown: Times, at_ns: int) -> Times:
    """Return what is *shown* of a folder whose listing changed at *at_ns*, unless it has changed otherwise since."""
    return shown if at_ns <= shown.ctime_ns else replace(shown, mtime_ns=at_ns, ctime_ns=at_ns)


Change = Callable[[Attributes, int], Attributes]


def change_mode(mode: int) -> Change:
    """Return the change that chmod makes."""
    return lambda old, now_ns: replace(old, mode=mode, ctime_ns=now_ns)


def change_owner(uid: int, gid: int, *, drop_bits: bool) -> Change:
    """Return the change that chown makes; -1 leaves one as it is, *drop_bits* clears setuid and setgid."""

    def change(old: Attributes, now_ns: int) -> Attributes:
        mode = without_privileges(old.mode) if drop_bits else old.mode
        new_uid, new_gid = old.uid if uid == -1 else uid, old.gid if gid == -1 else gid
        return replace(old, mode=mode, uid=new_uid, gid=new_gid, ctime_ns=now_ns)

    return change


def drop_privileges(old: Attributes, now_ns: int) -> Attributes:
    """Return what a write by somebody who is not root makes of *old*."""
    return replace(old, mode=without_privileges(old.mode), ctime_ns=now_ns)


def without_privileges(mode: int) -> int:
    """Return *mode* without setuid, and without setgid where it is a program's."""
    return mode & ~stat.S_ISUID & ~(stat.S_ISGID if mode & stat.S_IXGRP else 0)


def change_times(atime_ns: int | None, mtime_ns: int | None) -> Change:
    """Return the change that utimens makes; None leaves one as it is."""

    def change(old: Attributes, now_ns: int) -> Attributes:
        kept = old.mtime_ns if old.atime_ns is None else old.atime_ns
        atime = kept if atime_ns is None else _bounded(atime_ns)
        mtime = old.mtime_ns if mtime_ns is None else _bounded(mtime_ns)
        return replace(old, atime_ns=atime, mtime_ns=mtime, ctime_ns=now_ns)

    return change


def _bounded(moment_ns: int) -> int:
    """Return *moment_ns* within what the store can hold, the years 1677 to 2262."""
    return max(-_MAX_NS, min(moment_ns, _MAX_NS))
