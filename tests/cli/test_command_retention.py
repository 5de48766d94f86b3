"""`llmspellfs retention`, what `gc` does of it, and how quotas are shown and refused at the command."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import open_store
from tests.cli.conftest import Cli

RULES = """
[[runtime.sessions.retention.rules]]
name = "scratch"
action = "purge"
tags = ["scratch"]

[[runtime.sessions.retention.rules]]
name = "ended"
action = "delete"
status = ["completed", "failed"]
keep_last = 1
"""


@pytest.fixture
def ruled(cli: Cli, tmp_path: Path) -> Cli:
    """A store with four sessions, and rules in the working folder's llmspell.toml."""
    (tmp_path / "work" / "llmspell.toml").write_text(RULES)
    for name, *tags in (("a", "scratch"), ("b",), ("c",), ("h", "hold")):
        cli.ok("session", "create", name, *(word for tag in tags for word in ("--tag", tag)))
        cli.ok("session", "complete", name)
    return cli


def names(cli: Cli) -> list[str]:
    return [each["dirname"] for each in cli.json("session", "list")]


def test_a_dry_run_says_what_the_rules_would_do_and_a_run_does_it(ruled: Cli) -> None:
    said = ruled.ok("retention", "--dry-run").splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "a: would be purged by scratch",
        "b: would be deleted by ended",
        "2 sessions would be dealt with, 1 held",
    ]
    assert names(ruled) == ["a", "b", "c", "h"]
    done = ruled.json("retention")
    assert [(each["session"], each["rule"], each["action"], each["done"]) for each in done] == [
        ("a", "scratch", "purge", True),
        ("b", "ended", "delete", True),
    ]
    assert names(ruled) == ["c", "h"]
    assert ruled.ok("retention") == "0 sessions dealt with, 1 held\n"


def test_gc_and_retention_are_refused_where_the_clock_has_jumped_unless_forced(ruled: Cli, tmp_path: Path) -> None:
    ruled.ok("gc")
    for key, command in (("collected_ns", "gc"), ("retained_ns", "retention")):
        with closing(sqlite3.connect(tmp_path / "store" / "index.db")) as db, db:
            assert db.execute("UPDATE store SET value = value - 366 * 86400000000000 WHERE key = ?", (key,)).rowcount
        said = ruled.fails(command)
        assert "366 days ago: if the clock is right, it is to be forced" in said
        ruled.ok(command, "--force")
        ruled.ok(command)


def test_gc_applies_the_rules_first_and_says_so(ruled: Cli) -> None:
    assert ruled.ok("gc", "--dry-run").startswith("a: would be purged by scratch")
    said = ruled.json("gc")[0]
    assert [each["session"] for each in said["retention"]] == ["a", "b"]
    assert names(ruled) == ["c", "h"]
    assert "2 sessions" not in ruled.ok("gc")


def test_without_rules_there_is_nothing_to_do(cli: Cli, q4: str) -> None:
    assert q4
    assert cli.ok("retention") == "0 sessions dealt with\n"
    assert "dealt" not in cli.ok("gc")
    assert "retention" not in cli.json("gc")[0]


def test_the_configuration_is_shown_with_its_rules_as_it_would_be_read(ruled: Cli, tmp_path: Path) -> None:
    first = ruled.json("config")[0]
    (tmp_path / "work" / "llmspell.toml").write_text(ruled.ok("config"))
    again = ruled.json("config")[0]
    assert again == first
    assert [rule["name"] for rule in first["retention"]] == ["scratch", "ended"]


def test_a_bad_rule_is_one_line_that_names_the_file_and_the_key(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "llmspell.toml").write_text(RULES.replace('"purge"', '"eat"'))
    assert "llmspell.toml: runtime.sessions.retention.rules[1].action: expected one of" in cli.fails("retention")


def test_quotas_are_shown_and_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "llmspell.toml").write_text(
        '[runtime.sessions]\nstorage_quota = "4k"\nsession_quota = "3k"\nartifact_compression_threshold = 100000\n'
    )
    cli.ok("session", "create", "q4")
    cli.ok("artifact", "put", "q4", "-", "--name", "f", stdin=b"x" * 1024)
    assert "limit exceeded: session_quota = 3072" in cli.fails(
        "artifact", "put", "q4", "-", "--name", "g", stdin=b"y" * 2049
    )
    cli.ok("session", "create", "q5")
    assert "limit exceeded: storage_quota = 4096" in cli.fails(
        "artifact", "put", "q5", "-", "--name", "g", stdin=b"y" * 3072 + b"z"
    )
    assert "(25%)" in cli.ok("stats")
    assert cli.json("stats")[0]["storage_quota"] == 4096
    shown = cli.json("session", "show", "q4")[0]
    assert (shown["stored_size"], shown["session_quota"]) == (1024, 3072)
    assert "(34%)" in cli.ok("session", "show", "q4")
    assert json.loads(cli.ok("artifact", "list", "q5", "--json") or "null") is None


@pytest.mark.parametrize("command", ["retention", "gc"])
def test_a_dry_run_suspends_no_idle_session(cli: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "llmspell.toml").write_text("[runtime.sessions]\nsession_timeout_seconds = 1\n")
    with open_store(cli.path, now=lambda: 1_700_000_000 * 10**9) as store:
        store.sessions.create("idle")
    options = ("--config", str(tmp_path / "llmspell.toml"))
    said = cli.ok(*options, command, "--dry-run", *(["--force"] if command == "gc" else []))
    assert "idle: would be suspended by session_timeout_seconds" in said
    assert cli.json("session", "show", "idle")[0]["status"] == "active"
    if command == "retention":
        assert not cli.json(*options, command, "--dry-run")[0]["done"]
    assert "idle: suspended by session_timeout_seconds" in cli.ok(*options, "retention")
    assert cli.json("session", "show", "idle")[0]["status"] == "suspended"
    assert "timeout" in cli.ok("session", "events", "idle")
