"""What each tool gives for what it is asked, and how it fails, apart from the checks that all share."""

from __future__ import annotations

import copy
import hashlib
import re
import uuid
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs.model.values import is_same
from llmspellfs.tools import Registry
from llmspellfs.tools.json_processor import merge_deep, merge_patch
from llmspellfs.tools.json_text import read, write

REGISTRY = Registry(installed=False)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def result(tool: str, /, **given: object) -> Any:
    outcome = REGISTRY.execute(tool, given)
    assert outcome.success, outcome.error
    return outcome.result


def error(tool: str, /, **given: object) -> str:
    outcome = REGISTRY.execute(tool, given)
    assert not outcome.success, outcome.result
    assert outcome.error is not None
    return outcome.error


# json-processor


def test_json_is_queried_by_jmespath() -> None:
    value = {"people": [{"name": "a", "age": 3}, {"name": "b", "age": 5}]}
    for query, found in {
        "people[*].name": ["a", "b"],
        "people[?age > `4`].name | [0]": "b",
        "sum(people[].age)": 8,
        "nothing": None,
    }.items():
        assert result("json-processor", operation="query", input=value, query=query) == found
    asked = {"operation": "query", "input": value}
    assert error("json-processor", **asked) == "query: expected a JMESPath expression, not nothing"
    assert error("json-processor", **asked, query="a[").startswith("query: Invalid jmespath expression")
    assert error("json-processor", **asked, query="nix(@)") == "query: Unknown function: nix()"
    assert error("json-processor", **asked, query="sum(people)").startswith("query: In function sum()")


SCHEMA = {"type": "object", "required": ["b"], "properties": {"a": {"type": "string"}, "n": {"maximum": 3}}}


def test_json_is_validated_by_a_schema() -> None:
    assert result("json-processor", operation="validate", input={"b": 1}, schema=SCHEMA) == {
        "valid": True,
        "errors": [],
    }
    found = result("json-processor", operation="validate", input={"a": 1, "n": 4}, schema=SCHEMA)
    assert not found["valid"]
    assert {(one["path"], one["keyword"]) for one in found["errors"]} == {
        ("$.a", "type"), ("$.n", "maximum"), ("$", "required"),
    }  # fmt: skip
    asked = {"operation": "validate", "input": 1}
    assert error("json-processor", **asked) == "schema: expected a JSON Schema: a table, true or false"
    assert error("json-processor", **asked, schema={"type": "nix"}).startswith("schema: $.type: 'nix'")
    assert (
        len(result("json-processor", operation="validate", input=list(range(999)), schema={"items": False})["errors"])
        <= 100
    )


@pytest.mark.parametrize("where", ["http", "file", "#/nowhere", "other.json"])
def test_a_schema_fetches_nothing(tmp_path: Path, where: str) -> None:
    (tmp_path / "schema.json").write_text("true")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        places = {"http": f"http://127.0.0.1:{server.server_port}", "file": tmp_path.as_uri()}
        url = f"{places[where]}/schema.json" if where in places else where
        found = error("json-processor", operation="validate", input=1, schema={"$ref": url})
        server.shutdown()
    assert found.startswith("schema: a reference leads nowhere: ")


@pytest.mark.parametrize(
    ("value", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_is_that_of_rfc_7396(value: Any, patch: Any, merged: Any) -> None:
    before = copy.deepcopy(value)
    assert result("json-processor", operation="merge", input=value, patch=patch) == merged
    assert merge_patch(value, patch) == merged
    assert value == before


def test_deep_merging_joins_objects_and_lists() -> None:
    left: Any
    left, right = {"a": {"x": [1], "y": 1}, "b": 1}, {"a": {"x": [2], "y": None}, "c": 2}
    assert result("json-processor", operation="merge", mode="deep", input=left, patch=right) == {
        "a": {"x": [1, 2], "y": None}, "b": 1, "c": 2,
    }  # fmt: skip
    assert merge_deep(left, {}) == left


def test_parsing_takes_text_only() -> None:
    assert result("json-processor", operation="parse", input=b'{"a": [1, null]}') == {"a": [1, None]}
    assert error("json-processor", operation="parse", input=[1]) == "input: expected a string of JSON to parse"
    assert error("json-processor", operation="parse", input="{").startswith("input: bad JSON at line 1 column 2")


@patient
@given(JSON)
def test_json_text_comes_back_as_what_it_was(value: Any) -> None:
    for pretty in (False, True):
        assert is_same(read(write(value, pretty=pretty), "JSON"), value)


# compression, hash-calculator, base64-encoder


def test_compression_takes_a_level_and_the_right_format() -> None:
    data = b"some text " * 1000
    for algorithm in ("gzip", "zlib", "deflate", "zstd"):
        small = result("compression", operation="compress", input=data, algorithm=algorithm, level=9)
        assert len(small) < 200
        assert result("compression", operation="decompress", input=small, algorithm=algorithm) == data
        assert error("compression", operation="compress", input=data, algorithm=algorithm, level=99).startswith(
            "level: "
        )
        assert error("compression", operation="decompress", input=small[:-2], algorithm=algorithm).startswith("input: ")
    assert error("compression", operation="decompress", input=b"xyz").startswith("input: not gzip data")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
def test_hashes_are_those_of_other_tools(algorithm: str) -> None:
    found = result("hash-calculator", input=b"\xff\0", algorithm=algorithm)
    assert found == hashlib.new(algorithm, b"\xff\0").hexdigest()
    asked = {"operation": "verify", "input": b"\xff\0", "algorithm": algorithm}
    assert result("hash-calculator", **asked, expected=found.upper() + "\n") is True
    assert result("hash-calculator", **asked, expected="0" * len(found)) is False
    assert error("hash-calculator", **asked, expected="0").startswith(f"expected: expected {len(found)} hex digits")
    assert error("hash-calculator", **asked).endswith("not nothing")


def test_blake3_is_the_usual_hash() -> None:
    assert result("hash-calculator", input="").startswith("af1349b9f5f9a1a6a0404dea36dcc949")


@patient
@given(st.binary(max_size=64), st.booleans(), st.booleans())
def test_base64_comes_back(data: bytes, urlsafe: bool, padding: bool) -> None:
    text = result("base64-encoder", operation="encode", input=data, urlsafe=urlsafe, padding=padding)
    assert result("base64-encoder", operation="decode", input=text, urlsafe=urlsafe) == data
    assert padding or not text.endswith(b"=")
    assert not urlsafe or not re.search(rb"[+/]", text)


def test_what_is_no_base64_is_refused() -> None:
    assert result("base64-encoder", operation="decode", input="Zm9v\nYmFy") == b"foobar"
    for text in ("Zm9v!", "Z", "__77", "Zm=9v"):
        assert error("base64-encoder", operation="decode", input=text).startswith("input: not base64: ")
    assert error("base64-encoder", operation="decode", input="//77", urlsafe=True).startswith(
        "input: not URL-safe base64"
    )


# uuid-generator


def test_uuids_are_of_their_version() -> None:
    for version in (4, 7):
        many = result("uuid-generator", version=version, count=100)
        assert len(set(many)) == 100
        assert {uuid.UUID(one).version for one in many} == {version}
    ordered = result("uuid-generator", version=7, count=100)
    assert ordered == sorted(ordered)
    named = result("uuid-generator", version=5, namespace="dns", name="example.org")
    assert named == str(uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"))
    assert result("uuid-generator", version=5, namespace=named, name="x") == str(uuid.uuid5(uuid.UUID(named), "x"))


def test_a_uuid_says_what_it_is() -> None:
    said = result("uuid-generator", operation="inspect", input=result("uuid-generator", version=7))
    assert said["version"] == 7
    assert abs((datetime.fromisoformat(said["time"]) - datetime.now(UTC)).total_seconds()) < 60
    assert "time" not in result("uuid-generator", operation="inspect", input=str(uuid.uuid4()))
    assert result("uuid-generator", operation="inspect", input=str(uuid.UUID(int=0)))["uuid"].startswith("00000000-")


def test_what_makes_no_uuid() -> None:
    assert error("uuid-generator", version=1) == "version: expected 4, 5 or 7, not 1"
    assert error("uuid-generator", version=5, namespace="dns") == "name: version 5 needs one"
    assert error("uuid-generator", version=5, name="x", namespace="nix").startswith(
        "namespace: expected a UUID, or one of"
    )
    assert error("uuid-generator", operation="inspect", input="nix") == "input: expected a UUID, not 'nix'"
    assert error("uuid-generator", operation="inspect") == "input: expected a UUID, not nothing"


# text-manipulator


@pytest.mark.parametrize(
    ("operation", "text", "options", "made"),
    [
        ("upper", "aé", {}, "AÉ"),
        ("lower", "AÉ", {}, "aé"),
        ("title", "a book", {}, "A Book"),
        ("capitalize", "a Book", {}, "A book"),
        ("trim", " \ta\n", {}, "a"),
        ("reverse", "aé", {}, "éa"),
        ("slug", "Crème brûlée, 2026!", {}, "creme-brulee-2026"),
        ("dedent", "  a\n    b", {}, "a\n  b"),
        ("count", "aé b\nc\n", {}, {"characters": 7, "bytes": 8, "words": 3, "lines": 2}),
        ("count", "", {}, {"characters": 0, "bytes": 0, "words": 0, "lines": 0}),
        ("lines", "a\n\nb\n", {}, ["a", "", "b"]),
        ("lines", "", {}, []),
        ("split", " a  b ", {}, ["a", "b"]),
        ("split", "a,,b", {"separator": ","}, ["a", "", "b"]),
        ("replace", "a.b.c", {"find": ".", "replacement": "--"}, "a--b--c"),
        ("replace", "a.b", {"find": "."}, "ab"),
        ("repeat", "ab", {"times": 3, "separator": "-"}, "ab-ab-ab"),
        ("repeat", "ab", {"times": 0}, ""),
        ("pad_left", "7", {"width": 3, "fill": "0"}, "007"),
        ("pad_right", "7", {"width": 3}, "7  "),
        ("truncate", "abcdef", {"width": 4}, "abc…"),
        ("truncate", "abc", {"width": 3}, "abc"),
        ("truncate", "abc", {"width": 0}, ""),
        ("wrap", "aa bb cc", {"width": 5}, "aa bb\ncc"),
        ("match", "xé1", {"find": "É(\\d)(z)?", "ignore_case": True},
         [{"text": "é1", "start": 2, "stop": 3, "groups": ["1", ""]}]),
        ("replace_pattern", "a1 b2", {"find": r"([a-z])(\d)", "replacement": r"\2\g<1>"}, "1a 2b"),
        ("replace_pattern", "ab", {"find": "x*", "replacement": "-"}, "-a-b-"),
    ],
)  # fmt: skip
def test_text_is_changed(operation: str, text: str, options: dict[str, object], made: object) -> None:
    assert result("text-manipulator", operation=operation, input=text, **options) == made


@pytest.mark.parametrize(
    ("operation", "options", "message"),
    [
        ("replace", {}, "find: expected a string that is not empty"),
        ("match", {"find": "("}, "find: not a regular expression: missing )"),
        ("replace_pattern", {"find": "a", "replacement": r"\9"}, "replacement: invalid group reference 9"),
        ("split", {"separator": ""}, "separator: expected a string that is not empty"),
        ("repeat", {}, "times: expected a whole number, not nothing"),
        ("pad_left", {}, "width: expected a number of characters, not nothing"),
        ("pad_left", {"width": 3, "fill": "ab"}, "fill: expected one character, not 'ab'"),
        ("wrap", {"width": 0}, "width: expected 1 or more, not 0"),
    ],
)
def test_what_cannot_be_done_to_text(operation: str, options: dict[str, object], message: str) -> None:
    assert error("text-manipulator", operation=operation, input="abc", **options).startswith(message)


# date-time-handler

BEFORE_SUMMER_TIME = {"input": "2026-03-28T12:00", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("given_", "made"),
    [
        ({"operation": "convert", "input": 0}, "1970-01-01T00:00:00Z"),
        ({"operation": "convert", "input": 1.5}, "1970-01-01T00:00:01.500000Z"),
        ({"operation": "convert", "input": "2026-07-01 12:00", "zone": "Europe/Berlin"}, "2026-07-01T12:00:00+02:00"),
        ({"operation": "convert", "input": "2026-07-01T12:00Z", "zone": "Asia/Tokyo"}, "2026-07-01T21:00:00+09:00"),
        ({"operation": "convert", "input": "3 Nov 2026 14:05"}, "2026-11-03T14:05:00Z"),
        ({"operation": "convert", "input": "Tue, 03 Nov 2026 14:05:00 +0100"}, "2026-11-03T14:05:00+01:00"),
        ({"operation": "convert", "input": "01/02/2026"}, "2026-01-02T00:00:00Z"),
        ({"operation": "convert", "input": "01/02/2026", "day_first": True}, "2026-02-01T00:00:00Z"),
        ({"operation": "convert", "input": "20261121"}, "2026-11-21T00:00:00Z"),
        ({"operation": "format", "input": "2026-11-21", "format": "%d.%m.%Y"}, "21.11.2026"),
        ({"operation": "add", "input": "2026-01-31T10:00:00Z", "months": 1}, "2026-02-28T10:00:00Z"),
        ({"operation": "add", "input": "2026-01-01T00:00:00Z", "days": -1, "hours": 1.5}, "2025-12-31T01:30:00Z"),
        # A day there is what the calendar says; 24 hours are 24 hours.
        ({"operation": "add", **BEFORE_SUMMER_TIME, "days": 1}, "2026-03-29T12:00:00+02:00"),
        ({"operation": "add", **BEFORE_SUMMER_TIME, "hours": 24}, "2026-03-29T13:00:00+02:00"),
    ],
)  # fmt: skip
def test_times_are_read_moved_and_written(given_: dict[str, object], made: str) -> None:
    assert result("date-time-handler", **given_) == made


def test_a_time_says_its_parts() -> None:
    said = result("date-time-handler", operation="parse", input="2026-11-21T23:30:00.25-05:00")
    assert said["utc"] == "2026-11-22T04:30:00.250000Z"
    assert (said["year"], said["day"], said["weekday"], said["week"], said["day_of_year"]) == (2026, 21, 6, 47, 325)
    assert said["epoch"] == 1795321800.25
    assert said["offset_seconds"] == -18000


def test_times_are_compared() -> None:
    said = result("date-time-handler", operation="diff", input="2026-03-02", other="2026-03-01T22:58:57.5Z")
    assert said == {
        "seconds": -3662.5, "negative": True, "days": 0, "hours": 1, "minutes": 1, "remaining_seconds": 2.5,
    }  # fmt: skip


def test_now_is_now() -> None:
    now = datetime.fromisoformat(result("date-time-handler", operation="now", zone="America/New_York"))
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60
    assert now.utcoffset() != UTC.utcoffset(None)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"operation": "parse"}, "input: expected a time as text, or epoch seconds"),
        ({"operation": "parse", "input": True}, "input: expected a time as text, or epoch seconds"),
        ({"operation": "parse", "input": "soon"}, "input: not a time: "),
        ({"operation": "parse", "input": "10:30"}, "input: not a time: '10:30' has no whole date"),
        ({"operation": "parse", "input": "Nov 2026"}, "input: not a time: 'Nov 2026' has no whole date"),
        ({"operation": "parse", "input": "1700000000"}, "input: not a time: '1700000000' (epoch seconds are a number)"),
        ({"operation": "parse", "input": "2026-01-01 10:00 EST"}, "input: not a time: unknown zone 'EST'"),
        ({"operation": "convert", "input": 0, "zone": "../../etc/passwd"}, "zone: expected one such as Europe/Berlin"),
        ({"operation": "convert", "input": 0, "zone": "Europe"}, "zone: expected one such as Europe/Berlin"),
        ({"operation": "convert", "input": 0, "zone": ""}, "zone: expected one such as Europe/Berlin"),
        ({"operation": "diff", "input": 0}, "other: expected a time as text, or epoch seconds"),
        ({"operation": "format", "input": 0}, "format: expected one of strftime"),
        ({"operation": "convert", "input": "9999-12-31T23:00:00Z", "zone": "Asia/Tokyo"}, "input: not a time: "),
    ],
)  # fmt: skip
def test_what_is_no_time(given_: dict[str, object], message: str) -> None:
    assert error("date-time-handler", **given_).startswith(message)


# template-engine


def test_templates_are_filled_in() -> None:
    template = "{% for n in names %}{{ loop.index }}. {{ n | upper }}\n{% else %}none\n{% endfor %}"
    assert result("template-engine", template=template, variables={"names": ["a", "b"]}) == "1. A\n2. B\n"
    assert result("template-engine", template=template) == "none\n"
    assert result("template-engine", template="{{ x }}", variables={"x": "<&"}, autoescape=True) == "&lt;&amp;"
    assert result("template-engine", operation="variables", template=template) == ["names"]
    assert result("template-engine", template="[{{ missing }}]") == "[]"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{% if %}", "template: line 2: "),
        ("{{ 1 / 0 }}", "template: division by zero"),
        ("{% include '/etc/passwd' %}", "template: no loader for this environment specified"),
        ("{{ ''.__class__.__mro__ }}", "template: access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ cycler.__init__.__globals__ }}", "template: access to attribute '__init__'"),
        ("{{ names.append(1) }}", "template: "),
        ("{{ '{0.__class__.__mro__}'.format(1).x.y }}", "template: "),
    ],
)
def test_what_a_template_cannot_do(template: str, message: str) -> None:
    assert error("template-engine", template=template, variables={"names": []}).startswith(message)


def test_a_strict_template_fails_for_what_is_missing() -> None:
    assert error("template-engine", template="{{ missing }}", strict=True) == "template: 'missing' is undefined"


# diff-calculator


def test_texts_are_compared_by_lines() -> None:
    assert result("diff-calculator", old="a\nb\n", new="a\nc\n", new_label="later") == (
        "--- old\n+++ later\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    )
    assert result("diff-calculator", old="a", new="a") == ""
    assert "\\ No newline" in result("diff-calculator", old="a\n", new="a")
    assert error("diff-calculator", old={}, new="a").startswith("old: expected a string")


@patient
@given(JSON, JSON)
def test_the_operations_of_a_json_diff_make_the_one_from_the_other(old: Any, new: Any) -> None:
    made = copy.deepcopy(old)
    for operation in result("diff-calculator", operation="json", old=old, new=new):
        made = _applied(made, operation)
    assert is_same(made, new)


def _applied(value: Any, operation: dict[str, Any]) -> Any:
    if not operation["path"]:
        return operation["value"]
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    at = value
    for part in above:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if isinstance(at, list):
        if last == "-":
            at.append(operation["value"])
        elif operation["op"] == "remove":
            del at[int(last)]
        else:
            at[int(last)] = operation["value"]
    elif operation["op"] == "remove":
        del at[last]
    else:
        at[last] = operation["value"]
    return value


def test_equal_values_have_no_operations_and_one_is_not_true() -> None:
    assert result("diff-calculator", operation="json", old={"a": [1]}, new={"a": [1]}) == []
    assert result("diff-calculator", operation="json", old={"a/b": 1}, new={"a/b": True}) == [
        {"op": "replace", "path": "/a~1b", "value": True}
    ]


# csv-analyzer

CSV = 'name,amount,when,ok,note\n"Ä, b",1,2026-01-01,true,\nc,2.5,2026-01-02,FALSE,x\nd,,2026-01-03T10:00:00Z,true,x\n'


def test_csv_columns_have_types_and_figures() -> None:
    said = result("csv-analyzer", input=CSV)
    columns = {column.pop("name"): column for column in said["columns"]}
    assert said["rows"] == 3
    assert {name: column["type"] for name, column in columns.items()} == {
        "name": "string", "amount": "number", "when": "datetime", "ok": "boolean", "note": "string",
    }  # fmt: skip
    assert columns["amount"] == {
        "type": "number", "count": 2, "missing": 1, "unique": 2, "min": 1, "max": 2.5, "sum": 3.5, "mean": 1.75,
        "median": 1.75, "stdev": pytest.approx(1.0606601717798212),
    }  # fmt: skip
    assert columns["note"]["top"] == [{"value": "x", "count": 2}]


def test_csv_rows_are_values() -> None:
    first, second, third = result("csv-analyzer", operation="parse", input=CSV)
    assert first == {"name": "Ä, b", "amount": 1, "when": "2026-01-01", "ok": True, "note": None}
    assert (second["amount"], second["ok"], third["amount"]) == (2.5, False, None)
    assert result("csv-analyzer", operation="parse", input=CSV, typed=False, limit=1)[0]["amount"] == "1"


def test_csv_comes_in_other_shapes() -> None:
    assert result("csv-analyzer", operation="parse", input="\ufeffa;b\r\n1,5;2\r\n") == [{"a": "1,5", "b": 2}]
    assert result("csv-analyzer", operation="parse", input="1\t2\n", header=False) == [{"column_1": 1, "column_2": 2}]
    assert result("csv-analyzer", operation="parse", input="a,a,\n1,2,3\n") == [{"a": 1, "a_2": 2, "column_3": 3}]
    assert result("csv-analyzer", operation="parse", input="a|b\n1|2", delimiter="|") == [{"a": 1, "b": 2}]
    assert result("csv-analyzer", operation="parse", input='a,b\n"x\ny",2\n') == [{"a": "x\ny", "b": 2}]
    assert result("csv-analyzer", input="") == {"rows": 0, "columns": []}
    assert result("csv-analyzer", input="a\n")["columns"][0]["count"] == 0


def test_what_is_no_csv() -> None:
    assert error("csv-analyzer", input='a\n"b') == "input: line 2: unexpected end of data"
    assert error("csv-analyzer", input="a", delimiter=",,") == "delimiter: expected one character, not ',,'"


# calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("2^10 - 2**3", 1016),
        ("-2^2", -4),
        ("7 // 2 + 7 % 4", 6),
        ("1 / 4", 0.25),
        ("(a + 1) * sqrt(b)", 9.0),
        ("max(1, 2.5, min(9, 8))", 8),
        ("mean(1, 2, 6) + median(1, 5, 3) + sum(1, 2)", 9.0),
        ("round(pi, 2)", 3.14),
        ("1 if a < b else 2", 1),
        ("a == 2 and b != 2", True),
        ("factorial(5) + comb(4, 2) + gcd(4, 6)", 128),
        ("9007199254740993 + 0", 9007199254740993),
        (" 1e3 ", 1000.0),
    ],
)
def test_expressions_have_values(expression: str, value: object) -> None:
    found = result("calculator", expression=expression, variables={"a": 2, "b": 9})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 +", "expression: at column "),
        ("", "expression: at column "),
        ("1 / 0", "expression: division by zero"),
        ("nix + 1", "expression: 'nix' is not defined"),
        ("nix(1)", "expression: Function 'nix' not defined"),
        ("'a' * 3", "expression: expected numbers, not str"),
        ("().__class__", "expression: Attribute has no place in a calculation"),
        ("[1]", "expression: List has no place in a calculation"),
        ("lambda: 1", "expression: Lambda has no place in a calculation"),
        ("a = 1", "expression: at column "),
        ("(-8) ** 0.5", "expression: the result is no finite number"),
        ("1e308 * 10", "expression: the result is no finite number"),
        ("sqrt(-1)", "expression: math domain error"),
        ("sqrt(1, 2)", "expression: "),
        ("max(x=1)", "expression: keyword has no place in a calculation"),
        ("sqrt", "expression: "),
        ("s + 1", "s: expected numbers, not str"),
    ],
)
def test_what_has_no_value(expression: str, message: str) -> None:
    variables = {"s": "x"} if expression.startswith("s +") else {}
    assert error("calculator", expression=expression, variables=variables).startswith(message)
