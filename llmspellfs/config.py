"""Configuration: `llmspell.toml`, the environment, and where a store is."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from llmspellfs.errors import ConfigError

FILE_NAME = "llmspell.toml"
BACKENDS = {"memory": "memory", "sqlite": "sqlite", "sled": "sqlite"}
_APP = "llmspellfs"


@dataclass(frozen=True, slots=True)
class Config:
    """The table `[runtime.sessions]` with its defaults; `source` is the file it came from, if any."""

    enabled: bool = True
    max_sessions: int = 0
    """Sessions active or suspended at once; 0 is no limit."""
    max_artifacts_per_session: int = 0
    max_artifact_size: int = 0
    """Bytes; 0 is no limit."""
    artifact_compression_threshold: int = 10240
    """Bytes above which content is compressed where that pays."""
    session_timeout_seconds: int = 0
    storage_backend: str = "sqlite"
    storage_path: str = ""
    history_days: int = 30
    """How long replaced and deleted content is kept."""
    source: str | None = None


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Return the configuration of the file *path*, or of the first that is found, or the defaults.

    Looked for, in this order: `LLMSPELL_CONFIG`, the working folder, the platform's configuration folder.
    Raises ConfigError naming the file, the key and what was expected there.
    """
    named = path or os.environ.get("LLMSPELL_CONFIG")
    if named:
        return _read(Path(named))
    for folder in (Path.cwd(), Path(platformdirs.user_config_dir(_APP))):
        if (folder / FILE_NAME).is_file():
            return _read(folder / FILE_NAME)
    return Config()


def store_path(config: Config, given: str | os.PathLike[str] | None = None) -> Path:
    """Return where the store is: *given*, else LLMSPELL_SESSION_PATH, else the configuration, else the data folder."""
    named = given or os.environ.get("LLMSPELL_SESSION_PATH") or config.storage_path
    if named:
        return Path(named).expanduser().absolute()
    return Path(platformdirs.user_data_dir(_APP)) / "store"


def _read(path: Path) -> Config:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(path, "file", error.strerror or "cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, "file", f"not TOML: {error}") from None
    runtime = _table(path, document, "runtime")
    table = _table(path, runtime, "runtime.sessions")
    known = {field.name: field for field in fields(Config) if field.name != "source"}
    for key in table:
        if key not in known:
            raise ConfigError(path, f"runtime.sessions.{key}", f"unknown key; expected one of {', '.join(known)}")
    values: dict[str, Any] = {key: _value(path, key, value, getattr(_DEFAULTS, key)) for key, value in table.items()}
    return Config(**values, source=str(path))


def _table(path: Path, parent: dict[str, Any], name: str) -> dict[str, Any]:
    table = parent.get(name.rpartition(".")[2], {})
    if not isinstance(table, dict):
        raise ConfigError(path, name, "expected a table")
    return table


def _value(path: Path, key: str, value: object, default: object) -> object:
    where = f"runtime.sessions.{key}"
    if type(value) is not type(default):
        expected = {bool: "true or false", int: "a whole number", str: "text"}[type(default)]
        raise ConfigError(path, where, f"expected {expected}, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise ConfigError(path, where, f"expected 0 or more, not {value}")
    if key == "storage_backend":
        if value not in BACKENDS:
            raise ConfigError(path, where, f"expected one of {', '.join(BACKENDS)}, not {value!r}")
        return BACKENDS[str(value)]
    return value


_DEFAULTS = Config()
