from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.runtime import Script
from llmspellfs.lua.values import Values, decode, encode, number_text

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.binary(max_size=8).map(decode)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def script(spell_store: Store) -> Script:
    return Script(spell_store)


@pytest.fixture
def values(script: Script) -> Values:
    return script._values


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4) | st.lists(JSON, max_size=4))
def test_what_json_can_say_survives_lua_with_its_types(values: Values, value: object) -> None:
    assert same(values.from_lua(values.to_lua(value), "value"), value)


def test_integers_beyond_64_bits_become_floats_as_numerals_in_lua_do(values: Values) -> None:
    assert values.to_lua(2**63 - 1) == 2**63 - 1
    assert isinstance(values.to_lua(2**63), float)
    assert isinstance(values.from_lua(values.to_lua([2**70]), "value")[0], float)  # type: ignore[index]


def test_bytes_that_are_not_utf8_come_back_as_they_were() -> None:
    assert encode(decode(b"a\xff\xfe\xc3\xa9")) == b"a\xff\xfe\xc3\xa9"
    assert encode("\ud83d") == b"\xed\xa0\xbd"


@pytest.mark.parametrize(("number", "text"), [(1, "1"), (1.0, "1.0"), (-2.5, "-2.5"), (1e100, "1e+100")])
def test_numbers_are_text_as_in_lua(number: float, text: str) -> None:
    assert number_text(number) == text


def test_a_python_object_has_no_form_in_lua(values: Values) -> None:
    with pytest.raises(InvalidValue, match="no form in Lua"):
        values.to_lua([object()])


REFUSED = [
    ("{1, 2, a = 1}", "a table with both positions and names"),
    ("{[2] = 1}", "a list with gaps"),
    ("{[0] = 1}", "a list with gaps"),
    ("{[1.5] = 1}", "expected strings for keys, not a number"),
    ("{[true] = 1}", "expected strings for keys, not a boolean"),
    ("{deep = {0/0}}", "x.deep[1]: nan cannot be said in JSON"),
    ("{a = 1/0}", "x.a: inf cannot be said in JSON"),
    ("{a = print}", "x.a: a function cannot be said in JSON"),
    ("{a = coroutine.create(print)}", " cannot be said in JSON"),
    ("{a = io.stderr}", "x.a: a userdata cannot be said in JSON"),
    ("(function() local t = {} t.a = {t} return t end)()", "x.a[1]: a table that contains itself"),
    ("(function() local t = {} for _ = 1, 70 do t = {t} end return t end)()", "nested more than 64 deep"),
]


@pytest.mark.parametrize(("code", "message"), REFUSED)
def test_what_json_cannot_say_is_refused_with_its_place(script: Script, code: str, message: str) -> None:
    raw = script._lua.eval(code.encode())
    with pytest.raises(InvalidValue) as caught:
        script._values.from_lua(raw, "x")
    assert message in caught.value.message


def test_the_same_table_twice_is_no_cycle(script: Script) -> None:
    raw = script._lua.eval(b"(function() local t = {1} return {t, t} end)()")
    assert script._values.from_lua(raw, "x") == [[1], [1]]


def test_custom_metadata_keeps_bytes_that_are_not_utf8(run: Run) -> None:
    code = r"""
    local s = Session.create()
    local id = Artifact.store(s, "tool_result", "a", "x", {raw = "a\xff\0", list = {"\xfe"},
      none = JSON.null})
    local custom = Artifact.get(s, id).metadata.custom
    assert(custom.raw == "a\xff\0" and custom.list[1] == "\xfe" and custom.none == JSON.null)
    """
    run(code)
