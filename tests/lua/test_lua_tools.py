from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs import Store
from llmspellfs.lua.jsontext import JsonFunctions
from llmspellfs.lua.runtime import Script
from llmspellfs.lua.tools import ToolFunctions
from llmspellfs.tools import Registry
from llmspellfs.tools.json_text import write

Run = Callable[..., str]


def test_json_both_ways(run: Run) -> None:
    assert run(r"""
    assert(json == JSON and JSON.encode == JSON.stringify or true)
    print(JSON.stringify({b = {1, 2}, a = {}, c = JSON.null, n = 1, f = 1.0, t = true, s = "é\n"}))
    print(json.encode(json.decode('[[], {}, null, 1.5, 2, {"k": [null]}, "\\u00e9"]')))
    print(JSON.stringify({a = 1}, true))
    print(JSON.parse("null") == JSON.null, JSON.parse("false"), math.type(JSON.parse("1")),
      math.type(JSON.parse("1.0")))
    print(JSON.stringify(nil), JSON.stringify(JSON.null), tostring(JSON.null), JSON.stringify("x"))
    """).splitlines() == [
        '{"a":{},"b":[1,2],"c":null,"f":1.0,"n":1,"s":"é\\n","t":true}',
          '[[],{},null,1.5,2,{"k":[null]},"é"]',
        "{", '  "a": 1', "}", "true\tfalse\tinteger\tfloat", 'null\tnull\tnull\t"x"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("JSON.parse('[1,')", "JSON.parse: argument 1 (text): bad JSON at line 1 column 4"),
        ("JSON.parse('')", "JSON.parse: argument 1 (text): bad JSON at line 1 column 1"),
        ("JSON.parse('[NaN]')", "JSON.parse: argument 1 (text): bad JSON: NaN is not JSON"),
        ("JSON.parse('1e999')", "JSON.parse: argument 1 (text): inf cannot be said in JSON"),
        ("JSON.parse(('['):rep(100000))", "JSON.parse: argument 1 (text): JSON nested more than 64 deep"),
        ("JSON.parse({})", "JSON.parse: argument 1 (text): expected a string, got table"),
        ("JSON.stringify('\\xff')", "JSON.stringify: argument 1 (value): a string that is not UTF-8"),
        ("JSON.stringify({['\\xff'] = 1})", "JSON.stringify: argument 1 (value): a string that is not UTF-8"),
        ("JSON.stringify(print)", "JSON.stringify: argument 1 (value): a function cannot be said in JSON"),
        ("JSON.null.x = 1", "JSON.null cannot be changed"),
        ("JSON.parse('\"\\\\udcff\"')", "JSON.parse: argument 1 (text): bad JSON: half of a surrogate pair"),
        ("JSON.parse('1' .. ('0'):rep(400))", "JSON.parse: argument 1 (text): an integer of more than 1024 bits"),
        (f"JSON.parse('{2**1024 - 1}')", "JSON.parse: argument 1 (text): an integer beyond the range of a number"),
        ("JSON.stringify({}, {prety = true})", "JSON.stringify: argument 2 (options): unknown key 'prety'; expected"),
        ("JSON.stringify({}, 'pretty')", "JSON.stringify: argument 2 (options): expected a table, got string"),
        ("JSON.stringify({a = {[2] = 1}})", "JSON.stringify: argument 1 (value).a: a list with gaps"),
        ("JSON.array(1)", "JSON.array: argument 1 (table): expected a table, got 1"),
        ("JSON.object(JSON.null)", "JSON.object: argument 1 (table): expected a table, got JSON.null"),
        ("json.decode('{')", "JSON.decode: argument 1 (text): bad JSON at line 1 column 2"),
        ("JSON.encode({}, {pretty = 1})", "JSON.encode: argument 2 (options).pretty: expected a boolean, got 1"),
        ("Tool.execute()", "Tool.execute: argument 1 (name): expected a string, got nil"),
        ("Tool.execute('compression', 'x')", "Tool.execute: argument 2 (parameters): expected a table, got string"),
        ("Tool.execute('compression', {1})", "Tool.execute: argument 2 (parameters): expected strings for keys"),
        ("Tool.get({})", "Tool.get: argument 1 (name): expected a string, got table"),
        ("Tool.exists(nil)", "Tool.exists: argument 1 (name): expected a string, got nil"),
    ],
)
def test_what_cannot_be_done_is_an_error(fails: Callable[[str], str], code: str, message: str) -> None:
    assert fails(code).startswith(f"t.lua:1: {message}")


def test_empty_and_emptied_tables_stay_what_they_were(run: Run) -> None:
    assert run("""
    local t = JSON.parse('{"a": [], "o": {}, "l": [1], "n": [[]]}')
    table.remove(t.l)
    print(JSON.stringify(t), JSON.stringify({}), JSON.stringify(JSON.array()), JSON.stringify(JSON.object()))
    local mine = {}
    assert(JSON.array(mine) == mine)
    mine[1] = JSON.object({})
    print(JSON.stringify(mine), JSON.stringify(JSON.array({x = 1})), JSON.stringify(JSON.object({1})))
    print(JSON.stringify(JSON.object(JSON.array())))
    """).splitlines() == [
        '{"a":[],"l":[],"n":[[]],"o":{}}\t{}\t[]\t{}',
        '[{}]\t{"x":1}\t[1]',
        "{}",
    ]


def test_a_mark_is_out_of_a_scripts_reach_and_takes_no_metatable(run: Run) -> None:
    assert run("""
    local a, o = JSON.parse("[]"), JSON.parse("{}")
    for _, t in ipairs {a, o, Session.list(), JSON.array(), JSON.object()} do
      assert(getmetatable(t) == nil and debug.getmetatable(t) == nil)
    end
    local class = {__index = {first = function(self) return self[1] end}}
    setmetatable(a, class)
    setmetatable(o, class)
    print(JSON.stringify({a, o}), a:first(), JSON.stringify(JSON.array(setmetatable({}, class))))
    print(JSON.stringify(JSON.parse("[[]]")), JSON.stringify(JSON.object(a)))
    """).splitlines() == ["[[],{}]\tnil\t[]", "[[]]\t{}"]


def test_marks_do_not_keep_tables(run: Run) -> None:
    assert run("""
    local held = setmetatable({}, {__mode = "k"})
    for i = 1, 100 do held[JSON.array()] = true end
    collectgarbage()
    print(next(held))
    """) == "nil\n"  # fmt: skip


def test_integers_stay_integers_up_to_64_bits(run: Run) -> None:
    assert run("""
    for _, text in ipairs {"9007199254740993", "-9223372036854775808", "9223372036854775807", "2.0",
      "9223372036854775808", "1e2"} do
      local number = JSON.parse(text)
      print(math.type(number), JSON.stringify(number))
    end
    """).splitlines() == [
        "integer\t9007199254740993", "integer\t-9223372036854775808", "integer\t9223372036854775807",
        "float\t2.0", "float\t9.223372036854776e+18",
        "float\t100.0",
    ]  # fmt: skip


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(VALUES)
def test_json_text_goes_through_lua_and_stays_the_same(spell_store: Store, value: object) -> None:
    functions = _functions(spell_store)
    for pretty in (False, True):
        text = write(value, pretty=pretty)
        assert functions.stringify(functions.parse(text), pretty) == text


_KEPT: dict[int, tuple[Script, JsonFunctions]] = {}


def _functions(store: Store) -> JsonFunctions:
    if id(store) not in _KEPT:
        _KEPT.clear()
        script = Script(store)
        _KEPT[id(store)] = script, JsonFunctions(script._values)
    return _KEPT[id(store)][1]


def test_tools_are_listed_and_described(run: Run) -> None:
    assert run("""
    print(table.concat(Tool.list(), " "))
    print(Tool.exists("compression"), Tool.exists("nix"), Tool.get("nix"))
    local tool = Tool.get("compression")
    print(tool.name, tool.description, #tool.parameters)
    print(tool.parameters[1].name, tool.parameters.operation.required, tool.parameters.nix)
    local algorithm = tool.parameters.algorithm
    print(algorithm.type, algorithm.default, table.concat(algorithm.choices, "/"), algorithm.description)
    print(tool.parameters.max_size.maximum, #JSON.parse(JSON.stringify(tool)).parameters)
    """).splitlines() == [
        (
            "base64-encoder calculator compression csv-analyzer date-time-handler diff-calculator hash-calculator"
            " json-processor template-engine text-manipulator uuid-generator"
        ),
        "true\tfalse\tnil\ttool not found: nix",
        "compression\tcompress and decompress strings: gzip, zlib, deflate, zstd\t5",
        "operation\ttrue\tnil",
        "string\tgzip\tgzip/zlib/deflate/zstd\tthe format",
        "1073741824\t5",
    ]


def test_each_tool_can_be_described(run: Run) -> None:
    assert run("""
    for _, name in ipairs(Tool.list()) do
      local tool = Tool.get(name)
      for _, parameter in ipairs(tool.parameters) do
        assert(parameter.type and parameter.description and type(parameter.required) == "boolean")
      end
      JSON.stringify(tool)
    end
    print("done")
    """) == "done\n"  # fmt: skip


def test_a_tools_own_failure_is_in_its_answer(run: Run) -> None:
    run(r"""
    for _, case in ipairs({
      {"nix", {}, "tool not found: nix"},
      {"json-processor", {operation = "parse", input = "{"}, "input: bad JSON at line 1"},
      {"json-processor", {operation = "stringify", input = print}, "input: a function cannot be said in JSON"},
      {"json-processor", {operation = "stringify", input = {a = "\xff"}}, "input.a: a string that is not UTF-8"},
      {"json-processor", {operation = "stringify", input = "\xff"}, "input: a string that is not UTF-8"},
      {"json-processor", {operation = "stringify"}, "input: expected any value, not nothing"},
      {"json-processor", {operation = "nix", input = 1}, "operation: expected one of stringify, parse"},
      {"json-processor", nil, "operation: expected a string (one of stringify, parse"},
      {"json-processor", {operation = "parse", inptu = "x"}, "inptu: unknown parameter; expected one of operation"},
      {"compression", {operation = "compress", input = {}}, "input: expected a string, not a table"},
      {"compression", {operation = "compress", input = "", algorithm = "rot13"},
        "algorithm: expected one of gzip, zlib, deflate, zstd, not 'rot13'"},
      {"compression", {operation = "compress", input = "", level = 99},
        "level: expected 0 to 9 for gzip, not 99"},
      {"compression", {operation = "decompress", input = "not gzip"}, "input: not gzip data, or damaged"},
      {"calculator", {expression = "9^9^9"}, "expression: "},
    }) do
      local answer = Tool.execute(case[1], case[2])
      assert(answer.success == false and answer.result == nil
        and answer.error:find(case[3], 1, true) == 1, answer.error)
    end
    """)


def test_tools_take_and_give_what_lua_has(run: Run) -> None:
    assert run(r"""
    local function result(name, parameters)
      local answer = Tool.execute(name, parameters)
      assert(answer.success and answer.error == nil, answer.error)
      return answer.result
    end
    local text = result("json-processor", {operation = "stringify", input = {key = "value", empty = {},
      none = JSON.null}})
    print(text)
    print(result("json-processor", {operation = "parse", input = text}).none == JSON.null)
    print(result("json-processor", {operation = "parse", input = "null"}) == JSON.null)
    print(result("json-processor", {operation = "stringify", input = JSON.null}))
    print(result("json-processor", {operation = "stringify", input = {1}, pretty = true}))
    print(JSON.stringify(result("json-processor", {operation = "merge", input = {a = 1}, patch = {a = JSON.null}})))
    print(JSON.stringify(result("json-processor", {operation = "query", input = {{n = 1}, {n = 2}}, query = "[].n"})))
    print(JSON.stringify(result("json-processor", {operation = "query", input = {}, query = "a[]"})))
    local raw = "\0\xff" .. ("x"):rep(1000)
    for _, algorithm in ipairs {"gzip", "zlib", "deflate", "zstd"} do
      local small = result("compression", {operation = "compress", input = raw, algorithm = algorithm, level = 1})
      assert(#small < 100)
      assert(result("compression", {operation = "decompress", input = small, algorithm = algorithm}) == raw)
    end
    print(result("hash-calculator", {input = "\xff", algorithm = "md5"}))
    print(result("base64-encoder", {operation = "decode", input = "/w=="}) == "\xff")
    print(result("text-manipulator", {operation = "upper", input = "é"}))
    print(result("template-engine", {template = "Hi {{ who }}", variables = {who = "you"}}))
    print(math.type(result("calculator", {expression = "2^10"})), result("calculator", {expression = "x/2",
      variables = {x = 5}}))
    print(result("date-time-handler", {operation = "add", input = "2026-01-31T00:00:00Z", days = 1}) > os.time(
      {year = 2026, month = 1, day = 1}))
    """).splitlines() == [
        '{"empty":{},"key":"value","none":null}', "true", "true", "null", "[", "  1", "]", "{}", "[1,2]", "null",
        "00594fd4f42ba43fc1ca0427a0576295", "true", "É", "Hi you", "integer\t2.5", "true",
    ]  # fmt: skip


def test_what_a_tool_gives_that_has_no_form_in_lua_is_its_failure(spell_store: Store) -> None:
    from llmspellfs.tools import Tool

    cycle: list[object] = []
    cycle.append(cycle)
    registry = Registry(installed=False)
    for name, given_back in {"object": object(), "keys": {1: 2}, "cycle": cycle}.items():
        registry._loaded[name] = Tool("odd", lambda it=given_back: it)
    script = Script(spell_store)
    functions = ToolFunctions(script._values, registry)
    for name in ("object", "keys", "cycle"):
        answer = functions.table()["execute"](name.encode())
        assert answer[b"success"] is False  # type: ignore[index]
        assert answer[b"error"]  # type: ignore[index]
