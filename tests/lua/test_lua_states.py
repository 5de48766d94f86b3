from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]
Fails = Callable[[str], str]


def test_a_value_is_kept_for_later_scripts(spell_store: Store, run: Run) -> None:
    assert run('print(State.get("k"), State.set("k", {1, JSON.null, {}}))') == "nil\ttrue\n"
    assert run('print(JSON.stringify(State.get("k")))') == "[1,null,{}]\n"
    assert spell_store.state.get("k") == [1, None, {}]


@pytest.mark.parametrize("value", ["null", "[]", "{}", "[[],{}]", "9007199254740993", "1.5", "false", '"€"', "[null]"])
def test_json_comes_back_as_it_was(run: Run, value: str) -> None:
    code = "State.set('k', JSON.parse(arg[1])) print(JSON.stringify(State.get('k')))"
    assert run(code, args=[value]) == f"{value}\n"


def test_a_string_of_any_bytes_comes_back(run: Run) -> None:
    assert run(r'State.set("k", {"\xff\0é"}) print(State.get("k")[1] == "\xff\0é")') == "true\n"


def test_null_is_not_nil(run: Run) -> None:
    assert run('State.set("k", JSON.null) print(State.get("k") == JSON.null, State.get("other"))') == "true\tnil\n"


def test_scopes_are_apart(spell_store: Store, run: Run) -> None:
    assert (
        run("""
    State.set("k", 1)
    State.set("mine", "k", 2)
    State.set("mine", "j", 3)
    print(State.get("k"), State.get("mine", "k"), State.get("global", "k"), State.get(nil, "k"), State.get("j"))
    print(table.concat(State.list_keys(), " "), table.concat(State.listKeys("mine"), " "), #State.list_keys("none"))
    print(State.delete("mine", "k"), State.delete("mine", "k"), State.get("k"), State.delete("k"), State.get("k"))
    """)
        == "1\t2\t1\t1\tnil\nk\tj k\t0\ntrue\tfalse\t1\ttrue\tnil\n"
    )
    assert spell_store.state.list_keys("mine") == ["j"]


def test_update_makes_the_next_value_of_the_one_there_is(run: Run) -> None:
    assert (
        run("""
    local function more(n) return (n or 0) + 1 end
    print(State.update("n", more), State.update("n", more), State.update("mine", "n", more))
    print(State.get("n"), State.get("mine", "n"))
    State.set("null", JSON.null)
    print(State.update("null", function(v) return v == JSON.null end))
    """)
        == "1\t2\t1\n2\t1\ntrue\n"
    )


def test_update_is_made_again_where_others_were_faster(run: Run) -> None:
    assert (
        run("""
    local calls = 0
    print(State.update("n", function(n)
      calls = calls + 1
      if calls < 4 then State.set("n", calls * 10) end
      return (n or 0) + 1
    end), calls)
    """)
        == "31\t4\n"
    )


def test_update_gives_up_at_last(fails: Fails) -> None:
    code = 'local i = 0\nState.update("n", function() i = i + 1 State.set("n", i) return "mine" end)'
    assert fails(code) == "t.lua:2: state n: others changed it 100 times while it was being updated"


def test_updates_function_may_yield(run: Run) -> None:
    assert (
        run("""
    local work = coroutine.wrap(function() return State.update("n", function() return coroutine.yield("?") end) end)
    print(work(), work(5), State.get("n"))
    """)
        == "?\t5\t5\n"
    )


def test_an_error_in_updates_function_is_the_scripts_and_changes_nothing(run: Run) -> None:
    assert (
        run("""
    State.set("n", 1)
    local ok, why = pcall(State.update, "n", function() error({code = 7}) end)
    print(ok, why.code, State.get("n"))
    """)
        == "false\t7\t1\n"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("State.get()", "State.get: argument 1 (key): expected a string"),
        ("State.get({})", "State.get: argument 1 (key): expected a string"),
        ("State.get('s', {})", "State.get: argument 2 (key): expected a string"),
        ("State.get({}, 'k')", "State.get: argument 1 (scope): expected a string"),
        ("State.get('')", "State.get: argument 1 (key): expected text"),
        (r"State.get('\xff')", "State.get: argument 1 (key): expected UTF-8 text"),
        ("State.set()", "State.set: argument 1 (key): expected a string"),
        ("State.set('k')", "State.set: argument 2 (value): expected a value, got nil"),
        ("State.set('k', nil)", "State.set: argument 2 (value): expected a value, got nil"),
        ("State.set('s', 'k', nil)", "State.set: argument 3 (value): expected a value, got nil"),
        ("State.set('k', print)", "State.set: argument 2 (value): a function cannot be said in JSON"),
        ("State.set('k', 0/0)", "cannot be said in JSON"),
        ("State.set('k', ('x'):rep(1 << 20))", "State.set: argument 2 (value): more than 1048576 bytes of JSON"),
        ("State.set(('x'):rep(256), 1)", "State.set: argument 1 (key): more than 255 bytes"),
        ("State.set('session:nix', 'k', 1)", "session not found: nix"),
        ("State.delete()", "State.delete: argument 1 (key): expected a string"),
        ("State.list_keys({})", "State.list_keys: argument 1 (scope): expected a string"),
        ("State.update('c', 5)", "State.update: argument 2 (function): expected a function, got number"),
        ("State.update('k')", "State.update: argument 2 (function): expected a function, got nil"),
        ("State.update('s', 'k', 5)", "State.update: argument 3 (function): expected a function, got number"),
        ("State.update({}, print)", "State.update: argument 1 (key): expected a string"),
        ("State.update('s', {}, print)", "State.update: argument 2 (key): expected a string, got table"),
        ("State.update({}, 'k', print)", "State.update: argument 1 (scope): expected a string, got table"),
        ("State.update('k', function() end)", "State.update: what the function returned: expected a value, got nil"),
    ],
)
def test_a_wrong_argument_is_told_with_its_place(spell_store: Store, fails: Fails, code: str, message: str) -> None:
    why = fails(code)
    assert why.startswith("t.lua:1: ")
    assert message in why
    assert spell_store.state.list_keys() == []


def test_a_sessions_scope_goes_with_it(spell_store: Store, run: Run) -> None:
    session = run("""
    local id = Session.create({name = "s"})
    State.set("session:" .. id, "k", 1)
    print(id)
    """).strip()
    assert spell_store.state.get("k", scope=f"session:{session}") == 1
    spell_store.sessions.purge("s")
    assert run("print(#State.list_keys('session:' .. arg[1]))", args=[session]) == "0\n"


def test_a_nil_key_is_refused_and_never_taken_for_a_shorter_call(run: Run) -> None:
    code = """
    for _, call in ipairs({
        function() return State.set("scope", nil, 5) end,
        function() return State.get("scope", nil) end,
        function() return State.delete("scope", nil) end,
    }) do print(pcall(call)) end
    print(State.get("scope"))
    """
    lines = run(code).splitlines()
    assert ["argument 2 (key): expected a string, got nil" in line for line in lines] == [True, True, True, False]
