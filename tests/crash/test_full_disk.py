"""Full disks, for real: what fails says so and changes nothing, reading goes on, and taking away frees room."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NoSpace, NotFound, SpellError
from llmspellfs.service.outgoing import replacing
from tests.crash.small_disk import MIB, SmallDisk, ext4, tmpfs
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted

KIB = 1 << 10
AMOUNTS = (0, 4, 12, 32, 64, 128, 256, 512, 1024, 1100, 1300, 1600, 2048, 3072)
"""KiB that are left free."""
HOUR = 3600 * 10**9


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 40 MiB."""
    make = tmpfs if request.param == "tmpfs" else ext4
    with make(tmp_path / "disk", 40 * MIB) as disk:
        yield disk


def data(seed: object, size: int) -> bytes:
    return Random(f"{seed}").randbytes(size)


def listing(store: Store) -> dict[str, bytes]:
    """Return every live artifact with its content, and every session with its state."""
    found: dict[str, bytes] = {}
    for session in store.sessions.list():
        found[session.dirname] = str(session.status).encode()
        for artifact in store.artifacts.list(session.dirname):
            found[f"{session.dirname}:{artifact.name}"] = store.artifacts.read(artifact)
    return found


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "put small": lambda store: store.artifacts.put("s", "new", data("new", 3000)),
    "put inline": lambda store: store.artifacts.put("s", "new", data("new", 60 * KIB)),
    "put chunk": lambda store: store.artifacts.put("s", "new", data("new", 200 * KIB)),
    "put large": lambda store: store.artifacts.put("s", "new", data("new", 4 * MIB)),
    "overwrite small": lambda store: store.artifacts.put("s", "small", data("again", 900)),
    "overwrite large": lambda store: store.artifacts.put("s", "large", data("again", MIB)),
    "create": lambda store: store.sessions.create("t"),
    "complete": lambda store: store.sessions.complete("s"),
    "tag": lambda store: store.sessions.tag("s", add=["x"]),
    "describe": lambda store: store.artifacts.update("s", "small", description="d" * 9000),
    "save": lambda store: store.sessions.save("s"),
}
FREEING: dict[str, Callable[[Store], object]] = {
    "delete": lambda store: store.artifacts.delete("s", "small"),
    "delete large": lambda store: store.artifacts.delete("s", "large"),
    "sync": lambda store: store.sync(),
    "purge": lambda store: store.artifacts.purge("s", "other"),
    "gc": lambda store: store.upkeep.gc(grace_seconds=0),
    "delete session": lambda store: store.sessions.delete("s"),
    "purge session": lambda store: store.sessions.purge("s"),
}


def filled(path: Path) -> None:
    """Make a store with one session and a few artifacts."""
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        for name, size in {"small": 700, "inline": 50 * KIB, "large": MIB, "other": 300 * KIB}.items():
            store.artifacts.put("s", name, data(name, size))


def test_what_adds_succeeds_wholly_or_says_no_space(disk: SmallDisk) -> None:
    path = disk.path / "store"
    filled(path)
    refused = 0
    for number, amount in enumerate(AMOUNTS):
        with open_store(path, config=Config()) as store:
            for name, operation in OPERATIONS.items():
                before = listing(store)
                disk.leave(amount * KIB)
                try:
                    operation(store)
                except NoSpace:
                    refused += 1
                    assert listing(store) == before, (amount, name)
                else:
                    after = listing(store)
                    assert after.items() >= before.items() or name.startswith(("over", "complete")), (amount, name)
                disk.empty()
                tidy(store, number)
                assert store.upkeep.fsck().problems == (), (amount, name)
    assert refused > len(AMOUNTS)


def tidy(store: Store, number: int) -> None:
    """Bring the store back to what the next operation expects."""
    if "t" in {session.dirname for session in store.sessions.list()}:
        store.sessions.purge("t")
    if str(store.sessions.get("s").status) != "active":
        store.sessions.purge("s")
        store.sessions.create("s")
        store.artifacts.put("s", "small", data(number, 700))
        store.artifacts.put("s", "large", data(number, MIB))
    with contextlib.suppress(NotFound):
        store.artifacts.purge("s", "new")


@pytest.mark.parametrize("reopened", [False, True])
def test_a_full_disk_can_be_emptied(disk: SmallDisk, reopened: bool) -> None:
    path = disk.path / "store"
    for amount in (0, 16, 100, 700):
        filled(path)
        store = open_store(path, config=Config())
        if reopened:
            store.close()
            disk.leave(amount * KIB)
            store = open_store(path, config=Config(), create=False)
        else:
            disk.leave(amount * KIB)
        with store:
            kept = store.artifacts.read(store.artifacts.get("s", "inline"))
            for name, operation in FREEING.items():
                operation(store)
                if name == "gc":
                    assert store.artifacts.read(store.artifacts.get("s", "inline")) == kept
                    assert disk.free > 200 * KIB, amount
            assert store.sessions.list() == []
        disk.empty()
        with open_store(path, config=Config()) as store:
            assert store.upkeep.fsck().problems == ()


def test_many_deletions_on_a_full_disk_succeed(disk: SmallDisk) -> None:
    with open_store(disk.path / "store", config=Config()) as store:
        store.sessions.create("s")
        for number in range(150):
            store.artifacts.put("s", f"a{number}", data(number, 40 * KIB))
        disk.leave(0)
        with pytest.raises(NoSpace):
            store.artifacts.put("s", "more", data("more", 2 * MIB))
        for number in range(150):
            store.artifacts.delete("s", f"a{number}")
        store.upkeep.gc(grace_seconds=0)
        disk.empty()
        store.artifacts.put("s", "more", data("more", 2 * MIB))
        assert store.upkeep.fsck().problems == ()


def test_garbage_larger_than_the_reserve_is_collected_on_a_full_disk(disk: SmallDisk) -> None:
    ahead = [0]
    with open_store(disk.path / "store", config=Config(), now=lambda: time.time_ns() + ahead[0]) as store:
        store.sessions.create("s")
        for number in range(200):
            store.artifacts.put("s", f"a{number}", data(number, 60 * KIB))
        disk.leave(0)
        store.sessions.delete("s")
        ahead[0] += 40 * 24 * HOUR
        store.upkeep.gc(grace_seconds=0)
        ahead[0] += HOUR
        assert store.upkeep.gc(grace_seconds=0).removed == 200
        store.sessions.create("t")
        store.artifacts.put("t", "a", data("a", 5 * MIB // 100))
        assert store.upkeep.fsck().problems == ()


def test_a_large_session_is_purged_on_a_full_disk(disk: SmallDisk) -> None:
    with open_store(disk.path / "store", config=Config()) as store:
        store.sessions.create("s")
        for number in range(200):
            store.artifacts.put("s", f"a{number}", data(number, 60 * KIB))
        disk.leave(0)
        store.sessions.purge("s")
        assert store.upkeep.fsck().problems == ()
        store.sessions.create("t")


def test_no_store_is_begun_where_there_is_no_room_for_one(disk: SmallDisk) -> None:
    disk.leave(8 * KIB)
    with pytest.raises(SpellError):
        open_store(disk.path / "store", config=Config())
    disk.empty()
    with open_store(disk.path / "store", config=Config()) as store:
        store.sessions.create("s")
        assert store.upkeep.fsck().problems == ()


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[SmallDisk]:
    with tmpfs(tmp_path / "disk", 40 * MIB, inodes=60) as disk:
        yield disk


def until_refused(store: Store) -> int:
    """Store one chunk after another until there is no room; return how many were stored."""
    for number in range(200):
        try:
            store.artifacts.put("s", f"a{number}", data(number, 130 * KIB))
        except NoSpace:
            return number
    raise AssertionError("nothing was refused")


def test_a_disk_without_inodes_refuses_and_can_be_emptied(few_inodes: SmallDisk) -> None:
    path = few_inodes.path / "store"
    filled(path)
    with open_store(path, config=Config()) as store:
        stored = until_refused(store)
        assert stored > 5
        assert len(store.artifacts.list("s")) == 4 + stored
        assert store.upkeep.fsck().problems == ()
    take = [few_inodes.path / f"i{number}" for number in range(os.statvfs(few_inodes.path).f_ffree)]
    for file in take:
        file.touch()
    with open_store(path, config=Config(), create=False) as store:
        store.artifacts.purge("s", "a0")
        store.sessions.purge("s")
        assert store.upkeep.fsck().problems == ()
    for file in take:
        file.unlink()


@pytest.mark.parametrize("is_private", [False, True])
def test_what_leaves_for_a_full_disk_leaves_nothing_there_and_names_it(tmp_path: Path, is_private: bool) -> None:
    with tmpfs(tmp_path / "disk", MIB) as disk:
        target = disk.path / "out"
        with pytest.raises(OSError, match="No space left on device") as caught, \
                replacing(str(target), is_private=is_private) as file:  # fmt: skip
            file.writelines([bytes(MIB), b"more"])
        assert caught.value.filename == str(target)
        assert list(disk.path.iterdir()) == []


@pytest.mark.mount
@needs_fuse
def test_tools_on_a_full_mount_fail_wholly_and_rm_goes_on(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 40 * MIB) as disk:
        mounted = Mounted(tmp_path / "m")
        mounted.store = disk.path / "store"
        mounted.log = mounted.store / "mount.log"
        mounted.may_fail = True
        mounted.mount()
        try:
            _use_full(mounted, disk)
            disk.empty()
            mounted.umount()
        finally:
            mounted.end()
        mounted.check(is_whole=True)
        with mounted.open() as store:
            for item in store.upkeep.lost():
                assert b"".join(store.upkeep.read_lost(item.id))


SCRIPTS = {
    "cp": ("cp $D/large new && cat new | cmp - $D/large", "new"),
    "cp small": ("cp $D/small new && cat new | cmp - $D/small", "new"),
    "dd": ("dd if=$D/large of=new bs=64k status=none conv=fsync && cmp new $D/large", "new"),
    "append": ("cat $D/small >> small && cat old $D/small | cmp - small", "small"),
    "overwrite": ("cp $D/large large && cmp large $D/large", "large"),
    "mv": ("mv small moved && cmp moved old", "small"),
    "mkdir": ("mkdir -p f/g && rmdir f/g f", None),
}


def _use_full(mounted: Mounted, disk: SmallDisk) -> None:
    source = mounted.store.parents[1] / "data"
    source.mkdir()
    (source / "small").write_bytes(data("s", 5000))
    (source / "large").write_bytes(data("l", 900 * KIB))
    s = mounted.session("s")
    refused = 0
    for amount in (0, 40, 300, 900, 2000, 4000, 6000):
        for what, (script, touched) in SCRIPTS.items():
            for name in ("small", "large", "old"):
                (s / name).write_bytes(data(name, 3000))
            (s / "old").write_bytes(data("small", 3000))
            disk.leave(amount * KIB)
            done = mounted.shell(f"D={source}; {script}", s, check=False)
            if done.returncode:
                refused += 1
                assert "No space left" in done.stderr, (amount, what, done.stderr)
            assert (s / "old").read_bytes() == data("small", 3000)
            if done.returncode and touched in {"small", "large"} and (s / touched).exists():
                assert (s / touched).read_bytes() in {data(touched, 3000), b""}, (amount, what)
            mounted.shell("rm -rf ./*", s)
            disk.empty()
    assert refused > 7
