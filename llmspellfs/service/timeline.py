"""A session's events as people follow them: when each was, how long after the one before, and what it was about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmspellfs.model.event import Event
from llmspellfs.model.times import NS, iso

_SHOWN = ("version", "size", "status", "script", "run", "fields", "from", "to", "of", "mismatches", "made")
"""What of a line is worth a word, beside the name."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, *since_ns* after the one before and *elapsed_ns* after the first, in nanoseconds."""

    event: Event
    since_ns: int
    elapsed_ns: int

    @property
    def name(self) -> str:
        """What it is about: the artifact, the script, or nothing."""
        told = self.event.fields
        return str(told.get("name") or told.get("script") or "")

    @property
    def details(self) -> dict[str, Any]:
        """What else its line tells that people look for."""
        told = self.event.fields
        return {key: told[key] for key in _SHOWN if told.get(key) is not None}

    def document(self) -> dict[str, Any]:
        """Return it for JSON, durations in seconds."""
        event, told = self.event, self.event.fields
        return {
            "seq": event.seq, "at": iso(event.at_ns), "since_seconds": self.since_ns / NS,
            "elapsed_seconds": self.elapsed_ns / NS, "kind": event.kind, "name": self.name or None,
            "actor": told.get("actor"), "door": told.get("door"), "details": self.details,
        }  # fmt: skip


def timeline(events: list[Event]) -> list[Happening]:
    """Return *events*, which are in order, with the time that passed before each."""
    found, first = [], events[0].at_ns if events else 0
    before = first
    for event in events:
        found.append(Happening(event, event.at_ns - before, event.at_ns - first))
        before = event.at_ns
    return found
