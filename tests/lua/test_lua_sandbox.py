"""What a script that is not trusted is left with, and what of the store it can touch; no process of its own here."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from llmspellfs.errors import NotAllowed, ScriptFailed
from llmspellfs.lua.limits import Bounds
from llmspellfs.lua.runtime import Script
from llmspellfs.service.confined import confine
from llmspellfs.service.fence import Fence

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs import Store
    from llmspellfs.model.session import Session

Confined = Callable[..., str]
MEMORY = 32 << 20


@pytest.fixture
def mine(spell_store: Store) -> Session:
    """The session that the script may touch; another one, `other`, is in the store too, with an artifact `secret`."""
    other = spell_store.sessions.create("other", tags=["t"], metadata={"k": 1})
    spell_store.artifacts.put(other.id, "secret", b"hidden words", tags=["t"])
    spell_store.state.set("g", 1)
    return spell_store.sessions.create("mine", tags=["t"])


@pytest.fixture
def confined(spell_store: Store, mine: Session) -> Confined:
    """Run code in a sandbox for `mine`, or with session=None for what it makes; return what it prints."""

    def run_it(code: str, *, session: str | None = mine.id, exits: int = 0, **fence: object) -> str:
        stream = BytesIO()
        within = confine(spell_store, Fence(session, **fence))  # type: ignore[arg-type]
        script = Script(within, session=session, stdout=stream, record=True, bounds=Bounds(memory=MEMORY))
        assert script.run_code(code, "@t.lua") == exits
        return stream.getvalue().decode("utf-8", "surrogateescape")

    return run_it


# The language


GONE = (
    "io", "debug", "load", "loadstring", "loadfile", "dofile", "require", "package", "warn", "python",
    "os.execute", "os.remove", "os.rename", "os.getenv", "os.tmpname", "os.setlocale", "string.dump",
)  # fmt: skip


@pytest.mark.parametrize("name", GONE)
def test_what_reaches_the_host_is_gone(confined: Confined, name: str) -> None:
    assert confined(f"print({name})") == "nil\n"


def test_nothing_but_what_is_listed_is_global(confined: Confined) -> None:
    names = confined("local n = {} for k in next, _G do n[#n + 1] = k end table.sort(n) print(table.concat(n, ' '))")
    assert names.split() == sorted([
        "_G", "_VERSION", "arg", "assert", "collectgarbage", "coroutine", "error", "getmetatable", "ipairs", "json",
        "math", "next", "os", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "select",
        "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "xpcall",
        "Artifact", "Event", "Hook", "JSON", "Session", "State", "Tool",
    ])  # fmt: skip


def test_no_function_or_table_within_reach_is_userdata_or_one_that_is_gone(confined: Confined) -> None:
    # All that can be walked to, metatables and the tables behind `__index` too.
    code = """
    local seen, kinds = {}, {}
    local function walk(v)
      if v == nil or seen[v] then return end
      seen[v] = true
      kinds[type(v)] = true
      if type(v) == "table" then for k, i in next, v do walk(k) walk(i) end end
      walk(getmetatable(v))
    end
    walk(_G) walk("") walk(JSON.null) walk(Session.get("")) walk(Artifact.list()) walk(coroutine.running())
    walk(select(2, pcall(Session.get, {}))) walk(select(2, pcall(error, setmetatable({}, {}))))
    print(kinds.userdata)
    """
    assert confined(code) == "nil\n"


@pytest.mark.parametrize(
    "code",
    [
        "return Session.get.__globals__", "return print.__self__", "return Session.__class__",
        "return Artifact.store.__code__", "return JSON.null.__class__.__mro__", "return ('').__class__",
    ],
)  # fmt: skip
def test_python_s_names_lead_nowhere(confined: Confined, code: str) -> None:
    seen = confined(f"local ok, v = pcall(function() {code} end) print(ok and v or nil)")
    assert seen == "nil\n"


def test_the_metatable_of_strings_is_out_of_reach(confined: Confined) -> None:
    code = """
    print(getmetatable(""), pcall(setmetatable, "", {}))
    print(pcall(function() getmetatable("").__index = function() return "mine" end end))
    print(("x"):upper(), ("2026-11-21T00:00:00Z") - 0)
    """
    first, second, third = confined(code).splitlines()
    assert first.startswith("false\tfalse")
    assert second.startswith("false")
    assert third == "X\t1795219200"


def test_a_library_that_the_script_has_changed_gives_it_nothing_of_the_host(confined: Confined) -> None:
    code = """
    local got, select, type = {}, select, type
    local function spy(...) for i = 1, select("#", ...) do got[type((select(i, ...)))] = true end return "x" end
    for _, library in ipairs { string, table, math, coroutine } do
      for name, f in next, library do library[name] = spy end
    end
    for name in next, _G do
      if name ~= "_G" and name ~= "pcall" and type(_G[name]) == "function" then _G[name] = spy end
    end
    pcall(Session.suspend, {})
    pcall(Session.get, "nobody")
    pcall(os.exit, "x")
    pcall(State.update, "k", function() end)
    Session = nil
    return got.userdata and os.exit(9)
    """
    assert confined(code) == ""


@pytest.mark.parametrize("name", ["stop", "generational", "setpause", "incremental", "step"])
def test_the_garbage_collector_cannot_be_tuned(confined: Confined, name: str) -> None:
    assert confined(f"print(pcall(collectgarbage, '{name}'))").startswith("false")
    assert confined("print(collectgarbage('count') > 0, collectgarbage())") == "true\t0\n"


def test_bytecode_is_no_script(spell_store: Store) -> None:
    dumped = BytesIO()
    Script(spell_store, stdout=dumped).run_code("io.write(string.dump(function() end))")
    with pytest.raises(ScriptFailed, match="attempt to load a binary chunk"):
        Script(spell_store, bounds=Bounds()).run_code(dumped.getvalue())


def test_memory_ends_within_lua_and_can_be_used_again(confined: Confined) -> None:
    code = """
    print(pcall(function() return ("x"):rep(1 << 30) end))
    print(pcall(function() local t = {} for i = 1, 1e9 do t[i] = i end end))
    print(pcall(function() local s = "x" while true do s = s .. s end end))
    print(pcall(function() local t = {} for i = 1, 200 do t[i] = ("x"):rep(1e5) end return table.concat(t, "", 1, 200):rep(9) end))
    print(#("x"):rep(1e6))
    """  # noqa: E501
    lines = confined(code).splitlines()
    assert lines == ["false\tnot enough memory"] * 4 + ["1000000"]


@pytest.mark.parametrize(
    "call",
    [
        "Tool.execute('template-engine', {template = '{% set x = [0] * 10000000 %}{{ x | length }}'})",
        "Tool.execute('json-processor', {operation = 'query', input = ('x'):rep(9000000), query = '[@,@,@,@,@,@,@]'})",
    ],
)
def test_memory_of_the_tools_own_process_is_bounded_too(confined: Confined, call: str) -> None:
    assert confined(f"local r = {call} print(r.success, r.error)") == "false\tnot enough memory\n"
    assert confined("print(Tool.execute('template-engine', {template = '{{ 1 + 1 }}'}).result)") == "2\n"


@pytest.mark.parametrize(
    "code",
    [
        "local function f() return 1 + f() end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x",
        "local function f() pcall(f) end f()",
        "local f f = function() return coroutine.wrap(f)() end f()",
        "local t = {} for i = 1, 190 do t = setmetatable({}, {__index = t}) end return t.x .. nil",
        "return ('('):rep(1e6):find(('('):rep(500))",
        "return table.unpack({}, 1, 1e8)",
        "return string.format('%99999d', 1)",
        "return JSON.parse(('['):rep(1e5))",
        "local t = {} t.t = t return JSON.stringify(t)",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
    ],
)
def test_too_deep_is_an_error_of_the_script(confined: Confined, code: str) -> None:
    confined(f"pcall(function() {code} end)")


def test_a_finalizer_and_a_closing_value_see_no_object_of_the_host(confined: Confined) -> None:
    code = """
    local seen
    pcall(function()
      local c <close> = setmetatable({}, {__close = function(_, e) seen = e end})
      setmetatable({}, {__gc = function() error("in gc") end})
      collectgarbage()
      Session.suspend({})
    end)
    print(type(seen))
    """
    assert confined(code) == "string\n"


# The store


WRITES = (
    "Session.suspend({0})", "Session.complete({0})", "Session.fail({0}, 'x')", "Session.save({0})",
    "Session.load({0})", "Session.delete({0})", "Session.update({0}, {{description = 'x'}})",
    "Session.setTags({0}, {{'x'}})", "Session.addTag({0}, 'x')", "Session.removeTag({0}, 't')",
    "Session.update('mine', {{parent_session_id = {0}}})",
    "Artifact.store({0}, 'tool_result', 'a', 'x')", "Artifact.delete({0}, 'secret')",
    "Artifact.update({0}, 'secret', {{description = 'x'}})", "Artifact.restore({0}, 'secret', {{name = 'n'}})",
    "Artifact.storeMany({0}, {{{{type = 'tool_result', name = 'a', content = 'x'}}}})",
    "State.set('session:' .. OTHER, 'k', 1)", "State.set('g', 2)", "State.delete('g')",
    "State.update('g', function() return 2 end)", "Event.publish('x')",
    "Session.create({{name = 'new'}})", "Session.createMany({{{{name = 'new'}}}})",
    "Session.fork({0}, 'f')", "Session.fork('mine', 'f')", "Session.rollback({0}, '1')",
    "Session.replay({0}, {{mode = 'exact'}})", "Session.replay({0}, {{mode = 'rerun'}})",
    "Session.replay('mine', {{mode = 'exact'}})", "Session.replay('mine', {{mode = 'rerun'}})",
)  # fmt: skip
READS = (
    "Session.events({0})", "Session.checkpoints({0})", "Session.children({0})", "Session.getTags({0})",
    "Session.diff({0}, {{from = '1'}})", "Session.diff('mine', {{other = {0}}})",
    "Session.getTimeline({0})", "Session.getReplayMetadata({0})", "Session.setCurrent({0})",
    "Session.list({{parent = {0}}})", "Session.replay({0}, {{mode = 'simulate'}})",
    "Artifact.list({0})", "Artifact.versions({0}, 'secret')", "Artifact.query({{session_id = {0}}})",
    "State.get('session:' .. OTHER, 'k')", "State.get('g')", "State.list_keys()", "Event.subscribe('*')",
)  # fmt: skip


def _refused(spell_store: Store, confined: Confined, call: str, **fence: object) -> str:
    other = spell_store.sessions.get("other")
    code = f"OTHER = '{other.id}' print(pcall(function() return {call} end))"
    said = []
    for ref in ('"other"', "OTHER", "OTHER:sub(1, 8)"):
        before = spell_store.sessions.events("other", after=0)
        said.append(confined(code.replace(call, call.format(ref)), **fence))
        assert said[-1].startswith(("false", "true\tnil\tsession not found")), (call, said)
        assert spell_store.sessions.events("other", after=0) == before
    return said[0]


@pytest.mark.parametrize("call", WRITES + READS)
def test_another_session_is_not_there(spell_store: Store, confined: Confined, call: str) -> None:
    said = _refused(spell_store, confined, call)
    assert any(word in said for word in ("not found", "not allowed", "cannot be", "not within"))


@pytest.mark.parametrize("call", WRITES)
def test_another_session_can_be_read_only(spell_store: Store, confined: Confined, call: str) -> None:
    _refused(spell_store, confined, call, others_readable=True)


@pytest.mark.parametrize("call", READS)
def test_another_session_can_be_read_where_that_is_allowed(confined: Confined, spell_store: Store, call: str) -> None:
    code = f"OTHER = '{spell_store.sessions.get('other').id}' " + call.format('"other"')
    confined(code, others_readable=True)


def test_lists_and_queries_show_only_the_own_session(spell_store: Store, confined: Confined) -> None:
    other = spell_store.sessions.get("other")
    spell_store.sessions.create("child", parent="mine")
    code = f"""
    local replayable = Session.listReplayable()
    print(#Session.list(), #Session.list({{limit = 1, offset = 1}}), #Session.list("tag:t"), #replayable)
    print(Session.get("other"), Session.get("{other.id}"), #Session.children("mine"))
    print(#Artifact.query({{}}), #Artifact.query("tag:t"), #Artifact.query("secret"))
    print(#Artifact.query({{tags = {{"t"}}}}))
    print(pcall(Artifact.get, "mine", "{spell_store.artifacts.get("other", "secret").id}"))
    """
    lines = confined(code).splitlines()
    assert lines[0] == "1\t0\t1\t1"
    assert lines[1].endswith("0")
    assert lines[2:4] == ["0\t0\t0", "0"]
    assert lines[4].startswith("false")
    assert confined("print(#Session.list(), #Artifact.query('secret'))", others_readable=True) == "3\t1\n"


def test_without_a_session_what_the_script_makes_is_its_own(spell_store: Store, confined: Confined) -> None:
    code = """
    local a = Session.create({name = "a"})
    local b = Session.create({name = "b", parent_session_id = a})
    Artifact.store(b, "tool_result", "x", "text")
    Session.createMany({{name = "c"}})
    State.set("session:" .. a, "k", 1)
    Session.complete(b)
    Session.rollback(Session.fork(a, "fork"), "1")
    print(#Session.list(), #Artifact.query({}), #Artifact.query({limit = 1, offset = 1}), pcall(Session.save, "mine"))
    print(pcall(Session.create, {name = "d", parent_session_id = "mine"}))
    """
    first, second = confined(code, session=None).splitlines()
    assert first == "4\t1\t0\tfalse\tt.lua:9: session not found: mine"
    assert second.startswith("false")
    assert len(spell_store.sessions.list()) == 6
    assert spell_store.sessions.children("mine") == []


def test_what_a_script_may_do_to_its_own_session_it_can(spell_store: Store, confined: Confined) -> None:
    code = """
    Artifact.store("", "tool_result", "a", "one")
    Artifact.store("", "tool_result", "a", "two")
    Session.save("", "first")
    Artifact.update("", "a", {description = "d"})
    print(#Artifact.versions("", "a"), Artifact.get("", "a").content, Artifact.getContent("", "a"))
    Artifact.delete("", "a")
    Artifact.restore("", "a")
    Session.addTag("", "more")
    Session.suspend("")
    Session.resume("")
    State.set("session:" .. Session.getCurrent(), "k", {1})
    State.update("session:" .. Session.getCurrent(), "k", function(v) v[2] = 2 return v end)
    print(#State.get("session:" .. Session.getCurrent(), "k"), #Session.checkpoints(""), #Session.events("") > 5)
    print(#Session.diff("", {from = "c1", to = "1", text = true}).changes, Session.canReplay(""))
    Session.rollback("", "c1")
    print(Session.replay("", {mode = "simulate"}).success, Tool.execute("hash-calculator", {input = "x"}).success)
    """
    assert confined(code).splitlines() == ["2\ttwo\ttwo", "2\t1\ttrue", "1\ttrue\tnil", "true\ttrue"]
    assert spell_store.artifacts.read(spell_store.artifacts.get("mine", "a")) == b"two"


def test_the_number_of_artifacts_is_bounded(confined: Confined) -> None:
    code = """
    for i = 1, 2 do Artifact.store("", "tool_result", "a", "text " .. i) end
    print(pcall(Artifact.storeMany, "", {{"x", "b", "text"}, {"x", "c", "text"}}))
    Artifact.store("", "tool_result", "c", "x")
    print(pcall(Artifact.store, "", "tool_result", "d", "x"))
    print(#Artifact.list())
    """
    many, one, count = confined(code, max_artifacts=3).splitlines()
    assert "max_artifacts = 3" in many
    assert "max_artifacts = 3" in one
    assert count == "2"


@pytest.mark.parametrize(
    "code",
    [
        "Artifact.store('', 'x', '.runs/a.json', '{}')",
        "Artifact.store('', 'x', 'a', '{}', {mime_type = MIME})",
        "Artifact.store('', 'x', 'a', '{}', {mime_type = MIME:upper()})",
        "Artifact.storeMany('', {{'x', 'b', '{}'}, {'x', 'a', '{}', {mime_type = MIME}}})",
        "Artifact.storeMany('', {{'x', '.runs/a', '{}'}})",
        "Artifact.store('', 'x', 'a', '{}') Artifact.update('', 'a', {mime_type = MIME})",
        "Artifact.store('', 'x', 'a', '{}') Artifact.update('', 'a', {name = '.runs/a'})",
        "Artifact.update('', RECORD, {name = 'a'})",
        "Artifact.delete('', RECORD)",
        "Artifact.store('', 'x', RECORD, '{}')",
        "Artifact.restore('', GONE, {name = 'a'})",
        "Artifact.store('', 'x', 'moved.json', '{}')",
        "Artifact.storeMany('', {{'x', 'moved.json', '{}'}})",
    ],
)
def test_a_record_of_a_run_cannot_be_forged(spell_store: Store, confined: Confined, code: str) -> None:
    # A rerun runs what a record says, and in a sandbox only where it says so.
    for name in "abc":
        confined(f"Artifact.store('', 'x', 'text', '{name}')")
    records = spell_store.artifacts.query("mime:application/vnd.llmspellfs.run+json", session="mine")
    kept, gone, moved = (one.name for one in records)
    spell_store.artifacts.delete("mine", gone)
    spell_store.artifacts.update("mine", moved, name="moved.json")
    names = f"MIME, RECORD, GONE = 'application/vnd.llmspellfs.run+json', '{kept}', '{gone}'"
    said = confined(f"{names} print(pcall(function() {code} end))")
    assert "records of runs cannot be changed" in said


@pytest.mark.parametrize("spelling", ["storeFile", "store_file"])
def test_a_file_of_the_host_cannot_be_read(confined: Confined, tmp_path: Path, spelling: str) -> None:
    file = tmp_path / "host"
    file.write_text("secret")
    for more in ({}, {"others_readable": True}):
        said = confined(f"print(pcall(Artifact.{spelling}, '', '{file}', 'user_input'))", **more)
        assert "out of reach" in said


@pytest.mark.parametrize("spelling", ["saveToFile", "save_to_file"])
def test_a_file_of_the_host_cannot_be_written(confined: Confined, tmp_path: Path, spelling: str) -> None:
    code = f"Artifact.store('', 'x', 'a', 'b') print(pcall(Artifact.{spelling}, '', 'a', '{tmp_path}/made'))"
    assert "out of reach" in confined(code)
    assert not (tmp_path / "made").exists()


def test_hooks_are_the_scripts_own_and_bound_as_it_is(confined: Confined) -> None:
    code = """
    Hook.register("after:artifact.stored", function(about) print(pcall(Session.delete, "other")) end)
    Artifact.store("", "tool_result", "a", "x")
    print(pcall(Artifact.storeFile, "", "/etc/hostname", "x"))
    """
    first, second = confined(code).splitlines()
    assert first == "false\tt.lua:2: session not found: other"
    assert second.startswith("false")


def test_tools_of_installed_packages_are_not_there(spell_store: Store, confined: Confined) -> None:
    stream = BytesIO()
    Script(spell_store, stdout=stream).run_code("print(#Tool.list())")
    assert int(confined("print(#Tool.list())")) <= int(stream.getvalue())
    assert confined("print(Tool.exists('hash-calculator'), Tool.exists('nobody'))") == "true\tfalse\n"


def test_a_template_reaches_nothing(confined: Confined) -> None:
    code = """
    local texts = { "{{ ''.__class__.__mro__ }}", "{{ self.__init__.__globals__ }}", "{{ cycler.__init__ }}" }
    for _, text in ipairs(texts) do
      local r = Tool.execute("template-engine", {operation = "render", template = text, context = {}})
      print(r.success and r.result and tostring(r.result):find("class", 1, true))
    end
    """
    assert set(confined(code).split()) <= {"nil", "false"}


def test_what_is_not_listed_is_refused(spell_store: Store) -> None:
    within = confine(spell_store, Fence())
    for call in (
        lambda: within.sessions.purge("other"),
        lambda: within.artifacts.put_file("other", "/etc/hostname"),
        lambda: within.artifacts.purge("other", "secret"),
        lambda: within.upkeep,
        lambda: within.engine,
    ):
        with pytest.raises(NotAllowed):
            call()
