"""Reading the record of a run: whatever an artifact holds that calls itself one, it is that or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.run import MAX_LISTED, Kept, Module, Run, Status, Touched
from llmspellfs.model.times import parse_iso
from llmspellfs.model.values import is_text

_HASH = re.compile(r"[0-9a-f]{64}")
_MOST = 1 << 63


def parse_run(text: bytes) -> Run:
    """Return the run whose record *text* is; raise InvalidValue where it is none."""
    try:
        return _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InvalidValue("run", "not a record of a run") from None


def _parsed(told: Mapping[str, Any]) -> Run:
    script, listed = told["script"], (_listed(told["read"]), _listed(told["made"]))
    read, made = (tuple(map(_touched, each)) for each in listed)
    return Run(
        _text(told["run"]), _string(script["name"]), _hash(script["hash"]), tuple(map(_string, _listed(told["args"]))),
        None if told["session"] is None else _text(told["session"]),
        {_string(key): _string(value) for key, value in told["environment"].items()},
        parse_iso(told["started_at"]), None if told["finished_at"] is None else parse_iso(told["finished_at"]),
        _status(told["status"]), None if told["error"] is None else _string(told["error"]),
        {_text(key): _whole(seq) for key, seq in told["sessions"].items()}, read, made, _sandbox(told.get("sandbox")),
        tuple(Kept(_text(one["scope"]), _text(one["key"]), _text(one["value"])) for one in _listed(told["state"])),
        tuple(Module(_string(one["name"]), _hash(one["hash"])) for one in _listed(told["modules"])),
        tuple(map(_string, _listed(told["left_out"]))), _whole(told["read_count"]) - len(read),
        _whole(told["made_count"]) - len(made),
    )  # fmt: skip


def _touched(told: Mapping[str, Any]) -> Touched:
    return Touched(
        _text(told["session"]), _whole(told["sequence"]), _whole(told["version"]), _text(told["name"]),
        _hash(told["hash"]), _whole(told["after"]),
    )  # fmt: skip


def _sandbox(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if told is None:
        return None
    limit = told["max_artifacts"]
    return {"read_only": told["read_only"] is True, "max_artifacts": None if limit is None else _whole(limit)}


def _status(value: object) -> Status:
    return value if value is None or type(value) is int else _text(value)


def _listed(value: object) -> list[Any]:
    if isinstance(value, list) and len(value) <= MAX_LISTED:
        return value
    raise TypeError


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _text(value: object) -> str:
    if isinstance(value, str) and is_text(value):
        return value
    raise TypeError


def _hash(value: object) -> str:
    if isinstance(value, str) and _HASH.fullmatch(value):
        return value
    raise TypeError


def _whole(value: object) -> int:
    if type(value) is int and 0 <= value < _MOST:
        return value
    raise TypeError
