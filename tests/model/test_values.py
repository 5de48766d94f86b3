"""Metadata, tags, types: what JSON can say, and nothing else."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import canonical, check_metadata, check_tags, check_text, check_type, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_what_json_says_passes_as_it_is(value: dict[str, Any]) -> None:
    checked = check_metadata(value)
    assert checked == value
    assert checked is not value
    assert json.loads(canonical(checked)) == value
    assert canonical(checked).isascii()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None, [], "x", 1, {1: 2}, {"a": {None: 1}}, {"a": math.nan}, {"a": [math.inf]}, {"a": b"bytes"}, {"a": {1, 2}},
        {"a": object()}, {"a": print}, {"a": nested(65)}, {"a": "x" * (1 << 20)}, {"a": 1 << 2000},
        {"a": "\ud900"}, {"\ud800": 1}, {"a": ["\udfff"]}, {"a": {"\udb80x": 1}},
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_a_bad_value(value: Any) -> None:
    with pytest.raises(InvalidValue, match="metadata"):
        check_metadata(value)


def test_bytes_that_are_no_text_are_kept_as_python_keeps_them() -> None:
    told = {os.fsdecode(b"\xff"): os.fsdecode(b"caf\xe9")}
    assert check_metadata(told) == told


def test_where_it_went_wrong_is_said() -> None:
    with pytest.raises(InvalidValue, match=r"custom\.a\[1\]\.b: nan cannot be said in JSON"):
        check_metadata({"a": [1, {"b": math.nan}]}, "custom")


@pytest.mark.parametrize(
    "text", ["", "{", '{"a":}', "NaN", "[Infinity]", "[" * 5000, b"\xff", "1 2", "[" * 70 + "]" * 70]
)
def test_bad_json_says_where(text: str | bytes) -> None:
    with pytest.raises(InvalidValue, match="sidecar"):
        parse_json(text, "sidecar")


def test_json_text_and_bytes_are_read() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, true, "\xc3\xbc"]}', "x") == {"a": [1, 2.5, None, True, "ü"]}
    with pytest.raises(InvalidValue, match="line 2 column 7"):
        parse_json('{\n  "a" 1}', "x")


def test_tags_keep_their_order_without_repeats() -> None:
    assert check_tags(["b", "a", "b"]) == ("b", "a")
    assert check_tags(tag for tag in ("x y", "ü", "a/b")) == ("x y", "ü", "a/b")
    assert check_tags(None) == check_tags(()) == ()


@pytest.mark.parametrize("tags", ["ab", b"ab", {"a": 1}, 7, [""], ["."], [".."], ["a\nb"], ["a\0"], ["x" * 256], [7],
                                  ["\udcff"], [None], ["a\tb"]])  # fmt: skip
def test_what_cannot_be_a_tag(tags: Any) -> None:
    with pytest.raises(InvalidValue, match="tags") as caught:
        check_tags(tags)
    caught.value.message.encode("utf-8")


def test_types_are_known_or_small_words() -> None:
    for name in ("user_input", "tool_result", "agent_output", "system_generated", "my.type-1", "x" * 64):
        assert check_type(name) == name
    wrong: list[object] = ["", "X", "a b", "x" * 65, "ü", None, "a\n"]
    for value in wrong:
        with pytest.raises(InvalidValue, match="type"):
            check_type(value)


def test_text_is_text_of_64_kib() -> None:
    assert check_text("ü" * 32768, "d") == "ü" * 32768
    for text in ("ü" * 32769, 7, b"x", None, "\udcff"):
        with pytest.raises(InvalidValue, match="d"):
            check_text(text, "d")
