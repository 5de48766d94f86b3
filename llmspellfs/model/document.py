"""Sessions and artifacts as JSON documents: the one shape of sidecars, of `--json`, and of what may be written back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.session import Session
from llmspellfs.model.times import iso
from llmspellfs.model.values import is_same

SESSION_WRITABLE = ("name", "description", "tags", "metadata", "parent_session_id")
ARTIFACT_WRITABLE = ("artifact_type", "mime_type", "description", "tags", "custom")
_PASSING = {"updated_at", "stored_size", "seq", "head", "artifact_count", "total_artifact_size"}
"""Numbers that may have moved on between reading a document and writing it back."""

_CLEARABLE = {"parent_session_id"} | _PASSING
"""Fields that null may be written to, which takes away what is there."""


def session_document(session: Session) -> dict[str, Any]:
    """Return *session* as a JSON document."""
    s = session
    return {
        "id": s.id, "name": s.name, "dirname": s.dirname, "description": s.description, "status": str(s.status),
        "tags": list(s.tags), "metadata": s.metadata, "parent_session_id": s.parent_session_id,
        "created_by": s.created_by, "created_at": iso(s.created_ns), "updated_at": iso(s.updated_ns),
        "ended_at": _iso(s.ended_ns), "failure_reason": s.failure_reason, "artifact_count": s.artifact_count,
        "total_artifact_size": s.total_artifact_size, "seq": s.seq, "head": s.head, "deleted_at": _iso(s.deleted_ns),
    }  # fmt: skip


def artifact_document(artifact: Artifact) -> dict[str, Any]:
    """Return *artifact* as a JSON document."""
    a = artifact
    return {
        "id": a.id, "session_id": a.session_id, "name": a.name, "sequence": a.sequence, "version": a.version,
        "content_hash": a.content_hash, "size": a.size, "stored_size": a.stored_size, "artifact_type": a.artifact_type,
        "mime_type": a.mime_type, "description": a.description, "tags": list(a.tags), "custom": a.custom,
        "created_at": iso(a.created_ns), "updated_at": iso(a.updated_ns),
    }  # fmt: skip


def to_text(document: Mapping[str, Any]) -> bytes:
    """Return *document* as the indented JSON of a sidecar, ending with a newline."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def changed_fields(new: object, old: Mapping[str, Any], writable: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return the *writable* fields that the document *new* has otherwise than *old*.

    Raises InvalidValue naming *where* and the field for one that is unknown or may not change; nothing is applied
    then. Fields that are left out stay as they are.
    """
    if not isinstance(new, dict):
        raise InvalidValue(where, "expected a JSON object")
    changed = {}
    for key, value in new.items():
        if key not in old:
            raise InvalidValue(where, f"unknown field {key!r}; writable are {', '.join(writable)}")
        if value is None and old[key] is not None and key not in _CLEARABLE:
            raise InvalidValue(where, f"{key} cannot be null")
        if key in writable:
            if not is_same(value, old[key]):
                changed[key] = value
        elif not is_same(value, old[key]) and key not in _PASSING:
            raise InvalidValue(where, f"{key} cannot be changed here; writable are {', '.join(writable)}")
    return changed


def _iso(moment_ns: int | None) -> str | None:
    return None if moment_ns is None else iso(moment_ns)
