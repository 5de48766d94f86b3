"""What a failing command says, and what it exits with."""

from __future__ import annotations

import inspect
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmspellfs import errors
from llmspellfs.cli import render
from llmspellfs.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (["session", "list", "--sort", "nix"], "--sort: expected one of ", 2),
        (["find", "x", "--sort", "nix"], "--sort: expected one of ", 2),
        (["session", "list", "--created-after", "nix"], "--created-after: expected ", 2),
        (["gc", "--grace", "x"], "'x' is not a valid number", 2),
        (["session", "list", "--limit", "x"], "'x' is not a valid whole number", 2),
        (["verify", "--against", "nofile"], "nofile: No such file or directory", 1),
        (["import", "nofile"], "nofile: No such file or directory", 1),
        (["--config", "nofile", "config"], "nofile: No such file or directory", 1),
        (["restore-store", "nothere", "--to", "there"], "no backup at ", 1),
    ],
)
def test_what_is_wrong_is_called_as_the_command_calls_it(
    cli: Any, q4: str, words: list[str], says: str, status: int
) -> None:
    said = cli.fails(*words, status=status)
    assert said.startswith(says) or says in said.partition(": ")[2]


def test_an_artifact_that_was_purged_is_said_to_be(cli: Any, q4: str) -> None:
    made = cli.ok("artifact", "put", "q4", "-", "--name", "a", stdin="some").strip()
    cli.ok("artifact", "purge", "q4:a", "--yes")
    assert "purged, or older than the history that is kept" in cli.fails("artifact", "restore", made)


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


def test_an_error_that_harm_may_have_caused_says_what_tells(cli: Any, q4: str) -> None:
    with closing(sqlite3.connect(cli.path / "index.db")) as db:
        (was,) = db.execute("SELECT created_ns FROM session").fetchone()
        db.execute("UPDATE session SET created_ns = x'07'")
        db.commit()
    hint = "(--debug shows where, `llmspellfs fsck` whether the store is harmed)"
    assert cli.fails("session", "show", "q4").endswith(hint)
    assert "its created_ns is bytes, where an integer belongs" in cli("fsck").output
    with closing(sqlite3.connect(cli.path / "index.db")) as db:
        db.execute("UPDATE session SET created_ns = ?", (was,))
        db.commit()


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
    assert process.wait(100) == 141


def test_output_that_cannot_be_written_is_one_line(child: Callable[..., subprocess.Popen[bytes]], q4: str) -> None:
    with open("/dev/full", "wb") as full:
        process = child("session", "list", stdout=full, stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (1, b"llmspellfs: No space left on device\n")


def _without(redirection: str, cli: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `llmspellfs` as a process from a shell that closes a stream by *redirection*."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "llmspellfs", "--store", str(cli.path), *words]
    shell = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command]
    return subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("session", "list"), ("artifact", "cat", "q4:f"), ("export", "q4", "-")])
def test_a_closed_stdout_is_an_error(cli: Any, q4: str, words: tuple[str, ...]) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "f", stdin="content")
    done = _without(">&-", cli, *words)
    assert done.returncode == 1
    assert done.stderr == "llmspellfs: standard input or output is closed: Bad file descriptor\n"


def test_a_closed_stdin_stores_nothing(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "f", stdin="content")
    for words in (("artifact", "put", "q4", "-", "--name", "f"), ("import", "-"), ("run", "-")):
        done = _without("<&-", cli, *words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert done.stderr == "llmspellfs: standard input or output is closed: Bad file descriptor\n"
    assert [art["version"] for art in cli.json("artifact", "list", "q4")] == [1]


@pytest.mark.parametrize(
    "words",
    [
        ("--store", "", "stats"), ("stats", "--store", ""), ("--config", "", "stats"),
        ("artifact", "put", "q4", "f", "--name", ""), ("artifact", "restore", "q4:f", "--name", ""),
        ("session", "create", "x", "--parent", ""), ("session", "list", "--tag", ""), ("session", "purge", ""),
        ("session", "fork", "q4", ""), ("import", "x", "--as", ""), ("find", "--sort", "", "x"), ("init", ""),
        ("restore-store", "x", "--to", ""), ("run", "--session", "", "-e", "x"), ("verify", ""),
    ],
)  # fmt: skip
def test_an_empty_text_where_none_can_be_meant_is_refused(cli: Any, q4: str, words: tuple[str, ...]) -> None:
    assert "it is empty" in cli.fails(*words, status=2)


def test_an_empty_text_that_can_be_meant_is_taken(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "f", "--description", "", stdin="content")
    cli.ok("run", "-e", "", "")
    cli.ok("session", "list", "")


def test_an_interrupt_is_130_without_a_word(child: Callable[..., subprocess.Popen[bytes]], cli: Any, q4: str) -> None:
    process = child(
        "artifact", "put", "q4", "-", "--name", "x", "--json",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(bytes(1_000_000))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert cli.ok("artifact", "list", "q4") == ""
