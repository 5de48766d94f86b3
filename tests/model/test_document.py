"""Documents of sessions and artifacts, and what may be written back."""

from __future__ import annotations

import json

import pytest

from llmspellfs import Store
from llmspellfs.errors import InvalidValue
from llmspellfs.model.document import (
    ARTIFACT_WRITABLE,
    SESSION_WRITABLE,
    artifact_document,
    changed_fields,
    session_document,
    to_text,
)


def test_documents_say_everything_as_json(store: Store) -> None:
    session = store.sessions.create("s", tags=["t"], metadata={"k": "ü"})
    artifact = store.artifacts.put("s", "d/a.csv", b"x", custom={"n": 1})
    said = json.loads(to_text(session_document(session)))
    assert (said["id"], said["status"], said["tags"], said["metadata"]) == (session.id, "active", ["t"], {"k": "ü"})
    assert said["created_at"] == "2026-11-21T12:00:00.000000Z"
    assert (said["ended_at"], said["parent_session_id"]) == (None, None)
    said = json.loads(to_text(artifact_document(artifact)))
    assert (said["id"], said["name"], said["version"], said["custom"]) == (artifact.id, "d/a.csv", 1, {"n": 1})
    assert set(ARTIFACT_WRITABLE) <= set(said)


def test_what_was_changed_is_told_and_numbers_that_moved_on_are_no_change(store: Store) -> None:
    old = session_document(store.sessions.create("s", tags=["t"]))
    new = old | {"description": "d", "artifact_count": 9, "seq": 99}
    assert changed_fields(new, old, SESSION_WRITABLE, "session.json") == {"description": "d"}
    assert changed_fields({"tags": []}, old, SESSION_WRITABLE, "x") == {"tags": []}
    assert changed_fields({}, old, SESSION_WRITABLE, "x") == {}


@pytest.mark.parametrize("new", [[], "x", None, {"id": "other"}, {"status": "failed"}, {"colour": "red"}])
def test_what_may_not_change_is_refused_by_its_name(store: Store, new: object) -> None:
    old = session_document(store.sessions.create("s"))
    with pytest.raises(InvalidValue, match=r"^session\.json: "):
        changed_fields(new, old, SESSION_WRITABLE, "session.json")
