"""The audit trail: which events there are, and a chain that an independent reader verifies."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from blake3 import blake3

from llmspellfs import Store
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.event import KINDS, Origin
from llmspellfs.service.paths import Place

OWN = Ownership(0o644, 1000, 1000)


def check_trail(store: Store, ref: str) -> list[dict[str, object]]:
    """Verify the trail of *ref* from its lines alone, as a reader of events.jsonl would; return what they say."""
    events = store.sessions.events(ref)
    prev, last, trail = "0" * 64, "", b""
    told = []
    for number, event in enumerate(events, 1):
        line = event.line.encode()
        said = json.loads(line)
        assert list(said)[:6] == ["v", "seq", "at", "kind", "actor", "door"]
        assert list(said)[-1] == "prev"
        assert (said["v"], said["seq"], said["kind"], said["prev"]) == (1, number, event.kind, prev)
        assert (event.seq, event.session_id) == (number, events[0].session_id)
        assert said["at"] >= last
        assert b"\n" not in line
        assert said["kind"] in KINDS
        prev, last = blake3(line).hexdigest(), said["at"]
        trail += line + b"\n"
        told.append(said)
    session = store.sessions.get(ref, deleted=True)
    assert (session.head, session.seq) == (prev, len(events))
    assert [report.problem for report in store.upkeep.verify(ref)] == [None]
    assert store.sessions.trail_size(session.sid) == len(trail)
    for offset, size in ((0, len(trail)), (0, 10), (len(trail) // 2, 100), (len(trail) - 1, 5), (len(trail), 5)):
        assert store.sessions.trail_bytes(session.sid, offset, size) == trail[offset : offset + size]
    return told


def live(store: Store) -> None:
    """Do everything that leaves an event, in the sessions s and t."""
    s, t = store.sessions.create("s", metadata={"secret": "hush"}), store.sessions.create("t", parent="s")
    store.artifacts.put("s", "a.txt", b"one", custom={"k": "hush"}, description="hush", tags=["hush"])
    store.artifacts.put("s", "a.txt", b"two")
    store.artifacts.update("s", "a.txt", custom={"k": "hush hush"})
    store.artifacts.update("s", "a.txt", name="d/b.txt")
    store.entries.make_symlink(Place(s.sid, s.ino, "link"), "d/b.txt", OWN)
    store.entries.rename(Place(s.sid, s.ino, "link"), Place(s.sid, s.ino, "link2"))
    store.entries.rename(Place(s.sid, s.ino, "link2"), Place(t.sid, t.ino, "link"))
    store.entries.remove(Place(t.sid, t.ino, "link"), folder=False)
    store.entries.rename(Place(s.sid, s.ino, "d"), Place(s.sid, s.ino, "e"))
    store.entries.rename(Place(s.sid, s.ino, "e"), Place(t.sid, t.ino, "f"))
    store.artifacts.delete("t", "f/b.txt")
    store.artifacts.restore("t", "f/b.txt")
    store.artifacts.delete("t", "f/b.txt")
    store.artifacts.purge("t", "f/b.txt")
    store.entries.remove(Place(t.sid, t.ino, "f"), folder=True)
    store.sessions.delete("t")
    store.sessions.restore("t")
    store.sessions.update("s", description="hush")
    store.sessions.save("s", "label")
    store.sessions.suspend("s")
    store.sessions.load("s")
    store.sessions.suspend("s")
    store.sessions.resume("s")
    store.sessions.complete("s")
    store.sessions.fail("t", "hush")


def test_every_change_is_an_event_of_its_kind(store: Store) -> None:
    live(store)
    assert [event.kind for event in store.sessions.events("s")] == [
        "session.created", "artifact.stored", "artifact.stored", "artifact.updated", "folder.created",
        "artifact.renamed", "symlink.created", "symlink.renamed", "symlink.moved_out", "folder.renamed",
        "folder.moved_out", "artifact.moved_out", "session.updated", "session.saved", "session.suspended",
        "session.loaded", "session.suspended", "session.resumed", "session.completed",
    ]  # fmt: skip
    assert [event.kind for event in store.sessions.events("t")] == [
        "session.created", "symlink.moved_in", "symlink.deleted", "folder.moved_in", "artifact.moved_in",
        "artifact.deleted", "artifact.restored", "artifact.deleted", "artifact.purged", "folder.deleted",
        "session.deleted", "session.restored", "folder.restored", "session.failed",
    ]  # fmt: skip


def test_the_chain_verifies_by_its_lines_alone_and_tells_no_metadata(store: Store) -> None:
    live(store)
    for ref in "st":
        for said in check_trail(store, ref):
            assert "hush" not in json.dumps(said)
            assert len(json.dumps(said)) < 800
    store.sessions.delete("t")
    check_trail(store, "t")


def test_lines_stay_short_whatever_is_said(store: Store) -> None:
    name = "n\x01" * 30_000
    ref = store.sessions.create(name).id
    store.sessions.save(ref, "L" * 60_000)
    store.sessions.suspend(ref)
    store.sessions.resume(ref)
    store.sessions.update(ref, name="m\x02" * 30_000, description="d" * 60_000, tags=["t" * 200] * 9)
    store.sessions.fail(ref, "R" * 60_000)
    store.sessions.delete(ref)
    store.sessions.restore(ref)
    assert max(len(event.line.encode()) for event in store.sessions.events(ref)) < 2500
    assert store.sessions.checkpoints(ref)[0].label == "L" * 60_000
    assert store.sessions.get(ref).failure_reason == "R" * 60_000
    check_trail(store, ref)


def test_a_move_tells_each_chain_of_the_other(store: Store) -> None:
    live(store)
    s, t = store.sessions.get("s"), store.sessions.get("t")
    out = [event.fields for event in store.sessions.events("s", kinds=["artifact.moved_out"])]
    came = [event.fields for event in store.sessions.events("t", kinds=["artifact.moved_in"])]
    assert [(said["name"], said["to"]) for said in out] == [
        ("e/b.txt", {"session": t.id, "name": "f/b.txt", "sequence": 1})
    ]
    assert [(said["name"], said["from"]) for said in came] == [
        ("f/b.txt", {"session": s.id, "name": "e/b.txt", "sequence": 1})
    ]
    assert out[0]["hash"] == came[0]["hash"] == blake3(b"two").hexdigest()


def test_the_origin_stands_in_the_line(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.tag("s", add=["t"], by=Origin("uid:7", "lua"))
    told = check_trail(store, "s")
    assert [(said["actor"], said["door"]) for said in told] == [("uid:1000", "api"), ("uid:7", "lua")]


def test_time_never_goes_back_when_the_clock_does(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    clock[0] += 10**9
    store.sessions.tag("s", add=["a"])
    for back in (3600, 86400 * 400):
        clock[0] -= back * 10**9
        store.artifacts.put("s", "a", str(back).encode())
        store.sessions.save("s")
    clock[0] += 5
    told = check_trail(store, "s")
    assert told[1]["at"] == told[-1]["at"] == "2026-11-21T12:00:01.000000Z"


def test_events_are_ordered_among_sessions_and_filtered(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.sessions.save("s")
    s, t = store.sessions.events("s"), store.sessions.events("t")
    assert [event.id for event in (s[0], t[0], s[1])] == sorted(event.id for event in (s[0], t[0], s[1]))
    assert store.sessions.events("s", after=1) == s[1:]
    assert store.sessions.events("s", limit=1) == s[:1]
    assert store.sessions.events("s", kinds=["session.saved", "session.failed"]) == s[1:]
    assert store.sessions.events("s", kinds=["session.failed"]) == []


def test_a_refused_change_leaves_no_event(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    before = store.sessions.get("s")
    refused: list[Callable[[], object]] = [
        lambda: store.sessions.resume("s"),
        lambda: store.artifacts.put("s", "a/b", b"1"),
        lambda: store.artifacts.put("s", "new/folder/.session/" + "x" * 300, b"1"),
        lambda: store.artifacts.update("s", "a", name="n/../x"),
        lambda: store.artifacts.delete("s", "b"),
    ]
    for call in refused:
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is told elsewhere
            call()
    assert store.sessions.get("s") == before


def test_names_that_are_not_ascii_keep_the_trail_in_bytes(store: Store) -> None:
    store.sessions.create("Prüfung/日本\n")
    store.artifacts.put("Prüfung%2F日本\n", "ü\n\"'.txt", b"1")
    told = check_trail(store, "Prüfung%2F日本\n")
    assert told[1]["name"] == "ü\n\"'.txt"
