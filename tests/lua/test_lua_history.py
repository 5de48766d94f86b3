"""What scripts see of the past, and their ways back: events, checkpoints, diff, fork, rollback; and paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs import Store

Run = Callable[..., str]

STORY = """
local s = Session.create({name = "s", tags = {"old"}, metadata = {k = 1}})
Artifact.store(s, "tool_result", "a.txt", "one\\ntwo\\n")
Artifact.store(s, "tool_result", "gone", "x")
Artifact.store(s, "tool_result", "same", "unchanged", {k = 1})
assert(Session.save(s, "first") == 1)
Artifact.store(s, "tool_result", "a.txt", "one\\n2\\n")
Artifact.update(s, "same", {k = 2})
Artifact.delete(s, "gone")
Artifact.store(s, "tool_result", "new", "n")
Session.addTag(s, "new")
"""
"""A session with a checkpoint, and changes of every sort after it."""


def test_events_are_filtered_by_kind_seq_and_time(run: Run) -> None:
    run(
        STORY
        + """
    local function seqs(options)
      local found = {}
      for i, event in ipairs(Session.events(s, options)) do found[i] = event.seq end
      return table.concat(found, " ")
    end
    assert(seqs() == "1 2 3 4 5 6 7 8 9 10" and seqs({}) == seqs())
    assert(seqs({after = 3, before = 6}) == "4 5" and seqs({from = 3, to = 6}) == "3 4 5 6")
    assert(seqs({from = 3, after = 3, to = 6, before = 6}) == "4 5" and seqs({from = 0, limit = 2}) == "1 2")
    assert(seqs({from = 20}) == "" and seqs({to = 0}) == "" and seqs({after = math.maxinteger}) == "")
    assert(seqs({to = math.maxinteger, after = 8}) == "9 10")
    assert(seqs({kinds = {"session.*"}}) == "1 5 10" and seqs({kinds = {"artifact.deleted", "*.saved"}}) == "5 8")
    local first = Session.events(s)[1]
    assert(seqs({created_before = first.at}) == "1" and seqs({created_after = first.at}) == seqs())
    assert(seqs({created_after = os.time() + 60}) == "" and seqs({created_before = os.time()}) == seqs())
    assert(seqs({created_before = os.time() - 60}) == "" and seqs({created_after = os.time() - 60}) == seqs())
    """
    )


def test_a_diff_says_what_changed_since_the_last_checkpoint(run: Run) -> None:
    run(
        STORY
        + """
    local found, by_path = Session.diff(s), {}
    for _, change in ipairs(found.changes) do by_path[change.path] = change end
    assert(#found.changes == 4 and by_path["a.txt"].kind == "changed" and by_path["new"].kind == "added")
    assert(by_path["gone"].kind == "removed" and by_path["gone"].new == nil and by_path["gone"].old.size == 1)
    assert(by_path["same"].kind == "described" and by_path["same"].fields[1].name == "custom")
    assert(by_path["same"].fields[1].old.k == 1 and by_path["same"].fields[1].new.k == 2)
    assert(by_path["a.txt"].old.version == 1 and by_path["a.txt"].new.version == 2 and by_path["a.txt"].text == nil)
    assert(#found.fields == 1 and found.fields[1].name == "tags" and #found.fields[1].new == 2)
    assert(JSON.parse(JSON.stringify(found)).changes[1].path)
    """
    )


def test_a_diff_of_two_moments_and_of_two_sessions(run: Run) -> None:
    assert run(STORY + """
    local function paths(session, options)
      local found = {}
      for i, one in ipairs(Session.diff(session, options).changes) do found[i] = one.kind .. " " .. one.path end
      table.sort(found)
      return table.concat(found, ", ")
    end
    print(paths(s, {from = {seq = 2}, to = {checkpoint = 1}}))
    print(paths(s, {from = "2", to = "c1"}))
    local other = Session.create({name = "other@c1"})
    Artifact.store(other, "tool_result", "new", "n")
    print(paths(s, {other = other}))
    print(paths(s, {from = "2", other = "other@c1"}))
    print(paths(other, {other = s, to = "1"}))
    Session.setCurrent(other)
    print(paths("", {from = "1"}), Session.diff(s, {other = "", from = "c1"}).changes[1].path)
    """).splitlines() == [
        "added gone, added same", "added gone, added same", "removed a.txt, removed same",
        "added new, removed a.txt", "removed new", "added new\ta.txt",
    ]  # fmt: skip


def test_a_diff_has_text_where_it_is_asked_for(run: Run) -> None:
    run(
        STORY
        + r"""
    Artifact.store(s, nil, "binary", "\0")
    local by_path = {}
    for _, change in ipairs(Session.diff(s, {text = true}).changes) do by_path[change.path] = change end
    assert(by_path["a.txt"].text == "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    assert(by_path["binary"].text == nil and by_path["same"].text == nil and by_path["gone"].text)
    """
    )


def test_a_fork_has_what_there_was_at_the_point(run: Run) -> None:
    run(
        STORY
        + """
    local now = Session.fork(s, "now")
    local was = Session.fork(s, "was", {at = {checkpoint = 1}, created_by = "me"})
    assert(Session.get(now).parent_session_id == s and Session.get(was).created_by == "me")
    assert(Artifact.getContent(now, "a.txt") == "one\\n2\\n" and Artifact.getContent(was, "a.txt") == "one\\ntwo\\n")
    assert(Artifact.exists(was, "gone") and not Artifact.exists(now, "gone") and not Artifact.exists(was, "new"))
    local early = Session.fork(s, "early", {at = "2"})
    assert(#Artifact.list(early) == 1)
    """
    )


def test_a_rollback_brings_back_what_was(run: Run) -> None:
    run(
        STORY
        + """
    assert(Session.rollback("s", {checkpoint = 1}) == s)
    assert(Artifact.getContent(s, "a.txt") == "one\\ntwo\\n" and Artifact.exists(s, "gone"))
    assert(not Artifact.exists(s, "new") and Artifact.get(s, "same").metadata.k == 1 and #Session.getTags(s) == 1)
    Session.rollback(s, {seq = 10})
    assert(Artifact.exists(s, "new") and not Artifact.exists(s, "gone"))
    Session.rollback(s, {time = Session.events(s)[2].at})
    assert(#Artifact.list(s) == 1)
    """
    )


def test_a_point_may_be_epoch_seconds(run: Run) -> None:
    run(
        STORY
        + """
    assert(#Session.diff(s, {from = {time = os.time()}}).changes == 0)
    local fork = Session.fork(s, "f", {at = {time = os.time() + 0.0}})
    assert(#Artifact.list(fork) == 3)
    """
    )


@pytest.mark.parametrize("seconds", ["0/0", "1e300", "math.huge", "-1", "-1e12"])
def test_a_point_in_no_time_at_all_is_refused(fails: Callable[[str], str], seconds: str) -> None:
    assert fails(f"{STORY}Session.fork(s, 'f', {{at = {{time = {seconds}}}}})").startswith(
        "t.lua:12: Session.fork: argument 3 (options).at.time: expected epoch seconds or an ISO 8601 time, got "
    )


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("1", 'expected a table with checkpoint, seq or time, or a string such as "c1", "12", "2h", got 1'),
        ("{}", "expected one of checkpoint, seq and time, got 0"),
        ("{seq = 1, checkpoint = 1}", "expected one of checkpoint, seq and time, got 2"),
        ("{seq = 'x'}", None),
        ("{sec = 1}", "unknown key 'sec'; expected one of checkpoint, seq, time"),
    ],
)
def test_a_point_that_could_mean_several_things_is_refused(
    spell_store: Store, fails: Callable[[str], str], point: str, message: str | None
) -> None:
    said = fails(f"{STORY}Session.rollback(s, {point})")
    where = "Session.rollback: argument 2 (to)"
    expected = (
        f"{where}.seq: expected a whole number, 0 or more, got string" if message is None else f"{where}: {message}"
    )
    assert said == f"t.lua:12: {expected}"
    assert spell_store.sessions.get("s").seq == 10


def test_an_end_without_a_beginning_is_refused(fails: Callable[[str], str]) -> None:
    assert fails(f"{STORY}Session.diff(s, {{to = 'c1'}})") == (
        "t.lua:12: Session.diff: argument 2 (options).to: expected from beside it"
    )


def test_a_session_has_a_path_where_the_store_is_mounted(spell_store: Store) -> None:
    places: list[str] = []
    stream = BytesIO()
    script = Script(spell_store, stdout=stream, mounts=lambda: places)
    script.run_code('Session.create({name = "a/b"}) print(Session.path("a%2Fb"))')
    places += ["/mnt/one\udcff", "/mnt/two"]
    script.run_code('print(Session.path("a%2Fb"))')
    assert stream.getvalue() == b"nil\n/mnt/one\xff/sessions/a%2Fb\n"


def test_parts_of_content(run: Run) -> None:
    run(r"""
    local s = Session.create()
    local bytes = ("\0\xff0123"):rep(500000)
    local id = Artifact.store(s, "tool_result", "b", bytes)
    for _, range in ipairs({{0}, {0, 10}, {2999999}, {3000000}, {4000000, 5}, {1000003, 70000}, {7, 0},
        {5, 1 << 62}}) do
      local offset, length = range[1], range[2]
      local expected = bytes:sub(offset + 1, length and math.min(offset + length, #bytes))
      assert(Artifact.getContent(s, id, offset, length) == expected, offset)
    end
    assert(Artifact.getContent(s, id) == bytes and Artifact.get_content(s, id, nil, 3) == "\0\xff0")
    """)


def test_searching_by_words_within_a_session_and_pages(run: Run) -> None:
    run("""
    local s, t = Session.create({name = "s"}), Session.create({name = "t"})
    for i = 1, 3 do Artifact.store(s, nil, "report" .. i, "x", {description = "quarterly revenue"}) end
    Artifact.store(t, nil, "report", "x", {description = "revenue too"})
    assert(#Artifact.search("revenue") == 4 and #Artifact.search("revenue", {session_id = s}) == 3)
    assert(#Artifact.search("revenue", {limit = 2, offset = 3}) == 1 and #Artifact.search("nothing") == 0)
    assert(Artifact.search("revenue", {sort_by = "name", order = "desc"})[1].name == "report3")
    Session.setCurrent(t)
    assert(#Artifact.search("revenue", {session = ""}) == 1)
    """)


def test_a_folder_is_no_artifact(run: Run) -> None:
    run("""
    local s = Session.create()
    Artifact.store(s, nil, "dir/a", "x")
    assert(Artifact.exists(s, "dir/a") and not Artifact.exists(s, "dir") and not Artifact.exists(s, "dir/a/b"))
    """)


def test_a_file_is_replaced_whole_or_left_as_it_is(run: Run, spell_store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"precious")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    code = f"Artifact.saveToFile('s', 'a', '{tmp_path}/%s')"
    spell_store.sessions.create("s")
    spell_store.artifacts.put("s", "a", b"new")
    run(code % "link")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link").is_symlink()
    assert not run(f"assert(not pcall(Artifact.saveToFile, 's', 'a', '{tmp_path}'))")
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]
    assert run("Artifact.saveToFile('s', 'a', '/dev/null')") == ""
