from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llmspellfs import Store, errors
from llmspellfs.errors import NotFound, ScriptFailed
from llmspellfs.lua.errors import TOLD, Told, message, told
from llmspellfs.lua.runtime import Script

Run = Callable[..., str]


def every_class(base: type[errors.SpellError]) -> Iterator[type[errors.SpellError]]:
    yield base
    for below in base.__subclasses__():
        yield from every_class(below)


def test_every_error_class_stands_in_the_table() -> None:
    assert set(TOLD) == {one for one in every_class(errors.SpellError) if one.__module__ == "llmspellfs.errors"}


def test_a_class_of_elsewhere_is_told_as_its_base() -> None:
    class Mislaid(NotFound):
        pass

    assert told(Mislaid("x", "y")) is Told.ABSENT
    assert told(ValueError()) is Told.RAISED


def test_what_nobody_foresaw_is_one_line() -> None:
    assert message(KeyError("x")) == b"internal error: KeyError: 'x'"
    assert message(FileNotFoundError(2, "No such file", b"a\xff")) == b"a\\xff: No such file"
    assert message(MemoryError()) == b"not enough memory"


def test_an_error_has_the_line_of_the_call(fails: Callable[[str], str]) -> None:
    assert fails('\n\nSession.suspend("nowhere")') == "t.lua:3: session not found: nowhere"
    assert fails('local function f()\nlocal x = Artifact.list("nowhere")\nend\nf()').startswith("t.lua:2: ")


def test_a_function_given_to_pcall_directly_says_the_line_of_pcall(run: Run) -> None:
    assert run('\nprint(pcall(Session.suspend, "x"))') == "false\tt.lua:2: session not found: x\n"
    assert run('\nprint(select(2, pcall(function()\nSession.suspend("x") end)))') == "t.lua:3: session not found: x\n"


def test_errors_are_strings(run: Run) -> None:
    assert run("print(type(select(2, pcall(Session.fail, {}))))") == "string\n"


def test_what_does_not_exist_is_nil_and_a_message_from_lookups_only(run: Run) -> None:
    assert run("""
    print(Session.get("nix"))
    print(Session.load("nix"))
    print(Artifact.get(Session.create({name = "s"}), "nix"))
    print(Artifact.get("nix", "nix"))
    print(Tool.get("nix"))
    assert(not pcall(Session.suspend, "nix") and not pcall(Artifact.delete, Session.create(), "nix"))
    """).splitlines() == [
        "nil\tsession not found: nix", "nil\tsession not found: nix", "nil\tartifact not found: s:nix",
        "nil\tsession not found: nix", "nil\ttool not found: nix",
    ]  # fmt: skip


def test_the_traceback_is_the_scripts_own(spell_store: Store) -> None:
    with pytest.raises(ScriptFailed) as caught:
        Script(spell_store).run_code('local function inner()\nSession.suspend("x")\nend\ninner()', "@t.lua")
    traceback = caught.value.traceback
    assert "t.lua:4: in main chunk" in traceback
    assert "llmspellfs" not in traceback


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x =", "t.lua:1: unexpected symbol near <eof>"),
        ("error({})", "(error object is a table value)"),
        ("error(setmetatable({}, {__tostring = function() return 'shown' end}))", "shown"),
        ("error()", "(error object is a nil value)"),
        ("error('a\\nb', 0)", "a\nb"),
        ("error('\\xff', 0)", "\\xff"),
        ("local t = nil\nt.x = 1", "t.lua:2: attempt to index a nil value (local 't')"),
        ("local function f() return 1 + f() end f()", "t.lua:1: stack overflow"),
    ],
)
def test_a_scripts_own_errors(fails: Callable[[str], str], code: str, expected: str) -> None:
    assert fails(code).startswith(expected)


def test_an_error_in_a_coroutine_has_its_line(fails: Callable[[str], str]) -> None:
    assert fails("error(12)") == "12"
    # Lua's own coroutine.wrap puts the place of its call before the message.
    assert fails('coroutine.wrap(function()\nSession.suspend("x") end)()').endswith("t.lua:2: session not found: x")
