"""Configuration: `llmspell.toml`, the environment, and where a store is."""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from llmspellfs.errors import ConfigError

FILE_NAME = "llmspell.toml"
BACKENDS = {"memory": "memory", "sqlite": "sqlite", "sled": "sqlite"}
STATUSES = ("active", "suspended", "completed", "failed")
ACTIONS = ("suspend", "complete", "delete", "purge")
"""What a rule of retention can do to a session."""
HOLD = "hold"
"""The tag that exempts a session from retention."""
QUOTAS = ("storage_quota", "session_quota")
_APP = "llmspellfs"
_CLOSE = 0.8
"""How much of two names is the same, at the least, where one may be a slip for the other; see `difflib`."""
_log = logging.getLogger(__name__)
_SETTLED = tuple(status for status in STATUSES if status != "active")
_UNITS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MOST = (1 << 63) - 1
"""The largest number that a column of the index holds."""
CENTURY_SECONDS = 36_525 * 86_400
"""What is longer than this is for ever, and is within 64 bits of nanoseconds of any time that a clock shows."""
_LONGEST = {
    "history_days": CENTURY_SECONDS // 86_400, "scrub_days": CENTURY_SECONDS // 86_400,
    "session_timeout_seconds": CENTURY_SECONDS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of retention, `[[runtime.sessions.retention.rules]]`: what becomes of which sessions, and when."""

    name: str
    action: str
    status: tuple[str, ...] = _SETTLED
    """A session's status is one of these: an active one is touched only by a rule that says so."""
    tags: tuple[str, ...] = ()
    """It has all of these."""
    older_than_seconds: int = 0
    """It ended that long ago, or, where it has not ended, its last event was that long ago; 0: whenever."""
    keep_last: int = 0
    """So many of those that the rule governs, the latest, stay as they are."""


@dataclass(frozen=True, slots=True)
class Config:
    """The table `[runtime.sessions]` with its defaults; `source` is the file it came from, if any."""

    enabled: bool = True
    max_sessions: int = 0
    """Sessions active or suspended at once; 0 is no limit."""
    max_artifacts_per_session: int = 0
    max_artifact_size: int = 0
    """Bytes; 0 is no limit."""
    storage_quota: int = 0
    """Bytes that the store's content may take, each content and chunk once, as stored; 0 is no limit."""
    session_quota: int = 0
    """Bytes that one session's content may take, its past included; 0 is no limit."""
    artifact_compression_threshold: int = 10240
    """Bytes above which content is compressed where that pays."""
    session_timeout_seconds: int = 0
    storage_backend: str = "sqlite"
    storage_path: str = ""
    history_days: int = 30
    """How long replaced and deleted content is kept."""
    scrub_days: int = 30
    """In which time a mount reads all content again, to find what is harmed; 0: it does not."""
    allow_network_store: bool = False
    """Whether a store may be on a network file system: only for one that a single machine uses."""
    source: str | None = None
    retention: tuple[Rule, ...] = ()
    """The first rule whose status and tags fit a session governs it."""


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
        raise ConfigError(path, "", error.strerror or "cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, "", f"not TOML: {error}") from None
    _warn(path, document, "", "runtime")
    runtime = _table(path, document, "runtime")
    _warn(path, runtime, "runtime.", "sessions")
    table = _table(path, runtime, "runtime.sessions")
    known = {field.name: field for field in fields(Config) if field.name != "source"}
    for key in table:
        if key not in known:
            raise ConfigError(path, f"runtime.sessions.{key}", f"unknown key; expected one of {', '.join(known)}")
    plain = {key: value for key, value in table.items() if key != "retention"}
    values: dict[str, Any] = {key: _value(path, key, value, getattr(_DEFAULTS, key)) for key, value in plain.items()}
    rules = _rules(path, _table(path, table, "runtime.sessions.retention"))
    return Config(**values, source=str(path), retention=rules)


def _warn(path: Path, parent: dict[str, Any], above: str, name: str) -> None:
    """Warn where a table of *parent* has nearly the *name* of the one that is read: others' are no concern of ours."""
    tables = [key for key, value in parent.items() if key != name and isinstance(value, dict)]
    for key in get_close_matches(name, tables, cutoff=_CLOSE):
        _log_once(f"{path}: the table [{above}{key}] is not read: is [{above}{name}] meant?")


@cache
def _log_once(warning: str) -> None:
    _log.warning("%s", warning)


def _table(path: Path, parent: dict[str, Any], name: str) -> dict[str, Any]:
    table = parent.get(name.rpartition(".")[2], {})
    if not isinstance(table, dict):
        raise ConfigError(path, name, "expected a table")
    return table


def _value(path: Path, key: str, value: object, default: object) -> object:
    where = f"runtime.sessions.{key}"
    if key in QUOTAS and isinstance(value, str):
        return _scaled(path, where, value, _UNITS, 'a number of bytes, as text with k, M, G or T, such as "10G"')
    if type(value) is not type(default):
        expected = {bool: "true or false", int: "a whole number", str: "text"}[type(default)]
        raise ConfigError(path, where, f"expected {expected}, not {value!r}")
    if type(value) is int:
        if value < 0:
            raise ConfigError(path, where, f"expected 0 or more, not {value}")
        return min(value, _LONGEST.get(key, MOST))
    if key == "storage_backend":
        if value not in BACKENDS:
            raise ConfigError(path, where, f"expected one of {', '.join(BACKENDS)}, not {value!r}")
        return BACKENDS[str(value)]
    return value


def _scaled(path: Path, where: str, text: object, units: dict[str, int], expected: str) -> int:
    """Return the number that *text* says with one of *units*; raise ConfigError: *expected* is what it takes."""
    found = re.fullmatch(r"([0-9]{1,18})([A-Za-z]?)", text) if isinstance(text, str) else None
    if found is None or found[2] not in units or int(found[1]) * units[found[2]] > MOST:
        raise ConfigError(path, where, f"expected {expected}, not {text!r}")
    return int(found[1]) * units[found[2]]


def _rules(path: Path, table: dict[str, Any]) -> tuple[Rule, ...]:
    where = "runtime.sessions.retention"
    for key in table:
        if key != "rules":
            raise ConfigError(path, f"{where}.{key}", "unknown key; expected rules")
    found = table.get("rules", [])
    if not isinstance(found, list):
        raise ConfigError(path, f"{where}.rules", "expected a list of tables")
    rules = tuple(_rule(path, f"{where}.rules[{number}]", each) for number, each in enumerate(found, 1))
    names = [rule.name for rule in rules]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise ConfigError(path, f"{where}.rules[{number}].name", f"{name!r} is another rule's name")
    return rules


def _rule(path: Path, where: str, table: object) -> Rule:
    if not isinstance(table, dict):
        raise ConfigError(path, where, "expected a table")
    for key in table:
        if key not in _RULE_KEYS:
            raise ConfigError(path, f"{where}.{key}", f"unknown key; expected one of {', '.join(_RULE_KEYS)}")
    for key in ("name", "action"):
        if key not in table:
            raise ConfigError(path, f"{where}.{key}", "is missing")
    if not set(table) & {"status", "tags", "older_than", "keep_last"}:
        raise ConfigError(path, where, "fits every session: expected status, tags, older_than or keep_last too")
    values = {str(key): _RULE_KEYS[key](path, f"{where}.{key}", value) for key, value in table.items()}
    rule = Rule(**{_FIELDS.get(key, key): value for key, value in values.items()})
    if rule.action == "suspend" and "active" not in rule.status:
        raise ConfigError(path, f"{where}.status", 'only active sessions can be suspended: expected ["active"]')
    return rule


def _rule_name(path: Path, where: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ConfigError(path, where, f"expected 1 to 64 of letters, digits, '_', '.' and '-', not {value!r}")
    return value


def _action(path: Path, where: str, value: object) -> str:
    if not isinstance(value, str) or value not in ACTIONS:
        raise ConfigError(path, where, f"expected one of {', '.join(ACTIONS)}, not {value!r}")
    return value


def _texts(path: Path, where: str, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) and each for each in texts):
        raise ConfigError(path, where, f"expected a list of texts, not {value!r}")
    return tuple(texts)


def _statuses(path: Path, where: str, value: object) -> tuple[str, ...]:
    statuses = _texts(path, where, value)
    for each in statuses:
        if each not in STATUSES:
            raise ConfigError(path, where, f"expected some of {', '.join(STATUSES)}, not {each!r}")
    return statuses


def _age(path: Path, where: str, value: object) -> int:
    seconds = _scaled(path, where, value, _AGES, 'an age with s, m, h, d or w, such as "30d"')
    if seconds == 0:
        raise ConfigError(path, where, "expected an age above 0")
    return min(seconds, CENTURY_SECONDS)


def _count(path: Path, where: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise ConfigError(path, where, f"expected a whole number, 0 or more, not {value!r}")
    return value


_RULE_KEYS: dict[str, Callable[[Path, str, object], Any]] = {
    "name": _rule_name,
    "action": _action,
    "status": _statuses,
    "tags": _texts,
    "older_than": _age,
    "keep_last": _count,
}
_FIELDS = {"older_than": "older_than_seconds"}
_DEFAULTS = Config()
