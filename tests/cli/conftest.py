"""The command run in this process, on a store of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from llmspellfs import Store, open_store
from llmspellfs.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs `llmspellfs` on one store; what it returns has exit_code, stdout, stdout_bytes and stderr."""

    path: Path

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Result:
        """Run the command line *words* on the store."""
        return CliRunner().invoke(main, ["--store", str(self.path), *words], input=stdin)

    def ok(self, *words: str, stdin: str | bytes | None = None) -> str:
        """Run *words*, which must succeed and say nothing on stderr; return what is printed."""
        result = self(*words, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), (words, result.stderr, result.exception)
        return result.stdout

    def json(self, *words: str) -> list[Any]:
        """Run *words* with `--json` and return the object of each line."""
        return [json.loads(line) for line in self.ok(*words, "--json").splitlines()]

    def fails(self, *words: str, status: int = 1, stdin: str | bytes | None = None) -> str:
        """Run *words*, which must exit with *status* and say so in one line; return that line."""
        result = self(*words, stdin=stdin)
        assert result.exit_code == status, (words, result.exit_code, result.output, result.exception)
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("llmspellfs: ")
        return lines[0].removeprefix("llmspellfs: ")

    def open(self) -> Store:
        """Open the store as a program would."""
        return open_store(self.path)


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own configuration and store out of the tests."""
    monkeypatch.delenv("LLMSPELL_CONFIG", raising=False)
    monkeypatch.delenv("LLMSPELL_SESSION_PATH", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command on a new store, which must be whole at the end."""
    command = Cli(tmp_path / "store")
    yield command
    if command.path.is_dir():
        with command.open() as store:
            assert store.upkeep.fsck().problems == ()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Cli:
    """The command on another store, in which anything may be wrong at the end."""
    return Cli(tmp_path / "elsewhere")


@pytest.fixture
def q4(cli: Cli) -> str:
    """The id of a session called q4 that is there."""
    return cli.ok("session", "create", "q4", "--tag", "report").strip()


@pytest.fixture
def child(cli: Cli) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `llmspellfs` on the store of `cli` as a process of its own."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def start(*words: str, **streams: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "llmspellfs", "--store", str(cli.path), *words]
        # Started in the background, a shell has its children ignore SIGINT, and theirs too.
        restored = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(command, env=environment, preexec_fn=restored, **streams)  # noqa: PLW1509 - no threads here

    return start
