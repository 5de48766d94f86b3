"""Replay, timelines and lineage as scripts have them, and what becomes of a script's own record while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from llmspellfs import Store
from llmspellfs.errors import ScriptFailed
from llmspellfs.lua.replaying import run_in_child
from llmspellfs.lua.runtime import Script
from llmspellfs.model.record import parse_run
from llmspellfs.model.run import RunScript
from llmspellfs.service.rerunning import Task

Run = Callable[..., str]
MAKE = """
local s = Session.create({name = "s", tags = {"red"}})
Artifact.store(s, "user_input", "in.txt", "one")
local content = Artifact.get(s, "in.txt").content
Artifact.store(s, "tool_result", "out.txt", content .. " and two")
Session.save(s)
"""


def recorded(store: Store, code: str, *args: str, session: str | None = None) -> str:
    stream = BytesIO()
    Script(store, session=session, args=args, stdout=stream, record=True).run_code(code, "@t.lua")
    return stream.getvalue().decode()


def test_an_exact_replay_answers_with_a_table(run: Run) -> None:
    code = """
    local r = Session.replay("s", {mode = "exact", name = "again"})
    print(r.success, r.mode, r.events, r.contents, #r.mismatches, r.stopped, r.from, r.to)
    print(Session.get(r.new_session_id).name, Artifact.get("again", "out.txt").content, type(r.duration_seconds))
    print(r.session_id == Session.get("s").id)
    """
    printed = run(MAKE + code).splitlines()
    assert printed == ["true\texact\t4\t2\t0\tnil\t1\t4", "again\tone and two\tnumber", "true"]


def test_exact_is_what_is_done_without_options_and_the_current_session_is_meant(run: Run) -> None:
    code = "Session.setCurrent(s); local r = Session.replay(''); print(r.mode, r.success, #Session.list())"
    assert run(MAKE + code) == "exact\ttrue\t2\n"


def test_on_progress_gets_each_step_and_in_debug_its_state(run: Run) -> None:
    code = """
    Session.replay(s, {mode = "debug", from = 2, to = 3, on_progress = function(step)
      print(step.number, step.total, step.seq, step.kind, step.name, step.matches, #step.state.entries)
      Artifact.store(Session.create({name = "n" .. step.seq}), "user_input", "x", "y")
    end})
    print(#Session.list())
    """
    assert run(MAKE + code).splitlines() == [
        "1\t2\t2\tartifact.stored\tin.txt\ttrue\t1", "2\t2\t3\tartifact.stored\tout.txt\ttrue\t2", "3",
    ]  # fmt: skip


def test_an_error_of_on_progress_is_the_scripts_and_ends_the_replay(run: Run) -> None:
    code = """
    local seen = 0
    local ok, why = pcall(Session.replay, s, {mode = "simulate", on_progress = function(step)
      seen = seen + 1
      error("enough at " .. step.seq, 0)
    end})
    print(ok, why, seen)
    """
    assert run(MAKE + code) == "false\tenough at 1\t1\n"


def test_a_script_may_leave_from_on_progress(run: Run) -> None:
    code = "Session.replay(s, {mode = 'simulate', on_progress = function() os.exit(3) end})"
    assert run(MAKE + code, exits=3) == ""


def test_purged_rows_are_mismatches(spell_store: Store, run: Run) -> None:
    run(MAKE)
    spell_store.artifacts.purge("s", "in.txt")
    code = """
    local r = Session.replay("s", {mode = "simulate", stop_on_error = true})
    print(r.success, r.stopped, r.mismatch_count, r.mismatches[1].what, r.mismatches[1].seq, r.mismatches[1].got)
    print(#r.mismatches[1].expected, Session.canReplay("s"))
    print(#Session.listReplayable())
    """
    assert run(code).splitlines() == [
        "false\tmismatch\t1\trow\t2\tnil", "64\tfalse\t1 of the rows that its events made are gone", "0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{mode = 'other'}", "mode: expected one of exact, simulate, debug, rerun, not 'other'"),
        ("{compare_results = 1}", "Session.replay: argument 2 (options).compare_results: expected a boolean, got"),
        ("{timeout_seconds = 'x'}", "argument 2 (options).timeout_seconds: expected a number of seconds"),
        ("{timeout_seconds = -1}", "timeout_seconds: expected more than 0, not -1"),
        ("{on_progress = 1}", "argument 2 (options).on_progress: expected a function, got 1"),
        ("{stop_on_error = 'x'}", "argument 2 (options).stop_on_error: expected a boolean, got"),
        ("{from = 'x'}", "argument 2 (options).from: expected a whole number, 0 or more, got"),
        ("{to = -1}", "argument 2 (options).to: expected a whole number, 0 or more, got"),
        ("{name = {}}", "argument 2 (options).name: expected a string, got"),
        ("3", "Session.replay: argument 2 (options): expected a table, got"),
        ("{checkpoint = 9}", "checkpoint not found: 9"),
        ("{from = 3, checkpoint = 1}", "checkpoint: expected either"),
        ("{form = 3}", "unknown key 'form'"),
    ],
)
def test_wrong_options_are_errors_that_say_which(
    run: Run, fails: Callable[[str], str], options: str, message: str
) -> None:
    run(MAKE)
    assert message in fails(f"Session.replay('s', {options})")


def test_what_is_not_there_is_an_error_but_for_can_replay(run: Run, fails: Callable[[str], str]) -> None:
    assert run("print(Session.canReplay('nobody'))") == "false\tsession not found: nobody\n"
    for call in ("replay", "getReplayMetadata", "getTimeline"):
        assert fails(f"Session.{call}('nobody')") == "t.lua:1: session not found: nobody"


@pytest.mark.parametrize("call", ["replay", "canReplay", "getReplayMetadata", "getTimeline"])
def test_a_session_that_is_none_is_told_with_the_function(run: Run, fails: Callable[[str], str], call: str) -> None:
    assert fails(f"Session.{call}({{}})").startswith(f"t.lua:1: Session.{call}: argument 1 (session): expected ")
    assert "none is given" in fails(f"Session.{call}()")


def test_metadata_and_lists_of_what_can_be_replayed(run: Run) -> None:
    code = """
    local m = Session.getReplayMetadata(s)
    print(m.events, m.horizon, m.replayable, m.reason, #m.checkpoints, m.checkpoints[1].number, #m.runs)
    local l = Session.list_replayable()
    print(#l, l[1].name, l[1].events, (Session.can_replay(s)))
    """
    assert run(MAKE + code).splitlines() == ["4\t1\ttrue\tnil\t1\t1\t0", "1\ts\t4\ttrue"]


def test_a_timeline_has_times_and_durations(run: Run) -> None:
    code = """
    for _, e in ipairs(Session.getTimeline(s)) do
      print(e.seq, e.kind, e.name, type(e.since_seconds), e.at <= os.time() + 1, e.door)
    end
    print(#Session.get_timeline(s, {kinds = {"session.saved"}}))
    """
    printed = run(MAKE + code).splitlines()
    assert printed[1] == "2\tartifact.stored\tin.txt\tnumber\ttrue\tlua"
    assert printed[-1] == "1"


def test_a_script_is_recorded_only_where_that_is_asked(spell_store: Store, run: Run) -> None:
    run(MAKE)
    assert len(spell_store.artifacts.list("s")) == 2
    recorded(spell_store, MAKE.replace('"s"', '"r"'), "an argument")
    made = spell_store.artifacts.list("r")
    assert [one.name for one in made][:2] == ["in.txt", "out.txt"]
    told = parse_run(spell_store.artifacts.read(made[-1]))
    assert (told.script, told.args, told.status) == ("t.lua", ("an argument",), 0)
    assert set(told.environment) == {"llmspellfs", "lua", "python", "system"}
    assert [one.name for one in told.read] == ["in.txt"]
    assert spell_store.artifacts.read(made[-2]).decode() == MAKE.replace('"s"', '"r"')


def test_a_script_does_not_see_its_own_record(spell_store: Store) -> None:
    code = (
        MAKE
        + """
    Session.complete(s)
    print(#Artifact.list(s), #Artifact.query({session_id = s}), #Artifact.query("name:*"))
    """
    )
    assert recorded(spell_store, code) == "2\t2\t2\n"
    assert len(spell_store.artifacts.list("s")) == 4
    assert recorded(spell_store, "print(#Artifact.list('s'))") == "4\n"


def test_a_script_that_fails_or_leaves_is_recorded_with_its_status(spell_store: Store) -> None:
    with pytest.raises(ScriptFailed):
        recorded(spell_store, MAKE + "error('no more')")
    recorded(spell_store, "Artifact.store('s', 'user_input', 'x', 'y'); os.exit(7)")
    runs = spell_store.runs.of("s")
    assert [one.status for one in runs] == [1, 7]
    assert "no more" in (runs[0].error or "")


def test_a_rerun_tells_of_each_artifact_whether_it_is_the_same(spell_store: Store, run: Run) -> None:
    changing = "Artifact.store(s, 'tool_result', 'id.txt', os.tmpname())"
    recorded(spell_store, MAKE + changing)
    recorded(spell_store, "Artifact.store('', 'agent_output', 'sum', arg[1] .. Artifact.get('', 'out.txt').content)",
             "say ", session="s")  # fmt: skip
    code = """
    local r = Session.replay("s", {mode = "rerun"})
    for _, a in ipairs(r.artifacts) do print(a.session, a.name, a.same) end
    print(r.success, r.runs, r.mismatch_count, r.mismatches[1].what, r.mismatches[1].name)
    print(Artifact.get(r.new_session_id, "sum").content, Session.get(r.new_session_id).name)
    """
    before = spell_store.sessions.get("s")
    assert run(code).splitlines() == [
        "s\tin.txt\ttrue", "s\tout.txt\ttrue", "s\tid.txt\tfalse", "s\tsum\ttrue",
        "false\t2\t1\tartifact\ts:id.txt", "say one and two\ts rerun",
    ]  # fmt: skip
    assert spell_store.sessions.get("s") == before


def test_a_rerun_ends_an_endless_script_when_time_is_up(spell_store: Store, run: Run) -> None:
    session = spell_store.sessions.create("s").id
    endless = RunScript(b"Artifact.store('', 'user_input', 'loop', '1'); while true do end", "loop.lua", (), session)
    with spell_store.runs.recording(endless) as recorder:
        spell_store.artifacts.put("s", "loop", b"1")
        recorder.status = 0
    code = """
    local r = Session.replay("s", {mode = "rerun", timeout_seconds = 4})
    print(r.stopped, r.success, r.runs, r.artifacts[1].name)
    """
    assert run(code) == "timeout\tfalse\t1\tloop\n"


def test_lineage_of_an_artifact(spell_store: Store, run: Run) -> None:
    recorded(spell_store, MAKE)
    code = """
    local l = Artifact.lineage("s", "out.txt")
    print(l.name, #l.made_from, l.made_from[1].name, l.made_from[1].script, #l.made_into)
    """
    assert run(code) == "out.txt\t1\tin.txt\tt.lua\t0\n"


def test_results_are_json(run: Run) -> None:
    printed = run(MAKE + "print(JSON.stringify(Session.replay(s, {mode = 'simulate'})))")
    assert json.loads(printed)["mismatches"] == []


def test_an_error_of_on_progress_in_an_exact_replay_leaves_no_session(run: Run, fails: Callable[[str], str]) -> None:
    run(MAKE)
    for mode in ("exact", "simulate", "debug"):
        code = f"""
        Session.replay("s", {{mode = "{mode}", on_progress = function(step)
          error("enough")
        end}})"""
        assert fails(code) == "t.lua:3: enough"
        assert run("for _, one in ipairs(Session.list()) do print(one.name) end") == "s\n"


def test_leaving_from_on_progress_leaves_no_session_either(spell_store: Store, run: Run) -> None:
    run(MAKE + "Session.replay(s, {on_progress = function() os.exit(3) end})", exits=3)
    assert [one.name for one in spell_store.sessions.list()] == ["s"]


def test_unknown_options_are_answered_with_all_that_there_are(run: Run, fails: Callable[[str], str]) -> None:
    run(MAKE)
    assert "on_progress" in fails("Session.replay('s', {form = 3})").partition("expected one of")[2]
    assert "to: expected a seq of 1 or more, not 0" in fails("Session.replay('s', {to = 0})")


def test_a_coroutine_is_no_on_progress(run: Run, fails: Callable[[str], str]) -> None:
    run(MAKE)
    assert "expected a function" in fails("Session.replay('s', {on_progress = coroutine.create(print)})")
    assert run("print(#Session.list())") == "1\n"


def test_a_rerun_has_the_state_and_the_modules_of_the_recorded_run(
    spell_store: Store, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "parts").mkdir()
    module, script = tmp_path / "parts" / "shout.lua", tmp_path / "main.lua"
    module.write_text("return function(text) return text:upper() end")
    script.write_text("""
    local s = Session.create({name = "s"})
    local text = require("parts.shout")(State.get("greeting") .. State.get("own", "name"))
    State.update("greeting", function(old) return old .. " again, " end)
    Artifact.store(s, "tool_result", "out.txt", text .. table.concat(State.list_keys("own"), "+"))
    """)
    spell_store.state.set("greeting", "hello ")
    spell_store.state.set("name", "world", scope="own")
    spell_store.state.set("unread", 1, scope="own")
    Script(spell_store, record=True).run_file(script)
    module.unlink()
    result = run("""
    local r = Session.replay("s", {mode = "rerun"})
    for _, m in ipairs(r.mismatches) do print(m.what, m.name, m.expected, m.got) end
    print(r.success, r.partial, #r.left_out, r.artifacts[1].same)
    """)
    assert result == "true\tfalse\t0\ttrue\n"
    assert spell_store.state.get("greeting") == "hello  again, "


@pytest.mark.parametrize("name", ["a\0b", "..", "", "x" * 300, "\ud800"])
def test_a_script_that_cannot_be_started_again_is_a_mismatch(spell_store: Store, run: Run, name: str) -> None:
    for script in (RunScript(b"", name), RunScript(b"", "t.lua", (name,))):
        session = spell_store.sessions.create()
        with spell_store.runs.recording(script) as recorder:
            spell_store.artifacts.put(session.id, "a", b"1")
            recorder.status = 0
        result = run(f"print(Session.replay('{session.id}', {{mode = 'rerun'}}).success)")
        assert result == "false\n"


@pytest.mark.parametrize("name", ["../../up", "/etc/x", "", ".", "a/../../b", "x" * 300])
def test_modules_of_any_name_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    store = tmp_path / "rerun" / "store"
    store.mkdir(parents=True)
    task = Task(store, b"os.exit(5)", "t.lua", (), None, 60, modules={name: b"x"})
    assert run_in_child(task).status in {5, 126}
    assert {one.name for one in tmp_path.iterdir()} == {"rerun"}
    assert {one.name for one in store.parent.iterdir()} == {"store", "scripts"}
