"""llmspell.toml, the environment, and where the store is."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspellfs.config import Config, load_config, store_path
from llmspellfs.errors import ConfigError

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
        "artifact_compression_threshold = 4\nsession_timeout_seconds = 5\nstorage_backend = 'sled'\n"
        "storage_path = '/x'\nhistory_days = 6\n"
    )
    path = write(elsewhere / "own.toml", text)
    assert load_config(path) == Config(False, 1, 2, 3, 4, 5, "sqlite", "/x", 6, str(path))


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
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
        ("[", "file: not TOML"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(elsewhere: Path, text: str, says: str) -> None:
    path = write(elsewhere / "bad.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert says in caught.value.message


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
