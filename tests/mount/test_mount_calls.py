"""Single calls and what they answer: one table of those that answer as a local file system does, one of the others."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.live import Mounted, refused

Call = Callable[[Path], object]
LONG = "n" * 256
NOREPLACE, EXCHANGE = 1, 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old: Path, new: Path, flags: int) -> None:
    """Rename with flags, which Python has no call for."""
    _checked(_libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags))


def utimensat(path: Path, *words: int) -> None:
    """Set times as given, unchecked."""
    _checked(_libc.utimensat(_AT_FDCWD, os.fsencode(path), (ctypes.c_long * 4)(*words), 0))


def getxattr(path: Path, name: str, size: int) -> int:
    """Read an attribute into a buffer of *size* bytes."""
    return _checked(_libc.getxattr(os.fsencode(path), name.encode(), ctypes.create_string_buffer(size), size))


def listxattr(path: Path, size: int) -> int:
    """Read the attributes' names into a buffer of *size* bytes."""
    return _checked(_libc.listxattr(os.fsencode(path), ctypes.create_string_buffer(size), size))


def opened(flags: int, use: Callable[[int], object], name: str = "f") -> Call:
    """Return the call that opens *name* with *flags* and does something with the descriptor."""

    def call(root: Path) -> object:
        descriptor = os.open(root / name, flags, 0o644)
        try:
            return use(descriptor)
        finally:
            os.close(descriptor)

    return call


def nothing(descriptor: int) -> None:
    """Use a descriptor for nothing."""


def punch_hole(descriptor: int, size: int) -> None:
    """Take the bytes from the start on out of a file."""
    keep_size, hole = 1, 2
    _checked(_libc.fallocate(descriptor, keep_size | hole, ctypes.c_long(0), ctypes.c_long(size)))


def bind(path: Path) -> None:
    """Make a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_PATH)
        try:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


R, W, RW, C, X, T = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_TRUNC

AS_LOCALLY: list[tuple[int, str, Call]] = [
    (errno.ENOENT, "open none", opened(R, nothing, "none")),
    (errno.ENOENT, "open a dangling symlink", opened(R, nothing, "dangling")),
    (errno.ENOENT, "create in a missing folder", opened(C | W, nothing, "none/x")),
    (errno.ENOENT, "stat none", lambda s: os.stat(s / "none")),
    (errno.ENOENT, "unlink none", lambda s: os.unlink(s / "none")),
    (errno.ENOENT, "rmdir none", lambda s: os.rmdir(s / "none")),
    (errno.ENOENT, "rename none", lambda s: os.rename(s / "none", s / "new")),
    (errno.ENOENT, "rename into a missing folder", lambda s: os.rename(s / "f", s / "none/f")),
    (errno.ENOENT, "mkdir in a missing folder", lambda s: os.mkdir(s / "none/x")),
    (errno.ENOENT, "mkdir with an empty name", lambda s: os.mkdir("")),
    (errno.ENOENT, "symlink to nothing", lambda s: os.symlink("", s / "new")),
    (errno.ENOENT, "truncate none", lambda s: os.truncate(s / "none", 1)),
    (errno.ENOENT, "chmod none", lambda s: os.chmod(s / "none", 0o600)),
    (errno.ENOENT, "utime of a dangling symlink's target", lambda s: os.utime(s / "dangling")),
    (errno.ENOENT, "readlink none", lambda s: os.readlink(s / "none")),
    (errno.ENOENT, "getxattr of none", lambda s: os.getxattr(s / "none", "user.k")),
    (errno.EEXIST, "mkdir over a folder", lambda s: os.mkdir(s / "d")),
    (errno.EEXIST, "mkdir over a file", lambda s: os.mkdir(s / "f")),
    (errno.EEXIST, "mkdir over a dangling symlink", lambda s: os.mkdir(s / "dangling")),
    (errno.EEXIST, "mkdir of the folder itself", lambda s: os.mkdir(f"{s}/d/.")),
    (errno.EEXIST, "symlink over a file", lambda s: os.symlink("x", s / "f")),
    (errno.EEXIST, "symlink over a symlink", lambda s: os.symlink("x", s / "link")),
    (errno.EEXIST, "O_EXCL over a file", opened(C | X | W, nothing)),
    (errno.EEXIST, "O_EXCL over a folder", opened(C | X | W, nothing, "d")),
    (errno.EEXIST, "O_EXCL over a dangling symlink", opened(C | X | W, nothing, "dangling")),
    (errno.EEXIST, "mknod over a file", lambda s: os.mknod(s / "f")),
    (errno.EEXIST, "setxattr that is there, to be created", lambda s: os.setxattr(s / "f", "user.k", b"", 1)),
    (errno.ENOTDIR, "open below a file", opened(R, nothing, "f/x")),
    (errno.ENOTDIR, "create below a file", opened(C | W, nothing, "f/x")),
    (errno.ENOTDIR, "open a file as a folder", opened(os.O_DIRECTORY, nothing)),
    (errno.ENOTDIR, "stat a file with a slash", lambda s: os.stat(f"{s}/f/")),
    (errno.ENOTDIR, "list a file", lambda s: os.listdir(s / "f")),
    (errno.ENOTDIR, "mkdir below a file", lambda s: os.mkdir(s / "f/x")),
    (errno.ENOTDIR, "unlink below a file", lambda s: os.unlink(s / "f/x")),
    (errno.ENOTDIR, "rmdir of a file", lambda s: os.rmdir(s / "f")),
    (errno.ENOTDIR, "rmdir of a symlink to a folder", lambda s: os.rmdir(s / "to-d")),
    (errno.ENOTDIR, "rename a folder over a file", lambda s: os.rename(s / "d", s / "f")),
    (errno.ENOTDIR, "rename a folder over a symlink", lambda s: os.rename(s / "d", s / "to-d")),
    (errno.ENOTDIR, "rename a file to a folder's name", lambda s: os.rename(s / "f", f"{s}/new/")),
    (errno.ENOTDIR, "rename into a file", lambda s: os.rename(s / "g", s / "f/g")),
    (errno.ENOTDIR, "chdir into a file", lambda s: os.chdir(s / "f")),
    (errno.EISDIR, "open a folder for writing", opened(W, nothing, "d")),
    (errno.EISDIR, "create over a folder", opened(C | RW, nothing, "d")),
    (errno.EISDIR, "create a file with a slash", lambda s: os.close(os.open(f"{s}/new/", C | W))),
    (errno.EISDIR, "unlink a folder", lambda s: os.unlink(s / "d")),
    (errno.EISDIR, "rename a file over a folder", lambda s: os.rename(s / "f", s / "d")),
    (errno.EISDIR, "rename a symlink over a folder", lambda s: os.rename(s / "link", s / "d")),
    (errno.EISDIR, "read a folder", opened(R, lambda d: os.read(d, 1), "d")),
    (errno.EISDIR, "truncate a folder", lambda s: os.truncate(s / "d", 0)),
    (errno.ENOTEMPTY, "rmdir of a full folder", lambda s: os.rmdir(s / "full")),
    (errno.ENOTEMPTY, "rmdir of the folder above", lambda s: os.rmdir(f"{s}/full/sub/..")),
    (errno.ENOTEMPTY, "rename over a full folder", lambda s: os.rename(s / "d", s / "full")),
    (errno.ENOTEMPTY, "rename over the folder above", lambda s: os.rename(s / "full/sub", s / "full")),
    (errno.EINVAL, "rename a folder into itself", lambda s: os.rename(s / "d", s / "d/x")),
    (errno.EINVAL, "rename a folder deep into itself", lambda s: os.rename(s / "full", s / "full/sub/x")),
    (errno.EINVAL, "rmdir of a dot", lambda s: os.rmdir(f"{s}/d/.")),
    (errno.EINVAL, "readlink of a file", lambda s: os.readlink(s / "f")),
    (errno.EINVAL, "readlink of a folder", lambda s: os.readlink(s / "d")),
    (errno.EINVAL, "truncate to less than nothing", lambda s: os.truncate(s / "f", -1)),
    (errno.EINVAL, "ftruncate of a reader", opened(R, lambda d: os.ftruncate(d, 1))),
    (errno.EINVAL, "pread before the start", opened(R, lambda d: os.pread(d, 1, -1))),
    (errno.EINVAL, "seek before the start", opened(R, lambda d: os.lseek(d, -1, os.SEEK_SET))),
    (errno.EINVAL, "seek in an unknown way", opened(R, lambda d: os.lseek(d, 0, 99))),
    (errno.EINVAL, "times with too many nanoseconds", lambda s: utimensat(s / "f", 1, 10**9, 1, 0)),
    (errno.EINVAL, "setxattr with unknown flags", lambda s: os.setxattr(s / "f", "user.k", b"", 4)),
    (errno.EINVAL, "exchange and keep at once", lambda s: renameat2(s / "f", s / "g", NOREPLACE | EXCHANGE)),
    (errno.EBUSY, "rename to a dot", lambda s: os.rename(s / "d", f"{s}/full/.")),
    (errno.ENAMETOOLONG, "create a name of 256 bytes", opened(C | W, nothing, LONG)),
    (errno.ENAMETOOLONG, "open a name of 256 bytes", opened(R, nothing, LONG)),
    (errno.ENAMETOOLONG, "stat a name of 256 bytes", lambda s: os.stat(s / LONG)),
    (errno.ENAMETOOLONG, "mkdir a name of 128 letters of two bytes", lambda s: os.mkdir(s / ("é" * 128))),
    (errno.ENAMETOOLONG, "rename to a name of 256 bytes", lambda s: os.rename(s / "f", s / LONG)),
    (errno.ENAMETOOLONG, "rename from a name of 256 bytes", lambda s: os.rename(s / LONG, s / "new")),
    (errno.ENAMETOOLONG, "symlink at a name of 256 bytes", lambda s: os.symlink("x", s / LONG)),
    (errno.ENAMETOOLONG, "unlink a name of 256 bytes", lambda s: os.unlink(s / LONG)),
    (errno.ENAMETOOLONG, "rmdir a name of 256 bytes", lambda s: os.rmdir(s / LONG)),
    (errno.ENAMETOOLONG, "symlink to 4,096 bytes", lambda s: os.symlink("x" * 4096, s / "new")),
    (errno.ENAMETOOLONG, "stat a path of 4,200 bytes", lambda s: os.stat(f"{s}{'/./././.' * 600}/f")),
    (errno.ELOOP, "open a symlink to itself", opened(R, nothing, "loop")),
    (errno.ELOOP, "create over a symlink to itself", opened(C | W, nothing, "loop")),
    (errno.ELOOP, "stat below a symlink to itself", lambda s: os.stat(s / "loop/x")),
    (errno.ELOOP, "open a symlink itself", opened(R | os.O_NOFOLLOW, nothing, "link")),
    (errno.EPERM, "setxattr of a symlink", lambda s: os.setxattr(s / "link", "user.k", b"", follow_symlinks=False)),
    (errno.EPERM, "hard link to a folder", lambda s: os.link(s / "d", s / "new")),
    (errno.EBADF, "write to a reader", opened(R, lambda d: os.write(d, b"x"))),
    (errno.EBADF, "read from a writer", opened(W, lambda d: os.read(d, 1))),
    (errno.EBADF, "write to a folder", opened(R, lambda d: os.write(d, b"x"), "d")),
    (errno.EBADF, "fchmod of a place", opened(os.O_PATH, lambda d: os.fchmod(d, 0o600))),
    (errno.EACCES, "map a reader for writing", opened(R, lambda d: mmap.mmap(d, 1))),
    (errno.EACCES, "map a writer", opened(W, lambda d: mmap.mmap(d, 1))),
    (errno.EACCES, "run what is not executable", lambda s: subprocess.run([s / "f"], check=False)),
    (errno.EACCES, "run a folder", lambda s: subprocess.run([s / "d"], check=False)),
    (errno.ENODATA, "getxattr that is not there", lambda s: os.getxattr(s / "f", "user.none")),
    (errno.ENODATA, "removexattr that is not there", lambda s: os.removexattr(s / "f", "user.none")),
    (errno.ENODATA, "setxattr that is not there, to be replaced", lambda s: os.setxattr(s / "f", "user.none", b"", 2)),
    (errno.ENODATA, "getxattr of the kernel's own", lambda s: os.getxattr(s / "f", "security.capability")),
    (errno.ERANGE, "getxattr into too little", lambda s: getxattr(s / "f", "user.k", 2)),
    (errno.ERANGE, "listxattr into too little", lambda s: listxattr(s / "f", 3)),
    (errno.ERANGE, "setxattr with a name of 256 bytes", lambda s: os.setxattr(s / "f", f"user.{'k' * 251}", b"")),
    (errno.E2BIG, "setxattr of more than 64 KiB", lambda s: os.setxattr(s / "f", "user.k", bytes(65_537))),
    (errno.EOPNOTSUPP, "setxattr outside of every namespace", lambda s: os.setxattr(s / "f", "plain", b"")),
    (errno.ENXIO, "seek data behind the end", opened(R, lambda d: os.lseek(d, 100, os.SEEK_DATA))),
    (errno.EXDEV, "rename from elsewhere", lambda s: os.rename("/proc/self/status", s / "new")),
]  # fmt: skip
"""Every one of these is tried on a local folder too, which must give the same errno."""

UNLIKE_LOCALLY: list[tuple[int, str, Call]] = [
    (errno.EPERM, "hard link", lambda s: os.link(s / "f", s / "new")),
    (errno.EFBIG, "ftruncate to 4 EiB", opened(W, lambda d: os.ftruncate(d, 1 << 62))),
    (errno.EFBIG, "write at 4 EiB", opened(W, lambda d: os.pwrite(d, b"x", 1 << 62))),
    (errno.EPERM, "mkfifo", lambda s: os.mkfifo(s / "new")),
    (errno.EPERM, "mknod of a character device", lambda s: os.mknod(s / "new", 0o600 | stat.S_IFCHR, os.makedev(1, 3))),
    (errno.EPERM, "mknod of a block device", lambda s: os.mknod(s / "new", 0o600 | stat.S_IFBLK, os.makedev(7, 0))),
    (errno.EPERM, "bind a socket", lambda s: bind(s / "new")),
    (errno.EILSEQ, "create a name that is no text", lambda s: os.close(os.open(os.fsencode(s) + b"/\xff", C | W))),
    (errno.EILSEQ, "stat a name that is no text", lambda s: os.stat(os.fsencode(s) + b"/\xff")),
    (errno.EILSEQ, "mkdir a name that is no text", lambda s: os.mkdir(os.fsencode(s) + b"/\xed\xa0\x80")),
    (errno.EILSEQ, "rename to a name that is no text", lambda s: os.rename(s / "f", os.fsencode(s) + b"/\xff")),
    (errno.EILSEQ, "symlink to what is no text", lambda s: os.symlink(b"\xff", os.fsencode(s / "new"))),
    (errno.EINVAL, "rename that replaces nothing", lambda s: renameat2(s / "f", s / "new", NOREPLACE)),
    (errno.EINVAL, "exchange two files", lambda s: renameat2(s / "f", s / "g", EXCHANGE)),
    (errno.EOPNOTSUPP, "file without a name", opened(os.O_TMPFILE | RW, nothing, "d")),
    (errno.EOPNOTSUPP, "punch a hole", opened(RW, lambda d: punch_hole(d, 4))),
    (errno.EOPNOTSUPP, "setxattr of the kernel's own", lambda s: os.setxattr(s / "f", "security.x", b"")),
    (errno.EOPNOTSUPP, "setxattr of an administrator's", lambda s: os.setxattr(s / "f", "trusted.x", b"")),
    (errno.EEXIST, "make the control folder", lambda s: os.mkdir(s / ".session")),
    (errno.EROFS, "remove the control folder", lambda s: os.rmdir(s / ".session")),
    (errno.EROFS, "move the control folder", lambda s: os.rename(s / ".session", s / "new")),
    (errno.EPERM, "set an attribute that is a fact", lambda s: os.setxattr(s / "f", "user.llmspell.hash", b"x")),
]  # fmt: skip
"""What a local file system has and this one has not, or has and a local one has not."""


def furnish(root: Path) -> None:
    """Make what the calls are tried on."""
    (root / "f").write_text("text")
    (root / "g").write_text("other")
    os.setxattr(root / "f", "user.k", b"value")
    (root / "d").mkdir()
    (root / "full/sub").mkdir(parents=True)
    for name, target in (("link", "f"), ("to-d", "d"), ("loop", "loop"), ("dangling", "none")):
        (root / name).symlink_to(target)


def shown(root: Path) -> list[tuple[str, int, int]]:
    """Return the names, kinds and sizes below *root*."""
    return sorted(
        (str(path.relative_to(root)), path.lstat().st_mode, 0 if path.is_dir() else path.lstat().st_size)
        for path in root.rglob("*")
    )


@pytest.fixture(scope="module")
def furnished(shared: Mounted) -> Path:
    """A session with something of everything; no call changes it."""
    session = shared.session("furnished")
    furnish(session)
    return session


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder with the same."""
    folder = tmp_path_factory.mktemp("local")
    try:
        furnish(folder)
    except OSError:
        pytest.skip("the local file system has no extended attributes to compare with")
    return folder


@pytest.mark.parametrize(("code", "what", "call"), AS_LOCALLY, ids=[what for _, what, _ in AS_LOCALLY])
def test_a_call_is_refused_as_locally(
    live: Mounted, furnished: Path, local: Path, code: int, what: str, call: Call
) -> None:
    for root in (local, furnished):
        before = shown(root)
        with refused(code, what=f"{what} in {root}"):
            call(root)
        assert shown(root) == before


@pytest.mark.parametrize(("code", "what", "call"), UNLIKE_LOCALLY, ids=[what for _, what, _ in UNLIKE_LOCALLY])
def test_a_call_is_refused_here(live: Mounted, furnished: Path, code: int, what: str, call: Call) -> None:
    before = shown(furnished)
    with refused(code, what=what):
        call(furnished)
    assert shown(furnished) == before


def test_paths_reach_as_far_as_anybody_can_walk(live: Mounted, s: Path) -> None:
    names = [f"{level}{'x' * 253}" for level in range(10, 30)]
    here = os.open(s, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open("deep", C | W, dir_fd=here), "w") as file:
        file.write("bytes")
    assert os.stat("deep", dir_fd=here).st_size == 5
    os.rename("deep", "deeper", src_dir_fd=here, dst_dir_fd=here)
    os.close(here)
    with live.open() as door:
        assert [a.name for a in door.artifacts.list(s.name)] == ["/".join([*names, "deeper"])]
    live.shell(f"rm -r {names[0]}", s)
    assert os.listdir(s) == []


def test_the_longest_path_of_one_call(live: Mounted, s: Path) -> None:
    room = 4095 - len(os.fsencode(s))
    longest = s / "/".join(["y" * 200] * ((room - 2) // 201))  # which leaves a slash and 1 to 201 letters
    longest.mkdir(parents=True)
    last = longest / ("z" * (4094 - len(os.fsencode(longest))))
    last.write_text("x")
    assert len(os.fsencode(last)) == 4095
    assert last.read_text() == "x"
    with refused(errno.ENAMETOOLONG):
        os.stat(f"{last}z")


def test_locks_hold_between_descriptors(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    with open(s / "f", "r+") as one, open(s / "f", "r+") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        with refused(errno.EWOULDBLOCK):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(one, fcntl.LOCK_EX, 1)
        locked = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1)"
        assert b"BlockingIOError" in subprocess.run(["python3", "-c", locked, s / "f"], capture_output=True).stderr  # noqa: PLW1510
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_space_is_made_and_bytes_are_copied_without_a_buffer(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"0123456789")
    with open(s / "f", "rb") as source, open(s / "g", "wb") as target:
        assert os.copy_file_range(source.fileno(), target.fileno(), 6, 2) == 6
        assert os.sendfile(target.fileno(), source.fileno(), 0, 2) == 2
        os.posix_fallocate(target.fileno(), 0, 12)
        assert os.lseek(source.fileno(), 3, os.SEEK_DATA) == 3
        assert os.lseek(source.fileno(), 3, os.SEEK_HOLE) == 10
    assert (s / "g").read_bytes() == b"23456701\0\0\0\0"


def test_a_program_that_runs_is_not_written(live: Mounted, s: Path) -> None:
    live.shell("cp $(command -v sleep) program", s)
    with subprocess.Popen([s / "program", "600"]) as running:
        try:
            with refused(errno.ETXTBSY):
                os.open(s / "program", W)
        finally:
            running.kill()
    os.close(os.open(s / "program", W))
