"""Runs leave records in the sessions that they change, and from these falls out what was made from what."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound
from llmspellfs.model.lineage import Branch, Lineage
from llmspellfs.model.record import parse_run
from llmspellfs.model.replay import Mode, Wanted
from llmspellfs.model.run import RunScript
from llmspellfs.service import recalling
from llmspellfs.service.lineage import MAX_LEVELS
from llmspellfs.service.records import Recorder
from llmspellfs.service.rerunning import Ended, Task
from llmspellfs.service.timeline import timeline
from tests.service.histories import OWN, place

SCRIPT = RunScript(b"print(1)", "t.lua", ("a", "b\udcff"), None, {"lua": "5.4"})


@contextmanager
def run(store: Store, script: RunScript = SCRIPT) -> Iterator[Recorder]:
    with store.runs.recording(script) as recorder:
        yield recorder
        recorder.status = 0


def read(store: Store, session: str, name: str) -> bytes:
    return store.artifacts.read(store.artifacts.get(session, name))


def names(store: Store, ref: str) -> list[str]:
    return [artifact.name for artifact in store.artifacts.list(ref)]


def own_names(store: Store, ref: str) -> list[str]:
    return [name for name in names(store, ref) if not name.startswith(".runs/")]


def kinds(store: Store, ref: str) -> list[str]:
    return [event.kind for event in store.sessions.events(ref)]


def test_a_run_leaves_its_record_and_its_script_where_it_changed_something(store: Store) -> None:
    session = store.sessions.create("s").id
    store.artifacts.put("s", "in", b"1")
    with run(store):
        read(store, "s", "in")
        store.artifacts.put("s", "out", b"2")
    assert kinds(store, "s") == [
        "session.created", "artifact.stored", "run.started", "artifact.stored", "folder.created", "artifact.stored",
        "artifact.stored", "run.finished",
    ]  # fmt: skip
    script, record = store.artifacts.list("s")[2:]
    assert store.artifacts.read(script) == SCRIPT.text
    assert {script.artifact_type, record.artifact_type} == {"system_generated"}
    told = json.loads(store.artifacts.read(record))
    assert (told["args"], told["status"], told["error"]) == (["a", "b\udcff"], 0, None)
    assert told["environment"] == {"lua": "5.4"}
    assert told["sessions"] == {session: 2}
    assert [(one["name"], one["version"]) for one in told["read"]] == [("in", 1)]
    assert [(one["name"], one["after"]) for one in told["made"]] == [("out", 1)]
    assert store.runs.of("s") == [parse_run(store.artifacts.read(record))]
    assert record.name == f".runs/2026-11-21T120000-{told['run'][:8]}.json"


def test_what_is_only_looked_at_is_not_touched(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "in", b"1")
    before = store.sessions.get("s")
    with run(store):
        read(store, "s", "in")
        store.artifacts.list("s")
        store.sessions.list()
        store.past.diff("s@1", "s")
    assert store.sessions.get("s") == before
    assert store.runs.all() == []


def test_without_a_recorder_nothing_is_recorded_and_another_thread_is_not_either(store: Store) -> None:
    store.sessions.create("s")
    with run(store):
        thread = threading.Thread(target=lambda: store.artifacts.put("s", "a", b"1"))
        thread.start()
        thread.join()
    store.artifacts.put("s", "b", b"2")
    assert kinds(store, "s") == ["session.created", "artifact.stored", "artifact.stored"]


def test_a_session_that_a_run_ends_has_the_record_before_it_is_frozen(store: Store) -> None:
    with run(store) as recorder:
        for name, freeze in (("c", "complete"), ("f", "fail"), ("p", "suspend")):
            store.sessions.create(name)
            store.artifacts.put(name, "out", b"1")
            getattr(store.sessions, freeze)(name)
            assert names(store, name) == ["out"]
            assert [one.name for one in store.artifacts.query(session=name)] == ["out"]
    for name, last in (("c", "completed"), ("f", "failed"), ("p", "suspended")):
        assert len(names(store, name)) == 3
        assert kinds(store, name)[-2:] == [f"session.{last}", "run.finished"]
        assert kinds(store, name)[-3] == "artifact.stored"
    assert [one.id for one in store.runs.all()] == [recorder.run.id]
    assert (store.runs.of("c")[0].status, store.runs.of("c")[0].finished_ns) == (0, recorder.run.finished_ns)


def test_a_session_that_a_run_only_ends_is_recorded_too(store: Store) -> None:
    store.sessions.create("s")
    with run(store):
        store.sessions.complete("s")
    assert kinds(store, "s") == [
        "session.created", "run.started", "folder.created", "artifact.stored", "artifact.stored", "session.completed",
        "run.finished",
    ]  # fmt: skip


def test_one_that_is_taken_up_again_gets_the_whole_record_in_the_end(store: Store) -> None:
    with run(store):
        store.sessions.create("s")
        store.sessions.suspend("s")
        store.sessions.resume("s")
        store.artifacts.put("s", "out", b"1")
        assert names(store, "s") == ["out"]
        assert [one.name for one in store.artifacts.list("s", limit=1)] == ["out"]
    record = next(one for one in store.artifacts.list("s") if one.name.endswith(".json"))
    assert record.version == 2
    assert [one.name for one in store.runs.of("s")[0].made] == ["out"]


def test_a_frozen_session_and_a_full_one_have_the_events_only() -> None:
    with open_store(backend="memory", config=Config(max_artifacts_per_session=2)) as store:
        store.sessions.create("frozen")
        store.sessions.complete("frozen")
        store.sessions.create("full")
        with run(store):
            store.sessions.tag("frozen", add=["x"])
            store.artifacts.put("full", "a", b"1")
            store.artifacts.put("full", "b", b"2")
        assert names(store, "frozen") == []
        assert names(store, "full") == ["a", "b"]
        for name in ("frozen", "full"):
            assert {"run.started", "run.finished"} <= set(kinds(store, name))


def test_the_script_is_stored_once_for_all_its_runs(store: Store) -> None:
    store.sessions.create("s")
    for content in (b"1", b"2"):
        with run(store):
            store.artifacts.put("s", "out", content)
    assert sum(name.endswith(".lua") for name in names(store, "s")) == 1
    assert len(store.runs.of("s")) == 2
    assert store.runs.text(store.runs.of("s")[0].script_hash, "t.lua") == SCRIPT.text


def test_a_script_that_fails_is_recorded_with_its_error(store: Store) -> None:
    store.sessions.create("s")

    def fail() -> None:
        with store.runs.recording(SCRIPT):
            store.artifacts.put("s", "a", b"1")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    told = store.runs.of("s")[0]
    assert (told.status, told.error) == (1, "broken")
    assert store.sessions.events("s")[-1].fields["status"] == 1


def test_a_batch_and_many_sessions_are_recorded(store: Store) -> None:
    with run(store) as recorder:
        for number in range(70):
            store.sessions.create(f"s{number}")
    assert len(recorder.run.sessions) == 70
    assert all(kinds(store, f"s{number}")[-1] == "run.finished" for number in (0, 69))
    assert kinds(store, "s69")[:2] == ["session.created", "run.started"]


def test_a_session_deleted_by_a_run_comes_back_whole(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.artifacts.put("s", "b", b"2")
    with run(store):
        store.artifacts.delete("s", "a")
    with run(store):
        store.artifacts.delete("s", "b")
        store.sessions.delete("s")
    store.sessions.restore("s")
    assert "b" in names(store, "s")


def test_a_run_of_deletions_that_a_run_begins_is_undone_whole(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    store.artifacts.delete("s", "a")
    with run(store):
        store.sessions.delete("s")
    store.sessions.restore("s")
    assert names(store, "s") == ["a"]


def test_a_record_that_cannot_be_written_is_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.sessions.create("s")
    with caplog.at_level(logging.WARNING), run(store) as recorder:
        store.artifacts.put("s", "a", b"1")
        recorder._stage = lambda *_, **__: (_ for _ in ()).throw(NotFound("disk", "full"))  # type: ignore[method-assign]
    assert "not recorded" in caplog.text
    assert names(store, "s") == ["a"]


def test_a_file_that_is_called_as_the_folder_of_records_is_left_alone(store: Store) -> None:
    store.sessions.create("s")
    with run(store):
        store.artifacts.put("s", ".runs", b"mine")
    assert names(store, "s") == [".runs"]
    assert kinds(store, "s")[-1] == "run.finished"


# Lineage


def tree(found: Lineage, branches: tuple[Branch, ...]) -> list[object]:
    """Return the names of a tree, each with what is beyond it."""
    return [
        (str(found.names[one.node]), one.link.how, "again" if one.is_again else tree(found, one.branches))
        for one in branches
    ]


def step(store: Store, source: str, target: str, *, into: str = "s") -> None:
    with run(store):
        content = read(store, *source.split(":"))
        store.artifacts.put(into, target, content + b"+")


def test_lineage_is_a_tree_both_ways_over_sessions(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "raw", b"1")
    step(store, "s:raw", "clean")
    step(store, "s:clean", "report", into="t")
    found = store.runs.lineage("s:clean")
    assert tree(found, found.made_from) == [("s:raw", "run", [])]
    assert tree(found, found.made_into) == [("t:report", "run", [])]
    assert found.document()["made_into"][0]["script"] == "t.lua"
    found = store.runs.lineage("t:report")
    assert tree(found, found.made_from) == [("s:clean", "run", [("s:raw", "run", [])])]


def test_what_was_read_later_is_no_source(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "one", b"1")
    store.artifacts.put("s", "two", b"2")
    with run(store):
        read(store, "s", "one")
        store.artifacts.put("s", "first", b"x")
        read(store, "s", "two")
        store.artifacts.put("s", "second", b"y")
    found = store.runs.lineage("s:first")
    assert tree(found, found.made_from) == [("s:one", "run", [])]
    found = store.runs.lineage("s:second")
    assert tree(found, found.made_from) == [("s:one", "run", []), ("s:two", "run", [])]
    found = store.runs.lineage("s:two")
    assert tree(found, found.made_into) == [("s:second", "run", [])]


def test_cycles_end(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    step(store, "s:a", "b")
    step(store, "s:b", "a")
    step(store, "s:a", "a")
    found = store.runs.lineage("s:a")
    assert tree(found, found.made_from) == [("s:a", "run", "again"), ("s:b", "run", [("s:a", "run", "again")])]
    assert tree(found, found.made_into) == [("s:a", "run", "again"), ("s:b", "run", [("s:a", "run", "again")])]
    assert len(list(found.lines())) == 9


def test_a_lineage_of_any_length_is_shown(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "0", b"1")
    for number in range(MAX_LEVELS + 2):
        step(store, f"s:{number}", f"{number + 1}")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + MAX_LEVELS + 60)
    try:
        found = store.runs.lineage("s:0")
    finally:
        sys.setrecursionlimit(limit)
    assert len(list(found.lines())) == 2 + MAX_LEVELS
    assert json.dumps(found.document()).count("made_into") == MAX_LEVELS + 1


def test_forks_and_moves_are_followed(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "raw", b"1")
    store.artifacts.put("s", "gone", b"0")
    store.artifacts.delete("s", "raw")
    store.artifacts.put("s", "raw", b"2")
    step(store, "s:raw", "clean")
    store.past.fork("s", "f")
    store.entries.rename(place(store, "f", "clean"), place(store, "t", "moved"))
    found = store.runs.lineage("t:moved")
    ways: list[object] = [("f:clean (gone)", "moved", [("s:clean", "forked", [("s:raw", "run", [])])])]
    assert tree(found, found.made_from) == ways
    found = store.runs.lineage("s:clean")
    assert tree(found, found.made_into) == [("f:clean (gone)", "forked", [("t:moved", "moved", [])])]
    dot = list(found.dot())
    assert dot[0] == "digraph lineage {"
    assert dot[-1] == "}"
    assert sum("->" in line for line in dot) == 3


def test_an_artifact_of_no_run_is_alone_and_one_that_is_not_there_is_not_found(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", 'a"b', b"1")
    store.entries.make_folder(place(store, "s", "d"), OWN)
    found = store.runs.lineage('s:a"b')
    assert list(found.lines()) == ['s:a"b']
    assert 'label = "s:a\\"b"' in "".join(found.dot())
    with pytest.raises(NotFound):
        store.runs.lineage("s:none")


def test_what_ran_in_a_sandbox_is_only_run_again_in_one(store: Store) -> None:
    told = {"read_only": True, "max_artifacts": 3}
    store.sessions.create("s")
    tasks: list[Task] = []

    def runner(task: Task) -> Ended:
        tasks.append(task)
        return Ended(0)

    with run(store, RunScript(b"code", "t.lua", sandbox=told)):
        store.artifacts.put("s", "a", b"1")
    store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert [task.sandbox for task in tasks] == [told]
    assert (tasks[0].text, tasks[0].name, tasks[0].timeout_seconds) == (b"code", "t.lua", None)


def test_a_run_whose_script_or_record_is_gone_is_a_mismatch(store: Store) -> None:
    store.sessions.create("s")
    with run(store):
        store.artifacts.put("s", "a", b"1")
    script, record = store.artifacts.list("s")[1:]
    store.artifacts.purge("s", script.name)
    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=lambda _: Ended(0))
    assert [(one.what, one.got) for one in result.mismatches] == [("script", f"content not found: {script.name}")]
    store.artifacts.purge("s", record.name)
    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=lambda _: Ended(0))
    assert [one.what for one in result.mismatches] == ["record"]


def test_a_rerun_has_the_state_that_was_read_before_it_was_set(store: Store) -> None:
    store.sessions.create("s")
    own = f"session:{store.sessions.get('s').id}"
    for key in ("read", "updated", "deleted", "set", "other"):
        store.state.set(key, [key], scope="a")
    store.state.set("mine", 1, scope=own)
    with run(store):
        store.artifacts.put("s", "a", b"1")
        store.state.get("read", scope="a")
        store.state.get("missing", scope="a")
        store.state.update("updated", lambda _: "new", scope="a")
        store.state.delete("deleted", scope="a")
        store.state.set("set", "new", scope="a")
        store.state.get("set", scope="a")
        store.state.get("mine", scope=own)
    seen: dict[str, object] = {}

    def runner(task: Task) -> Ended:
        with open_store(task.store) as scratch:
            seen.update({key: scratch.state.get(key, scope="a") for key in scratch.state.list_keys("a")})
            seen["mine"] = scratch.state.get("mine", scope=own)
        return Ended(0)

    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert seen == {"read": ["read"], "updated": ["updated"], "deleted": ["deleted"], "mine": 1}
    assert result.left_out == ()


def test_keys_that_are_listed_are_there_again(store: Store) -> None:
    store.sessions.create("s")
    store.state.set("k", 1)
    with run(store):
        store.artifacts.put("s", "a", b"1")
        store.state.list_keys()
    assert [(one.key, one.text) for one in store.runs.of("s")[0].state] == [("k", "1")]


def test_what_is_too_much_to_keep_is_told_and_no_mismatch(store: Store) -> None:
    store.sessions.create("s")
    store.state.set("big", "x" * recalling.MAX_STATE)
    with run(store) as recorder:
        store.artifacts.put("s", "a", b"1")
        store.state.get("big")
        recorder.recall.loaded("m", b"x" * (recalling.MAX_MODULES + 1))
    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=lambda _: Ended(0))
    assert [one.partition(" (")[0] for one in result.left_out] == ["t.lua: State global big", "t.lua: module m"]
    assert [one.what for one in result.mismatches] == ["artifact"]
    assert result.document()["partial"] is True


def test_state_of_a_session_stands_in_no_record_of_another(store: Store) -> None:
    ids = [store.sessions.create(name).id for name in "st"]
    store.state.set("token", "secret of s", scope=f"session:{ids[0]}")
    with run(store):
        store.state.get("token", scope=f"session:{ids[0]}")
        for name in "st":
            store.artifacts.put(name, "a", b"1")
    there, other = store.runs.of("s")[0], store.runs.of("t")[0]
    assert [one.text for one in there.state] == ['"secret of s"']
    assert (other.state, other.left_out) == ((), (f"State session:{ids[0]} (of another session)",))


def test_modules_stand_beside_the_record_and_go_with_the_script(store: Store) -> None:
    store.sessions.create("s")
    for content in (b"1", b"2"):
        with run(store) as recorder:
            recorder.recall.loaded("lib.m", b"return 1")
            store.artifacts.put("s", "a", content)
    assert sum(".runs/module-" in name for name in names(store, "s")) == 1
    tasks: list[Task] = []

    def runner(task: Task) -> Ended:
        tasks.append(task)
        return Ended(0)

    store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert [task.modules for task in tasks] == [{"lib.m": b"return 1"}] * 2
    store.artifacts.purge("s", next(name for name in names(store, "s") if ".runs/module-" in name))
    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert {one.name for one in result.mismatches if one.what == "module"} == {"lib.m"}


def test_a_cut_list_is_partial_and_no_mismatch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmspellfs.model.run.MAX_LISTED", 2)
    store.sessions.create("s")
    for name in "xyz":
        store.artifacts.put("s", name, b"0")
    with run(store):
        for name in "xyz":
            read(store, "s", name)
            store.artifacts.put("s", name + "1", b"1")

    def runner(task: Task) -> Ended:
        with open_store(task.store) as scratch, run(scratch):
            for name in "zxy":
                scratch.artifacts.put("s", name + "1", b"1")
        return Ended(0)

    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert [str(one) for one in result.mismatches] == []
    assert result.left_out == (
        "t.lua: 1 of the artifacts that it read", "t.lua: 1 of the artifacts that it made then",
        "t.lua: 1 of the artifacts that it made now",
    )  # fmt: skip


def test_the_record_of_a_session_that_its_run_ended_has_the_status_of_the_trail(store: Store) -> None:
    with run(store):
        store.sessions.create("s")
        store.sessions.complete("s")
    record = next(one for one in store.artifacts.list("s") if one.name.endswith(".json"))
    assert json.loads(store.artifacts.read(record))["status"] is None
    assert [one.status for one in store.runs.all()] == [one.status for one in store.runs.of("s")] == [0]
    assert [status for *_, status in store.replays.metadata("s").runs] == [0]


def test_a_run_without_an_end_is_unfinished_for_every_reader(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"1")
    recorder = store.runs.recording(SCRIPT)
    recorder.__enter__()
    read(store, "s", "a")
    store.artifacts.put("s", "b", b"2")
    store.sessions.complete("s")
    store.engine.witnesses.clear()  # as where the process is killed
    assert [one[1:] for one in store.replays.metadata("s").runs] == [("t.lua", "unfinished")]
    assert [one.runs[0][2] for one in store.replays.replayable()] == ["unfinished"]
    begun = next(one for one in timeline(store.sessions.events("s")) if one.event.kind == "run.started")
    assert (begun.is_unfinished, begun.document()["details"]["status"]) == (True, "unfinished")
    assert [line for line in store.runs.lineage("s:b").lines() if "t.lua, unfinished" in line]
    result = store.replays.replay("s", Wanted(Mode.RERUN), runner=lambda _: Ended(0))
    assert [one.what for one in result.mismatches] == ["record"]


def test_a_run_can_be_ended_from_another_thread(store: Store) -> None:
    store.sessions.create("s")
    recorder = store.runs.recording(SCRIPT)
    recorder.__enter__()
    store.artifacts.put("s", "a", b"1")
    recorder.ask("interrupted")
    with pytest.raises(BaseException, match="interrupted"):
        store.artifacts.put("s", "b", b"2")
    thread = threading.Thread(target=recorder.cut)
    thread.start()
    thread.join()
    recorder.__exit__(None, None, None)
    assert [one.status for one in store.runs.of("s")] == ["interrupted"]
    assert kinds(store, "s").count("run.finished") == 1


# Records that are none

FORGED = [
    b"", b"no JSON", b"[]", b"null", b"[" * 100_000, b'{"v":1}', b'{"run":1,"script":[]}', b"\xff\xfe",
    b'"' * 1_000_000, b'{"run":"x","script":{"name":"n","hash":"zz"},"args":[],"session":null}',
]  # fmt: skip


@pytest.mark.parametrize("content", FORGED, ids=lambda content: content[:9].hex())
def test_what_only_looks_like_a_record_is_none(store: Store, content: bytes) -> None:
    store.sessions.create("s")
    with run(store):
        store.artifacts.put("s", "a", b"1")
    store.artifacts.put("s", "fake", content, mime_type="application/vnd.llmspellfs.run+json")
    assert len(store.runs.of("s")) == len(store.runs.all()) == 1
    assert list(store.runs.lineage("s:a").lines()) == ["s:a"]
    assert store.replays.replay("s").ok


@pytest.mark.parametrize("changes", [
    {"args": ["evil"]}, {"script": {"name": "t.lua", "hash": "0" * 64}}, {"read": 1}, {"made": [[]]},
    {"sessions": {"nobody": 1 << 70}}, {"sessions": {"\udcff": 1}}, {"session": []}, {"status": {}}, {"run": "other"},
    {"started_at": "9999-12-31T23:59:59Z"}, {"read": [{}] * 10_001}, {"sandbox": 7}, {"modules": [{"name": "../m"}]},
], ids=lambda changes: str(changes)[:30])  # fmt: skip
def test_a_forged_record_of_a_real_run_changes_nothing(store: Store, changes: dict[str, object]) -> None:
    store.sessions.create("s")
    with run(store):
        store.artifacts.put("s", "a", b"1")
    real = store.runs.of("s")
    record = next(one for one in store.artifacts.list("s") if one.name.endswith(".json"))
    forged = {**json.loads(store.artifacts.read(record)), **changes}
    store.artifacts.put("s", "fake", json.dumps(forged).encode(), mime_type=record.mime_type)
    assert store.runs.of("s") == store.runs.all() == real
    store.artifacts.put("s", record.name, json.dumps(forged).encode(), mime_type=record.mime_type)
    assert store.runs.all() == []
    tasks: list[Task] = []

    def runner(task: Task) -> Ended:
        tasks.append(task)
        return Ended(0)

    store.replays.replay("s", Wanted(Mode.RERUN), runner=runner)
    assert [(task.args, task.sandbox) for task in tasks] == [(SCRIPT.args, None)]
