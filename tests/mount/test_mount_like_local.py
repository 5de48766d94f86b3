"""Any calls in any order do on the mount what they do on a local file system: results, errnos, bytes, attributes.

`LLMSPELLFS_EXAMPLES` is how many runs are tried, each of up to `LLMSPELLFS_STEPS` calls; a handful by default.
What is left out is what differs by design: the sizes of folders, the holes of sparse files, hard links and devices,
a chown of neither owner nor group, which the kernel keeps from the mount, and shared mappings of what is open for
appending, which go through the page cache when nothing else there does.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from llmspellfs import Store
from llmspellfs.model.artifact import Artifact
from tests.mount.live import Mounted, wait_for
from tests.mount.twins import Held, Twins, read_mapped, write_mapped

EXAMPLES, STEPS = int(os.environ.get("LLMSPELLFS_EXAMPLES", "30")), int(os.environ.get("LLMSPELLFS_STEPS", "60"))

names = st.runner().flatmap(lambda machine: st.sampled_from(machine.places))
leads_to = st.runner().flatmap(lambda machine: st.sampled_from(machine.targets))
modes = st.sampled_from([0o644, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o2644, 0o6777, 0o1777, 0])
owners = st.sampled_from([(0, 0), (1000, -1), (-1, 1000), (1000, 65534), (0, 1000)])
times = st.sampled_from([None, 0, 1, 999_999_999, 1_000_000_000, 7 * 10**17 + 123_456_789])
sizes = st.sampled_from([0, 1, 10, 4095, 4096, 4097, 70_000, 262_144, 300_000])
contents = st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(1, 255))
access = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
flags = st.builds(
    lambda mode, extra: mode | sum(extra),
    access,
    st.sets(st.sampled_from([os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY])),
)
attributes = st.sampled_from(["user.a", "user.b"])
values = st.sampled_from([b"", b"text", b"7", b"\xff\0"])


class Machine(RuleBasedStateMachine):
    """Draws the calls."""

    live: Mounted
    session: Path
    local: Path
    has_xattrs: bool
    places: tuple[str, ...] = ("a", "b", "d", "e", "d/a", "d/b", "d/e", "e/a", "d/e/a", "a/x", "none/x")
    targets: tuple[str, ...] = ("a", "d", "../a", "nowhere")
    tops: tuple[str, ...] = (".",)
    """Folders whose content is compared."""

    def __init__(self) -> None:
        super().__init__()
        number = len(os.listdir(self.local))
        self.roots = (self.local / str(number), self.session / str(number))
        self.prepare(*self.roots)
        self.twins = Twins(*self.roots, self.tops)

    def prepare(self, local: Path, mounted: Path) -> None:
        """Make what the calls begin with."""
        for root in (local, mounted):
            root.mkdir()

    def teardown(self) -> None:
        """Compare the bytes, and what the store has of them once all is closed."""
        twins = self.twins
        twins.end()
        expected = twins.contents(0)
        assert twins.contents(1) == expected, twins.story("contents differ")
        files = {name: content for name, content in expected.items() if isinstance(content, bytes)}
        with self.live.open() as door:
            is_stored = lambda: {n: door.artifacts.read(a) for n, a in self.stored(door).items()} == files  # noqa: E731
            wait_for(is_stored, lambda: twins.story("the store differs"))
        self.clear()

    def stored(self, door: Store) -> dict[str, Artifact]:
        """Return what the store has, by its path below the mounted root."""
        top = f"{self.roots[1].name}/"
        mine = door.artifacts.list(self.session.name)
        return {a.name.removeprefix(top): a for a in mine if a.name.startswith(top)}

    def clear(self) -> None:
        """Remove what the mount has."""
        shutil.rmtree(self.roots[1])

    @initialize()
    def begin(self) -> None:
        self.twins.compare()

    @invariant()
    def is_alike(self) -> None:
        self.twins.compare()

    @rule(name=names, flags=flags, mode=modes)
    def open(self, name: str, flags: int, mode: int) -> None:
        if len(self.twins.held) < 6:
            self.twins.open(name, flags, mode)

    @rule(name=names, mode=modes)
    def create(self, name: str, mode: int) -> None:
        if len(self.twins.held) < 6:
            self.twins.open(name, os.O_CREAT | os.O_RDWR, mode)

    def drawn(self, number: int) -> Held:
        return self.twins.held[number % len(self.twins.held)]

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5))
    def close(self, number: int) -> None:
        self.twins.close(self.drawn(number))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), content=contents, offset=st.none() | sizes)
    def write(self, number: int, content: bytes, offset: int | None) -> None:
        if offset is None:
            self.twins.handles(f"write {len(content)}", self.drawn(number), lambda d: os.write(d, content))
        else:
            told = f"pwrite {len(content)} at {offset}"
            self.twins.handles(told, self.drawn(number), lambda d: os.pwrite(d, content, offset))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), size=sizes, offset=st.none() | sizes)
    def read(self, number: int, size: int, offset: int | None) -> None:
        if offset is None:
            self.twins.handles(f"read {size}", self.drawn(number), lambda d: os.read(d, size))
        else:
            self.twins.handles(f"pread {size} at {offset}", self.drawn(number), lambda d: os.pread(d, size, offset))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), offset=st.integers(-5, 5000), whence=st.sampled_from([0, 1, 2]))
    def seek(self, number: int, offset: int, whence: int) -> None:
        self.twins.handles(f"lseek {offset} {whence}", self.drawn(number), lambda d: os.lseek(d, offset, whence))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), size=sizes)
    def truncate_handle(self, number: int, size: int) -> None:
        self.twins.handles(f"ftruncate {size}", self.drawn(number), lambda d: os.ftruncate(d, size))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), is_data=st.booleans())
    def sync(self, number: int, is_data: bool) -> None:
        self.twins.handles("fsync", self.drawn(number), os.fdatasync if is_data else os.fsync)

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), mode=modes, owner=owners)
    def change_handle(self, number: int, mode: int, owner: tuple[int, int]) -> None:
        self.twins.handles(f"fchown {owner}", self.drawn(number), lambda d: os.fchown(d, *owner))
        self.twins.handles(f"fchmod {mode:o}", self.drawn(number), lambda d: os.fchmod(d, mode))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), mtime=times.filter(lambda t: t is not None))
    def touch_handle(self, number: int, mtime: int) -> None:
        self.twins.handles(f"futimens {mtime}", self.drawn(number), lambda d: os.utime(d, ns=(5, mtime)))

    @precondition(lambda self: self.twins.held)
    @rule(number=st.integers(0, 5), offset=sizes, content=contents)
    def map_handle(self, number: int, offset: int, content: bytes) -> None:
        held = self.drawn(number)
        if held.flags & os.O_APPEND:
            return  # its reads and writes go past the page cache, which a shared mapping is
        told = f"write mapped {len(content)} at {offset}"
        self.twins.compares_times = False  # of a mapping they change when the kernel writes its pages back
        self.twins.handles(told, held, lambda d: call_mapped(d, offset, content))
        self.twins.handles("fsync", held, os.fsync)
        self.twins.handles("read mapped", held, mapped_or_refused)
        self.twins.compare()
        self.twins.compares_times = True

    @rule(name=names)
    def mkdir(self, name: str) -> None:
        self.twins.both(f"mkdir {name}", lambda root: os.mkdir(f"{root}/{name}", 0o755))

    @rule(name=names)
    def rmdir(self, name: str) -> None:
        self.twins.both(f"rmdir {name}", lambda root: os.rmdir(f"{root}/{name}"))

    @rule(name=names)
    def unlink(self, name: str) -> None:
        self.twins.both(f"unlink {name}", lambda root: os.unlink(f"{root}/{name}"))

    @rule(old=names, new=names)
    def rename(self, old: str, new: str) -> None:
        self.twins.both(f"rename {old} {new}", lambda root: os.rename(f"{root}/{old}", f"{root}/{new}"))

    @rule(name=names, leads=leads_to)
    def symlink(self, name: str, leads: str) -> None:
        self.twins.both(f"symlink {name} to {leads}", lambda root: os.symlink(leads, f"{root}/{name}"))
        self.twins.both(f"readlink {name}", lambda root: os.readlink(f"{root}/{name}"))

    @rule(name=names, size=sizes)
    def truncate(self, name: str, size: int) -> None:
        self.twins.both(f"truncate {name} {size}", lambda root: os.truncate(f"{root}/{name}", size))

    @rule(name=names, mode=modes)
    def chmod(self, name: str, mode: int) -> None:
        self.twins.both(f"chmod {name} {mode:o}", lambda root: os.chmod(f"{root}/{name}", mode))

    @rule(name=names, owner=owners, follow=st.booleans())
    def chown(self, name: str, owner: tuple[int, int], follow: bool) -> None:
        told = f"chown {name} {owner}{'' if follow else ' itself'}"
        self.twins.both(told, lambda root: os.chown(f"{root}/{name}", *owner, follow_symlinks=follow))

    @rule(name=names, atime=times, mtime=times, follow=st.booleans())
    def utime(self, name: str, atime: int | None, mtime: int | None, follow: bool) -> None:
        ns = None if atime is None or mtime is None else (atime, mtime)
        told = f"utime {name} {ns}{'' if follow else ' itself'}"
        self.twins.both(told, lambda root: set_times(f"{root}/{name}", ns, follow=follow))

    @rule(name=names)
    def content(self, name: str) -> None:
        self.twins.both(f"content of {name}", lambda root: read_whole(f"{root}/{name}"))

    @rule(name=names)
    def listing(self, name: str) -> None:
        self.twins.both(f"list {name}", lambda root: sorted(os.listdir(f"{root}/{name}")))

    @precondition(lambda self: self.has_xattrs)
    @rule(name=names, key=attributes, value=values, flag=st.sampled_from([0, 1, 2]))
    def set_attribute(self, name: str, key: str, value: bytes, flag: int) -> None:
        def change(root: str) -> bytes:
            os.setxattr(f"{root}/{name}", key, value, flag)
            return os.getxattr(f"{root}/{name}", key)

        if stat.S_ISREG(kind_of(self.twins.roots[0], name)):
            self.twins.both(f"setxattr {name} {key} {value!r} {flag}", change)

    @precondition(lambda self: self.has_xattrs)
    @rule(name=names, key=attributes)
    def remove_attribute(self, name: str, key: str) -> None:
        if stat.S_ISREG(kind_of(self.twins.roots[0], name)):
            self.twins.both(f"removexattr {name} {key}", lambda root: os.removexattr(f"{root}/{name}", key))
            self.twins.both(f"listxattr {name}", lambda root: sorted(os.listxattr(f"{root}/{name}")))


def read_whole(path: str) -> bytes:
    """Read a file and leave its atime as it is."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOATIME), "rb") as file:
        return file.read()


def call_mapped(descriptor: int, offset: int, content: bytes) -> object:
    """Write through a mapping; a descriptor that cannot be mapped says why."""
    try:
        return write_mapped(descriptor, offset, content)
    except PermissionError:
        return "refused"


def mapped_or_refused(descriptor: int) -> object:
    """Read through a mapping; a descriptor that cannot be mapped says so."""
    try:
        return read_mapped(descriptor)
    except PermissionError:
        return "refused"


def set_times(path: str, ns: tuple[int, int] | None, *, follow: bool) -> None:
    """Set both times, None to now."""
    if ns is None:
        os.utime(path, follow_symlinks=follow)
    else:
        os.utime(path, ns=ns, follow_symlinks=follow)


def kind_of(root: str, name: str) -> int:
    """Return the type of what is at *name*, links followed; 0 where nothing is."""
    try:
        return os.stat(f"{root}/{name}").st_mode
    except OSError:
        return 0


class Across(Machine):
    """Draws calls in two sessions, and moves from one to the other."""

    places = ("one/a", "one/b", "one/d", "one/d/a", "one/d/e", "two/a", "two/d", "two/d/a", "two/d/e", "two/none/x")
    targets = ("a", "d", "d/a", "nowhere")
    tops = ("one/.", "two/.")

    def prepare(self, local: Path, mounted: Path) -> None:
        """Make two folders, and two sessions, with symlinks to them in a folder outside of the mount."""
        self.roots = (local / "local", local / "mounted")
        for name in ("one", "two"):
            (local / f"real/{name}").mkdir(parents=True)
            session = self.session.with_name(f"{self.session.name}-{local.name}-{name}")
            session.mkdir()
            for root, target in zip(self.roots, (local / f"real/{name}", session), strict=True):
                root.mkdir(exist_ok=True)
                (root / name).symlink_to(target)

    def stored(self, door: Store) -> dict[str, Artifact]:
        """Return what the store has, by its path below the folder of symlinks."""
        sessions = {name: os.readlink(self.roots[1] / name) for name in ("one", "two")}
        listed = {name: door.artifacts.list(os.path.basename(path)) for name, path in sessions.items()}
        return {f"{name}/{a.name}": a for name, mine in listed.items() for a in mine}

    def clear(self) -> None:
        """Remove the sessions."""
        for name in ("one", "two"):
            shutil.rmtree(os.readlink(self.roots[1] / name))


@pytest.mark.timeout(300 + 5 * EXAMPLES)
@pytest.mark.parametrize("kind", [Machine, Across], ids=["in a session", "across sessions"])
@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_any_calls_do_what_they_do_locally(live: Mounted, s: Path, tmp_path: Path, kind: type[Machine]) -> None:
    local = tmp_path / "local"
    local.mkdir()
    try:
        os.setxattr(local, "user.a", b"x")
        has_xattrs = True
    except OSError:
        has_xattrs = False
    words = {"live": live, "session": s, "local": local, "has_xattrs": has_xattrs}
    machine = type("MountedMachine", (kind,), words)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
            report_multiple_bugs=False, phases=(Phase.explicit, Phase.generate, Phase.shrink),
            verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    with live.open() as door:
        assert {report.problem for report in door.upkeep.verify()} == {None}
        assert door.upkeep.lost() == []
