"""What a failing command says, and what it exits with."""

from __future__ import annotations

import inspect
import signal
import subprocess
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from llmspellfs import errors
from llmspellfs.cli import render
from llmspellfs.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.SpellError) and kind is not errors.SpellError
]


def test_every_error_class_has_an_exit_status() -> None:
    assert set(render.EXIT_STATUS) == set(CLASSES)


@pytest.mark.parametrize("status", render.EXIT_STATUS.values())
def test_an_exit_status_is_failure_or_bad_usage(status: int) -> None:
    assert status in {1, 2}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["session"],
        ["session", "nonsense"],
        ["session", "show"],
        ["session", "list", "--limit", "many"],
        ["session", "list", "--status", "asleep"],
        ["session", "create", "x", "--meta", "no-equals-sign"],
        ["artifact", "put", "q4", "a", "b", "--name", "c"],
        ["artifact", "put", "q4", "-"],
        ["artifact", "cat", "no-colon"],
        ["find"],
        ["find", "size:>abc"],
        ["run"],
        ["mount"],
        ["--store"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(cli: Any, q4: str, words: list[str]) -> None:
    assert cli.fails(*words, status=2)


@pytest.mark.parametrize(
    "words",
    [
        ["session", "list", "--limit", "9" * 20],
        ["session", "list", "--offset", "9" * 20],
        ["session", "events", "q4", "--after", "9" * 20],
        ["session", "events", "q4", "--limit", "9" * 20],
        ["artifact", "list", "q4", "--limit", "9" * 20],
        ["artifact", "list", "q4", "--offset", "9" * 20],
        ["find", "type:user_input", "--limit", "9" * 20],
        ["gc", "--grace", "nan"],
        ["scrub", "--share", "nan"],
    ],
)
def test_a_number_that_nothing_can_hold_is_named(cli: Any, q4: str, words: list[str]) -> None:
    assert "expected" in cli.fails(*words, status=2)


@pytest.mark.parametrize("grace", ["inf", "1e30"])
def test_a_grace_may_be_as_long_as_one_likes(cli: Any, q4: str, grace: str) -> None:
    cli.ok("gc", "--grace", grace)


def test_limits_and_times_may_be_as_large_as_one_likes(
    cli: Any, q4: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [field.name for field in fields(Config) if type(field.default) is int]
    config = tmp_path / "llmspell.toml"
    config.write_text("[runtime.sessions]\n" + "".join(f"{key} = {10**30}\n" for key in keys))
    monkeypatch.setenv("LLMSPELL_CONFIG", str(config))
    for words in (["gc"], ["session", "list"], ["stats"], ["scrub"], ["session", "create", "more"], ["fsck"]):
        cli.ok(*words)


def test_bad_usage_names_the_command_and_its_help(cli: Any) -> None:
    assert (
        cli.fails("session", "show", status=2)
        == "session show: Missing argument 'REF' (see llmspellfs session show --help)"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["session", "show", "nobody"], "session not found: nobody"),
        (["session", "resume", "q4"], "session q4 is active: cannot resume"),
        (["artifact", "cat", "q4:none.txt"], "artifact not found: q4:none.txt"),
        (["artifact", "cat", "nobody:none.txt"], "session not found: nobody"),
        (["artifact", "put", "q4", "none.txt"], "file not found: none.txt"),
        (["lost", "show", "none"], "lost item not found: none"),
    ],
)
def test_a_failed_operation_is_one_line_and_exit_1(cli: Any, q4: str, words: list[str], message: str) -> None:
    assert cli.fails(*words) == message


def test_a_suspended_session_takes_no_artifact(cli: Any, q4: str) -> None:
    cli.ok("session", "suspend", "q4")
    line = cli.fails("artifact", "put", "q4", "-", "--name", "a", stdin="x")
    assert line == "session q4 is suspended: resume it first"


def test_a_store_that_is_a_file_is_one_line(cli: Any) -> None:
    cli.path.write_text("not a store")
    assert str(cli.path) in cli.fails("session", "list")


def test_an_unknown_configuration_key_is_named(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[runtime.sessions]\nmax_session = 1\n")
    line = cli.fails("--config", str(file), "session", "list")
    assert line.startswith(f"{file}: runtime.sessions.max_session: unknown key")


def test_a_store_in_memory_is_refused_where_it_would_vanish(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[runtime.sessions]\nstorage_backend = "memory"\n')
    for words in (["session", "create", "x"], ["mount", "mnt"]):
        assert "storage_backend" in cli.fails(*words, "--config", str(file))


def test_an_unforeseen_error_is_one_line_too(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall_over(*_: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("llmspellfs.cli.app.App.open", fall_over)
    assert cli.fails("stats") == r"unforeseen ZeroDivisionError: by\nzero (--debug shows where)"


def test_debug_shows_the_traceback_in_either_place(cli: Any, q4: str) -> None:
    for words in (["--debug", "session", "show", "nobody"], ["session", "show", "nobody", "--debug"]):
        stderr = cli(*words).stderr
        assert "Traceback (most recent call last)" in stderr
        assert stderr.endswith("llmspellfs: session not found: nobody\n")


def test_a_reader_that_goes_away_is_no_error(child: Callable[..., subprocess.Popen[bytes]], cli: Any) -> None:
    with cli.open() as store:
        session = store.sessions.create("big")
        store.artifacts.put(session.id, "big.bin", bytes(3_000_000))
    process = child("artifact", "cat", "big:big.bin", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


def test_output_that_cannot_be_written_is_one_line(child: Callable[..., subprocess.Popen[bytes]], q4: str) -> None:
    with open("/dev/full", "wb") as full:
        process = child("session", "list", stdout=full, stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (1, b"llmspellfs: No space left on device\n")


def test_an_interrupt_is_130_without_a_word(child: Callable[..., subprocess.Popen[bytes]], cli: Any, q4: str) -> None:
    process = child(
        "artifact", "put", "q4", "-", "--name", "x", "--json",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(bytes(1_000_000))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert cli.ok("artifact", "list", "q4") == ""
