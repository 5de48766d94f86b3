"""What works as on a local file system, and what is refused with which errno."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from tests.mount.live import Calls, Mounted, attribute, events, refused, stored, version, wait_for


def test_append_from_many_threads_loses_nothing(live: Mounted, s: Path) -> None:
    def append(letter: bytes) -> None:
        for _ in range(20):
            descriptor = os.open(s / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.write(descriptor, letter * 10 + b"\n")
            os.close(descriptor)

    threads = [threading.Thread(target=append, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (s / "log").read_bytes().splitlines()
    assert sorted(set(lines)) == [b"a" * 10, b"b" * 10, b"c" * 10]
    assert len(lines) == 60


def test_exclusive_creation(live: Mounted, s: Path) -> None:
    with open(s / "f", "x") as file, refused(errno.EEXIST):
        file.write("x")
        open(s / "f", "x")  # noqa: SIM115
    with refused(errno.EEXIST):
        open(s / "f", "x")  # noqa: SIM115
    with refused(errno.EEXIST):
        (s / "f").mkdir()


def test_truncate_by_path_and_by_descriptor(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"0123456789")
    os.truncate(s / "f", 4)
    assert (s / "f").read_bytes() == b"0123"
    os.truncate(s / "f", 6)
    assert (s / "f").read_bytes() == b"0123\0\0"
    with live.open() as door:
        assert door.artifacts.read(door.artifacts.get(s.name, "f")) == b"0123\0\0"
    wait_for(lambda: len(stored(s, "f")) == 3)
    assert version(s / "f") == 3


def test_modes_owners_and_times(live: Mounted, s: Path) -> None:
    old = os.umask(0o027)
    try:
        (s / "f").write_text("x")
        (s / "d").mkdir()
    finally:
        os.umask(old)
    assert (stat.S_IMODE((s / "f").stat().st_mode), stat.S_IMODE((s / "d").stat().st_mode)) == (0o640, 0o750)
    seen = len(events(s)) if stored(s, "f") else 0
    for path in (s / "f", s / "d", s):
        path.chmod(0o711)
        os.chown(path, 11, 22)
        os.utime(path, ns=(1_500_000_000, 2_500_000_007))
        got = path.stat()
        assert (stat.S_IMODE(got.st_mode), got.st_uid, got.st_gid) == (0o711, 11, 22)
        assert (got.st_atime_ns, got.st_mtime_ns) == (1_500_000_000, 2_500_000_007)
        assert got.st_ctime_ns > 1_700_000_000_000_000_000
    assert len(events(s)) == seen, "attributes are not part of history"
    os.utime(s / "f")
    assert abs((s / "f").stat().st_mtime - (s / ".session").stat().st_ctime) < 3600


def test_attributes_survive_a_remount_and_are_kept_by_writes(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    (s / "f").write_text("x")
    (s / "f").chmod(0o4751)
    os.chown(s / "f", 5, 6)
    (s / "f").chmod(0o751)
    os.utime(s / "f", ns=(1, 2_000_000_000))
    own.umount()
    own.mount()
    got = (s / "f").stat()
    assert (stat.S_IMODE(got.st_mode), got.st_uid, got.st_gid, got.st_mtime_ns) == (0o751, 5, 6, 2_000_000_000)
    (s / "f").write_text("xy")
    got = (s / "f").stat()
    assert (stat.S_IMODE(got.st_mode), got.st_uid, got.st_gid) == (0o751, 5, 6)
    assert got.st_mtime_ns > 2_000_000_000


def test_chmod_and_utime_while_open_last(live: Mounted, s: Path) -> None:
    with open(s / "f", "wb") as file:
        os.fchmod(file.fileno(), 0o604)
        file.write(b"x")
        file.flush()
        os.utime(s / "f", ns=(3, 4_000_000_000))
    got = (s / "f").stat()
    assert (stat.S_IMODE(got.st_mode), got.st_mtime_ns) == (0o604, 4_000_000_000)


def test_a_setgid_folder_hands_its_group_down(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    os.chown(s / "d", 0, 77)
    (s / "d").chmod(0o2775)
    (s / "d/e").mkdir()
    (s / "d/f").write_text("x")
    assert [(s / "d" / name).stat().st_gid for name in "ef"] == [77, 77]
    assert (s / "d/e").stat().st_mode & stat.S_ISGID


def test_symlinks(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    (s / "link").symlink_to("f")
    (s / "dangling").symlink_to("../no/where")
    assert (s / "link").read_text() == "x"
    assert os.readlink(s / "dangling") == "../no/where"
    assert (s / "dangling").lstat().st_size == len("../no/where")
    assert not (s / "dangling").exists()
    os.rename(s / "link", s / "moved")
    (s / "moved").unlink()
    assert [e["kind"] for e in events(s) if "symlink" in e["kind"]] == [
        "symlink.created", "symlink.created", "symlink.renamed", "symlink.deleted",
    ]  # fmt: skip
    with refused(errno.EEXIST):
        (s / "f").symlink_to("x")
    with refused(errno.EINVAL):
        os.readlink(s / "f")


def test_folders_persist_empty_and_are_artifacts_names(live: Mounted, s: Path) -> None:
    (s / "a/b").mkdir(parents=True)
    (s / "a/b/c.csv").write_text("1,2\n")
    assert live.command("artifact", "cat", f"{s.name}:a/b/c.csv").stdout == "1,2\n"
    with refused(errno.ENOTEMPTY):
        (s / "a").rmdir()
    os.rename(s / "a", s / "z")
    assert live.command("artifact", "cat", f"{s.name}:z/b/c.csv").stdout == "1,2\n"
    with refused(errno.EINVAL):
        os.rename(s / "z", s / "z/b/z")
    (s / "empty").mkdir()
    with refused(errno.ENOTEMPTY):
        os.rename(s / "empty", s / "z")
    os.rename(s / "z", s / "empty")
    assert os.listdir(s / "empty/b") == ["c.csv"]
    (s / "file").touch()
    with refused(errno.ENOTDIR):
        os.rename(s / "empty", s / "file")
    with refused(errno.EISDIR):
        os.rename(s / "file", s / "empty")
    with refused(errno.ENOTDIR):
        (s / "file/x").touch()
    with refused(errno.ENOTDIR):
        (s / "file").rmdir()
    with refused(errno.EISDIR):
        (s / "empty").unlink()
    with refused(errno.EISDIR):
        open(s / "empty", "w")  # noqa: SIM115


def test_renames_within_and_across_sessions(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    (s / "f").write_text("x")
    (s / "d").mkdir()
    (s / "d/g").write_text("y")
    live.shell(f"mv f d/f2 && mv d/f2 ../{other.name}/moved && mv d ../{other.name}/", s)
    assert sorted(os.listdir(other)) == ["d", "moved"]
    assert (other / "d/g").read_text() == "y"
    assert os.listdir(s) == []
    assert [e["kind"] for e in events(s)][-3:] == ["artifact.moved_out", "folder.moved_out", "artifact.moved_out"]
    assert [e["kind"] for e in events(other)][-3:] == ["artifact.moved_in", "folder.moved_in", "artifact.moved_in"]
    (other / ".session/status").write_text("completed")
    (s / "h").write_text("z")
    for old, new in ((s / "h", other / "h"), (other / "moved", s / "moved")):
        with refused(errno.EROFS):
            os.rename(old, new)
    os.rename(s / "h", s / "h")
    assert (s / "h").read_text() == "z"


def test_copied_trees_compare_equal(live: Mounted, s: Path) -> None:
    import json as package

    source = Path(package.__file__).parent
    live.shell(
        f"cp -r {source} copy && diff -r {source} copy && grep -rl JSONDecoder copy && find copy -name '*.py'", s
    )
    live.shell(f"tar cf - copy | tar xf - -C {s} --transform s/copy/untarred/ && diff -r copy untarred", s)
    live.shell("rsync -aX copy/ synced/ && diff -r copy synced && rsync -aXni copy/ synced/ | wc -l | grep -qx 0", s)
    live.shell("git init -q repo && cd repo && cp ../copy/*.py . && git add . && git -c user.name=t -c user.email=t@t "
               "commit -qm all && git status --short | wc -l | grep -qx 0 && git fsck --strict", s)  # fmt: skip


def test_statfs_and_blocks_are_real(live: Mounted, s: Path) -> None:
    got, disk = os.statvfs(s), os.statvfs(live.store)
    assert abs(got.f_blocks * got.f_frsize - disk.f_blocks * disk.f_frsize) < 1 << 20
    assert got.f_namemax == 255
    (s / "zeros").write_bytes(bytes(1 << 20))
    assert (s / "zeros").stat().st_blocks * 512 < 100_000
    assert (s / "zeros").stat().st_size == 1 << 20


NAMES = [
    "with space",
    "new\nline",
    "quo'te\"d",
    "ünïcode-名",
    "-dash",
    "back\\slash",
    "a" * 255,
    "%2F",
    "*?[",
    ".hidden",
]


def test_odd_names_work(live: Mounted, s: Path) -> None:
    for name in NAMES:
        (s / name).write_text(name)
        assert (s / name).read_text() == name
        assert os.path.exists(s / ".session/artifacts" / f"{name}.json") or len(name) > 250
    assert sorted(os.listdir(s)) == sorted(NAMES)
    with live.open() as door:
        assert sorted(a.name for a in door.artifacts.list(s.name)) == sorted(NAMES)
    live.shell("rm -rf -- * .hidden", s)
    assert os.listdir(s) == []


def test_bad_names_are_refused(live: Mounted, s: Path) -> None:
    raw = os.fsencode(s)
    calls_1: Calls = (
        lambda: os.mkdir(raw + b"/\xff"),
        lambda: os.close(os.open(raw + b"/\xfe\xff", os.O_CREAT | os.O_WRONLY)),
        lambda: os.symlink(b"x", raw + b"/\xff"),
        lambda: os.symlink(b"\xff", raw + b"/x"),
        lambda: os.mkdir(os.fsencode(live.sessions) + b"/\xff"),
    )
    for call in calls_1:
        with refused(errno.EILSEQ):
            call()
    calls_2: Calls = (
        (s / ("a" * 256)).mkdir,
        (s / ("é" * 128)).touch,
        (live.sessions / ("a" * 256)).mkdir,
    )
    for call in calls_2:
        with refused(errno.ENAMETOOLONG):
            call()
    assert os.listdir(s) == []


def test_what_does_not_exist_here_is_eperm(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    (s / "d").mkdir()
    other = live.session(s.name + "-2")
    calls_3: Calls = (
        lambda: os.link(s / "f", s / "g"),
        lambda: os.mkfifo(s / "fifo"),
        lambda: os.mknod(s / "dev", 0o600 | stat.S_IFCHR, 5),
        (live.path / "dir").mkdir,
        lambda: (live.path / "file").write_text("x"),
        lambda: (live.sessions / "file").write_text("x"),
        lambda: (live.sessions / "link").symlink_to("x"),
        lambda: os.rename(s, other / "s"),
        lambda: os.rename(s / "d", live.sessions / "d"),
        lambda: os.rename(s / "f", live.sessions / "f"),
        lambda: os.rename(s / "f", live.path / "f"),
        lambda: os.rename(s, live.path / "s"),
        lambda: os.rename(live.path / "README", live.path / "R"),
        lambda: os.rename(live.sessions, live.path / "S"),
        (live.path / "README").unlink,
        live.sessions.rmdir,
    )
    for call in calls_3:
        with refused(errno.EPERM):
            call()
    assert live.shell(f"mv d {live.sessions}/elsewhere", s, check=False).returncode == 1
    assert (s / "d").is_dir()
    assert not (live.sessions / "elsewhere").exists()


def test_rename_onto_a_session_is_eexist(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    with refused(errno.EEXIST):
        os.rename(s, other)
    with refused(errno.EEXIST):
        other.mkdir()
    with refused(errno.ENOENT):
        os.rename(live.sessions / "none", live.sessions / "some")
    with refused(errno.ENOENT):
        (s / "none").unlink()


def test_the_reserved_name(live: Mounted, s: Path) -> None:
    assert os.listdir(s) == []
    (s / "f").write_text("x")
    calls_4: Calls = (
        (s / ".session").mkdir,
        lambda: os.close(os.open(s / ".session", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        lambda: (s / ".session").symlink_to("x"),
    )
    for call in calls_4:
        with refused(errno.EEXIST):
            call()
    calls_5: Calls = (
        lambda: os.rename(s / "f", s / ".session"),
        lambda: os.rename(s / ".session", s / "g"),
        lambda: os.rename(s / ".session/name", s / "g"),
        (s / ".session/dir").mkdir,
        (s / ".session/name").unlink,
        (s / ".session").rmdir,
        lambda: (s / ".session/id").write_text("x"),
    )
    for call in calls_5:
        with refused(errno.EROFS, errno.EISDIR, errno.EPERM, errno.EEXIST):
            call()
    (s / "d").mkdir()
    (s / "d/.session").mkdir()
    assert os.listdir(s / "d") == [".session"]


def test_frozen_sessions_refuse_every_change(live: Mounted, s: Path) -> None:
    (s / "f").write_text("kept")
    (s / "d").mkdir()
    os.setxattr(s / "f", "user.author", b"jane")
    (s / ".session/status").write_text("suspended")
    changes: Calls = (
        lambda: (s / "f").write_text("x"),
        lambda: open(s / "f", "a"),  # noqa: SIM115
        (s / "g").touch,
        (s / "e").mkdir,
        lambda: (s / "l").symlink_to("f"),
        (s / "f").unlink,
        (s / "d").rmdir,
        lambda: os.rename(s / "f", s / "g"),
        lambda: os.truncate(s / "f", 1),
        lambda: (s / "f").chmod(0o600),
        lambda: os.chown(s / "f", 1, 1),
        lambda: os.utime(s / "f"),
        lambda: s.chmod(0o700),
        lambda: os.setxattr(s / "f", "user.author", b"joe"),
        lambda: os.removexattr(s / "f", "user.author"),
        lambda: (s / ".session/description").write_text("x"),
        lambda: (s / ".session/name").write_text("x"),
        lambda: os.setxattr(s, "user.key", b"x"),
        lambda: (s / ".session/artifacts/f.json").write_text('{"tags": ["x"]}'),
        lambda: os.rename(s / "f", live.session(f"{s.name}-{len(os.listdir(live.sessions))}") / "f"),
    )
    for number, change in enumerate(changes):
        with refused(errno.EROFS):
            change()
        assert (s / "f").read_text() == "kept", number
    (s / ".session/tags").write_text("hold\n")
    os.setxattr(s, "user.xdg.tags", b"hold,more")
    assert (s / ".session/tags").read_text() == "hold\nmore\n"
    assert live.shell(f"rm -rf {s.name}/f", live.sessions, check=False).returncode == 1
    (s / ".session/status").write_text("active")
    (s / "f").write_text("changed")


def test_rmdir_deletes_an_empty_session_or_a_frozen_one_whole(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    (s / "d/f").write_text("x")
    with refused(errno.ENOTEMPTY):
        s.rmdir()
    (s / ".session/status").write_text("completed")
    s.rmdir()
    assert s.name not in os.listdir(live.sessions)
    live.command("session", "restore", s.name)
    assert (s / "d/f").read_text() == "x"
    assert (s / ".session/status").read_text() == "completed\n"


def test_rm_of_a_frozen_session_fails_file_by_file(live: Mounted, s: Path) -> None:
    live.shell("mkdir -p a/b; echo 1 > one; echo 2 > a/two; ln -s one link", s)
    (s / ".session/status").write_text("completed")
    said = live.shell(f"rm -rf {s.name}", live.sessions, check=False)
    assert said.returncode == 1
    for name in ("one", "a/two", "link", "a/b"):
        assert f"cannot remove '{s.name}/{name}': Read-only file system" in said.stderr
    assert live.shell("find . | sort | tr '\\n' ' '", s).stdout == ". ./a ./a/b ./a/two ./link ./one "
    s.rmdir()
    live.command("session", "restore", s.name)
    wait_for(s.exists)
    assert (s / "a/two").read_text() == "2\n"


def test_a_session_removed_with_rm_is_restored_whole(live: Mounted, s: Path) -> None:
    live.shell(
        "mkdir -p a/b; echo 1 > one; echo 2 > a/two; echo 3 > a/b/three; ln -s one link; setfattr -n user.k -v v one", s
    )
    before = live.shell(
        "find . -type f | sort | xargs b3sum 2>/dev/null || find . -type f | sort | xargs cksum", s
    ).stdout
    live.shell(f"rm -rf {s.name}", live.sessions)
    assert not s.exists()
    live.command("session", "restore", s.name)
    wait_for(s.exists)
    after = live.shell(
        "find . -type f | sort | xargs b3sum 2>/dev/null || find . -type f | sort | xargs cksum", s
    ).stdout
    assert after == before != ""
    assert os.readlink(s / "link") == "one"
    assert attribute(s / "one", "k") == "v"


def test_a_session_restored_to_a_taken_name_gets_another(live: Mounted, s: Path) -> None:
    name = s.name
    session_id = (s / ".session/id").read_text().strip()
    s.rmdir()
    s.mkdir()
    live.command("session", "restore", session_id)
    wait_for(lambda: f"{name}~2" in os.listdir(live.sessions))


def test_unreadable_modes_keep_others_out(live: Mounted, s: Path) -> None:
    assert stat.S_IMODE((live.path / "by-tag").stat().st_mode) == 0o700
    assert stat.S_IMODE((live.path / "search").stat().st_mode) == 0o700
    assert stat.S_IMODE((s / ".session").stat().st_mode) == stat.S_IMODE(s.stat().st_mode)


@pytest.mark.parametrize("size", [0, 1, 4096, 65_536, 262_144, 262_145, 3 << 20])
def test_sizes_around_every_bound_are_read_back(live: Mounted, s: Path, size: int) -> None:
    content = os.urandom(size)
    (s / "f").write_bytes(content)
    assert (s / "f").read_bytes() == content
    with live.open() as door:  # what was only created is committed at the release, which comes after close()
        wait_for(lambda: door.artifacts.list(s.name))
        assert door.artifacts.read(door.artifacts.get(s.name, "f")) == content
