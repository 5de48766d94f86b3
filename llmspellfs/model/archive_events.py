"""What a line of a trail in an archive may say: that it is next, and that it tells what readers of its kind ask for.

A chain proves that nothing was changed since it was written, not who wrote it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.archive import MOST, refuse
from llmspellfs.model.event import KINDS
from llmspellfs.model.times import iso, parse_iso
from llmspellfs.model.values import parse_json

_WRITTEN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_TEXTS = ("actor", "door", "name", "hash", "state", "script", "run")
_NUMBERS = ("sequence", "from_sequence", "version", "size")
_ALWAYS = ("actor", "door")
_OTHER = {"moved_in": "from", "moved_out": "to", "forked": "from"}
"""Where events of two sessions name the other one."""


def event(data: bytes, where: str, seq: int, prev: str, last_ns: int) -> dict[str, Any]:
    """Return what the line of event *seq* says, if it follows the one with the hash *prev* at *last_ns*.

    `at_ns`, `kind`, `state` (None where it leaves no row) and `sequence`; raises Corrupt.
    """
    said = _read(data, where, seq)
    at_ns = _time(said.get("at"), where, seq)
    if (said.get("v"), said.get("seq"), said.get("prev")) != (1, seq, prev) or isinstance(said["seq"], bool):
        raise refuse(where, f"event {seq} does not follow the one before it")
    kind, state = said.get("kind"), said.get("state")
    if not isinstance(kind, str) or kind not in KINDS or not (state is None or _is_hash(state)):
        raise refuse(where, f"event {seq} is of an unknown kind")
    if not last_ns <= at_ns <= MOST:
        raise refuse(where, f"event {seq} is earlier than the one before it")
    lacking = next(_lacking(kind, said), None)
    if lacking is not None:
        raise refuse(where, f"event {seq}, {kind}: {lacking}: not what such an event tells")
    return {"kind": kind, "at_ns": at_ns, "state": state, "sequence": said.get("sequence")}


def _read(data: bytes, where: str, seq: int) -> dict[str, Any]:
    """Return the object in *data*, written as this program writes lines: no key twice, no half characters."""
    try:
        text = data.decode("utf-8")
        said = parse_json(text, where)
        if isinstance(said, dict) and _WRITTEN(said) == text:
            return said
    except (ValueError, InvalidValue):
        pass
    raise refuse(where, f"line {seq} is no event")


def _time(at: object, where: str, seq: int) -> int:
    try:
        at_ns = parse_iso(at) if isinstance(at, str) else None
        if at_ns is not None and iso(at_ns) == at:
            return at_ns
    except (ValueError, InvalidValue, OverflowError):
        pass
    raise refuse(where, f"event {seq} is at no time")


def _lacking(kind: str, said: Mapping[str, Any]) -> Iterator[str]:
    """Yield each detail that an event of *kind* has to tell, or may, and that *said* does not tell in its form."""
    yield from (key for key in _ALWAYS if key not in said)
    yield from (key for key in _TEXTS if not isinstance(said.get(key, ""), str))
    yield from (key for key in _NUMBERS if not _is_number(said.get(key, 0)))
    noun, _, verb = kind.partition(".")
    if noun == "artifact" and "sequence" not in said:
        yield "sequence"
    if verb in _OTHER and not _names_other(
        said.get(_OTHER[verb]), {"artifact": "sequence", "session": "seq"}.get(noun)
    ):
        yield _OTHER[verb]


def _names_other(other: object, number: str | None) -> bool:
    """Tell whether *other* names a session, and a *number* in it where one is given."""
    if not isinstance(other, dict) or not isinstance(other.get("session"), str):
        return False
    return number is None or _is_number(other.get(number))


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
