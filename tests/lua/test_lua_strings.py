from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs.lua.runtime import Script
from llmspellfs.model.times import iso

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]


def test_a_time_compares_with_and_subtracts_from_numbers(run: Run) -> None:
    run("""
    local id = Session.create()
    local at = Session.get(id).created_at
    assert(type(at) == "string" and at:match("^%d+%-%d%d%-%d%dT[%d:.]+Z$"))
    assert(at > os.time() - 60 and os.time() - 60 < at and at >= os.time() - 60)
    assert(at < os.time() + 60 and at <= os.time() + 60)
    assert(os.time() + 1 - at < 60 and at - (os.time() - 60) > 0 and at - at == 0)
    """)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.integers(-(2**34), 2**37))
def test_a_time_in_lua_is_the_moment_it_says(spell_store: Store, second: int) -> None:
    script = Script(spell_store)
    assert script._lua.eval(f'"{iso(second * 1_000_000_000)}" - 0'.encode()) == second


FAILURES = [
    ('"abc" < 5', "attempt to compare string with number"),
    ('5 < "abc"', "attempt to compare number with string"),
    ('"10" <= 5', "attempt to compare string with number"),
    ('"2026-13-01T00:00:00Z" < 5', "attempt to compare string with number"),
    ('{} < "x"', "attempt to compare table with string"),
    ('"2026-11-01T00:00:00Z" < {}', "attempt to compare string with table"),
    ('"x" - 1', "attempt to perform arithmetic on a string value"),
    ('1 - "x"', "attempt to perform arithmetic on a string value"),
    ('{} - "1"', "attempt to perform arithmetic on a table value"),
]


@pytest.mark.parametrize(("code", "message"), FAILURES)
def test_other_strings_fail_as_lua_has_them(fails: Callable[[str], str], code: str, message: str) -> None:
    assert fails(f"\nlocal _ = {code}") == f"t.lua:2: {message}"


def test_other_strings_work_as_lua_has_them(run: Run) -> None:
    run(r"""
    assert("10" - 3 == 7 and math.type("10" - 3) == "integer" and 10 - "0x10" == -6 and "5" * "2" == 10)
    assert("a" < "b" and ("x"):rep(3) == "xxx" and #"abc" == 3 and ("x").nothing == nil
      and ("x").sequence == nil)
    local other = setmetatable({}, {__lt = function() return "lt" end, __sub = function() return "sub" end})
    assert(("2026-11-01T00:00:00Z" < other) == true and other - "x" == "sub" and "x" - other == "sub")
    """)


def test_an_artifact_id_answers_for_its_parts(run: Run) -> None:
    run("""
    local s = Session.create()
    local id = Artifact.store(s, "tool_result", "a", "x")
    assert(type(id) == "string" and id.session_id == s and id.sequence == 1 and #id.content_hash == 64)
    assert(math.type(id.sequence) == "integer" and id == s .. "/1/" .. id.content_hash)
    """)
