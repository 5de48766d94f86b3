"""Every step to the disk has a name: who listens hears of it, may fail it, cut it short, or end the process there."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmspellfs.storage import disk, faults
from tests.crash.steps import modules, registry, strays


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], faults.Faults]:
    """Arm faults for the rest of the test."""

    def arm(text: str) -> faults.Faults:
        hook = faults.armed(text)
        monkeypatch.setattr(disk, "hook", hook)
        return hook

    return arm


def test_everything_that_writes_to_a_store_goes_through_the_one_place() -> None:
    found = [stray for name, module in modules() for stray in strays(name, module)]
    assert found == []
    assert len(registry()) > 60


def test_nobody_listens_unless_the_environment_says_so() -> None:
    assert disk.ARMED_BY not in os.environ
    assert disk.hook is None


def test_a_step_is_heard_before_and_after(tmp_path: Path, listen: Callable[[str], faults.Faults]) -> None:
    hook = listen("")
    disk.write_file("a", tmp_path / "file", b"bytes")
    disk.rename("b", tmp_path / "file", tmp_path / "new")
    steps = ("a.create", "a.write", "a.fsync", "b")
    assert list(hook.counts) == [name for step in steps for name in (step, f"{step}.done")]


@pytest.mark.parametrize("write", [disk.write, lambda name, fd, data: disk.pwrite(name, fd, data, 0)])
def test_a_short_write_goes_on(
    tmp_path: Path, listen: Callable[[str], faults.Faults], write: Callable[[str, int, bytes], None]
) -> None:
    hook = listen("short:w,short:w.rest#1")
    descriptor = disk.create("c", tmp_path / "file")
    write("w", descriptor, b"all of it")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"all of it"
    assert hook.counts["w.rest"] == 2


@pytest.mark.parametrize("step", ["a.write", "a.write.rest", "a.fsync"])
def test_a_file_that_cannot_be_written_is_not_there(
    tmp_path: Path, listen: Callable[[str], faults.Faults], step: str
) -> None:
    listen(f"short:a.write,EIO:{step}" if step.endswith("rest") else f"EIO:{step}")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        disk.write_file("a", tmp_path / "file", b"bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_to_clean_up_does_not_hide_why(tmp_path: Path, listen: Callable[[str], faults.Faults]) -> None:
    listen("ENOSPC:a.write,EIO:a.undo")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        disk.write_file("a", tmp_path / "file", b"bytes")


def test_only_the_numbered_time_fails(tmp_path: Path, listen: Callable[[str], faults.Faults]) -> None:
    listen("EDQUOT:a#2")
    disk.mkdir("a", tmp_path / "1")
    with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
        disk.mkdir("a", tmp_path / "2")
    disk.mkdir("a", tmp_path / "2")


@pytest.mark.parametrize(
    ("kind", "code"),
    [("ENOSPC", sqlite3.SQLITE_FULL), ("EIO", sqlite3.SQLITE_IOERR), ("EMFILE", sqlite3.SQLITE_CANTOPEN)],
)
def test_what_sqlite_does_fails_as_sqlite_says_it(listen: Callable[[str], faults.Faults], kind: str, code: int) -> None:
    connection = sqlite3.connect(":memory:")
    listen(f"{kind}:index.commit")
    with pytest.raises(sqlite3.OperationalError) as raised:
        disk.execute("index.commit", connection, "COMMIT")
    assert raised.value.sqlite_errorcode == code
    connection.close()


def test_the_environment_arms_a_process_and_its_trace_ends_where_it_is_killed(tmp_path: Path) -> None:
    code = "import sys; from llmspellfs.storage import disk; disk.write_file('a', sys.argv[1], b'x'); print('alive')"
    environment = {**os.environ, disk.ARMED_BY: f"trace={tmp_path}/trace,kill:a.fsync"}
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert (tmp_path / "trace").read_text() == "a.create\na.create.done\na.write\na.write.done\na.fsync\n"
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize("text", ["kill", "explode:a", "ENOSPC", "kill:", "kill:a#x"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a fault|invalid literal"):
        faults.armed(text)


def test_folders_are_made_down_to_the_last_and_for_their_owner_alone(tmp_path: Path) -> None:
    disk.make_folder("a", tmp_path / "1" / "2" / "3")
    disk.make_folder("a", tmp_path / "1" / "2" / "3")
    assert all((tmp_path / path).stat().st_mode & 0o777 == 0o700 for path in ("1", "1/2", "1/2/3"))
