"""`llmspellfs session …`, from the words to what is printed and stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from blake3 import blake3


def test_create_prints_the_id_that_names_the_session(cli: Any) -> None:
    made = cli.ok("session", "create", "q4 analysis", "--description", "Sales", "--tag", "a", "--tag", "b").strip()
    shown = cli.json("session", "show", made)[0]
    assert (shown["id"], shown["name"], shown["dirname"]) == (made, "q4 analysis", "q4 analysis")
    assert (shown["description"], shown["tags"], shown["status"]) == ("Sales", ["a", "b"], "active")


def test_metadata_is_json_where_it_reads_as_such_and_text_otherwise(cli: Any) -> None:
    words = [
        "--meta",
        "year=2024",
        "--meta",
        "who=jane",
        "--meta",
        'quoted="7"',
        "--meta",
        "eq=a=b",
        "--meta",
        "nan=NaN",
    ]
    made = cli.json("session", "create", "m", *words)[0]
    assert made["metadata"] == {"year": 2024, "who": "jane", "quoted": "7", "eq": "a=b", "nan": "NaN"}


def test_a_session_is_named_by_directory_id_and_prefix(cli: Any, q4: str) -> None:
    assert [cli.json("session", "show", ref)[0]["id"] for ref in ("q4", q4, q4[:8])] == [q4] * 3


def test_the_lifecycle_is_said_step_by_step(cli: Any, q4: str) -> None:
    steps = [("suspend", "suspended"), ("resume", "active"), ("suspend", "suspended"), ("load", "active")]
    for verb, status in [*steps, ("complete", "completed")]:
        assert cli.ok("session", verb, "q4") == f"q4: {status}\n"


def test_fail_keeps_the_reason(cli: Any, q4: str) -> None:
    assert cli.ok("session", "fail", "q4", "out of memory") == "q4: failed\n"
    assert cli.json("session", "show", "q4")[0]["failure_reason"] == "out of memory"


def test_several_sessions_change_in_one_go(cli: Any, q4: str) -> None:
    cli.ok("session", "create", "q5")
    changed = cli.json("session", "suspend", "q4", "q5")
    assert [each["status"] for each in changed] == ["suspended", "suspended"]


def test_list_shows_every_session_and_filters(cli: Any, q4: str) -> None:
    cli.ok("session", "create", "other")
    cli.ok("session", "complete", "other")

    def names(*words: str) -> list[str]:
        return [each["dirname"] for each in cli.json("session", "list", *words)]

    assert names() == ["q4", "other"]
    assert names("--desc") == ["other", "q4"]
    assert names("--sort", "name") == ["other", "q4"]
    assert names("--status", "completed") == ["other"]
    assert names("--tag", "report") == ["q4"]
    assert names("--name", "q*") == ["q4"]
    assert names("status:active") == ["q4"]
    assert names("--limit", "1", "--offset", "1") == ["other"]
    assert names("--created-after", "2000-01-01", "--created-before", "99999999999") == ["q4", "other"]
    assert names("--created-before", "2000-01-01") == []


def test_list_for_a_pipe_is_aligned_without_tabs_or_boxes(cli: Any, q4: str) -> None:
    cli.ok("session", "create", "a-much-longer-name")
    head, first, second = cli.ok("session", "list").splitlines()
    assert head.split() == ["SESSION", "STATUS", "ARTIFACTS", "SIZE", "UPDATED", "ID", "TAGS"]
    assert head.index("STATUS") == first.index("active") == second.index("active")
    assert "\t" not in head + first + second
    assert (head + first + second).isascii()


def test_list_of_nothing_prints_nothing(cli: Any) -> None:
    cli.ok("init")
    assert cli.ok("session", "list") == ""
    assert cli.json("session", "list") == []


def test_names_cannot_move_the_cursor(cli: Any) -> None:
    cli.ok("session", "create", "a\x1b[2Jb\nc")
    listing = cli.ok("session", "list")
    assert r"a\x1b[2Jb\nc" in listing
    assert len(listing.splitlines()) == 2


def test_save_numbers_its_checkpoints(cli: Any, q4: str) -> None:
    assert cli.ok("session", "save", "q4") == "checkpoint 1\n"
    assert cli.json("session", "save", "q4", "--label", "before")[0]["label"] == "before"
    assert [each["number"] for each in cli.json("session", "show", "q4")[0]["checkpoints"]] == [1, 2]


def test_delete_and_restore(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "a.txt", stdin="a")
    assert cli.ok("session", "delete", "q4") == "q4: deleted\n"
    assert cli.ok("session", "list") == ""
    assert [each["dirname"] for each in cli.json("session", "list", "--deleted")] == ["q4"]
    assert cli.ok("session", "restore", q4) == "q4: restored\n"
    assert cli.ok("artifact", "cat", "q4:a.txt") == "a"


def test_purge_asks_nothing_in_a_script_and_keeps_the_chain(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "a.txt", stdin="secret")
    report = cli.json("session", "purge", "q4")[0]
    assert report["purged"] == "q4"
    cli.fails("session", "show", "q4")
    assert cli.json("verify")[0]["ok"] is True


def test_tags_are_added_removed_and_printed(cli: Any, q4: str) -> None:
    assert cli.ok("session", "tag", "q4") == "report\n"
    assert cli.ok("session", "tag", "q4", "hold", "two words", "-r", "report") == "hold\ntwo words\n"
    assert cli.json("session", "tag", "q4")[0]["tags"] == ["hold", "two words"]


def test_children_and_parents_are_shown(cli: Any, q4: str) -> None:
    cli.ok("session", "create", "child", "--parent", "q4")
    assert cli.json("session", "show", "child")[0]["parent_session_id"] == q4
    assert cli.json("session", "show", "q4")[0]["children"] == ["child"]
    assert [each["dirname"] for each in cli.json("session", "list", "--parent", "q4")] == ["child"]


def test_events_as_json_are_the_lines_that_are_chained(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "ä.txt", stdin="x")
    lines = cli.ok("session", "events", "q4", "--json").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["session.created", "artifact.stored"]
    assert json.loads(lines[1])["prev"] == blake3(lines[0].encode()).hexdigest()
    assert cli.json("session", "show", "q4")[0]["head"] == blake3(lines[1].encode()).hexdigest()


@pytest.mark.parametrize("line", ["{}", "no JSON"])
def test_events_are_listed_though_a_line_was_altered(cli: Any, q4: str, line: str) -> None:
    with cli.open() as store:
        sound = store.sessions.events("q4")[0].line
        for now in (line, sound):
            with store.engine.index.write() as db:
                db.execute("UPDATE event SET line = ? WHERE seq = 1", (now,))
            assert "session.created" in cli.ok("session", "events", "q4").splitlines()[1]


def test_events_for_people_say_who_and_what(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "a.txt", stdin="x")
    lines = cli.ok("session", "events", "q4", "--after", "1").splitlines()
    assert len(lines) == 2
    assert "artifact.stored" in lines[1]
    assert lines[1].endswith("a.txt")
    assert len(cli.ok("session", "events", "q4", "--kind", "session.created").splitlines()) == 2
