"""What is asked of a replay, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from llmspellfs.errors import InvalidValue
from llmspellfs.model.run import Status
from llmspellfs.model.times import NS, iso

MAX_SECONDS = 1e9
"""The longest time that a replay may be given."""


class Mode(StrEnum):
    """How a session is replayed."""

    EXACT = "exact"
    """Rebuilt from its events in a new session, each step compared with what is recorded."""
    SIMULATE = "simulate"
    """The same without storing anything."""
    DEBUG = "debug"
    """As `simulate`, with the whole state at each event."""
    RERUN = "rerun"
    """Its recorded scripts run again on a copy, and what they make compared with what they made."""


def parse_mode(text: str) -> Mode:
    """Return the mode called *text*; raise InvalidValue where there is none."""
    try:
        return Mode(text)
    except ValueError:
        raise InvalidValue("mode", f"expected one of {', '.join(Mode)}, not {text!r}") from None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as it was recorded: *what* it is, of which event (*seq*) and which *name*."""

    what: str
    seq: int | None
    name: str | None
    expected: str | None
    got: str | None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"what": self.what, "seq": self.seq, "name": self.name, "expected": self.expected, "got": self.got}

    def __str__(self) -> str:
        """Return it as a line for people."""
        where = "" if self.seq is None else f"event {self.seq}: "
        name = "" if self.name is None else f"{self.name}: "
        return f"{where}{name}{self.what}: expected {self.expected or 'nothing'}, got {self.got or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Step:
    """One event that was replayed, as the *number*-th of *total*, and, in `debug`, the *state* that it left."""

    number: int
    total: int
    seq: int
    kind: str
    at_ns: int
    name: str | None
    mismatches: tuple[Mismatch, ...]
    state: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        told = {
            "number": self.number, "total": self.total, "seq": self.seq, "kind": self.kind, "at": iso(self.at_ns),
            "name": self.name, "matches": not self.mismatches,
            "mismatches": [one.document() for one in self.mismatches],
        }  # fmt: skip
        return told if self.state is None else {**told, "state": self.state}


OnProgress: TypeAlias = Callable[[Step], object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a replay is to do: events *first* to *last* (seqs), or those after a *checkpoint*, in a *mode*."""

    mode: Mode = Mode.EXACT
    first: int | None = None
    last: int | None = None
    checkpoint: int | None = None
    compare: bool = True
    timeout_seconds: float | None = None
    stop_on_error: bool = False
    """End at the first mismatch."""
    name: str | None = None
    """Of the new session."""

    def __post_init__(self) -> None:
        """Raise InvalidValue where what is asked contradicts itself."""
        if self.checkpoint is not None and self.first is not None:
            raise InvalidValue("checkpoint", "expected either a checkpoint or a first event (from), not both")
        if self.first is not None and self.first < 1:
            raise InvalidValue("from", f"expected a seq of 1 or more, not {self.first}")
        if self.last is not None and self.last < 1:
            raise InvalidValue("to", f"expected a seq of 1 or more, not {self.last}")
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds <= MAX_SECONDS:
            what = "more than 0" if self.timeout_seconds <= 0 else f"at most {MAX_SECONDS:g}"
            raise InvalidValue("timeout_seconds", f"expected {what}, not {self.timeout_seconds:g}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one artifact, whether running the scripts again made the same: the hashes then and now, None: not made."""

    session: str
    """The session's directory name."""
    name: str
    expected: str | None
    got: str | None

    @property
    def is_same(self) -> bool:
        """Whether it is the same content."""
        return self.expected == self.got

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        told = {"session": self.session, "name": self.name, "same": self.is_same}
        return {**told, "expected": self.expected, "got": self.got}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay of the session *session_id*. Durations are nanoseconds."""

    mode: Mode
    session_id: str
    new_session_id: str | None
    """Of the session in which it was rebuilt; None where nothing is stored."""
    first: int
    last: int
    events: int
    """Replayed."""
    contents: int
    """Different contents that were read and hashed."""
    duration_ns: int
    recorded_ns: int
    """From the first of the events to the last, when they happened."""
    mismatches: tuple[Mismatch, ...]
    stopped: str | None = None
    """Why it ended early: `timeout` or `mismatch`."""
    runs: int = 0
    """Scripts that were run again."""
    outcomes: tuple[Outcome, ...] = ()
    left_out: tuple[str, ...] = ()
    """What was too much to be recorded, so that it was not brought to a script or not compared."""

    @property
    def ok(self) -> bool:
        """Whether all of it was replayed and all was as recorded."""
        return not self.mismatches and self.stopped is None

    def document(self) -> dict[str, Any]:
        """Return it for JSON, durations in seconds."""
        told: dict[str, Any] = {
            "mode": str(self.mode), "success": self.ok, "session_id": self.session_id,
            "new_session_id": self.new_session_id, "from": self.first, "to": self.last, "events": self.events,
            "contents": self.contents, "duration_seconds": self.duration_ns / NS,
            "recorded_seconds": self.recorded_ns / NS, "stopped": self.stopped,
            "mismatch_count": len(self.mismatches),
            "mismatches": [one.document() for one in self.mismatches],
        }  # fmt: skip
        if self.mode is Mode.RERUN:
            told |= {
                "runs": self.runs, "artifacts": [one.document() for one in self.outcomes],
                "partial": bool(self.left_out), "left_out": list(self.left_out),
            }  # fmt: skip
        return told


Steps: TypeAlias = "Generator[Step, None, Replayed]"
"""A replay under way: its steps as they are done, and what came of it in the end."""


@dataclass(frozen=True, slots=True)
class Replayability:
    """What can be said of replaying a session before it is done."""

    session_id: str
    name: str
    why_not: str | None
    """None where every event that history keeps can be replayed."""
    events: int
    horizon: int
    """The first seq from which it can be."""
    first_ns: int
    last_ns: int
    checkpoints: tuple[tuple[int, int, str | None], ...] = ()
    """Number, seq and label of each."""
    runs: tuple[tuple[str, str | None, Status], ...] = ()
    """Id, script and exit status, or how it ended otherwise, of each run of which its trail tells."""

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "session_id": self.session_id, "name": self.name, "replayable": self.why_not is None,
            "reason": self.why_not, "events": self.events, "horizon": self.horizon,
            "first_at": iso(self.first_ns), "last_at": iso(self.last_ns),
            "span_seconds": (self.last_ns - self.first_ns) / NS,
            "checkpoints": [{"number": n, "seq": seq, "label": label} for n, seq, label in self.checkpoints],
            "runs": [{"id": run, "script": script, "status": status} for run, script, status in self.runs],
        }  # fmt: skip
