"""Where bytes belong whose file was renamed or moved: what rows and events say of it, else what was told."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from llmspellfs import Store
from llmspellfs.service.paths import Place
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.following import follow


def followed(store: Store, told: Destination) -> Destination:
    with store.engine.index.read() as db:
        return follow(db, told)


def test_a_renamed_file_is_followed_by_its_name(store: Store) -> None:
    session = store.sessions.create("s")
    doc = store.artifacts.put("s", "d/doc", b"content")
    store.entries.rename(Place(session.sid, session.ino, "d"), Place(session.sid, session.ino, "e"))
    told = Destination(session.id, "d/doc", doc.ino)
    assert followed(store, told) == Destination(session.id, "e/doc", doc.ino, doc.sequence)


def test_a_file_has_the_name_that_it_has_now_or_had_last(store: Store) -> None:
    session = store.sessions.create("s")
    doc = store.artifacts.put("s", "doc", b"content")
    store.artifacts.put("s", "doc", b"more")
    for old, new in (("doc", "b"), ("b", "c")):
        store.entries.rename(Place(session.sid, session.ino, old), Place(session.sid, session.ino, new))
    for _ in range(2):
        assert followed(store, Destination(session.id, "doc", doc.ino)).name == "c"
        if store.artifacts.list("s"):
            store.artifacts.delete("s", "c")


def test_a_file_that_took_anothers_place_is_that_one(store: Store) -> None:
    session = store.sessions.create("s")
    over, new = (store.artifacts.put("s", name, b"content") for name in ("doc", "doc.new"))
    store.entries.rename(Place(session.sid, session.ino, "doc.new"), Place(session.sid, session.ino, "doc"))
    for told in (Destination(session.id, "doc.new", new.ino), Destination(session.id, "doc.new", None, new.sequence)):
        assert followed(store, told) == Destination(session.id, "doc", told.ino, over.sequence)


def test_what_nobody_has_committed_and_what_was_deleted_is_what_was_told(store: Store) -> None:
    session = store.sessions.create("s")
    doc = store.artifacts.put("s", "doc", b"content")
    store.artifacts.delete("s", "doc")
    for told in (
        Destination(session.id, "doc", doc.ino, doc.sequence),
        Destination(session.id, "new", 12345678),
        Destination("another", "doc", None, 1),
        Destination(),
    ):
        assert followed(store, told) == told


@pytest.mark.parametrize("to", [None, 7, {}, {"session": "?", "sequence": 1}, {"session": 1, "sequence": 1 << 70}])
def test_an_event_that_was_altered_leads_nowhere(store: Store, to: Any) -> None:
    session, other = store.sessions.create("s"), store.sessions.create("t")
    doc = store.artifacts.put("s", "doc", b"content")
    told = Destination(session.id, "doc", None, doc.sequence)
    store.entries.rename(Place(session.sid, session.ino, "doc"), Place(other.sid, other.ino, "doc"))
    assert followed(store, told).session == other.id
    where = "sid = ? AND json_extract(line, '$.kind') = 'artifact.moved_out'"
    altered = f"json_set(line, '$.to', json('{json.dumps(to)}'))"
    with suppress(_TakenBack), store.engine.index.write() as db:
        db.execute(f"UPDATE event SET line = {altered} WHERE {where}", (session.sid,))
        assert follow(db, told) == told
        raise _TakenBack


class _TakenBack(Exception):
    """Ends a transaction that is to change nothing."""
