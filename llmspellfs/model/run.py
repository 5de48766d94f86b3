"""What is known of one run of a script: what it was, what it read and made, and its record; read again in `record`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from llmspellfs.model.times import iso

FOLDER = ".runs"
"""The folder of a session in which the records of runs, and the scripts that ran, are."""
MIME_TYPE = "application/vnd.llmspellfs.run+json"
SCRIPT_MIME_TYPE = "text/x-lua"
MAX_LISTED = 10_000
"""A record lists this many of what its run read, and of what it made; the counts are whole."""
MAX_RECORD = 16 << 20
"""Bytes of a record; its lists are cut further where they would go beyond, and what is larger is none."""

Status: TypeAlias = "int | str | None"
"""How a run ended: its exit status, or `interrupted`, `terminated`, `timeout` where it was ended from outside."""
UNFINISHED = "unfinished"
"""What stands for the status of a run that has not ended: it goes on, or its process was killed."""


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
class Kept:
    """A value of State that a run read before it set it, as canonical JSON."""

    scope: str
    key: str
    text: str

    def document(self) -> dict[str, Any]:
        """Return it as a record lists it."""
        return {"scope": self.scope, "key": self.key, "value": self.text}


@dataclass(frozen=True, slots=True)
class Module:
    """A module that a run has had `require` find in a file, and the BLAKE3 of its text."""

    name: str
    content_hash: str

    @property
    def artifact(self) -> str:
        """The name of the artifact that holds its text."""
        return f"{FOLDER}/module-{self.content_hash[:16]}.lua"

    def document(self) -> dict[str, Any]:
        """Return it as a record lists it."""
        return {"name": self.name, "hash": self.content_hash, "artifact": self.artifact}


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
    status: Status = None
    error: str | None = None
    sessions: Mapping[str, int] = field(default_factory=dict)
    """Each session that it changed, by id, and the seq that this had before; 0: the run made it."""
    read: tuple[Touched, ...] = ()
    made: tuple[Touched, ...] = ()
    sandbox: Mapping[str, Any] | None = None
    state: tuple[Kept, ...] = ()
    modules: tuple[Module, ...] = ()
    left_out: tuple[str, ...] = ()
    """What it used that was too much to keep, for people."""
    unlisted_read: int = 0
    """Beyond those of `read`, which a record lists up to a bound."""
    unlisted_made: int = 0

    @property
    def script_artifact(self) -> str:
        """The name of the artifact that holds the script's text."""
        return f"{FOLDER}/script-{self.script_hash[:16]}.lua"

    @property
    def artifact(self) -> str:
        """The name of the artifact that holds the record."""
        return f"{FOLDER}/{iso(self.started_ns)[:19].replace(':', '')}-{self.id[:8]}.json"

    def document(self, most: int = MAX_LISTED) -> dict[str, Any]:
        """Return the record, which lists at most *most* of what was read, and of what was made."""
        return {
            "v": 1, "run": self.id,
            "script": {"name": self.script, "hash": self.script_hash, "artifact": self.script_artifact},
            "args": list(self.args), "session": self.session, "environment": dict(self.environment),
            "sandbox": None if self.sandbox is None else dict(self.sandbox),
            "started_at": iso(self.started_ns),
            "finished_at": None if self.finished_ns is None else iso(self.finished_ns),
            "status": self.status, "error": self.error, "sessions": dict(self.sessions),
            "modules": [one.document() for one in self.modules], "state": [one.document() for one in self.state],
            "left_out": list(self.left_out),
            "read_count": len(self.read) + self.unlisted_read, "made_count": len(self.made) + self.unlisted_made,
            "read": [one.document() for one in self.read[:most]],
            "made": [one.document() for one in self.made[:most]],
        }  # fmt: skip

    def to_json(self) -> bytes:
        """Return the record as it is stored."""
        text, most = b"", MAX_LISTED * 2
        while most and (not text or len(text) > MAX_RECORD):
            most //= 2
            text = json.dumps(self.document(most), indent=1).encode("ascii")
        return text

    def merged(self, other: Run) -> Run:
        """Return what two records of this run, one of which may be of before it finished, tell together."""
        later, earlier = (self, other) if self.finished_ns is not None else (other, self)
        read = later.read if len(later.read) >= len(earlier.read) else earlier.read
        made = tuple(dict.fromkeys(later.made + earlier.made))
        sessions = {**earlier.sessions, **later.sessions}
        return replace(later, read=read, made=made, sessions=sessions)


@dataclass(frozen=True, slots=True)
class Trailed:
    """One run as the trail of a session tells it, whatever became of its record."""

    id: str
    script: str | None
    script_hash: str | None
    seq: int
    """Of its `run.started`."""
    started_ns: int
    finished_ns: int | None = None
    """None where there is no `run.finished`."""
    status: Status = UNFINISHED
    record: str | None = None
    """The hash of its record."""

    def summary(self) -> tuple[str, str | None, Status]:
        """Return its id, its script and how it ended, or `unfinished`."""
        return self.id, self.script, self.status
