"""Forks: another session with all that one has or had, its rows copied, its content shared, its origin told."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue, LimitExceeded, NotFound
from llmspellfs.model.artifact import Attributes, Kind
from tests.service.histories import OWN, at, draft, live, place

BIG = 3 << 20


def counts(store: Store) -> tuple[int, ...]:
    with closing(sqlite3.connect(f"file:{store.path}/index.db?mode=ro", uri=True)) as db:
        return tuple(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("content", "chunk"))


def fill(store: Store) -> None:
    store.sessions.create("s", description="of then", tags=["red"], metadata={"k": [1, None]})
    store.artifacts.put("s", "d/e/a", b"one", tags=["blue"], custom={"k": "v"}, artifact_type="tool_result")
    store.artifacts.put("s", "b", b"two", mime_type="x/y", description="second")
    store.artifacts.put("s", "empty", b"")
    store.entries.make_folder(place(store, "s", "hollow"), OWN)
    store.entries.make_symlink(place(store, "s", "d/link"), "../b", OWN)


def test_a_fork_shows_what_its_origin_does(store: Store) -> None:
    fill(store)
    store.artifacts.delete("s", "b")
    store.artifacts.put("s", "b", b"third")
    origin, wanted = store.sessions.get("s"), live(store, "s")
    fork = store.past.fork("s", "f")
    made = live(store, "f")
    assert list(made.tree) == list(wanted.tree)
    for path, row in made.tree.items():
        assert row[2:] == wanted.tree[path][2:]
        assert row[0] is wanted.tree[path][0]
    assert made.versions == dict.fromkeys(wanted.versions, 1)
    assert sorted(row[1] for row in made.tree.values() if row[0] is Kind.FILE) == [1, 2, 3]  # type: ignore[type-var]
    assert made.fields == wanted.fields | {"name": "f", "parent_session_id": origin.id}
    assert fork == store.sessions.get("f")
    assert fork.is_active
    assert live(store, "s") == wanted


def test_a_fork_tells_where_it_is_from(store: Store) -> None:
    fill(store)
    origin = store.sessions.get("s")
    fork = store.past.fork("s", "f")
    events = store.sessions.events("f")
    assert events[0].kind == "session.created"
    assert events[-1].kind == "session.forked"
    assert events[-1].fields["from"] == {"session": origin.id, "name": "s", "seq": origin.seq}
    assert {event.kind for event in events[1:-1]} == {"artifact.stored", "folder.created", "symlink.created"}
    assert {event.fields["at"] for event in events} == {events[0].fields["at"]}
    assert at(store, "f", fork.seq) == live(store, "f")
    assert store.sessions.events("s")[-1].seq == origin.seq
    assert [child.id for child in store.sessions.children("s")] == [fork.id]


def test_no_content_is_copied(sqlite_store: Store) -> None:
    store = sqlite_store
    fill(store)
    store.artifacts.put("s", "big", os.urandom(BIG))
    files, before = sorted((store.path or Path()).glob("blobs/*/*")), counts(store)
    assert before[1] >= 1
    store.past.fork("s", "f")
    assert counts(store) == before
    assert sorted((store.path or Path()).glob("blobs/*/*")) == files
    copy, original = (store.artifacts.get(ref, "big") for ref in ("f", "s"))
    assert store.artifacts.read(copy) == store.artifacts.read(original)


def test_both_go_their_own_ways(store: Store) -> None:
    fill(store)
    before = live(store, "s")
    seq = store.past.fork("s", "f").seq
    there = live(store, "f")
    store.artifacts.put("f", "d/e/a", b"of the fork")
    store.artifacts.delete("f", "b")
    store.entries.rename(place(store, "f", "d"), place(store, "f", "moved"))
    assert live(store, "s") == before
    store.sessions.delete("f")
    store.sessions.restore("f")
    store.artifacts.put("s", "d/e/new", b"of the origin")
    assert "moved/e/new" not in live(store, "f").tree
    store.past.rollback(f"f@{seq}")
    assert live(store, "f").tree == there.tree


def test_a_point_of_the_past_can_be_forked_even_of_a_frozen_session(store: Store) -> None:
    fill(store)
    wanted, seq = live(store, "s"), store.sessions.get("s").seq
    store.artifacts.put("s", "d/e/a", b"later")
    store.entries.rename(place(store, "s", "d"), place(store, "s", "b2"))
    store.artifacts.delete("s", "b")
    store.sessions.update("s", name="renamed", tags=["green"], description="of now")
    store.sessions.fail("renamed", "broken")
    fork = store.past.fork(f"renamed@{seq}", "f")
    made = live(store, "f")
    assert {path: row[2:] for path, row in made.tree.items()} == {path: row[2:] for path, row in wanted.tree.items()}
    assert (fork.status, fork.failure_reason, fork.ended_ns) == ("active", None, None)
    assert (fork.tags, fork.description, fork.metadata) == (("red",), "of then", {"k": [1, None]})
    assert store.sessions.events("f")[-1].fields["from"]["seq"] == seq
    assert store.past.fork("renamed", "g").is_active


def test_a_fork_is_found_by_what_it_has(store: Store) -> None:
    fill(store)
    store.past.fork("s", "f")
    for query in ("tag:blue", "meta.k:v", "type:tool_result", "session:f tag:blue", "name:a"):
        assert "f" in {store.sessions.get(a.session_id).name for a in store.artifacts.query(query)}, query
    assert {a.name for a in store.artifacts.query("second", session="f")} == {"b"}
    assert {session.name for session in store.sessions.list("tag:red")} == {"s", "f"}
    store.artifacts.update("f", "d/e/a", tags=[])
    assert {store.sessions.get(a.session_id).name for a in store.artifacts.query("tag:blue")} == {"s"}


def _always(new: Attributes, _old: Attributes, _now_ns: int) -> Attributes:
    return new


def test_modes_and_owners_are_kept(store: Store) -> None:
    fill(store)
    session = store.sessions.get("s")
    for name, mode in (("b", 0o640), ("hollow", 0o1777)):
        entry = store.entries.lookup(session.ino, name)
        assert entry is not None
        new = replace(entry.attributes, mode=mode, uid=7, gid=8, mtime_ns=9)
        store.entries.set_attributes(session.sid, entry.ino, partial(_always, new))
    store.entries.set_attributes(session.sid, session.ino, lambda old, now: replace(old, mode=0o2750, gid=6))
    fork = store.past.fork("s", "f")
    for name, mode in (("b", 0o640), ("hollow", 0o1777)):
        entry = store.entries.lookup(fork.ino, name)
        assert entry is not None
        a = entry.attributes
        assert (a.mode, a.uid, a.gid, a.mtime_ns) == (mode, 7, 8, 9)
    top = store.entries.attributes(fork.ino)
    assert (top.mode, top.gid) == (0o2750, 6)


def test_a_draft_is_sealed_first(store: Store) -> None:
    fill(store)
    _, end = draft(store, "s", "open", b"so far")
    store.past.fork("s", "f")
    assert store.artifacts.read(store.artifacts.get("f", "open")) == b"so far"
    assert "open" in at(store, "s", store.sessions.get("s").seq).tree
    end()


def test_a_taken_name_gets_a_number_and_a_bad_one_is_refused(store: Store) -> None:
    fill(store)
    assert store.past.fork("s", "s").dirname == "s~2"
    assert store.past.fork("s", "a/b@1:c").dirname == "a%2Fb@1:c"
    count = len(store.sessions.list())
    for ref, name in (("s", "\ud800"), ("s@99", "x"), ("s@zzz", "x"), ("none", "x"), ("none@1", "x")):
        with pytest.raises((NotFound, InvalidValue)):
            store.past.fork(ref, name)
    store.sessions.delete("a/b@1:c".replace("/", "%2F"))
    with pytest.raises(NotFound):
        store.past.fork("a%2Fb@1:c", "x")
    assert len(store.sessions.list()) == count - 1


def test_limits_hold_for_the_whole_fork(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store:
        fill(store)
        assert store.past.fork("s", "f").artifact_count == 3
    for config in (Config(max_artifacts_per_session=2), Config(max_sessions=2)):
        with open_store(tmp_path, config=config) as store:
            with pytest.raises(LimitExceeded):
                store.past.fork("s", "g")
            assert [session.name for session in store.sessions.list()] == ["s", "f"]
            assert store.upkeep.fsck().problems == ()
    with open_store(tmp_path, config=Config(max_artifacts_per_session=3, max_sessions=3)) as store:
        assert store.past.fork("s", "g").artifact_count == 3


def test_thousands_of_artifacts_are_forked_in_one_go(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    for number in range(3000):
        store.artifacts.put("s", f"d{number % 50}/{number}", b"same")
    fork = store.past.fork("s", "f")
    assert (fork.artifact_count, fork.total_artifact_size) == (3000, 12000)
    names = {artifact.name: artifact.ino for artifact in store.artifacts.list("f")}
    assert names.keys() == {artifact.name for artifact in store.artifacts.list("s")}
    assert len(set(names.values())) == 3000
    assert not set(names.values()) & {artifact.ino for artifact in store.artifacts.list("s")}
    assert store.past.diff("s", "f").changes == ()


def test_the_content_outlives_its_origin(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    content = os.urandom(BIG)
    store.artifacts.put("s", "big", content)
    store.artifacts.put("s", "small", b"small")
    store.past.fork("s", "f")
    store.sessions.purge("s")
    for _ in range(3):
        clock[0] += 40 * 86400 * 10**9
        store.upkeep.gc()
    assert store.artifacts.read(store.artifacts.get("f", "big")) == content
    assert store.artifacts.read(store.artifacts.get("f", "small")) == b"small"
    assert store.upkeep.fsck().problems == ()


def test_forks_and_writers_at_once_do_not_meet(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    failed: list[BaseException] = []

    def work(call: object, count: int) -> None:
        try:
            for number in range(count):
                call(number)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    def write(number: int) -> None:
        for name in ("a", "b"):
            store.artifacts.put("s", f"{number}/{name}", f"{number}".encode())

    threads = [
        threading.Thread(target=work, args=(write, 60)),
        threading.Thread(target=work, args=(lambda number: store.past.fork("s", f"f{number}"), 12)),
        threading.Thread(target=work, args=(lambda number: store.past.fork("s", f"g{number}"), 12)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    written = [f"{number}/{name}" for number in range(60) for name in ("a", "b")]
    for session in store.sessions.list(name_pattern="[fg]*"):
        names = [artifact.name for artifact in store.artifacts.list(session.id)]
        assert names == written[: len(names)]
        told = store.sessions.events(session.id)[-1].fields["from"]
        assert sum(1 for path in at(store, "s", told["seq"]).versions) == len(names)


def test_a_fork_of_the_past_grants_no_more_than_the_past(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "gone", b"1")
    store.artifacts.put("s", "there", b"2")
    point = store.sessions.get("s").seq
    store.artifacts.delete("s", "gone")
    fork = store.past.fork(f"s@{point}", "f")
    modes = {entry.name: oct(entry.attributes.mode) for entry in store.entries.rows(fork.ino)}
    assert modes == {"gone": "0o600", "there": "0o644"}
