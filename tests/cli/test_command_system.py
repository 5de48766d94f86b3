"""What the command does for a system's own tools: `mounts`, a unit for systemd, the helper of mount(8)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from llmspellfs.cli import main
from llmspellfs.cli.systemd import quoted
from llmspellfs.fuse.mountpoint import mounted_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def mnt(cli: Any) -> Iterator[Path]:
    """An empty folder, with nothing mounted on it at the end."""
    folder = Path("mnt").absolute()
    folder.mkdir()
    yield folder
    if mounted_kind(str(folder)):
        cli("umount", str(folder))
    assert mounted_kind(str(folder)) is None


@pytest.mark.mount
def test_mounts_lists_live_mounts_of_the_store_alone(cli: Any, mnt: Path, tmp_path: Path) -> None:
    cli.ok("init")
    assert cli.ok("mounts") == ""
    begun = time.time()
    cli.ok("mount", "mnt", "-o", "defaults,threads=2,ro")
    (listed,) = cli.json("mounts")
    assert (listed["mountpoint"], listed["store"]) == (str(mnt), str(cli.path))
    assert listed["options"] == {"threads": "2", "ro": ""}
    assert Path(f"/proc/{listed['pid']}/cmdline").exists()
    since = datetime.fromisoformat(listed["since"]).timestamp()
    assert begun - 2 < since < time.time() + 1  # the system tells when it was booted in whole seconds
    assert re.search(rf"{mnt} +{listed['pid']}  20\d\d-.*Z  threads=2,ro\n$", cli.ok("mounts"))
    other = str(tmp_path / "other")
    cli.ok("init", other)
    assert cli.ok("mounts", "--store", other) == ""
    assert listed in cli.json("mounts", "--store", other, "--all")
    assert str(cli.path) in cli.ok("mounts", "--all")


@pytest.mark.mount
def test_a_mount_whose_process_is_gone_is_not_live(cli: Any, mnt: Path) -> None:
    cli.ok("mount", "mnt")
    process = cli.json("mounts")[0]["pid"]
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    for words in (["mounts"], ["mounts", "--all"]):
        said = cli(*words)
        assert str(mnt) not in said.stdout
        assert f"{mnt}: the process of this mount is gone" in said.stderr
        assert said.exit_code == 0
    cli.ok("umount", "mnt")
    assert cli.ok("mounts") == ""


def test_mounts_of_a_store_that_is_not_there_says_so(cli: Any) -> None:
    assert cli.fails("mounts") == f"no store at {cli.path} (llmspellfs init makes one)"


READING = [
    ["session", "list"],
    ["session", "show", "q4"],
    ["session", "events", "q4"],
    ["find", "tag:x"],
    ["artifact", "cat", "q4:a"],
    ["artifact", "get", "q4:a"],
    ["artifact", "history", "q4:a"],
    ["artifact", "put", "q4", "a"],
    ["stats"],
    ["fsck"],
    ["verify"],
    ["gc"],
    ["lost", "list"],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_mistyped_store_is_named_and_not_made(cli: Any, words: list[str]) -> None:
    assert cli.fails(*words) == f"no store at {cli.path} (llmspellfs init makes one)"
    assert not cli.path.exists()
    cli.path.mkdir()
    assert cli.fails(*words).startswith("no store at ")
    assert os.listdir(cli.path) == []


@pytest.mark.parametrize("words", [["init"], ["session", "create", "x"], ["run", "-e", "return"]])
def test_what_begins_with_a_store_makes_it(cli: Any, words: list[str]) -> None:
    cli.ok(*words)
    assert (cli.path / "index.db").exists()


def _unit(cli: Any, *words: str) -> dict[str, str]:
    """Return the lines of the unit that is printed, by name."""
    lines = cli.ok("mount", *words, "--print-systemd").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_a_unit_mounts_in_the_foreground_and_unmounts(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("")
    config = f"config={tmp_path}/own.toml"
    unit = _unit(cli, "mnt", "-o", f"allow_other,type=tool_result,{config}")
    place = Path("mnt").absolute()
    start = f" --store {cli.path} --config {tmp_path}/own.toml mount -f {place} -o allow_other,type=tool_result"
    assert unit["ExecStart"].endswith(start)
    assert os.access(unit["ExecStart"].split()[0], os.X_OK)
    assert unit["ExecStop"].startswith("-/")
    assert unit["ExecStop"].endswith(f" umount --timeout=60 {place}")
    assert (unit["Type"], unit["Restart"], int(unit["TimeoutStopSec"]) > 60) == ("notify", "on-failure", True)
    assert unit["RequiresMountsFor"] == f"{cli.path} {place.parent}"
    assert not cli.path.exists()


def test_a_bad_option_prints_no_unit(cli: Any) -> None:
    assert cli.fails("mount", "mnt", "--print-systemd", "-o", "umask=9", status=2).startswith("-o umask: ")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("/a/b-c_d.e", "/a/b-c_d.e"),
        ("/a b", '"/a b"'),
        ("/100%", '"/100%%"'),
        ("/$HOME", '"/$$HOME"'),
        ("/a\"b'c\\d", '"/a\\"b\'c\\\\d"'),
        ("/a\nb", '"/a\\x0ab"'),
        ("/\udcff", '"/\\xff"'),
        ("/grün", "/grün"),
        ("", '""'),
        (";", '";"'),
    ],
)
def test_a_word_of_a_unit_is_quoted_as_systemd_reads_it(word: str, text: str) -> None:
    assert quoted(word, "$") == text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze IS MISSING: no unit is verified")
def test_systemd_takes_the_unit(cli: Any, tmp_path: Path) -> None:
    place = "a mount, 100% of \"$HOME\" and 'more' \\x41"
    unit = tmp_path / "llmspellfs-test.service"
    unit.write_text(cli.ok("mount", place, "--print-systemd", "-o", "ro,type=tool_result") + "\n")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
    unit.write_text(unit.read_text().replace("%%", "%Z"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert unit.name in done.stderr


@pytest.mark.mount
def test_two_paths_and_options_are_mount_fuses_words(cli: Any, mnt: Path) -> None:
    done = CliRunner().invoke(main, [str(cli.path), str(mnt), "-o", "rw,dev,suid,type=agent_output"])
    assert (done.exit_code, done.output) == (0, "")
    os.mkdir("mnt/sessions/q4")
    Path("mnt/sessions/q4/a").write_text("x")
    assert cli.json("artifact", "show", "q4:a")[0]["artifact_type"] == "agent_output"


@pytest.mark.parametrize(
    "words", [["sesion", "list"], ["statz", "/tmp"], ["artefact", "get", "a/b"], ["no/such", "word"], ["a/b"]]
)
def test_a_mistyped_command_is_no_mount(words: list[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert f"No such command '{words[0]}'" in done.stderr


def _helper(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from llmspellfs.cli.helper import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_helper_exits_as_mount_8_does(cli: Any, mnt: Path) -> None:
    store = str(cli.path)
    assert _helper(store).returncode == 1
    assert _helper(store, str(mnt), "-o", "colour=red", "-f").returncode == 1
    assert _helper(store, str(mnt), "-o", "colour=red,ro", "-sfnv", "-t", "fuse.llmspellfs").returncode == 0
    assert _helper(store, str(mnt / "none"), "-w").returncode == 32
    failed = _helper(store, str(mnt), "-r")
    assert (failed.returncode, failed.stderr.count("\n")) == (32, 1)
    assert "no store at" in failed.stderr
    assert not cli.path.exists()
    assert not mnt.is_mount()
