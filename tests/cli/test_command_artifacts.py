"""`llmspellfs artifact …` and `find`, from the words to what is printed and stored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llmspellfs.service.paths import Place


@pytest.fixture
def report(cli: Any, q4: str) -> str:
    """The id of an artifact `results/report.csv` that is in q4."""
    Path("report.csv").write_text("a,b\n1,2\n")
    stored: str = cli.ok(
        "artifact", "put", "q4", "report.csv", "--name", "results/report.csv", "--type", "tool_result",
        "--tag", "final", "--meta", "author=jane", "--description", "The figures",
    )  # fmt: skip
    return stored.strip()


def test_put_prints_the_id_and_keeps_what_is_given(cli: Any, report: str) -> None:
    shown = cli.json("artifact", "show", report)[0]
    assert (shown["id"], shown["session"], shown["name"]) == (report, "q4", "results/report.csv")
    assert (shown["artifact_type"], shown["mime_type"], shown["size"]) == ("tool_result", "text/csv", 8)
    assert (shown["tags"], shown["custom"], shown["description"]) == (
        ["final"],
        {"author": "jane"},
        "The figures",
    )


def test_put_takes_several_files_by_their_own_names(cli: Any, q4: str) -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(name)
    stored = cli.json("artifact", "put", "q4", "a.txt", os.path.abspath("b.txt"))
    assert [each["name"] for each in stored] == ["a.txt", "b.txt"]
    assert cli.ok("artifact", "cat", "q4:a.txt", "q4:b.txt") == "a.txtb.txt"


def test_put_of_stdin_and_cat_are_exact_bytes(cli: Any, q4: str) -> None:
    content = bytes(range(256)) * 2000
    cli.ok("artifact", "put", "q4", "-", "--name", "all.bin", stdin=content)
    assert cli("artifact", "cat", "q4:all.bin").stdout_bytes == content


def test_putting_again_makes_a_version_and_keeps_its_metadata(cli: Any, report: str) -> None:
    Path("report.csv").write_text("a,b\n3,4\n")
    again = cli.json("artifact", "put", "q4", "report.csv", "--name", "results/report.csv")[0]
    assert (again["sequence"], again["version"], again["tags"]) == (1, 2, ["final"])
    assert cli.ok("artifact", "cat", report) == "a,b\n1,2\n"
    versions = cli.json("artifact", "history", "q4:results/report.csv")
    assert [(each["version"], each["live"]) for each in versions] == [(1, False), (2, True)]


def test_get_copies_into_a_file_a_folder_and_stdout(cli: Any, report: str) -> None:
    os.mkdir("out")
    cli.ok("artifact", "get", report, "copy.csv")
    cli.ok("artifact", "get", "q4:results/report.csv", "out")
    assert Path("copy.csv").read_text() == Path("out/report.csv").read_text() == "a,b\n1,2\n"
    assert cli.ok("artifact", "get", report, "-") == "a,b\n1,2\n"
    assert sorted(os.listdir()) == ["copy.csv", "out", "report.csv"]


def test_get_replaces_a_file_only_when_told(cli: Any, report: str) -> None:
    Path("report.csv").write_text("mine")
    assert cli.fails("artifact", "get", report) == "file already exists: ./report.csv"
    assert Path("report.csv").read_text() == "mine"
    cli.ok("artifact", "get", report, "--force")
    assert Path("report.csv").read_text() == "a,b\n1,2\n"


def test_list_is_in_the_order_of_sequence(cli: Any, report: str) -> None:
    for name in ("z.txt", "a.txt"):
        cli.ok("artifact", "put", "q4", "-", "--name", name, stdin=name)
    listed = cli.json("artifact", "list", "q4")
    assert [each["name"] for each in listed] == ["results/report.csv", "z.txt", "a.txt"]
    assert len(cli.ok("artifact", "list", "q4", "--limit", "1", "--offset", "1").splitlines()) == 2


def test_show_for_people_leaves_out_what_says_nothing(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "a.txt", stdin="a")
    fields = [line.split()[0] for line in cli.ok("artifact", "show", "q4:a.txt").splitlines()]
    assert "content_hash" in fields
    assert "description" not in fields


def test_rm_and_restore(cli: Any, report: str) -> None:
    assert cli.ok("artifact", "rm", "q4:results/report.csv") == "results/report.csv: deleted\n"
    cli.fails("artifact", "cat", "q4:results/report.csv")
    assert cli.ok("artifact", "restore", "q4:results/report.csv") == "results/report.csv: restored\n"
    assert cli.ok("artifact", "cat", "q4:results/report.csv") == "a,b\n1,2\n"


def test_restore_onto_a_taken_name_needs_another(cli: Any, report: str) -> None:
    cli.ok("artifact", "rm", report)
    cli.ok("artifact", "put", "q4", "-", "--name", "results/report.csv", stdin="new")
    assert "already exists" in cli.fails("artifact", "restore", report)
    assert cli.ok("artifact", "restore", report, "--name", "old.csv") == "old.csv: restored\n"


def test_purge_leaves_no_version(cli: Any, report: str) -> None:
    assert cli.ok("artifact", "purge", report).startswith(f"{report}: purged")
    cli.fails("artifact", "cat", report)


def _rename(cli: Any, source: str, to: str, target: str) -> None:
    with cli.open() as store:
        here, there = store.sessions.get("q4"), store.sessions.get(to)
        store.entries.rename(Place(here.sid, here.ino, source), Place(there.sid, there.ino, target))


def test_purge_names_the_past_that_it_left_and_how_that_goes(cli: Any, q4: str) -> None:
    first = cli.ok("artifact", "put", "q4", "-", "--name", "f.txt", stdin="moved").strip()
    cli.ok("session", "create", "other")
    _rename(cli, "f.txt", "other", "g.txt")
    result = cli("artifact", "purge", "--yes", "other:g.txt")
    assert "others" not in result.stdout
    command = f"llmspellfs artifact purge {first}"
    assert result.stderr == (
        f"other:g.txt: q4:f.txt, which it was before, has content of it in its past: `{command}` erases it\n"
    )
    assert len(cli.json("artifact", "history", "q4:f.txt")) == 1
    cli.ok(*command.split()[1:], "--yes")
    cli.fails("artifact", "history", "q4:f.txt")


def test_purge_says_what_went_with_what_was_saved_by_rename(cli: Any, q4: str) -> None:
    for name in ("doc", "tmp"):
        cli.ok("artifact", "put", "q4", "-", "--name", name, stdin=name)
    _rename(cli, "tmp", "q4", "doc")
    assert cli.ok("artifact", "purge", "q4:doc").startswith("q4:doc: purged, with 1 artifact renamed over it, ")
    assert [event["kind"] for event in cli.json("session", "events", "q4")][-2:] == ["artifact.purged"] * 2


def test_a_session_whose_name_has_a_colon(cli: Any) -> None:
    cli.ok("session", "create", "a:b")
    cli.ok("artifact", "put", "a:b", "-", "--name", "c:d", stdin="x")
    assert cli.ok("artifact", "cat", "a:b:c:d") == "x"
    assert len(cli.json("artifact", "history", "a:b:c:d")) == 1


def test_find_names_what_cat_takes(cli: Any, report: str) -> None:
    head, line = cli.ok("find", "type:tool_result", "tag:final", "name:*.csv").splitlines()
    assert head.split()[0] == "ARTIFACT"
    assert cli.ok("artifact", "cat", line.split()[0]) == "a,b\n1,2\n"


def test_find_takes_words_that_begin_with_a_dash(cli: Any, report: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "b.csv", stdin="b")

    def names(*words: str) -> list[str]:
        return [each["name"] for each in cli.json("find", *words)]

    assert names("name:*.csv") == ["results/report.csv", "b.csv"]
    assert names("name:*.csv", "-tag:final") == ["b.csv"]
    assert names("-tag:final", "name:*.csv", "--session", "q4") == ["b.csv"]
    assert names("name:*.csv", "--sort", "size", "--limit", "1") == ["b.csv"]
    assert names("meta.author:jane") == ["results/report.csv"]
    assert names("figures") == ["results/report.csv"]


def test_find_sessions(cli: Any, report: str) -> None:
    cli.ok("session", "create", "empty")
    assert [each["dirname"] for each in cli.json("find", "--sessions", "type:tool_result")] == ["q4"]
