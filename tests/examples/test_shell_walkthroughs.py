"""Each walkthrough runs to its end on a mount of its own, and leaves what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.fuse.mountpoint import mounted_kind, take_away
from tests.examples.conftest import EXAMPLES

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="/dev/fuse IS MISSING: no walkthrough can be run"),
]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Path]:
    """The folder of a walkthrough, where nothing stays mounted."""
    folder = tmp_path / "stage"
    yield folder
    if mounted_kind(str(folder / "mnt")) is not None:
        take_away(str(folder / "mnt"), lazy=True)
        pytest.fail("the walkthrough left its mount behind")


def walk(name: str, stage: Path, *, folder: bool = True) -> str:
    """Run the walkthrough *name* with a `llmspellfs` that is this project's; return what it showed."""
    command = stage.parent / "bin" / "llmspellfs"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmspellfs "$@"\n')
    command.chmod(0o755)
    home = {"XDG_CONFIG_HOME": str(stage.parent), "XDG_DATA_HOME": str(stage.parent), "TMPDIR": str(stage.parent)}
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        ["bash", str(EXAMPLES / "shell" / f"{name}.sh"), *([str(stage)] if folder else [])],
        env={**os.environ, **home, **paths},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def opened(stage: Path) -> Store:
    return open_store(stage / "store")


def test_a_day_with_the_mount(stage: Path) -> None:
    shown = walk("day", stage)
    lines = shown.splitlines()
    assert lines.count("not now") == lines.count("as at noon") == lines.count("it stays") == 1
    assert shown.count("Read-only file system") == 2
    assert shown.index("Saturn,146") < shown.index("Jupiter,95")
    with opened(stage) as store:
        session = store.sessions.get("planets")
        assert (session.status, session.description) == ("completed", "Which planets have the most moons?")
        moons = store.artifacts.get(session.id, "results/moons.csv")
        assert store.artifacts.read(moons).startswith(b"Saturn,146\nJupiter,95\n")
        assert moons.tags == ("final",)
        assert store.artifacts.get(session.id, "planets.csv").custom == {"source": "planetary fact sheet"}
        assert store.upkeep.fsck().problems == ()


def test_an_audit(stage: Path) -> None:
    shown = walk("audit", stage)
    assert shown.splitlines().count("found") == 1
    assert "\nledger: BROKEN: event 4: " in shown
    assert shown.splitlines()[-2] == "ledger: 11 events, unbroken"
    with opened(stage) as store:
        session = store.sessions.get("ledger")
        doors = {event.fields["door"] for event in store.sessions.events(session.id)}
        assert doors == {"mount", "cli", "lua"}
        assert (stage / "anchor").read_text() == session.head
        history = store.artifacts.history(session.id, "planets.csv")
        assert [one.size for one in history] == [217, 238, 217]
        assert all(report.problem is None for report in store.upkeep.verify())


def test_recovering_a_failed_session(stage: Path) -> None:
    shown = walk("recovery", stage)
    assert "attempt to perform arithmetic on a nil value (field 'moon')" in shown
    assert shown.count(" 0 mismatches") == 2
    assert "\n  moons-again:rows.json  (moons.lua" in shown
    with opened(stage) as store:
        failed, again = store.sessions.get("moons"), store.sessions.get("moons-again")
        assert (failed.status, again.status) == ("failed", "completed")
        assert "field 'moon'" in (failed.failure_reason or "")
        assert store.artifacts.read(store.artifacts.get(failed.id, "moons.txt")) == b"not counted yet"
        assert store.artifacts.read(store.artifacts.get(again.id, "moons.txt")) == b"288 moons\n"
        assert again.parent_session_id == failed.id
        assert store.upkeep.fsck().problems == ()


def test_a_walkthrough_leaves_nothing_behind_unless_it_is_given_a_folder(stage: Path) -> None:
    before = set(stage.parent.iterdir())
    walk("day", stage, folder=False)
    assert set(stage.parent.iterdir()) - before == {stage.parent / "bin"}


@pytest.mark.parametrize("words", [["{0}"], ["{0}", "more"]])
def test_a_folder_that_is_in_use_is_refused_and_stays_as_it_is(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "store").mkdir()
    done = subprocess.run(
        ["bash", str(EXAMPLES / "shell" / "day.sh"), *(word.format(tmp_path) for word in words)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: day.sh [FOLDER]")
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]
