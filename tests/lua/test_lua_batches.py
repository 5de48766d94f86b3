"""Artifact.storeMany and Session.createMany: what they take, what they leave, and how they fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmspellfs import Store


def test_store_many_stores_each_item_as_store_would(run: Callable[..., str], spell_store: Store) -> None:
    printed = run("""
        local id = Session.create({name = "s"})
        local before = Artifact.store(id, "user_input", "a.txt", "old", {tags = {"kept"}})
        local ids = Artifact.storeMany(id, {
            {type = "tool_result", name = "a.txt", content = "new"},
            {artifact_type = "agent_output", name = "d/b.json", content = 12.0, metadata = {
                mime_type = "text/x-b", description = "said", tags = {"t"}, author = "jane", custom = {n = 1}}},
            {"user_input", "c.bin", "\\0\\255"},
            {"user_input", "c.bin", "again", metadata = {}},
            {name = 5, content = ""},
        })
        assert(#ids == 5 and ids[3].sequence == ids[4].sequence and ids[1].sequence == before.sequence)
        local a, b = Artifact.get(id, "a.txt"), Artifact.get(id, ids[2])
        assert(a.content == "new" and a.version == 2 and a.tags[1] == "kept" and a.artifact_type == "tool_result")
        assert(b.content == "12.0" and b.mime_type == "text/x-b" and b.metadata.author == "jane" and b.metadata.n == 1)
        assert(b.metadata.description == "said" and b.tags[1] == "t")
        assert(Artifact.get(id, ids[3]).content == "\\0\\255" and Artifact.get(id, "c.bin").content == "again")
        assert(Artifact.get(id, "5").artifact_type == "user_input")
        Session.setCurrent(id)
        assert(#Artifact.store_many("", {}) == 0 and JSON.stringify(Artifact.storeMany(nil, {})) == "[]")
        print(#Artifact.list(id))
    """)
    assert printed == "4\n"
    events = [event for event in spell_store.sessions.events("s") if event.kind == "artifact.stored"]
    assert [event.fields["door"] for event in events] == ["lua"] * 6


BAD_ITEMS = {
    "5": "item 2: expected a table, got number",
    "JSON.null": "item 2 (name): expected a string",
    "{name = 'x'}": "item 2 (content): expected a string, got nil",
    "{name = 'x', content = {}}": "item 2 (content): expected a string, got table",
    "{name = 'x', content = true}": "item 2 (content): expected a string, got boolean",
    "{content = 'x'}": "item 2 (name): expected a string",
    "{name = '\\255', content = ''}": "item 2 (name): expected UTF-8 text",
    "{name = 'x', content = '', kind = 'x'}": "item 2: unknown key kind; expected type, name, content, metadata",
    "{name = 'x', content = '', [5] = 1}": "item 2: unknown key 5",
    "{name = 'x', content = '', type = 'A B'}": "item 2: type: expected one of",
    "{name = 'x', content = '', type = {}}": "item 2 (type): expected a string",
    "{name = '/x', content = ''}": "item 2: invalid name '/x'",
    "{name = 'x', content = '', metadata = 1}": "item 2 (metadata): expected a table",
    "{name = 'x', content = '', metadata = {tags = 'one'}}": "item 2 (metadata).tags: expected a list",
    "{name = 'x', content = '', metadata = {f = print}}": "item 2 (metadata).f: a function cannot",
    "{name = 'good', content = '', metadata = {tags = {''}}}": "item 2: tags: '' cannot be a tag",
}


@pytest.mark.parametrize("item", BAD_ITEMS)
def test_a_bad_item_is_named_and_nothing_is_stored(fails: Callable[[str], str], spell_store: Store, item: str) -> None:
    spell_store.sessions.create("s")
    message = fails(f"""
        Artifact.storeMany("s", {{ {{name = "first", content = "1"}}, {item}, {{name = "last", content = "3"}} }})""")
    assert message.startswith("t.lua:2: ")
    assert BAD_ITEMS[item] in message
    assert spell_store.artifacts.list("s") == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("Artifact.storeMany('s')", "Artifact.storeMany: argument 2 (items): expected a list of tables, got nil"),
        ("Artifact.storeMany('s', 'x')", "argument 2 (items): expected a list of tables, got string"),
        ("Artifact.storeMany('s', {[2] = {}})", "argument 2 (items): expected a list, with the keys 1, 2, 3"),
        ("Artifact.storeMany('s', {name = 'x', content = ''})", "expected a list, with the keys 1, 2, 3"),
        ("Artifact.storeMany('nobody', {})", "session not found: nobody"),
        ("Artifact.storeMany(nil, {})", "no current session is set"),
        ("Session.createMany()", "Session.createMany: argument 1 (items): expected a list of tables, got nil"),
        ("Session.createMany({name = 'x'})", "argument 1 (items): expected a list, with the keys 1, 2, 3"),
        ("Session.createMany({{name = 'x'}, 5})", "Session.createMany: item 2: expected a table"),
        ("Session.createMany({{name = 'x'}, {nam = 'x'}})", "Session.createMany: item 2: unknown key 'nam'"),
        ("Session.createMany({{name = 'x'}, {parent_session_id = 'y'}})", "item 2: session not found: y"),
        ("Session.createMany({{name = 'x'}, {tags = {''}}})", "item 2: tags: '' cannot be a tag"),
    ],
)
def test_a_bad_call_says_why_and_changes_nothing(
    fails: Callable[[str], str], spell_store: Store, call: str, said: str
) -> None:
    spell_store.sessions.create("s")
    assert said in fails(call)
    assert len(spell_store.sessions.list()) == 1


def test_create_many_makes_sessions_in_order_and_parents_among_them(run: Callable[..., str]) -> None:
    run("""
        local ids = Session.createMany({
            {name = "top", description = "d", tags = {"t"}, metadata = {k = 1}, created_by = "me"},
            {name = "below", parent_session_id = "top"}, {},
        })
        assert(#ids == 3)
        local top, below = Session.get(ids[1]), Session.get(ids[2])
        assert(top.name == "top" and top.description == "d" and top.tags[1] == "t" and top.metadata.k == 1)
        assert(top.created_by == "me" and below.parent_session_id == ids[1])
        assert(Session.get(ids[3]).name == "session-" .. ids[3]:sub(1, 8))
        assert(#Session.create_many({}) == 0)
    """)


def test_no_code_of_the_script_runs_for_an_item(run: Callable[..., str]) -> None:
    run("""
        local id = Session.create({name = "s"})
        local called = 0
        local item = setmetatable({name = "x", content = "1"}, {__index = function() called = called + 1 end})
        Artifact.storeMany(id, setmetatable({item}, {__len = function() called = called + 1 end}))
        assert(called == 0)
    """)


def test_thousands_cross_whole_and_in_order(run: Callable[..., str]) -> None:
    run("""
        local id, items = Session.create({name = "s"}), {}
        for n = 1, 1001 do items[n] = {name = "n" .. n, content = ("%d"):format(n)} end
        local ids = Artifact.storeMany(id, items)
        assert(#ids == 1001)
        for _, n in ipairs({1, 200, 201, 1000, 1001}) do
            local found = Artifact.get(id, ids[n])
            assert(found.name == "n" .. n and found.content == tostring(n) and found.sequence == n)
        end
    """)
