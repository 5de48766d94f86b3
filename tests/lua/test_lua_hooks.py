from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.hooks import MAKES
from llmspellfs.model.event import KINDS

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]
Fails = Callable[[str], str]

READING = {
    "Artifact": {"exists", "get", "get_content", "lineage", "list", "query", "save_to_file", "search", "versions"},
    "Session": {
        "builder", "can_replay", "checkpoints", "children", "diff", "events", "get", "get_current",
        "get_replay_metadata", "get_tags", "get_timeline", "list", "list_replayable", "path", "set_current",
    },
}  # fmt: skip
"""Functions that make no event."""


def test_every_function_is_known_to_change_or_to_read_only(run: Run) -> None:
    names = run("""
    for _, module in ipairs({"Session", "Artifact"}) do
      for name in pairs(_G[module]) do if name == name:lower() then print(module .. "." .. name) end end
    end
    """).split()
    reading = {f"{module}.{name}" for module, found in READING.items() for name in found}
    assert set(names) - set(MAKES) - reading == set()
    assert {kind for makes in MAKES.values() for kind in makes.kinds} <= KINDS


def test_a_before_hook_sees_what_is_about_to_happen(run: Run) -> None:
    assert (
        run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about)
      print(about.kind, about.phase, about.call, about.session == id, about.session_name)
      print(about.name, about.type, about.size, about.metadata.score, Artifact.exists(id, "doc"))
    end)
    Artifact.store("s", "tool_result", "doc", "12345", {score = 7})
    """)
        == "artifact.stored\tbefore\tArtifact.store\ttrue\ts\ndoc\ttool_result\t5\t7\tfalse\n"
    )


def test_a_before_hook_refuses_by_raising(spell_store: Store, run: Run) -> None:
    assert (
        run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.*", function(about)
      if about.name:find("secret") then error("no secrets here", 0) end
    end)
    print(pcall(Artifact.store, id, "tool_result", "a secret", "x"))
    print(Artifact.store(id, "tool_result", "fine", "x") ~= nil)
    """)
        == "false\tno secrets here\ntrue\n"
    )
    assert [artifact.name for artifact in spell_store.artifacts.list("s")] == ["fine"]
    assert len(spell_store.sessions.events("s")) == 2


def test_a_refusal_that_nobody_catches_ends_the_script_with_the_hooks_line(fails: Fails) -> None:
    code = 'Hook.register("before:*", function()\nerror("not today") end)\nSession.create({})'
    assert fails(code) == "t.lua:2: not today"


def test_a_before_hook_runs_outside_any_transaction(spell_store: Store, run: Run) -> None:
    run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about)
      if about.name == "doc" then Artifact.store(id, "tool_result", "log", "stored " .. about.name) end
    end)
    Artifact.store(id, "tool_result", "doc", "x")
    """)
    assert [artifact.name for artifact in spell_store.artifacts.list("s")] == ["log", "doc"]


def test_an_after_hook_sees_the_result(run: Run) -> None:
    lines = run("""
    local seen
    Hook.register("after:*", function(about) seen = about end)
    local id = Session.create({name = "t"})
    print(seen.kind, seen.phase, seen.name, seen.result == id)
    print(Session.save(id) == seen.result, seen.kind)
    """)
    assert lines == "session.created\tafter\tt\ttrue\ntrue\tsession.saved\n"


def test_an_after_hooks_error_is_reported_and_loses_nothing(
    spell_store: Store, run: Run, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    code = """
    local id = Session.create({name = "s"})
    Hook.register("after:artifact.stored", function() error("it broke") end)
    Hook.register("after:artifact.stored", function() print("the next one runs") end)
    print(Artifact.store(id, "tool_result", "doc", "x") ~= nil)
    """
    assert run(code) == "the next one runs\ntrue\n"
    report = "hook after:artifact.stored: t.lua:3: it broke"
    assert capfd.readouterr().err == f"llmspellfs: {report}\n"
    assert report in caplog.messages
    assert len(spell_store.artifacts.list("s")) == 1


def test_after_hooks_do_not_run_for_what_did_not_happen(run: Run) -> None:
    assert (
        run("""
    Hook.register("after:*", function(about) print(about.kind) end)
    print((pcall(Session.complete, "nix")))
    print(Session.load("nix"))
    """)
        == "false\nnil\tsession not found: nix\n"
    )


def test_a_hook_that_changes_what_it_is_given_changes_nothing(spell_store: Store, run: Run) -> None:
    run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about) about.name = "other" about.metadata.score = 0 end)
    Artifact.store(id, "tool_result", "doc", "x", {score = 7})
    """)
    assert [(one.name, one.custom) for one in spell_store.artifacts.list("s")] == [("doc", {"score": 7})]


def test_hooks_run_by_priority_then_by_age(run: Run) -> None:
    assert (
        run("""
    for _, hook in ipairs({{"c"}, {"a", 10}, {"d"}, {"e", -1}, {"b", 2.5}}) do
      Hook.register("before:session.created", function() io.write(hook[1], " ") end, hook[2])
    end
    Session.create({})
    print()
    for _, hook in ipairs(Hook.list()) do io.write(hook.id, ":", hook.priority, " ") end
    print(Hook.list()[1].point)
    """)
        == "a b c d e \n2:10 5:2.5 1:0 3:0 4:-1 before:session.created\n"
    )


def test_an_unregistered_hook_runs_no_more(run: Run) -> None:
    assert (
        run("""
    local id = Hook.register("before:*", function() print("hook") end)
    Session.create({})
    print(Hook.unregister(id), Hook.unregister(id), Hook.unregister(99), Hook.unregister(), #Hook.list())
    Session.create({})
    print(JSON.stringify(Hook.list()))
    """)
        == "hook\ntrue\tfalse\tfalse\tfalse\t0\n[]\n"
    )


def test_a_hook_may_unregister_itself(run: Run) -> None:
    assert (
        run("""
    local id
    id = Hook.register("before:*", function() print("once") Hook.unregister(id) end)
    Hook.register("before:*", function() print("each") end)
    Session.create({}) Session.create({})
    """)
        == "once\neach\neach\n"
    )


def test_patterns_choose_phase_and_kind(run: Run) -> None:
    assert (
        run("""
    Hook.register("*:session.s*", function(about) print(about.phase, about.kind) end)
    local id = Session.create({})
    Session.save(id) Session.suspend(id) Session.resume(id)
    """)
        == "before\tsession.saved\nafter\tsession.saved\nbefore\tsession.suspended\nafter\tsession.suspended\n"
    )


def test_hooks_belong_to_their_script(spell_store: Store, run: Run) -> None:
    run('Hook.register("before:*", function() error("mine only") end)')
    run("Session.create({})")
    assert len(spell_store.sessions.list()) == 1


def test_hooks_that_lead_to_each_other_end_at_a_depth(spell_store: Store, run: Run) -> None:
    out = run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about)
      Artifact.store(id, "tool_result", about.name .. "x", "")
    end)
    print(pcall(Artifact.store, id, "tool_result", "a", ""))
    """)
    assert out == "false\tt.lua:4: Artifact.store: hooks of artifact.stored have led to it more than 8 deep\n"
    assert spell_store.artifacts.list("s") == []


def test_the_depth_is_counted_down_again(spell_store: Store, run: Run) -> None:
    run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about) if about.name == "bad" then error("bad") end end)
    for _ = 1, 20 do pcall(Artifact.store, id, "tool_result", "bad", "") end
    for _ = 1, 20 do coroutine.wrap(function() Artifact.store(id, "tool_result", "good", "") end)() end
    Artifact.store(id, "tool_result", "good", "")
    """)
    assert len(spell_store.artifacts.list("s")) == 1


def test_after_hooks_that_lead_to_each_other_end_too(
    spell_store: Store, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run("""
    local id = Session.create({name = "s"})
    Hook.register("after:artifact.stored", function(about)
      Artifact.store(id, "tool_result", about.name .. "x", "")
    end)
    Artifact.store(id, "tool_result", "a", "")
    """)
    assert len(spell_store.artifacts.list("s")) == 9
    assert capfd.readouterr().err.count("\n") == 1


def test_a_hook_may_yield(run: Run) -> None:
    assert (
        run("""
    Hook.register("before:session.created", function(about) coroutine.yield("asking about " .. about.name) end)
    local work = coroutine.wrap(function() return Session.create({name = "s"}) end)
    print(work(), #Session.list())
    print(work() == Session.get("s").id)
    """)
        == "asking about s\t0\ntrue\n"
    )


def test_a_hook_may_end_the_script(spell_store: Store, run: Run) -> None:
    for phase, stored in (("before", 0), ("after", 1)):
        run(f'Hook.register("{phase}:*", function() os.exit(4) end) pcall(Session.create, {{}})', exits=4)
        assert len(spell_store.sessions.list()) == stored


def test_an_update_runs_the_hooks_of_what_it_changes(run: Run) -> None:
    assert (
        run("""
    local id = Session.create({name = "s"})
    Artifact.store(id, "tool_result", "a", "123")
    Hook.register("before:artifact.*", function(about)
      print(about.kind, about.name, about.size, JSON.stringify(about.changes))
    end)
    Artifact.update(id, "a", {name = "b"})
    Artifact.update(id, "b", {description = "d"})
    Artifact.update(id, "b", {description = "e", name = "c"})
    Artifact.delete(id, "c")
    Artifact.restore(id, "c")
    """)
        == 'artifact.renamed\ta\t3\t{"name":"b"}\n'
        'artifact.updated\tb\t3\t{"description":"d"}\n'
        'artifact.updated\tb\t3\t{"description":"e","name":"c"}\n'
        'artifact.renamed\tb\t3\t{"description":"e","name":"c"}\n'
        "artifact.deleted\tc\t3\tnull\n"
        "artifact.restored\tnil\tnil\tnull\n"
    )


def test_a_batch_calls_hooks_for_each_item(spell_store: Store, run: Run) -> None:
    assert (
        run("""
    Hook.register("*:*.*ed", function(about)
      print(about.phase, about.kind, about.item, about.name, about.type, about.size, about.result)
    end)
    local ids = Session.createMany({{name = "s"}, {name = "t", tags = {"x"}}})
    local artifacts = Artifact.storeMany("s", {
      {type = "tool_result", name = "a", content = "12"}, {"user_input", "b", "345", {n = 1}},
    })
    print(ids[1] == Session.get("s").id, #artifacts)
    """)
        .replace(spell_store.sessions.get("s").id, "S")
        .replace(spell_store.sessions.get("t").id, "T")
        == "before\tsession.created\t1\ts\tnil\tnil\tnil\n"
        "before\tsession.created\t2\tt\tnil\tnil\tnil\n"
        "after\tsession.created\t1\ts\tnil\tnil\tS\n"
        "after\tsession.created\t2\tt\tnil\tnil\tT\n"
        "before\tartifact.stored\t1\ta\ttool_result\t2\tnil\n"
        "before\tartifact.stored\t2\tb\tuser_input\t3\tnil\n"
        f"after\tartifact.stored\t1\ta\ttool_result\t2\tS/{_tail(spell_store, 'a')}\n"
        f"after\tartifact.stored\t2\tb\tuser_input\t3\tS/{_tail(spell_store, 'b')}\n"
        "true\t2\n"
    )


def _tail(store: Store, name: str) -> str:
    return store.artifacts.get("s", name).id.split("/", 1)[1]


def test_a_builder_calls_hooks_too(spell_store: Store, run: Run) -> None:
    assert (
        run("""
    Hook.register("before:session.created", function(about) print(about.name, #about.tags) error("no", 0) end)
    print(pcall(function() return Session.builder():name("s"):tag("a"):build() end))
    """)
        == "s\t1\nfalse\tno\n"
    )
    assert spell_store.sessions.list() == []


def test_a_fork_and_a_rollback_call_hooks(run: Run) -> None:
    assert (
        run("""
    local id = Session.create({name = "s"})
    Session.save(id)
    Hook.register("before:*", function(about) print(about.kind, about.session == id, about.name, about.to) end)
    Session.fork(id, "copy")
    Session.rollback(id, "c1")
    """)
        == "session.created\ttrue\tcopy\tnil\nsession.forked\ttrue\tcopy\tnil\n"
        "session.rolled_back\ttrue\tnil\tc1\n"
    )


def test_one_item_that_a_hook_refuses_refuses_the_batch(spell_store: Store, run: Run) -> None:
    assert run("""
    local id = Session.create({name = "s"})
    Hook.register("before:artifact.stored", function(about) if about.size > 2 then error("too much", 0) end end)
    print(pcall(Artifact.storeMany, id, {{"tool_result", "a", "1"}, {"tool_result", "b", "123"}}))
    """).endswith("false\ttoo much\n")
    assert spell_store.artifacts.list("s") == []


@pytest.mark.parametrize(
    ("kind", "code", "seen"),
    [
        ("session.created", "Session.create({name = 'new', tags = {'t'}})", '{"name":"new","tags":["t"]}'),
        ("session.updated", "Session.update('s', {name = 'new'})", '{"changes":{"name":"new"}}'),
        ("session.updated", "Session.addTag('s', 'a', 'b')", '{"tags":["a","b"]}'),
        ("session.updated", "Session.set_tags('s', {'a'})", '{"tags":["a"]}'),
        ("session.updated", "Session.removeTag('s', 'old')", '{"tags":["old"]}'),
        ("session.suspended", "Session.suspend('s')", "{}"),
        ("session.completed", "Session.complete('s')", "{}"),
        ("session.failed", "Session.fail('s', 'why')", '{"reason":"why"}'),
        ("session.saved", "Session.save('s', 'here')", '{"label":"here"}'),
        ("session.loaded", "Session.load('s')", "{}"),
        ("session.deleted", "Session.delete('s')", "{}"),
        ("artifact.stored", "Artifact.storeFile('s', arg[1], 'tool_result', {n = 1})",
         '{"metadata":{"n":1},"name":"f.txt","size":4,"type":"tool_result"}'),
    ],
)  # fmt: skip
def test_each_call_says_what_it_is_about(
    spell_store: Store, run: Run, tmp_path: Path, kind: str, code: str, seen: str
) -> None:
    session, made = spell_store.sessions.create("s", tags=["old"]), spell_store.messages.subscribe(kind)
    (tmp_path / "f.txt").write_text("four")
    out = run(
        f"""
    Hook.register("before:{kind}", function(about)
      if about.call ~= "Session.create" then assert(about.session == "{session.id}" and about.session_name == "s") end
      for _, key in ipairs({{"kind", "call", "phase", "session", "session_name", "path"}}) do about[key] = nil end
      print(JSON.stringify(about))
    end)
    {code}
    """,
        args=[str(tmp_path / "f.txt")],
    )
    assert out == f"{seen}\n"
    assert made.receive() is not None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Hook.register()", "Hook.register: argument 1 (point): expected a string"),
        ("Hook.register('before:', print)", "Hook.register: argument 1 (point): expected before: or after:"),
        ("Hook.register('artifact.stored', print)", "expected before: or after: and the kind of an event"),
        ("Hook.register('before:artifact.store', print)", "not 'before:artifact.store'"),
        ("Hook.register('before:*')", "Hook.register: argument 2 (function): expected a function, got nil"),
        (
            "Hook.register('before:*', print, 'x')",
            "Hook.register: argument 3 (priority): expected a number, got string",
        ),
        ("Hook.register('before:*', print, 0/0)", "Hook.register: argument 3 (priority): expected a number"),
    ],
)
def test_a_wrong_argument_is_told_with_its_place(fails: Fails, code: str, message: str) -> None:
    why = fails(code)
    assert why.startswith("t.lua:1: ")
    assert message in why


@pytest.mark.parametrize(
    "code",
    ["Artifact.store()", "Artifact.store({}, {}, {}, {}, 5)", "Artifact.update('s', 'a', 5)", "Session.update('s', 5)",
     "Artifact.storeFile('s', {})", "Session.create(5)", "Session.addTag('s', {{}})", "Artifact.delete('s')"],
)  # fmt: skip
def test_bad_arguments_are_still_told_as_without_hooks(fails: Fails, spell_store: Store, code: str) -> None:
    spell_store.sessions.create("s")
    assert fails(f"Hook.register('*', function() end)\n{code}") == fails(f"\n{code}")
