from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from llmspellfs.errors import NotFound, ScriptFailed
from llmspellfs.lua.console import Console
from llmspellfs.lua.limits import Bounds
from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs import Store

Run = Callable[..., str]


def test_a_file_is_run_with_its_name_in_messages(spell_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "report.lua"
    path.write_bytes(b"\xef\xbb\xbf#!/usr/bin/env lua\nassert(arg[0]:match('report.lua$'))\nArtifact.list('x')\n")
    with pytest.raises(ScriptFailed, match=r"report\.lua:3: session not found: x$"):
        Script(spell_store).run_file(path)


def test_a_file_that_is_not_there(spell_store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Script(spell_store).run_file(tmp_path / "nix.lua")


def test_bytecode_is_refused(spell_store: Store) -> None:
    with pytest.raises(ScriptFailed, match="attempt to load a binary chunk"):
        Script(spell_store).run_code(b"\x1bLua")


def test_the_current_session_is_the_runtimes_own(spell_store: Store) -> None:
    session = spell_store.sessions.create("given")
    stream = BytesIO()
    script = Script(spell_store, session="given", stdout=stream)
    script.run_code("print(Session.getCurrent() == Session.get('').id, #Artifact.list())")
    Script(spell_store, stdout=stream).run_code("print(Session.getCurrent())")
    assert stream.getvalue() == b"true\t0\nnil\n"
    assert session.id


def test_a_session_that_is_not_there(spell_store: Store) -> None:
    with pytest.raises(NotFound):
        Script(spell_store, session="nix")


def test_what_is_of_other_products_is_nil(run: Run) -> None:
    assert run("print(Agent, Workflow)") == "nil\tnil\n"


def test_events_name_the_door(spell_store: Store, run: Run) -> None:
    run('Artifact.store(Session.create({name = "s"}), "tool_result", "a", "x")')
    assert {event.fields["door"] for event in spell_store.sessions.events("s")} == {"lua"}


def test_two_scripts_run_at_once_on_one_store(spell_store: Store) -> None:
    spell_store.sessions.create("shared")
    code = 'for i = 1, 40 do Artifact.store("shared", "tool_result", arg[1] .. i, "x") end'
    scripts = [Script(spell_store, args=[name]) for name in "ab"]
    threads = [threading.Thread(target=script.run_code, args=(code,)) for script in scripts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spell_store.artifacts.list("shared")) == 80


LEFT_BEHIND = """
local s = Session.create({name = "s"})
Event.subscribe("*", function(event) kept = event end)
Hook.register("before:artifact.stored", function(about) kept = about end)
co = coroutine.wrap(function() for each in pairs({s}) do coroutine.yield(each) end end)
co()
Artifact.store(s, "tool_result", "a", "x", {custom = {n = 1}})
pcall(Session.get, {})
error("not caught")
"""


@pytest.mark.parametrize("make", [Script, partial(Script, bounds=Bounds()), partial(Script, record=True), Console])
def test_nothing_of_a_script_stays_when_it_goes(spell_store: Store, make: Callable[..., Script]) -> None:
    def in_lua() -> int:
        gc.collect()
        gc.collect()  # what Lua has let go of in the first
        return sum(type(each).__name__ in {"_LuaFunction", "_LuaTable", "_LuaThread"} for each in gc.get_objects())

    before = in_lua()
    with pytest.raises(ScriptFailed, match="not caught"):
        make(spell_store, stdout=BytesIO()).run_code(LEFT_BEHIND)
    assert in_lua() == before
