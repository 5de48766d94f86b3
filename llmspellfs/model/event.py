"""The audit trail's lines: how one is written, hashed and chained.

A line is JSON in one fixed key order; its `prev` is the BLAKE3 of the line before, without the newline, so that
`b3sum` and a shell loop verify a trail. Metadata values are never in a line: they are in the row whose canonical
JSON `state` is the hash of, so that a purge can erase them while the chain still verifies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from blake3 import blake3

from llmspellfs.errors import Corrupt, InvalidValue
from llmspellfs.model.times import iso
from llmspellfs.model.values import canonical

T = TypeVar("T")
_TEXT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
FIRST_PREV = "0" * 64
"""The `prev` of a session's first line."""

KINDS = frozenset(
    [
        *(f"session.{verb}" for verb in (
            "created", "suspended", "resumed", "completed", "failed", "saved", "loaded", "updated", "deleted",
            "restored", "purged", "forked", "rolled_back", "imported", "repaired",
        )),
        *(f"artifact.{verb}" for verb in (
            "stored", "updated", "renamed", "moved_in", "moved_out", "deleted", "restored", "purged",
        )),
        *(f"{kind}.{verb}" for kind in ("folder", "symlink") for verb in (
            "created", "renamed", "moved_in", "moved_out", "deleted", "restored", "purged",
        )),
        *(f"{kind}.{verb}" for kind in ("run", "replay") for verb in ("started", "finished")),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Who does something (*actor*, such as `uid:1000`) and through which *door* (`mount`, `lua`, `cli`, `api`)."""

    actor: str
    door: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a session's trail, as stored, with what the index knows of it."""

    id: int
    """Orders events among all sessions of a store."""
    session_id: str
    seq: int
    kind: str
    at_ns: int
    line: str
    """Without its newline."""

    @property
    def fields(self) -> dict[str, Any]:
        """What the line says, as far as it can be read."""
        return read_line(self.line)

    def told(self, kind: type[T], *names: str) -> T:
        """Return what the line says under *names*, one inside another; raise Corrupt where that is no *kind*."""
        said: object = self.fields
        for name in names:
            said = said.get(name) if isinstance(said, dict) else None
        if not isinstance(said, kind):
            raise Corrupt(f"event {self.seq} of session {self.session_id} does not tell its {'.'.join(names)}")
        return said


def read_line(line: object) -> dict[str, Any]:
    """Return what *line* says, which may have been altered: nothing where it is no event line any more."""
    try:
        told = json.loads(line) if isinstance(line, str) else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def event_kinds(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of events that fit any of *patterns*, in which `*` is any characters and `?` one.

    Raises InvalidValue at a pattern that fits none, which a misspelt kind is.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        fitting = sorted(kind for kind in KINDS if "[" not in pattern and fnmatchcase(kind, pattern))
        if not fitting:
            raise InvalidValue("kinds", f"expected a kind such as artifact.stored or session.*, not {pattern!r}")
        found |= dict.fromkeys(fitting)
    return tuple(found)


def compose_line(
    seq: int, at_ns: int, kind: str, origin: Origin, prev: str, state: str | None, details: dict[str, Any]
) -> str:
    """Return the line of event *seq*, without its newline.

    *details* (name, hash, size, …) stand between the door and `state`; *prev* and *state* are 64 hex digits,
    *state* None where the event leaves no row behind.
    """
    assert kind in KINDS, kind
    fields: dict[str, Any] = {"v": 1, "seq": seq, "at": iso(at_ns), "kind": kind}
    fields |= {"actor": origin.actor, "door": origin.door, **details}
    if state is not None:
        fields["state"] = state
    fields["prev"] = prev
    return _TEXT(fields)


def line_hash(line: str) -> str:
    """Return the BLAKE3 of *line* (without its newline) as 64 hex digits; bytes that are no text are surrogates."""
    return blake3(line.encode("utf-8", "surrogateescape")).hexdigest()


def state_hash(row: dict[str, Any]) -> str:
    """Return the BLAKE3 of *row*'s canonical JSON as 64 hex digits."""
    return blake3(canonical(row).encode("ascii")).hexdigest()
