"""What the README tells people to type."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click import Context, Group

from llmspellfs.cli.root import COMMANDS, main
from llmspellfs.config import Config, load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def command_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Any) -> None:
    """`llmspellfs` as a command of the shell, on the store of `cli`."""
    script = tmp_path / "bin" / "llmspellfs"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmspellfs "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LLMSPELL_SESSION_PATH", str(cli.path))


def test_the_shell_commands_run(cli: Any, command_on_path: None) -> None:
    Path("figures.csv").write_text("a,b\n1,2\n")
    (block,) = [block for block in blocks("sh") if "llmspellfs artifact put q4" in block]
    process = subprocess.run(["bash", "-euc", block], capture_output=True, text=True, check=True)
    assert process.stdout.endswith("a,b\n1,2\nq4: completed\n")


def test_the_commands_of_history_run(cli: Any, command_on_path: None) -> None:
    cli.ok("init")
    (block,) = [block for block in blocks("sh") if "session rollback" in block]
    process = subprocess.run(["bash", "-euc", block], capture_output=True, text=True, check=True)
    assert "\n-first\n+second\n" in process.stdout
    assert process.stdout.endswith("\n-second\n+first\n")


def test_the_python_code_runs(cli: Any) -> None:
    (block,) = blocks("python")
    path = "/var/lib/llmspell/store"
    assert path in block
    code = block.replace(path, str(cli.path))
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert r"b'a,b\n1,2\n'" in process.stdout


def test_the_lua_code_runs(cli: Any) -> None:
    (block,) = blocks("lua")
    printed = cli.ok("run", "-e", block).splitlines()
    assert printed[0:2] == ["a,b", "1,2"]
    assert printed[-1] == "figures.csv\t8"


def test_the_configuration_shown_is_the_default() -> None:
    block, *_ = blocks("toml")
    defaults = asdict(Config())
    del defaults["source"], defaults["retention"]
    assert tomllib.loads(block)["runtime"]["sessions"] == defaults


def test_the_configurations_shown_are_taken(tmp_path: Path) -> None:
    for block in blocks("toml"):
        (tmp_path / "llmspell.toml").write_text(block)
        assert load_config(tmp_path / "llmspell.toml").source


def test_the_commands_shown_and_their_options_exist() -> None:
    lines = re.findall(r"^\$ .*?\bllmspellfs (.*)$", "".join(blocks("console")), re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        context, words = Context(main), shlex.split(line, comments=True)
        while isinstance(context.command, Group):
            words = words[2:] if words[0] == "--store" else words
            command = context.command.get_command(context, words.pop(0))
            assert command is not None, line
            context = Context(command)
        known = {option for param in context.command.get_params(context) for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--json", "--store"}, line


def test_every_command_is_named() -> None:
    section = README[README.index("## The command") : README.index("### Queries")]
    for name in COMMANDS:
        assert f"`{name}" in section


def test_the_transcript_has_the_commands_of_the_demo_in_their_order() -> None:
    transcript, *_ = blocks("console")
    demo = (ROOT / "examples" / "demo.sh").read_text("utf-8").replace('\\"', '"')
    rest = demo[demo.index('say "') :]
    commands = re.findall(r"^\$ (.*)$", transcript, re.MULTILINE)
    assert len(commands) == len(re.findall(r"^ *(?:run|refused) ", rest, re.MULTILINE))
    for command in commands:
        assert command in rest
        rest = rest[rest.index(command) + len(command) :]
