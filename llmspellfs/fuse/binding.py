"""libfuse's callbacks over a tree: each translates one call, and nothing else.

A lean subclass of fusepy's `FUSE`: its structures and its library handle, none of its dispatch. Callbacks get
addresses as plain integers. They run in the pool's threads, many at a time; what is kept here is two
dictionaries, from numbers to the tree's handles and to listings, whose single operations are atomic. No
callback raises.

With `flag_nopath`, libfuse locks no paths for operations on open files and gives them none, so that a slow
close does not hold up a rename. `hard_remove` stays off: libfuse then renames an open file that is unlinked
or replaced to `.fuse_hidden…` in its folder; the request that the kernel sent tells such a rename from one
that is wanted.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
import struct
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import fuse

from llmspellfs.errors import NameNotText, NotFound, NotSupported
from llmspellfs.fuse.errno import errno_of
from llmspellfs.fuse.layout import caller_of, owner_id, put_stat, put_statfs, put_text, stat_bytes, times_at
from llmspellfs.fuse.pool import answer_with_folder, current_request, replacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.tree.api import Attr, Caller, Handle, TreeApi

P = ParamSpec("P")

_PERMISSIONS = 0o7777
_READ, _WRITE = 0x100, 0x200  # PyBUF_READ, PyBUF_WRITE
_MAY_READ = 4
_MAY = {os.O_RDONLY: 4, os.O_WRONLY: 2, os.O_RDWR: 6}
"""The permissions that the ways to open a file need."""
_UNLINK, _RENAME = 10, 12  # opcodes of the FUSE protocol
_RENAME_NAMES = 48  # bytes: the header's 40, then the new folder's node id, then both names, each with its NUL
_HIDDEN = b"/.fuse_hidden"
_KERNELS_OWN = {b"security.": errno.ENODATA, b"system.": errno.EOPNOTSUPP}
"""Extended attributes the kernel asks for before every write; the tree has none of them."""

_view_of = ctypes.pythonapi.PyMemoryView_FromMemory
_view_of.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
_view_of.restype = ctypes.py_object
_context = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("fuse_get_context", fuse._libfuse))  # noqa: SLF001 - see pool
_Filler = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_longlong)
"""Keeps the GIL: it copies one name into libfuse's buffer and never waits."""

_NAME, _ADDRESS = ctypes.c_char_p, ctypes.c_void_p
_SIZE, _OFFSET, _MODE = ctypes.c_size_t, ctypes.c_longlong, ctypes.c_uint
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "getattr": (_NAME, _ADDRESS),
    "readlink": (_NAME, _ADDRESS, _SIZE),
    "mknod": (_NAME, _MODE, ctypes.c_ulonglong),
    "mkdir": (_NAME, _MODE),
    "unlink": (_NAME,),
    "rmdir": (_NAME,),
    "symlink": (_NAME, _NAME),
    "rename": (_NAME, _NAME),
    "link": (_NAME, _NAME),
    "chmod": (_NAME, _MODE),
    "chown": (_NAME, ctypes.c_uint, ctypes.c_uint),
    "truncate": (_NAME, _OFFSET),
    "open": (_NAME, _ADDRESS),
    "read": (_ADDRESS, _ADDRESS, _SIZE, _OFFSET, _ADDRESS),
    "write": (_ADDRESS, _ADDRESS, _SIZE, _OFFSET, _ADDRESS),
    "statfs": (_ADDRESS, _ADDRESS),
    "flush": (_ADDRESS, _ADDRESS),
    "release": (_ADDRESS, _ADDRESS),
    "fsync": (_ADDRESS, ctypes.c_int, _ADDRESS),
    "setxattr": (_NAME, _NAME, _ADDRESS, _SIZE, ctypes.c_int),
    "getxattr": (_NAME, _NAME, _ADDRESS, _SIZE),
    "listxattr": (_NAME, _ADDRESS, _SIZE),
    "removexattr": (_NAME, _NAME),
    "opendir": (_NAME, _ADDRESS),
    "readdir": (_ADDRESS, _ADDRESS, _ADDRESS, _OFFSET, _ADDRESS),
    "releasedir": (_ADDRESS, _ADDRESS),
    "fsyncdir": (_ADDRESS, ctypes.c_int, _ADDRESS),
    "create": (_NAME, _MODE, _ADDRESS),
    "ftruncate": (_ADDRESS, _OFFSET, _ADDRESS),
    "fgetattr": (_ADDRESS, _ADDRESS, _ADDRESS),
    "utimens": (_NAME, _ADDRESS),
}


def errnos(
    method: Callable[Concatenate[Binding, P], int | None],
) -> Callable[Concatenate[Binding, P], int]:
    """Make *method* a callback: what it raises becomes a negative errno, None becomes 0."""
    name = method.__name__

    @wraps(method)
    def callback(self: Binding, /, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return method(self, *args, **kwargs) or 0
        except Exception as error:  # noqa: BLE001 - an exception must not reach libfuse
            return -errno_of(error, name)

    return callback


def text_of(name: bytes) -> str:
    """Return *name* as text; raise NameNotText where it is not UTF-8."""
    try:
        return str(name, "utf-8")
    except UnicodeDecodeError:
        raise NameNotText(os.fsdecode(name), "not UTF-8") from None


def caller() -> Caller:
    """Return who made the request that this thread is serving."""
    context = fuse.fuse_context.from_address(_context())
    return caller_of(context.uid, context.gid, context.pid)


def hidden_by(request: memoryview, new: bytes) -> int | None:
    """Return the opcode of the *request* that made libfuse hide an open file at *new*, None if none did."""
    length, opcode = struct.unpack_from("=II", request) if len(request) >= _RENAME_NAMES else (0, 0)
    if opcode == _RENAME:
        _, _, rest = bytes(request[_RENAME_NAMES:length]).partition(b"\0")
        return None if new.rpartition(b"/")[2] == rest.partition(b"\0")[0] else _RENAME
    return _UNLINK if opcode == _UNLINK else None


class Binding(fuse.FUSE):  # type: ignore[misc]  # fusepy has no types
    """The callbacks of one mount; `operations` is what libfuse is given, and must live as long."""

    def __init__(self, tree: TreeApi) -> None:
        """Translate for *tree*."""
        self.tree = tree
        self.handles: dict[int, Handle] = {}
        self._folders: dict[int, tuple[str, list[tuple[str, Attr]] | None]] = {}
        self._numbers = itertools.count(1)
        self._callbacks = {
            name: ctypes.CFUNCTYPE(ctypes.c_int, *types)(getattr(self, name)) for name, types in _ARGUMENTS.items()
        }
        self.operations = self._table()

    def _table(self) -> Any:
        table = fuse.fuse_operations(flag_nullpath_ok=1, flag_nopath=1, flag_utime_omit_ok=1)
        kinds = {field[0]: field[1] for field in fuse.fuse_operations._fields_}
        for name, callback in self._callbacks.items():
            setattr(table, name, ctypes.cast(callback, kinds[name]))
        return table

    # names and attributes

    @errnos
    def getattr(self, path: bytes, buffer: int) -> None:
        put_stat(self.tree.attr(text_of(path)), buffer)

    @errnos
    def fgetattr(self, _path: int, buffer: int, info: int) -> None:
        put_stat(self._handle(info).attr(), buffer)

    @errnos
    def readlink(self, path: bytes, buffer: int, size: int) -> None:
        self.tree.permit(text_of(path), caller(), 0)
        put_text(self.tree.readlink(text_of(path)).encode(), buffer, size)

    @errnos
    def mkdir(self, path: bytes, mode: int) -> None:
        name = text_of(path)
        self.tree.mkdir(name, mode & _PERMISSIONS, caller())
        if not stat.S_ISDIR(self.tree.attr(name).mode):
            answer_with_folder()

    @errnos
    def mknod(self, path: bytes, mode: int, _device: int) -> None:
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            raise NotSupported("devices, sockets and FIFOs do not exist here")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        self.tree.create(text_of(path), flags, mode & _PERMISSIONS, caller()).release()

    @errnos
    def link(self, _target: bytes, _path: bytes) -> None:
        raise NotSupported("hard links do not exist here")

    @errnos
    def symlink(self, target: bytes, path: bytes) -> None:
        self.tree.symlink(text_of(path), text_of(target), caller())

    @errnos
    def unlink(self, path: bytes) -> None:
        self.tree.unlink(text_of(path), caller())

    @errnos
    def rmdir(self, path: bytes) -> None:
        self.tree.rmdir(text_of(path), caller())

    @errnos
    def rename(self, old: bytes, new: bytes) -> None:
        cause = hidden_by(current_request(), new) if _HIDDEN in new else None
        with replacing():
            if cause is None:
                self.tree.rename(text_of(old), text_of(new), caller())
            else:
                self.tree.hide(text_of(old), text_of(new), replaced=cause == _RENAME)

    @errnos
    def chmod(self, path: bytes, mode: int) -> None:
        self.tree.chmod(text_of(path), mode & _PERMISSIONS, caller())

    @errnos
    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self.tree.chown(text_of(path), owner_id(uid), owner_id(gid), caller())

    @errnos
    def utimens(self, path: bytes, times: int | None) -> None:
        self.tree.utimens(text_of(path), *times_at(times), caller())

    @errnos
    def statfs(self, _path: int, buffer: int) -> None:
        put_statfs(self.tree.statfs(), buffer)

    # files

    def _handle(self, info: int) -> Handle:
        return self.handles[fuse.fuse_file_info.from_address(info).fh]

    def _admit(self, handle: Handle, info: Any) -> None:
        info.fh = number = next(self._numbers)
        info.direct_io, info.keep_cache = handle.direct_io, handle.keep_cache
        self.handles[number] = handle

    @errnos
    def open(self, path: bytes, info: int) -> None:
        fields = fuse.fuse_file_info.from_address(info)
        try:
            self.tree.permit(text_of(path), caller(), _MAY.get(fields.flags & os.O_ACCMODE, 0))
            handle = self.tree.open(text_of(path), fields.flags, caller())
        except NotFound:  # a moment ago it was there: what this errno makes the kernel do is to look again
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None
        self._admit(handle, fields)

    @errnos
    def create(self, path: bytes, mode: int, info: int) -> None:
        fields = fuse.fuse_file_info.from_address(info)
        self._admit(self.tree.create(text_of(path), fields.flags, mode & _PERMISSIONS, caller()), fields)

    @errnos
    def read(self, _path: int, buffer: int, size: int, offset: int, info: int) -> int:
        with _view_of(buffer, size, _WRITE) as view:
            return self._handle(info).read_into(view, offset)

    @errnos
    def write(self, _path: int, buffer: int, size: int, offset: int, info: int) -> int:
        with _view_of(buffer, size, _READ) as view:
            return self._handle(info).write(view, offset)

    @errnos
    def truncate(self, path: bytes, size: int) -> None:
        self.tree.truncate(text_of(path), size, caller())

    @errnos
    def ftruncate(self, _path: int, size: int, info: int) -> None:
        self._handle(info).truncate(size)

    @errnos
    def flush(self, _path: int, info: int) -> None:
        self._handle(info).flush()

    @errnos
    def fsync(self, _path: int, datasync: int, info: int) -> None:
        self._handle(info).fsync(bool(datasync))

    @errnos
    def release(self, _path: int, info: int) -> None:
        self.handles.pop(fuse.fuse_file_info.from_address(info).fh).release()

    # folders: listed when opened, so that a rename right after it does no harm; listed again when rewound

    @errnos
    def opendir(self, path: bytes, info: int) -> None:
        name = text_of(path)
        self.tree.permit(name, caller(), _MAY_READ)
        entries = list(self.tree.listdir(name))
        fuse.fuse_file_info.from_address(info).fh = number = next(self._numbers)
        self._folders[number] = name, entries

    @errnos
    def readdir(self, _path: int, buffer: int, filler: int, _offset: int, info: int) -> None:
        number = fuse.fuse_file_info.from_address(info).fh
        name, entries = self._folders[number]
        if entries is None:
            entries = list(self.tree.listdir(name))
        self._folders[number] = name, None
        fill = _Filler(filler)
        for dots in (b".", b".."):
            fill(buffer, dots, None, 0)
        for entry, attr in entries:
            fill(buffer, entry.encode(), stat_bytes(attr), 0)

    @errnos
    def releasedir(self, _path: int, info: int) -> None:
        del self._folders[fuse.fuse_file_info.from_address(info).fh]

    @errnos
    def fsyncdir(self, _path: int, _datasync: int, _info: int) -> None:
        self.tree.sync()

    # extended attributes

    @errnos
    def getxattr(self, path: bytes, name: bytes, buffer: int | None, size: int) -> int:
        for prefix, code in _KERNELS_OWN.items():
            if name.startswith(prefix):
                return -code
        self.tree.permit(text_of(path), caller(), _MAY_READ)
        return _sized(self.tree.getxattr(text_of(path), text_of(name)), buffer, size)

    @errnos
    def listxattr(self, path: bytes, buffer: int | None, size: int) -> int:
        self.tree.permit(text_of(path), caller(), 0)
        names = self.tree.listxattr(text_of(path))
        return _sized(b"".join(name.encode() + b"\0" for name in names), buffer, size)

    @errnos
    def setxattr(self, path: bytes, name: bytes, buffer: int, size: int, flags: int) -> None:
        _refuse_kernels_own(name)
        value = ctypes.string_at(buffer, size) if size else b""
        self.tree.setxattr(text_of(path), text_of(name), value, flags, caller())

    @errnos
    def removexattr(self, path: bytes, name: bytes) -> None:
        _refuse_kernels_own(name)
        self.tree.removexattr(text_of(path), text_of(name), caller())


def _refuse_kernels_own(name: bytes) -> None:
    if name.startswith(tuple(_KERNELS_OWN)):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _sized(value: bytes, buffer: int | None, size: int) -> int:
    """Write *value* to the *size* bytes at *buffer*, if asked to; return its length, or -ERANGE."""
    if not size or not buffer:
        return len(value)
    if len(value) > size:
        return -errno.ERANGE
    ctypes.memmove(buffer, value, len(value))
    return len(value)
