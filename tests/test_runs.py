"""What a run of the tests says at its end, whatever has ended it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(folder: Path, test: str) -> str:
    """Return what pytest says of a module with *test*, where CI is set."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(test)
    words = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(folder)]
    environment = {**os.environ, "CI": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100)
    return done.stdout


def test_long_contents_that_differ_are_shown_by_where_they_do(tmp_path: Path) -> None:
    test = "def test_it(): assert b'x' + Random(1).randbytes(1 << 16) == b'y' + Random(2).randbytes(1 << 16)\n"
    said = run(tmp_path, f"from random import Random\n{test}")
    assert "1 failed" in said
    assert "At index 0 diff" in said
    assert len(said) < 10_000


def test_short_contents_that_differ_are_shown_whole(tmp_path: Path) -> None:
    said = run(tmp_path, "def test_it(): assert [1, [2] * 50] == [1, [3] * 50]\n")
    assert "Full diff" in said


def test_a_run_that_breaks_off_says_last_by_what(tmp_path: Path) -> None:
    hook = "import pytest\n@pytest.hookimpl\ndef pytest_runtest_logfinish(nodeid):\n    raise MemoryError('no more')\n"
    (tmp_path / "conftest.py").write_text(hook)
    said = run(tmp_path, "def test_it(): assert 0\n").splitlines()
    last = said[said.index("BROKEN OFF") :]
    assert last[1] == "test_it.py::test_it"
    assert last[-1].endswith("MemoryError: no more")
