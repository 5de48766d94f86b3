"""How sessions, artifacts and the rest are shown: as columns for people, as JSON objects for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.model.artifact import Artifact
    from llmspellfs.model.event import Event
    from llmspellfs.model.session import Checkpoint, Session

T = TypeVar("T")
_WHY = ("reason", "rule")
"""What in an event says why it came about."""
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table: its *title* and the text it shows of an item."""

    title: str
    cell: Callable[[T], str]
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """How a kind of item is shown in tables and as JSON."""

    columns: tuple[Column[T], ...]
    as_json: Callable[[T], dict[str, Any]]


def iso(moment_ns: int | None) -> str | None:
    """Return the moment as ISO 8601 text, None as None."""
    from llmspellfs.model.times import iso as to_iso

    return None if moment_ns is None else to_iso(moment_ns)


def short_time(moment_ns: int) -> str:
    """Return the moment to the second, as people read it: `2026-11-21 19:26:43Z`."""
    return (iso(moment_ns) or "")[:19].replace("T", " ") + "Z"


def human_size(size: int) -> str:
    """Return *size* bytes with three digits or so: `512 B`, `1.5 KiB`, `51.2 MiB`."""
    if size < 1024:
        return f"{size} B"
    power = min(int(math.log(size, 1024) + 1e-5), len(_UNITS))
    return f"{size / 1024**power:.1f} {_UNITS[power - 1]}"


def session_json(session: Session) -> dict[str, Any]:
    """Return everything of *session* that a program may want."""
    from llmspellfs.model.document import session_document

    return session_document(session)


def artifact_json(artifact: Artifact, session: str) -> dict[str, Any]:
    """Return everything of *artifact* that a program may want; *session* is its session's directory name."""
    from llmspellfs.model.document import artifact_document

    return {"session": session, **artifact_document(artifact), "live": artifact.live}


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a program may want of *checkpoint*."""
    return {
        "number": checkpoint.number,
        "seq": checkpoint.seq,
        "label": checkpoint.label,
        "at": iso(checkpoint.at_ns),
    }


SESSIONS: View[Session] = View(
    (
        Column("SESSION", lambda session: session.dirname),
        Column("STATUS", lambda session: str(session.status)),
        Column("ARTIFACTS", lambda session: str(session.artifact_count), is_number=True),
        Column("SIZE", lambda session: human_size(session.total_artifact_size), is_number=True),
        Column("UPDATED", lambda session: short_time(session.updated_ns)),
        Column("ID", lambda session: session.id[:8]),
        Column("TAGS", lambda session: ", ".join(session.tags)),
    ),
    session_json,
)

CHECKPOINTS: View[Checkpoint] = View(
    (
        Column("NUMBER", lambda checkpoint: str(checkpoint.number), is_number=True),
        Column("SEQ", lambda checkpoint: str(checkpoint.seq), is_number=True),
        Column("AT", lambda checkpoint: short_time(checkpoint.at_ns)),
        Column("LABEL", lambda checkpoint: checkpoint.label or ""),
    ),
    checkpoint_json,
)

EVENTS: View[Event] = View(
    (
        Column("SEQ", lambda event: str(event.seq), is_number=True),
        Column("AT", lambda event: short_time(event.at_ns)),
        Column("KIND", lambda event: event.kind),
        Column("DOOR", lambda event: str(event.fields.get("door", ""))),
        Column("ACTOR", lambda event: str(event.fields.get("actor", ""))),
        Column("NAME", lambda event: str(event.fields.get("name", ""))),
        Column("WHY", lambda event: ": ".join(str(event.fields[key]) for key in _WHY if event.fields.get(key))),
    ),
    lambda event: event.fields,
)


def artifacts_of(session: str) -> View[Artifact]:
    """Return the view of artifacts of one *session*, by its directory name."""
    return View(
        (
            Column("SEQ", lambda artifact: str(artifact.sequence), is_number=True),
            Column("NAME", lambda artifact: artifact.name),
            Column("TYPE", lambda artifact: artifact.artifact_type),
            Column("SIZE", lambda artifact: human_size(artifact.size), is_number=True),
            Column("VERSION", lambda artifact: str(artifact.version), is_number=True),
            Column("UPDATED", lambda artifact: short_time(artifact.updated_ns)),
            Column("TAGS", lambda artifact: ", ".join(artifact.tags)),
        ),
        lambda artifact: artifact_json(artifact, session),
    )


def found_artifacts(session_of: Callable[[Artifact], str]) -> View[Artifact]:
    """Return the view of artifacts of any session; *session_of* gives a session's directory name."""
    return View(
        (
            Column("ARTIFACT", lambda artifact: f"{session_of(artifact)}:{artifact.name}"),
            Column("TYPE", lambda artifact: artifact.artifact_type),
            Column("SIZE", lambda artifact: human_size(artifact.size), is_number=True),
            Column("CREATED", lambda artifact: short_time(artifact.created_ns)),
            Column("TAGS", lambda artifact: ", ".join(artifact.tags)),
        ),
        lambda artifact: artifact_json(artifact, session_of(artifact)),
    )


def versions_of(session: str) -> View[Artifact]:
    """Return the view of one artifact's versions, in *session* by its directory name."""
    return View(
        (
            Column("VERSION", lambda artifact: str(artifact.version), is_number=True),
            Column("SIZE", lambda artifact: human_size(artifact.size), is_number=True),
            Column("UPDATED", lambda artifact: short_time(artifact.updated_ns)),
            Column("NOW", lambda artifact: "*" if artifact.live else ""),
            Column("NAME", lambda artifact: artifact.name),
            Column("ID", lambda artifact: artifact.id),
        ),
        lambda artifact: artifact_json(artifact, session),
    )
