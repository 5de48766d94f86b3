"""What is known of one run of a script: what it was, what it read and made, and its record as a JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.times import iso, parse_iso

FOLDER = ".runs"
"""The folder of a session in which the records of runs, and the scripts that ran, are."""
MIME_TYPE = "application/vnd.llmspellfs.run+json"
SCRIPT_MIME_TYPE = "text/x-lua"
MAX_LISTED = 10_000
"""A record lists this many of what its run read, and of what it made; the counts are whole."""


@dataclass(frozen=True, slots=True)
class Touched:
    """One version of an artifact that a run read or made."""

    session_id: str
    sequence: int
    version: int
    name: str
    content_hash: str
    after: int = 0
    """Of something made: how many artifacts the run had read by then."""

    @property
    def key(self) -> tuple[str, int]:
        """The artifact, whichever of its versions."""
        return self.session_id, self.sequence

    def document(self) -> dict[str, Any]:
        """Return it as a record lists it."""
        return {
            "session": self.session_id, "name": self.name, "sequence": self.sequence, "version": self.version,
            "hash": self.content_hash, "after": self.after,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunScript:
    """What is run: its text, its name for people, its arguments, the current session's id, and how it is run."""

    text: bytes
    name: str
    args: tuple[str, ...] = ()
    session: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions of what it runs on; nothing that could be secret."""
    sandbox: Mapping[str, Any] | None = None
    """Where it runs in a sandbox, `read_only` (whether it may read all sessions) and `max_artifacts`."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as its record tells it. Times are nanoseconds since the epoch."""

    id: str
    script: str
    script_hash: str
    args: tuple[str, ...]
    session: str | None
    environment: Mapping[str, str]
    started_ns: int
    finished_ns: int | None = None
    """None where it had not finished when the record was written."""
    status: int | None = None
    error: str | None = None
    sessions: Mapping[str, int] = field(default_factory=dict)
    """Each session that it changed, by id, and the seq that this had before; 0: the run made it."""
    read: tuple[Touched, ...] = ()
    made: tuple[Touched, ...] = ()
    sandbox: Mapping[str, Any] | None = None

    @property
    def script_artifact(self) -> str:
        """The name of the artifact that holds the script's text."""
        return f"{FOLDER}/script-{self.script_hash[:16]}.lua"

    @property
    def artifact(self) -> str:
        """The name of the artifact that holds the record."""
        return f"{FOLDER}/{iso(self.started_ns)[:19].replace(':', '')}-{self.id[:8]}.json"

    def document(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "v": 1, "run": self.id,
            "script": {"name": self.script, "hash": self.script_hash, "artifact": self.script_artifact},
            "args": list(self.args), "session": self.session, "environment": dict(self.environment),
            "sandbox": None if self.sandbox is None else dict(self.sandbox),
            "started_at": iso(self.started_ns),
            "finished_at": None if self.finished_ns is None else iso(self.finished_ns),
            "status": self.status, "error": self.error, "sessions": dict(self.sessions),
            "read_count": len(self.read), "made_count": len(self.made),
            "read": [one.document() for one in self.read[:MAX_LISTED]],
            "made": [one.document() for one in self.made[:MAX_LISTED]],
        }  # fmt: skip

    def merged(self, other: Run) -> Run:
        """Return what two records of this run, one of which may be of before it finished, tell together."""
        later, earlier = (self, other) if self.finished_ns is not None else (other, self)
        read = later.read if len(later.read) >= len(earlier.read) else earlier.read
        made = tuple(dict.fromkeys(later.made + earlier.made))
        return replace(later, read=read, made=made, sessions={**earlier.sessions, **later.sessions})


def parse_run(text: bytes) -> Run:
    """Return the run whose record *text* is; raise InvalidValue where it is none."""
    try:
        told = json.loads(text)
        script = told["script"]
        return Run(
            str(told["run"]), str(script["name"]), str(script["hash"]), tuple(map(str, told["args"])),
            told["session"], dict(told["environment"]), parse_iso(told["started_at"]),
            None if told["finished_at"] is None else parse_iso(told["finished_at"]),
            told["status"], told["error"], {str(key): int(seq) for key, seq in told["sessions"].items()},
            tuple(map(_touched, told["read"])), tuple(map(_touched, told["made"])), told.get("sandbox"),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidValue("run", "not a record of a run") from None


def _touched(told: Mapping[str, Any]) -> Touched:
    return Touched(
        str(told["session"]), int(told["sequence"]), int(told["version"]), str(told["name"]), str(told["hash"]),
        int(told.get("after", 0)),
    )  # fmt: skip
