from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]


def test_a_session_is_made_with_all_that_is_given(run: Run) -> None:
    run("""
    local parent = Session.create({name = "parent"})
    local id = Session.create({
      name = "q4", description = "about", tags = {"a", "b"}, metadata = {ticket = "12", n = 3, f = 1.0,
        list = {}},
      parent_session_id = parent, created_by = "agent",
    })
    local s = Session.get(id)
    assert(s.id == id and s.name == "q4" and s.dirname == "q4" and s.description == "about"
      and s.status == "active")
    assert(#s.tags == 2 and s.tags[2] == "b" and s.parent_session_id == parent and s.created_by == "agent")
    assert(s.metadata.ticket == "12" and s.custom_metadata.ticket == "12" and s.ticket == "12" and s.f == 1.0)
    assert(math.type(s.n) == "integer" and math.type(s.f) == "float" and s.artifact_count == 0)
    assert(s.ended_at == nil and s.failure_reason == nil and s.nothing == nil)
    assert(Session.get(Session.create()).status == "active" and Session.children(parent)[1].id == id)
    """)


def test_a_field_hides_a_metadata_key_of_its_name(run: Run) -> None:
    run("""
    local s = Session.get(Session.create({metadata = {status = "mine", failure_reason = "mine", own = 1}}))
    assert(s.status == "active" and s.failure_reason == nil and s.metadata.status == "mine" and s.own == 1)
    s.own, s.replay_enabled = 2, true
    assert(s.own == 2 and s.replay_enabled)
    """)


def test_both_spellings_are_there(run: Run) -> None:
    run("""
    for camel, snake in pairs({setCurrent = "set_current", getCurrent = "get_current", getTags = "get_tags",
        setTags = "set_tags", addTag = "add_tag", removeTag = "remove_tag"}) do
      assert(Session[camel] and Session[camel] == Session[snake], camel)
    end
    for camel, snake in pairs({storeFile = "store_file", saveToFile = "save_to_file"}) do
      assert(Artifact[camel] and Artifact[camel] == Artifact[snake], camel)
    end
    """)


def test_the_lifecycle(run: Run, fails: Callable[[str], str]) -> None:
    run("""
    local id = Session.create()
    assert(Session.suspend(id) and Session.get(id).status == "suspended")
    assert(Session.load(id) == id and Session.get(id).status == "active")
    Session.suspend(id) Session.resume(id) Session.fail(id, "why")
    local s = Session.get(id)
    assert(s.status == "failed" and s.failure_reason == "why" and s.ended_at - os.time() < 5)
    """)
    assert fails('Session.create({name = "c"}) Session.complete("c") Session.resume("c")') == (
        "t.lua:1: session c is completed: cannot resume"
    )


def test_the_current_session(run: Run, fails: Callable[[str], str]) -> None:
    run("""
    assert(Session.getCurrent() == nil)
    local id = Session.create({name = "here"})
    Session.setCurrent("here")
    assert(Session.getCurrent() == id and #Artifact.list("") == 0 and Session.get().id == id)
    Artifact.store("", "tool_result", "a", "x")
    Artifact.store(nil, "tool_result", "b", "x")
    assert(#Artifact.list() == 2 and Session.save() == 1)
    Session.setCurrent(nil)
    assert(Session.getCurrent() == nil)
    """)
    assert run("print(#Artifact.list(''), select(2, Artifact.list('')))") == "0\tno current session is set\n"
    assert fails("Artifact.get('', 'a')") == (
        "t.lua:1: Artifact.get: argument 1 (session): none is given, and no current session is set"
    )
    assert fails("Session.setCurrent('nix')") == "t.lua:1: session not found: nix"


def test_lists_are_filtered(run: Run) -> None:
    run("""
    local a = Session.create({name = "alpha", tags = {"x", "y"}})
    local b = Session.create({name = "beta", tags = {"x"}})
    Session.complete(b)
    local function names(filter)
      local found = {}
      for i, s in ipairs(Session.list(filter)) do found[i] = s.name end
      return table.concat(found, " ")
    end
    assert(names() == "alpha beta" and names({}) == "alpha beta" and names({tags = {}}) == "alpha beta")
    assert(names({status = "completed"}) == "beta" and names({tags = {"x", "y"}}) == "alpha")
    assert(names({limit = 1, offset = 1}) == "beta"
      and names({sort_by = "name", order = "desc"}) == "beta alpha")
    assert(names({created_after = os.time() - 60}) == "alpha beta"
      and names({created_after = os.time() + 60}) == "")
    assert(names({created_before = os.time()}) == "alpha beta" and names({name_pattern = "al*"}) == "alpha")
    assert(names({created_after = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() - 3600)}) == "alpha beta")
    assert(names("status:active") == "alpha")
    Session.delete(a)
    assert(names() == "beta" and names({deleted = true}) == "alpha" and Session.restore(a) == a)
    """)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "Session.create({nmae = 'x'})",
            "Session.create: argument 1 (fields): unknown key 'nmae'; expected one of created_by, ",
        ),
        ("Session.create('x')", "Session.create: argument 1 (fields): expected a table, got string"),
        (
            "Session.create({tags = 'x'})",
            "Session.create: argument 1 (fields).tags: expected a list of strings, got string",
        ),
        (
            "Session.create({tags = {a = 1}})",
            "Session.create: argument 1 (fields).tags: expected a list, with the keys 1, 2, 3",
        ),
        (
            "Session.create({metadata = {1, 2}})",
            "Session.create: argument 1 (fields).metadata: expected a table with names, got a list",
        ),
        (
            "Session.create({metadata = {f = print}})",
            "Session.create: argument 1 (fields).metadata.f: a function cannot be said in JSON",
        ),
        (
            "Session.create({metadata = {f = 0/0}})",
            "Session.create: argument 1 (fields).metadata.f: nan cannot be said in JSON",
        ),
        ("Session.create({parent_session_id = 'nix'})", "session not found: nix"),
        (
            "Session.list({status = 'open'})",
            "Session.list: argument 1 (filter).status: expected one of active, suspended, completed, failed, not ",
        ),
        (
            "Session.list({limit = -1})",
            "Session.list: argument 1 (filter).limit: expected a whole number, 0 or more, got -1",
        ),
        (
            "Session.list({limit = 1.5})",
            "Session.list: argument 1 (filter).limit: expected a whole number, 0 or more, got 1.5",
        ),
        (
            "Session.list({created_after = {}})",
            "Session.list: argument 1 (filter).created_after: expected epoch seconds or an ISO 8601",
        ),
        ("Session.get(12)", "Session.get: argument 1 (session): expected a session's id or name, got 12"),
        ("Session.suspend()", "Session.suspend: argument 1 (session): none is given, and no current session is set"),
        ("Session.addTag(Session.create())", "Session.addTag: argument 2 (tag): expected a string, got nil"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    spell_store: Store, fails: Callable[[str], str], code: str, message: str
) -> None:
    assert fails(code).startswith(f"t.lua:1: {message}")
    assert spell_store.sessions.list(query=None, tags=["x"]) == []


def test_tags_change_in_any_state(run: Run) -> None:
    run("""
    local id = Session.create({tags = {"a"}})
    Session.complete(id)
    Session.addTag(id, "b")
    Session.addTag(id, {"c", "d"})
    Session.removeTag(id, "a", "d")
    assert(table.concat(Session.getTags(id), " ") == "b c")
    Session.setTags(id, {"z"})
    assert(Session.getTags(id)[1] == "z" and JSON.stringify(Session.setTags(id, {})) == "[]")
    """)


def test_update_replaces_what_is_given(run: Run) -> None:
    run("""
    local parent = Session.create({name = "p"})
    local id = Session.create({name = "old", description = "d", metadata = {a = 1},
      parent_session_id = parent})
    Session.update(id, {name = "new", metadata = {b = 2}})
    local s = Session.get(id)
    assert(s.name == "new" and s.description == "d" and s.a == nil and s.b == 2
      and s.parent_session_id == parent)
    Session.update(id, {parent_session_id = JSON.null})
    assert(Session.get(id).parent_session_id == nil)
    """)


def test_events_and_checkpoints(run: Run) -> None:
    run("""
    local id = Session.create({name = "s"})
    assert(Session.save(id) == 1 and Session.save(id, "second") == 2)
    local points = Session.checkpoints(id)
    assert(#points == 2 and points[1].label == nil and points[2].label == "second"
      and points[2].created_at > 0)
    local events = Session.events(id)
    assert(events[1].kind == "session.created" and events[1].seq == 1 and events[1].line:match("^{"))
    assert(#Session.events(id, {after = 1, kinds = {"session.saved"}, limit = 1}) == 1)
    """)


def test_the_door_and_the_actor_are_in_the_trail(spell_store: Store) -> None:
    Script(spell_store).run_code('Session.suspend(Session.create({name = "s"}))')
    assert {event.fields["door"] for event in spell_store.sessions.events("s")} == {"lua"}
