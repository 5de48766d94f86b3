"""llmspell.toml, the environment, and where the store is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from llmspellfs.config import CENTURY_SECONDS, MOST, STATUSES, Config, Rule, load_config, store_path
from llmspellfs.errors import ConfigError
from llmspellfs.model.session import Status

TABLE = "[runtime.sessions]\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no configuration anywhere."""
    for name in ("LLMSPELL_CONFIG", "LLMSPELL_SESSION_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_there_are_defaults() -> None:
    assert load_config() == Config()
    assert (Config().history_days, Config().artifact_compression_threshold) == (30, 10240)
    assert Config().storage_backend == "sqlite"


def test_every_key_is_read(elsewhere: Path) -> None:
    text = TABLE + (
        "enabled = false\nmax_sessions = 1\nmax_artifacts_per_session = 2\nmax_artifact_size = 3\n"
        "storage_quota = 7\nsession_quota = '8k'\n"
        "artifact_compression_threshold = 4\nsession_timeout_seconds = 5\nstorage_backend = 'sled'\n"
        "storage_path = '/x'\nhistory_days = 6\n"
    )
    path = write(elsewhere / "own.toml", text)
    assert load_config(path) == Config(
        enabled=False, max_sessions=1, max_artifacts_per_session=2, max_artifact_size=3, storage_quota=7,
        session_quota=8192, artifact_compression_threshold=4, session_timeout_seconds=5, storage_backend="sqlite",
        storage_path="/x", history_days=6, source=str(path),
    )  # fmt: skip


def test_files_are_looked_for_in_order(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(elsewhere / "config" / "llmspellfs" / "llmspell.toml", TABLE + "history_days = 1")
    assert load_config().history_days == 1
    write(elsewhere / "work" / "llmspell.toml", TABLE + "history_days = 2")
    assert load_config().history_days == 2
    named = write(elsewhere / "named.toml", TABLE + "history_days = 3")
    monkeypatch.setenv("LLMSPELL_CONFIG", str(named))
    assert load_config().history_days == 3
    given = write(elsewhere / "given.toml", "")
    assert load_config(given).history_days == 30


RULES = "[[runtime.sessions.retention.rules]]\n"


def test_rules_of_retention_are_read(elsewhere: Path) -> None:
    text = RULES + "name = 'old'\naction = 'delete'\nolder_than = '30d'\n"
    text += RULES + "name = 'x'\naction = 'purge'\nstatus = ['failed']\ntags = ['a', 'b']\nkeep_last = 3\n"
    assert load_config(write(elsewhere / "r.toml", text)).retention == (
        Rule("old", "delete", ("suspended", "completed", "failed"), (), 30 * 86400),
        Rule("x", "purge", ("failed",), ("a", "b"), 0, 3),
    )


def test_the_states_that_rules_know_are_those_of_sessions() -> None:
    assert tuple(Status) == STATUSES


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("colour = 1", "retention.rules[1].colour: unknown key"),
        ("action = 'delete'\ntags = ['a']", "rules[1].name: is missing"),
        ("name = 'a'\naction = 'delete'", "rules[1]: fits every session"),
        ("name = 'a b'\naction = 'purge'\ntags = 'a'", "rules[1].name: expected 1 to 64"),
        ("name = 'a'\naction = 'eat'\ntags = ['a']", "rules[1].action: expected one of suspend"),
        ("name = 'a'\naction = 'delete'\nstatus = ['open']", "rules[1].status: expected some of active"),
        ("name = 'a'\naction = 'delete'\ntags = [1]", "rules[1].tags: expected a list of texts"),
        ("name = 'a'\naction = 'delete'\nolder_than = 30", "rules[1].older_than: expected an age"),
        ("name = 'a'\naction = 'delete'\nolder_than = '30y'", "rules[1].older_than: expected an age"),
        ("name = 'a'\naction = 'delete'\nolder_than = '0d'", "rules[1].older_than: expected an age above 0"),
        ("name = 'a'\naction = 'delete'\nkeep_last = -1", "rules[1].keep_last: expected a whole number"),
        ("name = 'a'\naction = 'delete'\nkeep_last = true", "rules[1].keep_last: expected a whole number"),
        ("name = 'a'\naction = 'suspend'\nolder_than = '1d'", "rules[1].status: only active sessions"),
        (
            f"name = 'a'\naction = 'purge'\ntags = 'a'\n{RULES}name = 'a'\naction = 'purge'\ntags = 'a'",
            "[2].name: 'a' is",
        ),
    ],
)
def test_what_is_wrong_in_a_rule_is_told_with_its_key(elsewhere: Path, rule: str, says: str) -> None:
    path = write(elsewhere / "bad.toml", RULES + rule)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.message.startswith(f"{path}: runtime.sessions.retention")
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TABLE + "storage_quota = '10 GB'", "storage_quota: expected a number of bytes"),
        (TABLE + "session_quota = '99999999T'", "session_quota: expected a number of bytes"),
        (TABLE + "session_quota = -1", "session_quota: expected 0 or more"),
        (TABLE + "retention = 1", "runtime.sessions.retention: expected a table"),
        (TABLE + "retention = {rules = 1}", "retention.rules: expected a list"),
        (TABLE + "retention = {rules = [1]}", "retention.rules[1]: expected a table"),
        (TABLE + "retention = {days = 1}", "retention.days: unknown key"),
        (TABLE + "colour = 1", "runtime.sessions.colour: unknown key"),
        (TABLE + "max_sessions = 'x'", "runtime.sessions.max_sessions: expected a whole number, not 'x'"),
        (TABLE + "max_sessions = true", "expected a whole number"),
        (TABLE + "max_sessions = 1.5", "expected a whole number"),
        (TABLE + "max_sessions = -1", "expected 0 or more"),
        (TABLE + "enabled = 1", "expected true or false"),
        (TABLE + "storage_path = 7", "expected text"),
        (TABLE + "storage_backend = 'floppy'", "storage_backend: expected one of memory, sqlite, sled"),
        ("runtime = 7", "runtime: expected a table"),
        ("[runtime]\nsessions = []", "runtime.sessions: expected a table"),
        ("[", "not TOML"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(elsewhere: Path, text: str, says: str) -> None:
    path = write(elsewhere / "bad.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("runtime.session", "[runtime.session] is not read: is [runtime.sessions] meant?"),
        ("runtimes.sessions", "[runtimes] is not read: is [runtime] meant?"),
        ("runtime.providers", None),
        ("build", None),
    ],
)
def test_a_table_whose_name_is_nearly_that_of_ours_is_warned_of(
    elsewhere: Path, caplog: pytest.LogCaptureFixture, table: str, says: str | None
) -> None:
    path = write(elsewhere / "near.toml", f"[{table}]\nmax_sessions = 1\n")
    assert load_config(path).max_sessions == 0
    load_config(path)
    assert [record.getMessage() for record in caplog.records] == ([] if says is None else [f"{path}: the table {says}"])


def test_a_file_that_cannot_be_read_is_told(elsewhere: Path) -> None:
    (elsewhere / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("missing.toml", "work", "binary.toml"):
        with pytest.raises(ConfigError, match=name):
            load_config(elsewhere / name)


def test_other_tables_are_others_business(elsewhere: Path) -> None:
    assert load_config(write(elsewhere / "x.toml", "[runtime.tools]\na = 1\n[providers]\nb = 2")).history_days == 30


def test_where_the_store_is(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_path(Config()) == elsewhere / "data" / "llmspellfs" / "store"
    assert store_path(Config(storage_path="~/x")) == Path.home() / "x"
    monkeypatch.setenv("LLMSPELL_SESSION_PATH", "relative")
    assert store_path(Config(storage_path="/x")) == elsewhere / "work" / "relative"
    assert store_path(Config(), "/given") == Path("/given")


def test_numbers_may_be_as_large_as_one_likes(elsewhere: Path) -> None:
    huge = 10**40
    keys = [key for key, value in asdict(Config()).items() if type(value) is int]
    config = load_config(write(elsewhere / "own.toml", TABLE + "".join(f"{key} = {huge}\n" for key in keys)))
    told = asdict(config)
    assert all(0 < told[key] <= MOST for key in keys)
    for key in ("history_days", "scrub_days", "session_timeout_seconds"):
        assert told[key] * (86_400 if key.endswith("_days") else 1) == CENTURY_SECONDS
