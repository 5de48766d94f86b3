from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]


def test_python_is_not_there(run: Run) -> None:
    assert run("print(python, package.loaded.python, debug.getregistry)") == "nil\tnil\tnil\n"
    assert run('print((pcall(require, "python")))') == "false\n"


def test_a_walk_over_everything_finds_no_python_object(run: Run) -> None:
    assert (
        run("""
    local seen, found = {}, 0
    local function walk(value)
      if seen[value] then return end
      if value ~= nil then seen[value] = true end
      local kind = type(value)
      if kind == "userdata" and io.type(value) == nil then found = found + 1 end
      if kind == "table" then for k, v in next, value do walk(k) walk(v) end end
      if kind == "function" then
        for i = 1, 99 do
          local name, inner = debug.getupvalue(value, i)
          if not name then break end
          walk(inner)
        end
      end
      if kind ~= "nil" then walk(debug.getmetatable(value)) end
    end
    walk(_G)
    walk("")
    for level = 0, 9 do
      if not debug.getinfo(level) then break end
      for i = -9, 99 do walk(select(2, debug.getlocal(level, i))) end
    end
    print(found)
    """)
        == "0\n"
    )


def test_neither_a_hook_nor_a_handler_sees_the_host(run: Run) -> None:
    assert (
        run("""
    local found = 0
    local function look()
      for level = 0, 12 do
        for i = -12, 24 do
          local ok, _, value = pcall(debug.getlocal, level, i)
          if ok and type(value) == "userdata" then found = found + 1 end
        end
      end
    end
    xpcall(function() Session.suspend({}) end, look)
    debug.sethook(look, "crl")
    Session.get("nix")
    local s = Session.create({tags = {"a"}})
    pcall(Artifact.store, s, "tool_result", "a", "x", {a = print})
    debug.sethook()
    print(found)
    """)
        == "0\n"
    )


def test_upvalues_of_the_host_cannot_be_joined_or_set(run: Run) -> None:
    assert run("""
    local mine = 1
    local function own() return mine end
    print(pcall(debug.upvaluejoin, own, 1, Session.get, 1), debug.setupvalue(Session.get, 1, 5))
    print(debug.upvalueid(Session.get, 1), debug.getlocal(Session.get, 1))
    print(debug.getupvalue(own, 1))
    """).splitlines()[1:] == ["nil\tnil", "mine\t1"]


def test_debug_still_serves_the_scripts_own_functions(run: Run) -> None:
    assert run("""
    local function probe(a, b)
      local c = 3
      print(debug.getlocal(1, 1))
      print(debug.getlocal(1, 3))
      debug.setlocal(1, 3, 9)
      print(c, debug.getlocal(print == nil and print or error, 1))
    end
    probe(1, 2)
    """).splitlines() == ["a\t1", "c\t3", "9\tnil"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("os.exit()", 0), ("os.exit(true)", 0), ("os.exit(false)", 1), ("os.exit(3)", 3),
          ("os.exit(256 + 7)", 7),
        ("pcall(function() pcall(os.exit, 4) end) print('on')", 4),
        ("xpcall(function() os.exit(5) end, function() print('on') end) print('on')", 5),
        ("coroutine.wrap(function() coroutine.resume(coroutine.create(function() os.exit(6) end)) end)()", 6),
        ("local t <close> = setmetatable({}, {__close = function() print('closed') end}) os.exit(7)", 7),
        ("for _ in string.gmatch('ab', '.') do string.gsub('x', '.', function() os.exit(8) end) end", 8),
    ],
)  # fmt: skip
def test_os_exit_ends_the_script_past_every_pcall(run: Run, code: str, status: int) -> None:
    assert "on" not in run(code, exits=status)


ESCAPES = {
    "load": "load(function() os.exit(3) end)",
    "xpcall's handler": "xpcall(error, function() os.exit(3) end)",
    "nested xpcall": "xpcall(function() xpcall(error, function() os.exit(3) end) end, print)",
    "close": "do local c <close> = closing(function() os.exit(3) end) end",
    "close while leaving": "local c <close> = closing(function() error('another') end) os.exit(3)",
    "close with its own pcall": "local c <close> = closing(function() assert(not pcall(error)) end) os.exit(3)",
    "close that leaves again": "local c <close> = closing(function() pcall(os.exit, 3) end) os.exit(4)",
    "coroutine.close": """
        local co = coroutine.create(function()
          local c <close> = closing(function() os.exit(3) end)
          coroutine.yield()
        end)
        coroutine.resume(co)
        coroutine.close(co)
    """,
    "coroutine": "coroutine.resume(coroutine.create(function() os.exit(3) end))",
    "wrap": "coroutine.wrap(function() pcall(coroutine.wrap(function() os.exit(3) end)) end)()",
    "for": "for _ in coroutine.wrap(function() coroutine.yield(1) os.exit(3) end) do end",
    "sort": "table.sort({3, 1, 2}, function() os.exit(3) end)",
    "gsub": "string.gsub('abc', '.', function() os.exit(3) end)",
    "metamethod": "local _ = setmetatable({}, {__index = function() os.exit(3) end}).x",
    "tostring": "print(setmetatable({}, {__tostring = function() os.exit(3) end}))",
    "require": "package.preload.m = function() os.exit(3) end require 'm'",
    "State.update": "State.update('k', function() os.exit(3) end)",
    "event": "Event.subscribe('e', function() os.exit(3) end) Event.publish('e') Event.receive(5)",
    "before": "Hook.register('before:session.created', function() os.exit(3) end) Session.create()",
    "after": "Hook.register('after:session.created', function() os.exit(3) end) Session.create()",
    "replay": "Session.replay(Session.create(), {mode = 'debug', on_progress = function() os.exit(3) end})",
}
WAYS = {
    "plainly": "{}",
    "in pcall": "pcall(function() {} end)",
    "in xpcall": "xpcall(function() {} end, function(m) return m end)",
    "in a coroutine": "coroutine.wrap(function() pcall(function() {} end) end)()",
    "in load": "load(function() pcall(function() {} end) end)",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("escape", ESCAPES)
def test_os_exit_ends_the_script_wherever_it_is_called(run: Run, escape: str, way: str) -> None:
    before = "local function closing(f) return setmetatable({}, {__close = f}) end"
    assert run(f"{before} {WAYS[way].format(ESCAPES[escape])} print('still here')", exits=3) == ""


def test_os_exit_in_the_text_of_an_uncaught_error_ends_the_script(run: Run) -> None:
    run("error(setmetatable({}, {__tostring = function() os.exit(3) end}))", exits=3)


def test_nothing_of_the_host_is_seen_while_a_script_ends(run: Run) -> None:
    assert run("""
    local function look(_, value) print(type(value), debug.getmetatable(value) == debug.getmetatable("")) end
    pcall(function() local c <close> = setmetatable({}, {__close = look}) os.exit(3) end)
    """, exits=3) == "string\ttrue\n"  # fmt: skip


def test_os_exit_in_a_finalizer_is_heeded_later_and_hides_no_other(run: Run) -> None:
    finalizer = "setmetatable({}, {__gc = function() os.exit(5) end}) collectgarbage()"
    assert run(f"{finalizer} print('on')", exits=5) == "on\n"
    assert run(f"pcall(function() {finalizer} end) print('on')", exits=5) == ""
    assert run(f"{finalizer} pcall(os.exit, 6) print('on')", exits=6) == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("pcall()", "bad argument #1 to 'pcall' (value expected)"),
        ("xpcall()", "bad argument #2 to 'xpcall' (function expected, got no value)"),
        ("xpcall(error)", "bad argument #2 to 'xpcall' (function expected, got no value)"),
        ("xpcall(error, nil)", "bad argument #2 to 'xpcall' (function expected, got nil)"),
        ("xpcall(error, 5)", "bad argument #2 to 'xpcall' (function expected, got number)"),
        ("coroutine.resume()", "bad argument #1 to 'resume' (thread expected, got no value)"),
        ("coroutine.resume(1)", "bad argument #1 to 'resume' (thread expected, got number)"),
        ("coroutine.close()", "bad argument #1 to 'close' (thread expected, got no value)"),
        ("load()", "bad argument #1 to 'load' (function expected, got no value)"),
        ("load(print, {})", "bad argument #2 to 'load' (string expected, got table)"),
    ],
)
def test_wrong_arguments_of_guarded_functions_are_told_as_lua_does(run: Run, call: str, message: str) -> None:
    name, _, given = call.rstrip(")").partition("(")
    assert run(f"print(select(2, pcall(function() {call} end)))") == f"t.lua:1: {message}\n"
    assert run(f"print(pcall({name}{given and ', '}{given}))").endswith(f"{message}\n")


def test_load_and_coroutine_close_are_lua_s_otherwise(run: Run) -> None:
    assert run("""
    local parts = {"return ", "...", " + 1"}
    print(load(function() return table.remove(parts, 1) end)(4), load("return x", "=c", "t", {x = 3})())
    print(load("x ="), load(function() error("y", 0) end))
    print(select("#", load("x =")), load("return _ENV", "c", "t", nil)() == nil)
    local co = coroutine.create(function()
      local c <close> = setmetatable({}, {__close = function() error("z", 0) end})
      coroutine.yield()
    end)
    coroutine.resume(co)
    print(coroutine.close(co), coroutine.close(coroutine.create(print)))
    print(pcall(coroutine.close, coroutine.running()))
    """).splitlines() == [
        "5\t3", "nil\tnil\ty", "2\ttrue", "false\ttrue", "false\tcannot close a running coroutine",
    ]  # fmt: skip


def test_pcall_and_coroutines_are_lua_s_otherwise(run: Run) -> None:
    assert run("""
    print(pcall(error, "x", 0))
    print(pcall(error))
    print(select("#", pcall(function() return nil, nil end)), select("#", pcall(function() end)))
    print(xpcall(function(...) return ... end, print, 1, nil, 3))
    print(xpcall(error, function(m) return m .. "!" end, "x", 0))
    local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) error("in " .. b, 0) end)
    print(coroutine.resume(co, 1))
    print(coroutine.resume(co, 5))
    print(coroutine.wrap(function() print(pcall(coroutine.yield, 1)) return 2 end)())
    """).splitlines() == [
        "false\tx", "false\tnil", "3\t1", "true\t1\tnil\t3", "false\tx!", "true\t2", "false\tin 5", "1",
    ]  # fmt: skip


def test_an_interrupt_in_a_call_ends_the_script(spell_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object, __: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(spell_store.sessions), "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Script(spell_store).run_code('while true do pcall(Session.get, "x") end')
