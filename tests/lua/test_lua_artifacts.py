from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., str]


def test_what_is_stored_is_what_one_gets(run: Run) -> None:
    run(r"""
    local s = Session.create({name = "s"})
    local bytes = ("\0\xff\r\n"):rep(50000)
    local id = Artifact.store(s, "agent_output", "dir/a.bin", bytes, {
      mime_type = "image/png", description = "about", tags = {"x", "y"}, source = "tool", version = "1.0",
        n = 3,
      nested = {deep = {1, 2}},
    })
    local a = Artifact.get(s, id)
    assert(a.content == bytes and a.id == id and a.name == "dir/a.bin" and a.version == 1)
    local m = a.metadata
    assert(m.name == "dir/a.bin" and m.artifact_type == "agent_output" and m.mime_type == "image/png")
    assert(m.size == #bytes and m.description == "about" and table.concat(m.tags, ",") == "x,y")
    assert(m.custom.source == "tool" and m.source == "tool" and m.version == "1.0" and m.nested.deep[2] == 2)
    assert(math.type(m.n) == "integer" and m.nothing == nil and m.created_at > 0 and #m.content_hash == 64)
    assert(m.custom.mime_type == nil and Artifact.get(s, "dir/a.bin").content == bytes)
    """)


def test_an_id_may_be_a_table_of_its_parts(run: Run) -> None:
    run("""
    local s = Session.create()
    local id = Artifact.store(s, "tool_result", "a", "x")
    local parts = {session_id = id.session_id, sequence = id.sequence, content_hash = id.content_hash}
    assert(Artifact.get(s, parts).content == "x" and Artifact.get(s, Artifact.list(s)[1]).content == "x")
    assert(Artifact.exists(s, parts) and not Artifact.exists(s, "b") and Artifact.exists(s, "a"))
    """)


def test_listings_have_their_fields_in_the_order_of_sequence(run: Run) -> None:
    run("""
    local s = Session.create()
    for i = 3, 1, -1 do Artifact.store(s, "tool_result", i .. ".txt", ("x"):rep(i), {tags = {"t" .. i},
      k = i}) end
    local list = Artifact.list(s)
    assert(#list == 3 and list[1].name == "3.txt" and list[1].size == 3
      and list[1].artifact_type == "tool_result")
    assert(list[1].created_at <= os.time() + 1 and list[1].tags[1] == "t3" and list[1].metadata.k == 3)
    assert(list[1].content == nil and #Artifact.list(s, {limit = 1, offset = 2}) == 1)
    assert(JSON.stringify(Artifact.list(Session.create())) == "[]")
    """)


def test_queries_filter(run: Run) -> None:
    run("""
    local s, other = Session.create(), Session.create()
    Artifact.store(s, "user_input", "a.csv", ("x"):rep(100), {tags = {"report", "q4"}})
    Artifact.store(s, "tool_result", "b.txt", "xx", {tags = {"report"}})
    Artifact.store(other, "user_input", "c.csv", "xxx")
    local function names(filter)
      local found = {}
      for i, a in ipairs(Artifact.query(filter)) do found[i] = a.name end
      return table.concat(found, " ")
    end
    assert(names() == "a.csv b.txt c.csv" and names({session_id = s}) == "a.csv b.txt")
    assert(names({type = "user_input"}) == "a.csv c.csv"
      and names({session_id = s, tags = {"report", "q4"}}) == "a.csv")
    assert(names({name_pattern = "*.csv", session_id = other}) == "c.csv"
      and names({min_size = 3, max_size = 50}) == "c.csv")
    assert(names({created_after = os.time() - 60, created_before = os.time()}) == "a.csv b.txt c.csv")
    assert(names({limit = 1, offset = 1}) == "b.txt" and names("type:tool_result") == "b.txt")
    assert(names({sort_by = "size", order = "desc", limit = 1}) == "a.csv")
    Session.setCurrent(other)
    assert(names({session_id = ""}) == "c.csv")
    """)


def test_an_update_takes_metadata_as_a_table_too(run: Run) -> None:
    assert run("""
    local s = Session.create({name = "s"})
    Artifact.store(s, "tool_result", "a", "x", {k = 1, tags = {"t"}})
    local function updated(changes)
      Artifact.update(s, "a", changes)
      local m = Artifact.get(s, "a").metadata
      print(JSON.encode(m.custom), table.concat(m.tags, " "), m.description)
    end
    updated({metadata = {a = 1, description = "d"}})
    updated({metadata = {a = 2, tags = {"u"}}, b = 3, tags = {"v"}})
    updated({metadata = {}})
    """).splitlines() == ['{"a":1}\tt\td', '{"a":2,"b":3}\tv\td', '{"a":2,"b":3}\tv\td']


def test_versions_updates_deletion_and_restoring(run: Run) -> None:
    run("""
    local s = Session.create()
    local first = Artifact.store(s, "tool_result", "a", "one", {k = 1})
    local second = Artifact.store(s, "tool_result", "a", "two")
    assert(Artifact.get(s, "a").metadata.k == 1 and Artifact.get(s, first).content == "one")
    local versions = Artifact.versions(s, second)
    assert(#versions == 2 and versions[1].version == 1 and versions[2].size == 3)
    assert(Artifact.update(s, second, {name = "b", description = "d", tags = {"t"}, k = 2}) == second)
    local m = Artifact.get(s, "b").metadata
    assert(m.description == "d" and m.k == 2 and m.artifact_type == "tool_result" and m.tags[1] == "t")
    assert(Artifact.delete(s, "b") and not Artifact.exists(s, "b") and #Artifact.list(s) == 0)
    assert(Artifact.restore(s, second, {name = "c"}) == second and Artifact.get(s, "c").content == "two")
    """)


def test_metadata_may_stand_in_a_table_custom(run: Run) -> None:
    run("""
    local s = Session.create()
    Artifact.store(s, "tool_result", "a", "x", {custom = {inner = 1}, outer = 2})
    local m = Artifact.get(s, "a").metadata
    assert(m.custom.inner == 1 and m.custom.outer == 2 and m.custom.custom == nil)
    """)


def test_files_go_in_and_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(bytes(range(256)) * 4096)
    run(f"""
    local s = Session.create()
    local id = Artifact.storeFile(s, "{tmp_path}/in.csv", "user_input", {{purpose = "import"}})
    local a = Artifact.get(s, id)
    assert(a.metadata.name == "in.csv" and a.metadata.purpose == "import"
      and a.metadata.mime_type == "text/csv")
    assert(Artifact.saveToFile(s, id, "{tmp_path}/out") == 1048576)
    assert(not pcall(Artifact.storeFile, s, "{tmp_path}/nix", "user_input"))
    assert(not pcall(Artifact.saveToFile, s, id, "{tmp_path}/no/where"))
    """)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in.csv").read_bytes()


def test_another_sessions_artifact_is_refused(fails: Callable[[str], str]) -> None:
    assert "belongs to another session" in fails("""
    local id = Artifact.store(Session.create(), "tool_result", "a", "x")
    Artifact.get(Session.create({name = "other"}), id)
    """)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "Artifact.store(s, 'tool_result', 'a', nil)",
            "Artifact.store: argument 4 (content): expected a string of bytes, got nil",
        ),
        (
            "Artifact.store(s, 'tool_result', 'a', {})",
            "Artifact.store: argument 4 (content): expected a string of bytes, got table",
        ),
        ("Artifact.store(s, 'tool_result', nil, 'x')", "Artifact.store: argument 3 (name): expected a string, got nil"),
        ("Artifact.store(s, 'Bad Type', 'a', 'x')", "Artifact.store: argument 2 (type): expected one of user_input"),
        ("Artifact.store(s, 'tool_result', '', 'x')", "Artifact.store: argument 3 (name): invalid name ''"),
        ("Artifact.store(s, 'tool_result', '../a', 'x')", "Artifact.store: argument 3 (name): invalid name '../a'"),
        ("Artifact.store(s, 'tool_result', 'a\\0b', 'x')", "Artifact.store: argument 3 (name): invalid name"),
        ("Artifact.store(s, 'tool_result', ('x'):rep(256), 'x')", "Artifact.store: argument 3 (name): invalid name"),
        ("Artifact.store(s, 'tool_result', 'a\\xff', 'x')", "Artifact.store: argument 3 (name): expected UTF-8 text"),
        (
            "Artifact.store(s, 'tool_result', 'a', 'x', {description = '\\xff'})",
            "Artifact.store: argument 5 (metadata).description: ",
        ),
        ("Session.get('\\xff')", "Session.get: argument 1 (session): expected UTF-8 text"),
        (
            "Artifact.store(s, 'tool_result', 'a', 'x', {f = print})",
            "Artifact.store: argument 5 (metadata).f: a function",
        ),
        (
            "Artifact.store(s, 'tool_result', 'a', 'x', {f = {[3] = 1}})",
            "Artifact.store: argument 5 (metadata).f: a list with gaps",
        ),
        (
            "Artifact.store(s, 'tool_result', 'a', 'x', {1})",
            "Artifact.store: argument 5 (metadata): expected strings for keys",
        ),
        ("Artifact.query({tag = {'x'}})", "Artifact.query: argument 1 (filter): unknown key 'tag'"),
        ("Artifact.query('size:>lots')", "Artifact.query: argument 1 (filter): a size such as"),
        (
            "Artifact.get(s, {})",
            "Artifact.get: argument 2 (artifact): expected a table with session_id, sequence and content_hash",
        ),
        ("Artifact.delete(s)", "Artifact.delete: argument 2 (artifact): expected an artifact's id or name, got nil"),
        ("Artifact.storeFile(s, '/nowhere/at/all', 'user_input')", "file not found: /nowhere/at/all"),
        ("Session.complete(s) Artifact.store(s, 'tool_result', 'a', 'x')", "session s is completed"),
        (
            "Session.suspend(s) Artifact.store(s, 'tool_result', 'a', 'x')",
            "session s is suspended: resume it first",
        ),
    ],
)
def test_bad_input_is_one_line(fails: Callable[[str], str], call: str, message: str) -> None:
    assert fails(f"local s = Session.create({{name = 's'}})\n{call}").startswith(f"t.lua:2: {message}")


def test_numbers_are_content_as_lua_would_write_them(run: Run) -> None:
    assert (
        run("""
    local s = Session.create()
    Artifact.store(s, "tool_result", "a", 12) Artifact.store(s, "tool_result", "b", 1.0)
    print(Artifact.get(s, "a").content, Artifact.get(s, "b").content)
    """)
        == "12\t1.0\n"
    )
