"""A session and its lifecycle; the table here is the only place that says which state follows which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmspellfs.errors import InvalidTransition, InvalidValue


class Status(StrEnum):
    """The four states of a session."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"


class Action(StrEnum):
    """What is done to a session's state."""

    SUSPEND = "suspend"
    RESUME = "resume"
    COMPLETE = "complete"
    FAIL = "fail"
    LOAD = "load"


TRANSITIONS: dict[Action, dict[Status, Status]] = {
    Action.SUSPEND: {Status.ACTIVE: Status.SUSPENDED},
    Action.RESUME: {Status.SUSPENDED: Status.ACTIVE},
    Action.COMPLETE: {Status.ACTIVE: Status.COMPLETED, Status.SUSPENDED: Status.COMPLETED},
    Action.FAIL: {Status.ACTIVE: Status.FAILED, Status.SUSPENDED: Status.FAILED},
    Action.LOAD: {
        Status.ACTIVE: Status.ACTIVE,
        Status.SUSPENDED: Status.ACTIVE,
        Status.COMPLETED: Status.COMPLETED,
        Status.FAILED: Status.FAILED,
    },
}
"""From each action and state to the next state; what is not here is InvalidTransition."""

EVENT_KINDS: dict[Action, str] = {
    Action.SUSPEND: "session.suspended",
    Action.RESUME: "session.resumed",
    Action.COMPLETE: "session.completed",
    Action.FAIL: "session.failed",
    Action.LOAD: "session.loaded",
}

FREEZING = frozenset({Action.SUSPEND, Action.COMPLETE, Action.FAIL})
"""The actions after which the content of a session does not change."""

_ACTION_TO: dict[Status, Action] = {
    Status.ACTIVE: Action.RESUME,
    Status.SUSPENDED: Action.SUSPEND,
    Status.COMPLETED: Action.COMPLETE,
    Status.FAILED: Action.FAIL,
}


def parse_status(text: str) -> Status:
    """Return the status called *text*; raise InvalidValue where there is none."""
    try:
        return Status(text)
    except ValueError:
        raise InvalidValue("status", f"expected one of {', '.join(Status)}, not {text!r}") from None


def next_status(session: str, status: Status, action: Action) -> Status:
    """Return the state that *action* leads to from *status*; raise InvalidTransition naming *session*."""
    try:
        return TRANSITIONS[action][status]
    except KeyError:
        raise InvalidTransition(session, status, action) from None


def action_to(status: Status) -> Action:
    """Return the action that leads to *status*, for doors where a state is written rather than an action."""
    return _ACTION_TO[status]


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is now, or was at a point in its history. Times are nanoseconds since the epoch."""

    sid: int
    """The store's own number for it; `id` is the name that lasts."""
    id: str
    name: str
    dirname: str
    description: str
    status: Status
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    parent_session_id: str | None
    created_by: str | None
    created_ns: int
    updated_ns: int
    ended_ns: int | None
    failure_reason: str | None
    artifact_count: int
    total_artifact_size: int
    ino: int
    """Of its top folder."""
    seq: int
    """Of its last event."""
    head: str
    """BLAKE3 of its last event line, 64 hex digits."""
    deleted_ns: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether its content may change."""
        return self.status is Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A named point in a session's history: the *number*-th `Session.save`."""

    number: int
    seq: int
    label: str | None
    at_ns: int
