from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.lua import compression

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
        ("JSON.parse('[1,')", "JSON: bad JSON at line 1 column 4"),
        ("JSON.parse('')", "JSON: bad JSON at line 1 column 1"),
        ("JSON.parse('[NaN]')", "JSON: bad JSON: NaN is not JSON"),
        ("JSON.parse('1e999')", "JSON: inf cannot be said in JSON"),
        ("JSON.parse(('['):rep(100000))", "JSON: JSON nested more than 64 deep"),
        ("JSON.parse({})", "JSON: expected a string, not table"),
        ("JSON.stringify('\\xff')", "JSON: a string that is not UTF-8"),
        ("JSON.stringify({['\\xff'] = 1})", "JSON: a string that is not UTF-8"),
        ("JSON.stringify(print)", "JSON: a function cannot be said in JSON"),
        ("JSON.null.x = 1", "JSON.null cannot be changed"),
        ("Tool.execute('nix', {})", "tool not found: nix"),
        ("Tool.execute()", "tool: expected a string, not nil"),
    ],
)
def test_what_cannot_be_done_is_an_error(fails: Callable[[str], str], code: str, message: str) -> None:
    assert fails(code).startswith(f"t.lua:1: {message}")


def test_tools_are_listed(run: Run) -> None:
    assert run("""
    print(table.concat(Tool.list(), " "), Tool.exists("compression"), Tool.exists("nix"), Tool.exists())
    print(Tool.get("json-processor").name, Tool.get("nix"))
    """).splitlines() == [
        "compression json-processor\ttrue\tfalse\tfalse",
        "json-processor\tnil\ttool not found: nix",
    ]


def test_a_tools_own_failure_is_in_its_answer(run: Run) -> None:
    run(r"""
    for _, case in ipairs({
      {"json-processor", {operation = "parse", input = "{"}, "bad JSON at line 1"},
      {"json-processor", {operation = "stringify", input = print}, "a function cannot be said in JSON"},
      {"json-processor", {operation = "nix"}, "expected stringify or parse"},
      {"json-processor", nil, "expected stringify or parse"},
      {"json-processor", {operation = "parse", inptu = "x"}, "unknown key 'inptu'"},
      {"compression", {operation = "compress", input = {}}, "input: expected a string, not table"},
      {"compression", {operation = "compress", input = "", algorithm = "rot13"},
        "expected one of gzip, zlib, zstd"},
      {"compression", {operation = "compress", input = "", level = 99},
        "level: expected 0 to 9 for gzip, not 99"},
      {"compression", {operation = "decompress", input = "not gzip"}, "not gzip data, or damaged"},
      {"compression", {operation = "nix", input = "x"}, "expected compress or decompress"},
    }) do
      local answer = Tool.execute(case[1], case[2])
      assert(answer.success == false and answer.result == nil
        and answer.error:find(case[3], 1, true), answer.error)
    end
    """)


def test_the_json_processor(run: Run) -> None:
    assert (
        run("""
    local answer = Tool.execute("json-processor", {operation = "stringify", input = {key = "value",
      empty = {}}})
    print(answer.success, answer.error, answer.result)
    print(Tool.execute("json-processor", {operation = "parse", input = answer.result}).result.key)
    print(Tool.execute("json-processor", {operation = "stringify", input = {1}, pretty = true}).result)
    """)
        == 'true\tnil\t{"empty":{},"key":"value"}\nvalue\n[\n  1\n]\n'
    )


@given(st.binary(max_size=4096), st.sampled_from(compression.ALGORITHMS))
def test_what_is_compressed_comes_back(data: bytes, algorithm: str) -> None:
    assert compression.decompress(algorithm, compression.compress(algorithm, data)) == data


@given(st.binary(max_size=256), st.sampled_from(compression.ALGORITHMS))
def test_damaged_data_is_refused_or_decoded_and_nothing_else(data: bytes, algorithm: str) -> None:
    with contextlib.suppress(InvalidValue):
        compression.decompress(algorithm, data)


@pytest.mark.parametrize("algorithm", compression.ALGORITHMS)
def test_cut_and_extended_data_is_refused(algorithm: str) -> None:
    whole = compression.compress(algorithm, b"some text " * 100)
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole + b"zz", b""):
        with pytest.raises(InvalidValue):
            compression.decompress(algorithm, damaged)


@pytest.mark.parametrize("algorithm", compression.ALGORITHMS)
def test_output_is_bounded(algorithm: str) -> None:
    bomb = compression.compress(algorithm, bytes(1 << 20))
    assert len(compression.decompress(algorithm, bomb, 1 << 20)) == 1 << 20
    with pytest.raises(InvalidValue, match="more than 1048575 bytes"):
        compression.decompress(algorithm, bomb, (1 << 20) - 1)


def test_the_formats_are_those_of_other_tools() -> None:
    assert gzip.decompress(compression.compress("gzip", b"x")) == b"x"
    assert zlib.decompress(compression.compress("zlib", b"x")) == b"x"
    assert zstandard.ZstdDecompressor().decompress(compression.compress("zstd", b"x")) == b"x"
    assert compression.decompress("gzip", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    assert compression.decompress("zstd", zstandard.compress(b"a") + zstandard.compress(b"b")) == b"ab"
    assert compression.compress("gzip", b"x") == compression.compress("gzip", b"x")
