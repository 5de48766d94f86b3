"""The daemon: started, found, ended, and refused with a reason; each mount is of a real store."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs.errors import InvalidValue, MountFailed
from llmspellfs.fuse import daemon
from llmspellfs.fuse.mountpoint import KIND, daemon_of, mounted_kind, take_away

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mount


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def mnt(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "a mount, with \\ odd name"
    path.mkdir()
    yield path
    if mounted_kind(str(path)):
        process = daemon_of(str(path))
        take_away(str(path), lazy=True)
        if process is not None:
            os.kill(process, signal.SIGKILL)


def _ended(process: int) -> bool:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False


def test_start_returns_when_the_mount_answers_and_stop_when_it_is_gone(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    assert mounted_kind(str(mnt)) == KIND
    process = daemon_of(str(mnt))
    assert process is not None
    assert process != os.getpid()
    assert os.getsid(process) == process
    assert "sessions" in os.listdir(mnt)
    daemon.stop(mnt, 30)
    assert mounted_kind(str(mnt)) is None
    assert not Path(f"/proc/{process}").exists()


def test_what_was_written_is_there_at_the_next_mount(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    (mnt / "sessions" / "s").mkdir()
    (mnt / "sessions" / "s" / "a.txt").write_bytes(b"kept")
    daemon.stop(mnt)
    daemon.start(store, mnt, options={"attr_timeout": "0"})
    assert (mnt / "sessions" / "s" / "a.txt").read_bytes() == b"kept"
    daemon.stop(mnt)


def test_sigterm_commits_and_ends(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    (mnt / "sessions" / "s").mkdir()
    descriptor = os.open(mnt / "sessions" / "s" / "open.txt", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"not closed")
    process = daemon_of(str(mnt))
    assert process is not None
    os.kill(process, signal.SIGTERM)
    assert _ended(process)
    with pytest.raises(OSError, match="not connected"):
        os.close(descriptor)
    daemon.start(store, mnt)
    assert (mnt / "sessions" / "s" / "open.txt").read_bytes() == b"not closed"
    daemon.stop(mnt)


def test_the_log_is_its_owners(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    daemon.stop(mnt)
    log = store / "mount.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "serving" in log.read_text()
    assert "everything is committed" in log.read_text()


def test_a_mount_whose_daemon_was_killed_is_recovered(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    process = daemon_of(str(mnt))
    assert process is not None
    os.kill(process, signal.SIGKILL)
    assert _ended(process)
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mnt)
    daemon.start(store, mnt)
    assert "sessions" in os.listdir(mnt)
    daemon.stop(mnt)


def test_a_dead_mount_can_be_stopped(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    process = daemon_of(str(mnt))
    assert process is not None
    os.kill(process, signal.SIGKILL)
    assert _ended(process)
    daemon.stop(mnt)
    assert mounted_kind(str(mnt)) is None


def test_a_mount_in_use_stays(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    user = subprocess.Popen(["sleep", "600"], cwd=mnt)
    try:
        with pytest.raises(MountFailed, match=rf"busy: in use by sleep \({user.pid}\)"):
            daemon.stop(mnt)
        assert "sessions" in os.listdir(mnt)
    finally:
        user.kill()
        user.wait()
    daemon.stop(mnt)


def test_foreground_stays_until_unmounted(store: Path, mnt: Path) -> None:
    code = "import sys; from llmspellfs.fuse import daemon; daemon.start(*sys.argv[1:], foreground=True)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code, str(store), str(mnt)], env=environment)
    give_up = time.monotonic() + 60
    while mounted_kind(str(mnt)) is None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert "sessions" in os.listdir(mnt)
    assert daemon_of(str(mnt)) == process.pid
    daemon.stop(mnt)
    assert process.wait(60) == 0


def _refused(store: Path, mnt: Path, reason: str) -> None:
    with pytest.raises(MountFailed, match=reason):
        daemon.start(store, mnt)


def test_bad_mount_points_are_refused_with_the_reason(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "thing").mkdir(parents=True)
    _refused(store, tmp_path / "missing", "no such file or directory")
    _refused(store, tmp_path / "file", "not a directory")
    _refused(store, tmp_path / "full", "not empty")
    _refused(store, Path("/proc"), "a proc file system is mounted there")
    assert not store.exists()


def test_a_store_and_its_mount_point_stay_apart(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    _refused(place, place, "holds the store")
    _refused(place / "store", place, "holds the store")
    _refused(tmp_path, place, "is inside the store")
    _refused(tmp_path / "link" / "store", place, "holds the store")


def test_a_second_mount_at_one_place_is_refused(store: Path, mnt: Path) -> None:
    daemon.start(store, mnt)
    _refused(store, mnt, "already mounted")
    daemon.stop(mnt)


def test_a_store_that_cannot_be_opened_is_the_reason(store: Path, mnt: Path) -> None:
    store.write_text("a file")
    _refused(store, mnt, "cannot use the store")
    assert mounted_kind(str(mnt)) is None


def test_a_store_in_memory_wants_the_foreground(
    tmp_path: Path, store: Path, mnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "llmspell.toml"
    config.write_text('[runtime.sessions]\nstorage_backend = "memory"\n')
    with pytest.raises(MountFailed, match="in the foreground"):
        daemon.start(store, mnt, config_path=config)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MountFailed, match="in the foreground"):
        daemon.start("store", mnt)


def test_a_bad_option_is_refused_before_anything_happens(store: Path, mnt: Path) -> None:
    with pytest.raises(InvalidValue, match="-o colour"):
        daemon.start(store, mnt, options={"colour": "red"})
    assert not store.exists()


def test_what_is_not_mounted_is_not_unmounted(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing", Path("/proc")):
        with pytest.raises(MountFailed, match="not mounted"):
            daemon.stop(place)
