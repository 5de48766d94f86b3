"""A mount's life beside other processes: started, ended, killed and recovered; never blocked, nothing ever lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmspellfs.fuse.mountpoint import mounted_kind
from tests.mount.live import Mounted, events, is_over, refused, store_locked, stored, wait_for
from tests.steady import steady_clock

if TYPE_CHECKING:
    from collections.abc import Callable


def _timed(call: Callable[[], object]) -> float:
    with steady_clock() as clock:
        call()
        return clock()


def test_a_held_write_lock_delays_writers_only(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    (s / "f").write_text("content")
    (other / "g").write_text("x")
    os.setxattr(other / "g", "user.xdg.tags", b"seen")
    stored(other, "g")
    draft = os.open(other / "draft", os.O_CREAT | os.O_WRONLY)
    os.write(draft, b"x")
    os.fsync(draft)
    with concurrent.futures.ThreadPoolExecutor(4) as pool, contextlib.ExitStack() as held:
        held.enter_context(store_locked(live))
        os.close(draft)
        waiting: list[concurrent.futures.Future[Any]] = [
            pool.submit((s / "d").mkdir),
            pool.submit((s / "new").write_text, "waits"),
        ]
        time.sleep(0.2)
        took = {  # what waits by itself does so each time, what a busy machine holds up does not
            name: min(_timed(call) for _ in range(3))
            for name, call in {
                "ls elsewhere": lambda: os.listdir(other),
                "ls of all": lambda: list(os.scandir(live.sessions)),
                "stat elsewhere": (other / "g").stat,
                "read elsewhere": (other / "g").read_text,
                "read in the same session": (s / "f").read_text,
                "a name that is not there": (other / "none").exists,
                "attributes": lambda: os.getxattr(other / "g", "user.llmspell.hash"),
                "a draft not sealed yet": (other / ".session/events.jsonl").read_text,
                "control": (other / ".session/session.json").read_text,
                "trail": (other / ".session/events.jsonl").read_text,
                "search": lambda: list(os.walk(live.path / "search" / f"session:{other.name} tag:seen")),
                "by-tag": lambda: os.listdir(live.path / "by-tag/seen/artifacts"),
                "open and close": lambda: os.close(os.open(other / "g", os.O_RDONLY)),
                "statfs": lambda: os.statvfs(live.path),
            }.items()
        }
        assert not any(future.done() for future in waiting), str(took)
        assert max(took.values()) < 1, took
        assert sum(took.values()) < 2, took
        held.close()
        for future in waiting:
            future.result(timeout=60)
    assert (s / "new").read_text() == "waits"
    assert (s / "d").is_dir()


def test_a_slow_close_does_not_hold_up_a_rename_of_its_session(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-2")
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"x")
    closing = threading.Thread(target=os.close, args=(kept,))
    renaming = threading.Thread(target=os.rename, args=(s, live.sessions / f"{s.name}-3"))
    with store_locked(live):
        closing.start()
        time.sleep(0.1)
        renaming.start()
        time.sleep(0.1)
        assert min(_timed(lambda: os.listdir(other)) for _ in range(3)) < 0.5
        assert closing.is_alive()
    closing.join(60)
    renaming.join(60)
    assert (live.sessions / f"{s.name}-3" / "f").read_bytes() == b"x"


def test_a_stale_mount_is_recovered(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    (s / "f").write_text("x")
    own.kill(signal.SIGKILL)
    with refused(errno.ENOTCONN):
        os.listdir(own.path)
    own.mount()
    assert (s / "f").read_text() == "x"
    own.umount()
    own.mount()
    own.kill(signal.SIGKILL)
    own.umount()
    assert os.listdir(own.path) == []


SMALL, LARGE = 100, 3 << 20
"""Bytes of a file that a draft in memory takes, and of one that is spooled and ingested while it is written."""


def _content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Written:
    """Files in a session: closed ones, and after `begin` some still open and not committed; small and large.

    A process that is started commits them: its copies of their descriptors are closed, and each close is a flush.
    """

    def __init__(self, session: Path) -> None:
        self.session = session
        self.closed = {f"closed-{size}": _content(size, size) for size in (SMALL, LARGE)}
        self.dirty = {f"dirty-{size}": _content(size, size + 1) for size in (SMALL, LARGE)}
        self.rewritten = _content(SMALL, 7)
        self.handles: list[int] = []
        for name, content in [*self.closed.items(), ("rewritten", b"before")]:
            (session / name).write_bytes(content)

    def begin(self) -> Written:
        """Write to files and leave them open."""
        for name, content in [*self.dirty.items(), ("rewritten", self.rewritten)]:
            self.handles.append(self._open(self.session / name, content))
        return self

    @staticmethod
    def _open(path: Path, content: bytes) -> int:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for start in range(0, len(content), 1 << 17):
            os.write(handle, content[start : start + (1 << 17)])
        return handle

    def let_go(self) -> None:
        """Close what is open, whose mount may be gone."""
        while self.handles:
            with contextlib.suppress(OSError):
                os.close(self.handles.pop())

    def check(self, own: Mounted, *, dirty: bool) -> None:
        """Find the closed files whole; with *dirty*, the others too, and nothing lost."""
        with own.open() as door:
            listed = {artifact.name: artifact for artifact in door.artifacts.list("s")}
            wanted = {**self.closed, **(self.dirty | {"rewritten": self.rewritten} if dirty else {})}
            for name, content in wanted.items():
                with door.artifacts.open(listed[name]) as reader:
                    assert b"".join(reader.blocks()) == content, name
            assert not dirty or list(door.upkeep.lost()) == []
        assert own.command("verify").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_end_commits_what_is_open(own: Mounted, number: signal.Signals) -> None:
    own.mount()
    written = Written(own.session("s")).begin()
    own.kill(number)
    written.let_go()
    assert mounted_kind(str(own.path)) is None
    written.check(own, dirty=True)


@pytest.mark.parametrize("command", ["umount", "fusermount -u"])
def test_an_unmount_is_refused_while_files_are_open_and_then_takes_everything_along(own: Mounted, command: str) -> None:
    own.mount()
    written = Written(own.session("s")).begin()
    assert "busy" in own.shell(f"{command} {own.path}", own.store, check=False).stderr
    handle = os.pidfd_open(own.pid)
    written.let_go()
    own.shell(f"{command} {own.path}", own.store)
    wait_for(lambda: is_over(handle))
    os.close(handle)
    written.check(own, dirty=True)


@pytest.mark.parametrize("command", ["umount -l", "fusermount -uz"])
def test_a_lazy_unmount_serves_what_is_open_to_its_close(own: Mounted, command: str) -> None:
    own.mount()
    written = Written(own.session("s")).begin()
    handle = os.pidfd_open(own.pid)
    own.shell(f"{command} {own.path}", own.store)
    assert mounted_kind(str(own.path)) is None
    assert not is_over(handle)
    os.write(written.handles[0], b"more")
    written.dirty[f"dirty-{SMALL}"] += b"more"
    written.let_go()
    wait_for(lambda: is_over(handle))
    os.close(handle)
    written.check(own, dirty=True)


def test_a_reboot_loses_nothing_that_was_closed(own: Mounted) -> None:
    own.mount()
    written = Written(own.session("s"))
    with store_locked(own):
        written.begin()
        pid = own.pid
        os.kill(pid, signal.SIGTERM)  # has to wait for the lock before it can commit
        time.sleep(0.5)
        assert Path(f"/proc/{pid}").exists()
        own.kill(signal.SIGKILL)
    written.let_go()
    written.check(own, dirty=False)
    own.mount()
    with own.open() as door:
        (lost,) = door.upkeep.lost()  # of the small ones nothing is on disk yet
        name = f"dirty-{LARGE}"
        assert (lost.name, b"".join(door.upkeep.read_lost(lost.id))) == (name, written.dirty[name])
    assert (own.sessions / "s" / "rewritten").read_bytes() == b"before"


def test_a_daemon_tells_its_manager_when_it_is_ready_and_when_it_ends(own: Mounted) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + f"llmspellfs-test-{os.getpid()}")
        manager.settimeout(60)
        own.environment["NOTIFY_SOCKET"] = f"@llmspellfs-test-{os.getpid()}"
        process = own.start("mount", "-f", str(own.path))
        assert manager.recv(100) == b"READY=1"
        assert "sessions" in os.listdir(own.path)
        assert own.pid == process.pid
        process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert process.wait(60) == 0
        own.mount()  # in the background there is nobody to tell
        own.umount()
        manager.settimeout(0)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_bad_mount_points_are_one_line(own: Mounted, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "file").touch()
    own.mount()
    for place, why in (
        (tmp_path / "missing", "no such file"),
        (tmp_path / "full", "not empty"),
        (tmp_path / "file", "not a directory"),
        (own.path, "already mounted"),
        (tmp_path, "holds the store"),
        (own.store, "holds the store"),
        (own.store / "blobs", "inside the store"),
    ):
        done = own.command("mount", str(place), check=False)
        assert done.returncode == 1, place
        assert len(done.stderr.splitlines()) == 1
        assert why in done.stderr.lower()
    assert "sessions" in os.listdir(own.path)


def test_a_busy_mount_is_not_unmounted(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"x")
    done = own.command("umount", str(own.path), check=False)
    assert done.returncode == 1
    assert "busy" in done.stderr
    assert f"({os.getpid()})" in done.stderr
    os.write(kept, b"y")
    os.close(kept)
    own.umount()
    own.mount()
    assert (s / "f").read_bytes() == b"xy"


def test_two_mounts_of_one_store_see_each_other(own: Mounted, tmp_path: Path) -> None:
    own.mount()
    second = tmp_path / "second"
    second.mkdir()
    own.command("mount", str(second))
    try:
        s = own.session("s")
        (s / "f").write_text("from the first")
        assert (second / "sessions/s/f").read_text() == "from the first"
        (second / "sessions/s/f").write_text("and from the second")
        assert (s / "f").read_text() == "and from the second"
        (second / "sessions/s/.session/status").write_text("suspended")
        with refused(errno.EROFS):
            (s / "f").write_text("x")
    finally:
        own.command("umount", str(second))


def test_commands_that_come_and_go_take_nothing_with_them(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    written = []
    for number in range(12):
        (s / f"m{number}").write_text(str(number))
        name = f"c{number}"
        own.command("artifact", "put", "s", "-", "--name", name, stdin=str(number))
        written += [f"m{number}", name]
    own.kill(signal.SIGKILL)
    with own.open() as door:
        assert sorted(a.name for a in door.artifacts.list("s")) == sorted(written)
    own.mount()
    assert sorted(os.listdir(s)) == sorted(written)


MANY = 500
THROUGH_MOUNT = """
import os, sys
for i in range(int(sys.argv[3])):
    with open(f"{sys.argv[1]}/{sys.argv[2]}-{i}", "w") as file:
        file.write(f"{sys.argv[2]} {i}")
"""
THROUGH_API = """
import sys
from llmspellfs import open_store
with open_store(sys.argv[1]) as store:
    for i in range(int(sys.argv[3])):
        store.artifacts.put(sys.argv[2], f"api-{i}", b"api %d" % i)
"""


@pytest.mark.timeout(900)
def test_four_doors_write_at_once_and_none_is_lost(own: Mounted, tmp_path: Path) -> None:
    own.mount()
    s = own.session("s")
    session_id = (s / ".session/id").read_text().strip()
    script = tmp_path / "store.lua"
    script.write_text(f"""
for i = 0, {MANY - 1} do
  Artifact.store("{session_id}", "tool_result", "lua-" .. i, "lua " .. i)
end
""")
    python = [sys.executable, "-c"]
    jobs = [
        [*python, THROUGH_MOUNT, str(s), "one", str(MANY)],
        [*python, THROUGH_MOUNT, str(s), "two", str(MANY)],
        own.words("run", "--no-record", str(script)),
        [*python, THROUGH_API, str(own.store), "s", str(MANY)],
    ]
    processes = [
        subprocess.Popen(job, env=own.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for job in jobs
    ]
    names = [f"cmd-{number}" for number in range(5)]
    for name in names:  # and short-lived ones beside them
        own.command("artifact", "put", "s", "-", "--name", name, stdin=name.replace("-", " "))
        own.command("session", "show", "s")
    for process, job in zip(processes, jobs, strict=True):
        out, complaints = process.communicate(timeout=240)
        assert (process.returncode, complaints) == (0, ""), (job, out, complaints)
    wanted = {f"{door}-{i}": f"{door} {i}" for door in ("one", "two", "lua", "api") for i in range(MANY)}
    wanted |= {name: name.replace("-", " ") for name in names}
    wait_for(lambda: len(events(s)) == 1 + len(wanted), lambda: len(events(s)))
    assert set(os.listdir(s)) == set(wanted)
    assert [name for name, content in wanted.items() if (s / name).read_text() != content] == []
    assert int(os.getxattr(s, "user.llmspell.artifact_count")) == len(wanted)
    assert "locked" not in own.log.read_text()
    assert own.command("verify", "s").returncode == 0


def _shell_timed(mounted: Mounted, script: str) -> float:
    return _timed(lambda: mounted.shell(script, mounted.store))


def _random_file(path: Path, mebibytes: int) -> None:
    source = random.Random(mebibytes)
    with open(path, "wb", buffering=0) as file:
        file.writelines(source.randbytes(1 << 20) for _ in range(mebibytes))


def _peak(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def _disk_use(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mebibytes", [int(os.environ.get("LARGE_MEBIBYTES", "1024"))])
def test_a_large_file_is_written_and_read_in_little_memory(own: Mounted, tmp_path: Path, mebibytes: int) -> None:
    """LARGE_MEBIBYTES in the environment makes it another size."""
    own.mount()
    s = own.session("s")
    source = tmp_path / "source"
    _random_file(source, mebibytes)
    took = {}
    for name in ("first", "second"):
        before = _disk_use(own.store)
        took[f"write {name}"] = _shell_timed(own, f"cp {source} {s}/{name}")
        wait_for(lambda: not own.spooled())
        added = _disk_use(own.store) - before
        if name == "second":
            assert added < mebibytes * (1 << 20) / 100, added
        took[f"read {name}"] = _shell_timed(own, f"cmp {source} {s}/{name}")
    peak = _peak(own.pid)
    figures = {name: f"{mebibytes / seconds:.0f} MiB/s" for name, seconds in took.items()}
    print(f"\n{mebibytes} MiB: {figures}, peak {peak} MiB, second copy adds {added} bytes")
    assert peak < 300
    source.unlink()
