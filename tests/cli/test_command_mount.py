"""`llmspellfs mount` and `umount` as processes, on a real mount."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.mount


@pytest.fixture
def mountpoint(cli: Any) -> Iterator[Path]:
    """An empty folder, with nothing mounted on it at the end."""
    folder = Path("mnt").absolute()
    folder.mkdir()
    yield folder
    if os.path.ismount(folder):
        cli("umount", str(folder))
    assert not os.path.ismount(folder)


def test_mount_answers_when_it_returns_and_umount_leaves_nothing(cli: Any, mountpoint: Path) -> None:
    assert cli.ok("mount", "mnt") == ""
    os.mkdir("mnt/sessions/q4")
    Path("mnt/sessions/q4/a.txt").write_text("through the mount")
    assert cli.ok("artifact", "cat", "q4:a.txt") == "through the mount"
    cli.ok("artifact", "put", "q4", "-", "--name", "b.txt", stdin="through the command")
    assert Path("mnt/sessions/q4/b.txt").read_text() == "through the command"
    assert cli.ok("umount", "mnt") == ""
    assert os.listdir(mountpoint) == []


def test_mount_options_reach_the_mount(cli: Any, mountpoint: Path) -> None:
    cli.ok("mount", "mnt", "-o", "type=tool_result,threads=2")
    os.mkdir("mnt/sessions/q4")
    Path("mnt/sessions/q4/a.txt").write_text("x")
    assert cli.json("artifact", "show", "q4:a.txt")[0]["artifact_type"] == "tool_result"


@pytest.mark.parametrize("words", [["-o", "colour=red"], ["-o", "threads=many"], ["-o", "allow_other=yes"]])
def test_a_bad_mount_option_is_bad_usage(cli: Any, mountpoint: Path, words: list[str]) -> None:
    assert cli.fails("mount", "mnt", *words, status=2).startswith("-o ")


def test_what_cannot_be_mounted_on_is_one_line(cli: Any, mountpoint: Path) -> None:
    Path("file").write_text("x")
    Path("full").mkdir()
    Path("full/file").write_text("x")
    for place in ("none", "file", "full"):
        assert place in cli.fails("mount", place)


def test_umount_of_what_is_not_mounted_is_one_line(cli: Any, mountpoint: Path) -> None:
    assert "not mounted" in cli.fails("umount", "mnt")


def test_foreground_stays_until_unmounted(
    cli: Any, mountpoint: Path, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = child("mount", "-f", str(mountpoint), stdout=subprocess.DEVNULL)
    while process.poll() is None and not os.path.ismount(mountpoint):
        time.sleep(0.05)
    assert process.poll() is None
    cli.ok("umount", str(mountpoint))
    assert process.wait(100) == 0
