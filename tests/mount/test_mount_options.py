"""What `-o` does to a real mount, and the ways in which mount(8) and fstab say it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs.fuse.mountpoint import daemon_of, mounted_kind
from tests.mount.live import ROOT, Mounted, attribute, refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: only root mounts for others")


@pytest.fixture
def public() -> Iterator[Mounted]:
    """A mount below folders that every user may enter; not mounted yet."""
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        mounted = Mounted(Path(base))
        yield mounted
        mounted.end()


def _row(place: Path) -> list[str]:
    """Return what the kernel says of the mount at *place*: point, flags, type, source."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if fields[4] == str(place):
            return [*fields[4:6], *after.split(" ")[:2]]
    raise AssertionError(place)


def _as_nobody(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script], cwd=place.parent, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def _known(own: Mounted) -> list[str]:
    """Return all that the commands tell of the store, but for figures of the disk."""
    words = (["session", "list", "--json"], ["artifact", "list", "s", "--json"], ["session", "events", "s", "--json"])
    return [own.command(*line).stdout for line in words]


def test_through_a_read_only_mount_nothing_changes_and_all_is_read(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    (s / "f").write_text("content")
    (s / "d").mkdir()
    os.setxattr(s / "f", "user.xdg.tags", b"seen")
    own.umount()
    before = _known(own)
    own.mount("-o", "ro")
    for change in (
        (s / "new").touch,
        lambda: (s / "f").write_text("other"),
        lambda: os.truncate(s / "f", 0),
        lambda: os.unlink(s / "f"),
        lambda: os.rename(s / "f", s / "g"),
        lambda: os.symlink("f", s / "l"),
        lambda: os.mkdir(s / "e"),
        lambda: os.rmdir(s / "d"),
        lambda: os.chmod(s / "f", 0o600),
        lambda: os.utime(s / "f"),
        lambda: os.setxattr(s / "f", "user.x", b"y"),
        lambda: os.removexattr(s / "f", "user.xdg.tags"),
        lambda: (s / ".session/status").write_text("completed"),
        lambda: os.mkdir(own.sessions / "t"),
        lambda: os.rmdir(s),
        lambda: os.rename(s, own.sessions / "t"),
    ):
        with refused(errno.EROFS):
            change()
    assert (s / "f").read_text() == "content"
    assert attribute(s / "f", "xdg.tags") == "seen"
    assert os.listdir(own.path / "search" / "tag:seen") == ["s"]
    assert (s / ".session/status").read_text() == "active\n"
    own.umount()
    assert _known(own) == before


def test_a_read_only_mount_makes_no_store(own: Mounted) -> None:
    done = own.command("mount", str(own.path), "-o", "ro", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"no store at {own.store} (llmspellfs init makes one)" in done.stderr
    assert not own.store.exists()


def test_everything_is_shown_with_the_owner_and_the_mode_that_the_mount_says(own: Mounted) -> None:
    own.mount("-o", "uid=nobody,gid=12345,umask=027")
    s = own.session("s")
    (s / "f").write_text("x")
    for place in (own.path, own.sessions, s, s / "f", s / ".session", s / ".session/status", own.path / "README"):
        found = place.lstat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (NOBODY, 12345, 0o750), place
    own.umount()
    own.mount()
    found = (s / "f").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.getuid(), 0o644)


@needs_root
def test_others_are_let_in_where_the_mount_says_so_and_then_modes_decide(public: Mounted) -> None:
    public.mount()
    public.session("s")
    assert "denied" in _as_nobody("ls mnt", public.path).stderr
    public.umount()
    public.mount("-o", "allow_other,default_permissions")
    assert "sessions" in _as_nobody("ls mnt", public.path).stdout
    assert "denied" in _as_nobody("echo x > mnt/sessions/s/f", public.path).stderr
    public.umount()
    public.mount("-o", "allow_other,uid=nobody")
    assert _as_nobody("echo x > mnt/sessions/s/f && cat mnt/sessions/s/f", public.path).stdout == "x\n"


def test_the_control_directory_is_listed_where_the_mount_says_so(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    (s / "d").mkdir()
    assert os.listdir(s) == ["d"]
    own.umount()
    own.mount("-o", "show_session")
    assert sorted(os.listdir(s)) == [".session", "d"]
    assert os.listdir(s / "d") == []
    assert [entry.is_dir() for entry in os.scandir(s) if entry.name == ".session"] == [True]
    assert "sessions/s/.session/id" in own.shell("find sessions -name id", own.path).stdout
    os.rmdir(s / "d")
    os.rmdir(s)
    assert os.listdir(own.sessions) == []


def test_the_kernels_own_words_reach_the_kernel_and_the_last_one_counts(own: Mounted) -> None:
    own.mount("-o", "rw,noexec,nodev,relatime,ro,rw,sync")
    flags = _row(own.path)[1].split(",")
    assert {"rw", "noexec", "nodev"} <= set(flags)
    script = own.session("s") / "run"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with refused(errno.EACCES):
        subprocess.run([str(script)], check=False)


def test_the_table_of_mounts_names_the_store(tmp_path: Path) -> None:
    own = Mounted(tmp_path / "an odd, \\ name")
    own.mount()
    try:
        place = str(own.path).replace("\\", r"\134").replace(" ", r"\040")
        store = str(own.store).replace("\\", r"\134").replace(" ", r"\040")
        assert _row(Path(place))[2:] == ["fuse.llmspellfs", store]
    finally:
        own.end()


def test_a_configuration_of_the_mounts_own(own: Mounted, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text("[runtime.sessions]\nmax_artifact_size = 10\n")
    own.mount("-o", f"config={file}")
    s = own.session("s")
    own.may_fail = True
    with refused(errno.EFBIG):
        (s / "f").write_bytes(bytes(11))
    own.umount()
    done = own.command("mount", str(own.path), "-o", f"config={tmp_path / 'none'}", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none: No such file" in done.stderr


@pytest.mark.parametrize("word", ["colour=red", "umask=8"])
def test_a_bad_option_is_one_line_and_nothing_is_mounted(own: Mounted, word: str) -> None:
    done = own.command("mount", str(own.path), "-o", word, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"llmspellfs: -o {word.partition('=')[0]}: ")
    assert mounted_kind(str(own.path)) is None


# mount(8) runs its helpers without PATH, and looks for them in /sbin alone: so both stand in a name space of their own,
# where a folder of ours covers the system's. The mounts are seen in it only.
_IN_NAME_SPACE = """
set -eu
mount --make-rprivate /
mount --bind {bin} /usr/local/bin
{hide}
{script}
"""
_HELPER = "import sys; from llmspellfs.cli.helper import main; main()"


@pytest.fixture(params=["Debian's mount.fuse", "mount.fuse.llmspellfs"])
def system(request: pytest.FixtureRequest, own: Mounted, tmp_path: Path) -> System:
    """mount(8) as a system has it where llmspellfs is installed."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("NOT ROOT, OR WITHOUT unshare: mount(8) cannot be tested")
    if "Debian" in request.param and not Path("/sbin/mount.fuse").exists():
        pytest.skip("/sbin/mount.fuse IS MISSING")
    return System(own, tmp_path, own_helper="Debian" not in request.param)


class System:
    """Shell scripts in a mount name space in which llmspellfs is installed."""

    def __init__(self, own: Mounted, base: Path, *, own_helper: bool) -> None:
        self.own = own
        self.bin, self.sbin = base / "bin", base / "sbin"
        self._program(self.bin / "llmspellfs", "-m llmspellfs")
        self._program(self.sbin / "mount.fuse.llmspellfs", f"-c '{_HELPER}'")
        shutil.copy("/sbin/ldconfig", self.sbin)  # ctypes finds libfuse with it
        self.hide = f"mount --bind {self.sbin} $(readlink -f /sbin)" if own_helper else ""
        self.fstab = base / "fstab"

    def _program(self, path: Path, words: str) -> None:
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\nexport PYTHONPATH={ROOT}\nexec {sys.executable} {words} "$@"\n')
        path.chmod(0o755)

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run *script*, in which $STORE, $MNT and $FSTAB say where; wait for its mount's daemon."""
        text = _IN_NAME_SPACE.format(bin=self.bin, hide=self.hide, script=script)
        where = {"STORE": str(self.own.store), "MNT": str(self.own.path), "FSTAB": str(self.fstab)}
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", text], env={**os.environ, **where}, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip
        wait_for(lambda: daemon_of(str(self.own.path)) is None)
        assert not check or done.returncode == 0, done.stderr
        return done


def test_mount_8_mounts_a_store_and_umount_8_ends_it(system: System) -> None:
    done = system.run("""
        mount -t fuse.llmspellfs "$STORE" "$MNT" -o type=tool_result,nofail,user,x-mark=1
        mkdir "$MNT/sessions/s"
        echo written > "$MNT/sessions/s/f"
        umount "$MNT"
        mount -t fuse.llmspellfs "$STORE" "$MNT" -o ro
        cat "$MNT/sessions/s/f"
        ! touch "$MNT/sessions/s/g"
        umount "$MNT"
    """)
    assert done.stdout == "written\n"
    assert "Read-only file system" in done.stderr
    shown = system.own.command("artifact", "show", "s:f", "--json").stdout
    assert '"artifact_type":"tool_result"' in shown


def test_an_fstab_line_mounts_a_store_once(system: System) -> None:
    system.fstab.write_text(f"{system.own.store} {system.own.path} fuse.llmspellfs defaults,_netdev,comment=x,ro 0 0\n")
    system.own.command("session", "create", "s")
    done = system.run("""
        mount -T "$FSTAB" "$MNT"
        mount -T "$FSTAB" -a
        ls "$MNT/sessions"
        findmnt -n -o SOURCE,FSTYPE "$MNT"
        umount "$MNT"
    """)
    assert done.stdout.split() == ["s", str(system.own.store), "fuse.llmspellfs"]


def test_mount_8_learns_why_a_store_was_not_mounted(system: System) -> None:
    (system.own.path / "file").touch()
    done = system.run('mount -t fuse.llmspellfs "$STORE" "$MNT"', check=False)
    assert (done.returncode, done.stderr) == (32, f"llmspellfs: {system.own.path}: not empty\n")
    (system.own.path / "file").unlink()
    done = system.run('mount -t fuse.llmspellfs "$STORE" "$MNT" -o colour=red', check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("llmspellfs: -o colour: unknown option")
    assert not system.own.store.exists()


@needs_root
def test_the_helper_mounts_in_another_name_space(own: Mounted) -> None:
    with subprocess.Popen(["unshare", "-m", "sleep", "600"]) as holder:
        there = f"/proc/{holder.pid}/ns/mnt"
        try:
            wait_for(lambda: os.readlink(there) != os.readlink("/proc/self/ns/mnt"))
            words = [sys.executable, "-c", _HELPER, str(own.store), str(own.path), "-N", there, "-o", "rw"]
            subprocess.run(words, env=own.environment, check=True)
            assert os.listdir(own.path) == []
            inside = ["nsenter", "-m", "-t", str(holder.pid), "sh", "-c", f"ls {own.path} && umount {own.path}"]
            assert "sessions" in subprocess.run(inside, capture_output=True, text=True, check=True).stdout
            wait_for(lambda: daemon_of(str(own.path)) is None)
        finally:
            holder.kill()
