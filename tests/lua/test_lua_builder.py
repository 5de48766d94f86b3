from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]


def test_a_session_is_built_from_what_was_gathered(run: Run) -> None:
    run("""
    local parent = Session.create({name = "p"})
    local id = Session.builder():name("q4"):description("about"):tag("a"):tags({"b", "c"}):tag("d")
      :metadata({k = 1, list = {1, 2}}):metadata({k = 2, null = JSON.null}):parent(parent):build()
    local s = Session.get(id)
    assert(s.name == "q4" and s.description == "about" and s.status == "active" and s.parent_session_id == parent)
    assert(table.concat(s.tags, " ") == "a b c d")
    assert(s.metadata.k == 2 and s.metadata.list[2] == 2 and s.metadata.null == JSON.null)
    """)


def test_an_empty_builder_makes_a_session_as_create_does(run: Run) -> None:
    run("""
    local s = Session.get(Session.builder():build())
    assert(s.name:match("^session%-") and #s.tags == 0 and next(s.metadata) == nil and s.parent_session_id == nil)
    """)


def test_builders_share_nothing_and_may_build_again(run: Run) -> None:
    run("""
    local given = {"a"}
    local one, two = Session.builder():name("one"):tags(given), Session.builder():name("two")
    given[1] = "changed"
    local first, second = one:build(), one:tag("b"):build()
    assert(first ~= second and #Session.getTags(first) == 1 and #Session.getTags(second) == 2)
    assert(Session.getTags(first)[1] == "a" and #Session.getTags(two:build()) == 0)
    """)


def test_the_parent_may_be_the_current_session(run: Run) -> None:
    run("""
    local p = Session.create({name = "p"})
    Session.setCurrent(p)
    assert(Session.get(Session.builder():parent(""):build()).parent_session_id == p)
    assert(Session.get(Session.builder():build()).parent_session_id == nil)
    """)


def test_hooks_see_what_a_builder_makes(run: Run) -> None:
    assert run("""
    Hook.register("before:session.created", function(about) print(about.name) end)
    Session.builder():name("seen"):build()
    """) == "seen\n"  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Session.builder().name('x')", "Session.builder:name: expected a builder, got string; call it with a colon"),
        ("Session.builder().build({})", "Session.builder:build: expected a builder, got table; call it with a colon"),
        ("Session.builder():name()", "Session.builder:name: argument 1 (name): expected a string, got nil"),
        ("Session.builder():tags({1, {}})", "Session.builder:tags: argument 1 (tags)[2]: expected a string, got table"),
        (
            "Session.builder():metadata({f = print})",
            "Session.builder:metadata: argument 1 (metadata).f: a function cannot be said in JSON",
        ),
        (
            "Session.builder():parent():build()",
            "Session.builder:parent: argument 1 (session): none is given, and no current session is set",
        ),
        ("Session.builder():tag(''):build()", "Session.create: argument 1 (fields).tags"),
        ("Session.builder():nmae('x')", "attempt to call a nil value (method 'nmae')"),
    ],
)
def test_a_misuse_is_one_line(fails: Callable[[str], str], code: str, message: str) -> None:
    assert fails(code).startswith(f"t.lua:1: {message}")


def test_a_builder_gives_nothing_away(run: Run) -> None:
    assert run("""
    local b = Session.builder()
    print(getmetatable(b), next(b), pcall(setmetatable, b, {}))
    """) == "false\tnil\tfalse\tcannot change a protected metatable\n"  # fmt: skip
