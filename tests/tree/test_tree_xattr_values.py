"""Metadata values through extended attributes and back: nothing changes that is written back as it was read."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmspellfs.model.values import check_metadata, check_tags
from llmspellfs.tree.xattr_values import decode, decode_tags, encode, encode_tags

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
NOT_TEXT = st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | NOT_TEXT
LIKE_JSON = (NUMBERS | TEXTS | st.none() | st.booleans()).map(json.dumps)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS | LIKE_JSON
VALUES = st.recursive(
    PLAIN, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3), max_leaves=8
)
TAGS = st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=9))


@given(VALUES)
@example("5")
@example('"5"')
@example("\udcc3\udca9")
@example({"k": "\udcff"})
@example(-0.0)
@example(1e22)
def test_a_value_comes_back_with_its_type(value: object) -> None:
    checked = check_metadata({"k": value})["k"]
    again = decode(encode(checked))
    assert repr(again) == repr(checked)


@given(st.binary(max_size=30) | VALUES.map(encode) | LIKE_JSON.map(lambda text: text.encode("utf-8", "replace")))
@example(b"1.10")
@example(b"1e400")
@example(b'"\xff"')
@example(b"[" * 70)
def test_bytes_come_back_as_they_are_unless_they_are_json_to_be_read(raw: bytes) -> None:
    value = decode(raw)
    if raw[:1] in {b"[", b"{", b'"', b" ", b"\n", b"\r", b"\t"}:
        assert repr(decode(encode(value))) == repr(value)
    else:
        assert encode(value) == raw


NOT_NUMBERS = ["1.10", "1e5", "-0", "007", "1e400", "3.14159265358979323846", "NaN", "5\n", "9" * 400]


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_a_number_in_another_spelling_stays_text(text: str) -> None:
    assert decode(text.encode()) == text
    assert encode(text) == text.encode()


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("-2.5", -2.5), ("1e+22", 1e22), ("true", True), ("null", None)])
def test_a_number_in_its_own_spelling_is_one(text: str, value: object) -> None:
    assert repr(decode(text.encode())) == repr(value)
    assert encode(text) == json.dumps(text).encode()


@given(TAGS)
@example(["[x"])
@example([" x ", "y"])
@example(["a,b"])
def test_tags_come_back(tags: list[str]) -> None:
    printable = [tag for tag in tags if tag.isprintable() and tag not in {".", ".."}]
    checked = check_tags(printable)
    assert decode_tags(encode_tags(checked)) == checked
