"""A session's events as people follow them: when each was, how long after the one before, and what it was about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmspellfs.model.event import Event, event_kinds, read_line
from llmspellfs.model.run import UNFINISHED
from llmspellfs.model.times import NS, iso

_SHOWN = ("version", "size", "status", "script", "run", "fields", "from", "to", "of", "mismatches", "made")
"""What of a line is worth a word, beside the name."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, *since_ns* after the one before and *elapsed_ns* after the first, in nanoseconds."""

    event: Event
    told: Mapping[str, Any]
    """What its line tells."""
    since_ns: int
    elapsed_ns: int
    is_unfinished: bool = False
    """Whether it is the beginning of a run that has no end in the trail: it goes on, or its process was killed."""

    @property
    def name(self) -> str:
        """What it is about: the artifact, the script, or nothing."""
        return str(self.told.get("name") or self.told.get("script") or "")

    @property
    def details(self) -> dict[str, Any]:
        """What else its line tells that people look for."""
        found = {key: self.told[key] for key in _SHOWN if self.told.get(key) is not None}
        return {**found, "status": UNFINISHED} if self.is_unfinished else found

    def document(self) -> dict[str, Any]:
        """Return it for JSON, durations in seconds."""
        event = self.event
        return {
            "seq": event.seq, "at": iso(event.at_ns), "since_seconds": self.since_ns / NS,
            "elapsed_seconds": self.elapsed_ns / NS, "kind": event.kind, "name": self.name or None,
            "actor": self.told.get("actor"), "door": self.told.get("door"), "details": self.details,
        }  # fmt: skip


def timeline(events: Iterable[Event], kinds: Iterable[str] = ()) -> list[Happening]:
    """Return those of *events*, which are all of a session in order, that are of *kinds*, with the time before each.

    No kinds are all kinds; `*` and `?` in them stand for any characters and for one. Raises InvalidValue.
    """
    wanted, told = set(event_kinds(kinds)), [(event, read_line(event.line)) for event in events]
    ended = {str(fields.get("run")) for event, fields in told if event.kind == "run.finished"}
    found: list[Happening] = []
    for event, fields in told:
        if wanted and event.kind not in wanted:
            continue
        first, before = (found[0].event.at_ns, found[-1].event.at_ns) if found else (event.at_ns, event.at_ns)
        is_open = event.kind == "run.started" and str(fields.get("run")) not in ended
        found.append(Happening(event, fields, event.at_ns - before, event.at_ns - first, is_open))
    return found
