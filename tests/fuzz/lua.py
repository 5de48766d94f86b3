"""Lua: values of any shape, and programs from a grammar, the guides' examples changed among them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.strategies import mutated, text

EXAMPLES = tuple(sorted((Path(__file__).parents[1] / "lua/guides").rglob("*.lua"))) or tuple(
    sorted((Path(__file__).parents[2] / "examples").rglob("*.lua"))
)


def quoted(plain: str) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in plain.encode("utf-8", "surrogatepass")) + '"'


literal = st.one_of(
    st.sampled_from(
        [
            "nil",
            "true",
            "false",
            "0/0",
            "1/0",
            "-1/0",
            "math.mininteger",
            "2^53",
            "print",
            "coroutine.create(print)",
            "setmetatable({}, {__index = function() error('no') end})",
            "setmetatable({}, {__pairs = 1})",
            "io and io.stdout",
            "string.rep('x', 1e5)",
            "(function() local t = {} t.t = t return t end)()",
        ]
    ),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    text.map(quoted),
)
key = st.one_of(st.just(""), literal.filter(lambda key: key not in {"nil", "0/0"}).map(lambda key: f"[{key}]="))
value = st.recursive(
    literal,
    lambda inner: st.lists(st.tuples(key, inner).map("".join), min_size=1, max_size=4).map(
        lambda parts: "{" + ",".join(parts) + "}"
    ),
    max_leaves=8,
)

FUNCTIONS = (
    "Session.create",
    "Session.get",
    "Session.list",
    "Session.update",
    "Session.suspend",
    "Session.tag",
    "Session.save",
    "Session.setCurrent",
    "Session.delete",
    "Artifact.store",
    "Artifact.get",
    "Artifact.list",
    "Artifact.query",
    "Artifact.delete",
    "Artifact.store_file",
    "Artifact.update",
    "State.set",
    "State.get",
    "State.list",
    "JSON.stringify",
    "JSON.parse",
    "Event.publish",
    "Event.subscribe",
    "Hook.register",
    "Tool.invoke",
    "Tool.list",
    "Replay.replay",
)
TAKERS = "\n".join(
    f"pcall(function() return {name}(v) end) pcall(function() return {name}('desk', v) end)"
    f" pcall(function() return {name}(v, v, v, v) end)"
    for name in FUNCTIONS
    if name not in {"Session.delete", "Session.suspend", "Session.setCurrent"}
)

statement = st.one_of(
    st.tuples(st.sampled_from(FUNCTIONS), st.lists(value, max_size=3)).map(
        lambda p: f"pcall({p[0]}, {', '.join([*p[1], 'nil'])})"
    ),
    value.map(lambda v: f"x = {v}"),
    st.sampled_from(
        [
            "while true do end",
            "local function f() return f() + f() end f()",
            "string.rep('x', 1e9)",
            "error({})",
            "goto a ::a::",
            "setmetatable(_G, {__index = error})",
            "string.format('%99999d', 1)",
            "os.exit(3)",
            "for i = 1, 1e4 do State.set('k' .. i, i) end",
            "('x'):rep(1e5):find(('.-'):rep(200) .. 'y')",
            "return 1, 2",
            "collectgarbage('stop')",
            "local t = {} for i = 1, 1e7 do t[i] = {} end",
            "coroutine.wrap(function() error('x') end)()",
            "debug.sethook()",
            "print(_G)",
            "string.dump(print)",
            "table.concat({{}})",
            "utf8.char(-1)",
            "require 'os'",
        ]
    ),
)
grammar = st.lists(statement, max_size=6).map("\n".join).map(str.encode)
program = st.one_of(
    grammar,
    mutated(grammar),
    mutated(st.sampled_from([path.read_bytes() for path in EXAMPLES] or [b"return 1"])),
    st.binary(max_size=60),
)
