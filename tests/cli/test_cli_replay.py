"""`session replay`, `session timeline`, `artifact lineage`, and the record that `run` leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from llmspellfs.cli.replay import human_duration

FIRST = """
local s = Session.create({name = "s"})
Artifact.store(s, "user_input", "in.txt", arg[1])
Artifact.store(s, "tool_result", "out.txt", Artifact.get(s, "in.txt").content:upper())
Session.save(s)
"""
SECOND = """
Artifact.store("", "agent_output", "sum.txt", tostring(#Artifact.get("", "out.txt").content))
Session.complete(Session.getCurrent())
"""


@pytest.fixture
def ran(cli: Any) -> Any:
    """A store in which two recorded scripts have made the session s, which is complete."""
    Path("first.lua").write_text(FIRST)
    Path("second.lua").write_text(SECOND)
    assert cli.ok("run", "first.lua", "hello") == ""
    assert cli.ok("run", "--session", "s", "second.lua") == ""
    return cli


def names(cli: Any, ref: str = "s") -> list[str]:
    return [artifact["name"] for artifact in cli.json("artifact", "list", ref)]


def test_run_leaves_a_record_in_the_sessions_that_it_changed(ran: Any) -> None:
    found = [name for name in names(ran) if name.startswith(".runs/")]
    assert [Path(name).suffix for name in found] == [".lua", ".json", ".lua", ".json"]
    assert ran.ok("artifact", "cat", f"s:{found[0]}") == FIRST
    told = json.loads(ran.ok("artifact", "cat", f"s:{found[1]}"))
    assert (told["script"]["name"], told["args"], told["status"]) == ("first.lua", ["hello"], 0)
    kinds = [event["kind"] for event in ran.json("session", "events", "s")]
    assert kinds.count("run.started") == kinds.count("run.finished") == 2


def test_run_leaves_none_where_that_is_asked_or_where_nothing_is_changed(cli: Any) -> None:
    cli.ok("run", "--no-record", "-e", FIRST, "x")
    assert names(cli) == ["in.txt", "out.txt"]
    cli.ok("run", "-e", "Session.list(); Artifact.list('s'); Artifact.get('s', 'in.txt')")
    assert [event["kind"] for event in cli.json("session", "events", "s") if event["kind"].startswith("run.")] == []


def test_no_secret_of_the_environment_is_recorded(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    cli.ok("run", "-e", FIRST, "x")
    record = next(name for name in names(cli) if name.endswith(".json"))
    assert "do not tell" not in cli.ok("artifact", "cat", f"s:{record}")


def test_an_exact_replay_makes_a_session_that_is_the_same(ran: Any) -> None:
    line = ran.ok("session", "replay", "s").strip()
    assert line.startswith("exact: ")
    assert "0 mismatches" in line
    made = line.rpartition(" ")[2]
    assert names(ran, made) == names(ran)
    assert ran.json("session", "show", made)[0]["status"] == "completed"
    assert ran.ok("session", "diff", "s", made, "--name-only") == ""


def test_a_replay_for_programs_is_one_object(ran: Any) -> None:
    (told,) = ran.json("session", "replay", "s", "--mode", "simulate", "--from", "2", "--to", "4")
    assert (told["success"], told["from"], told["to"], told["events"]) == (True, 2, 4, 3)
    assert told["new_session_id"] is None
    (told,) = ran.json("session", "replay", "s", "--checkpoint", "1", "--name", "after")
    assert told["success"]
    assert names(ran, "after") == names(ran)


def test_debug_shows_the_state_at_each_event(ran: Any) -> None:
    lines = ran.ok("session", "replay", "s", "--mode", "debug", "--to", "4").splitlines()
    heads = [line.split()[3:] for line in lines[:-1] if not line.startswith(" ")]
    assert heads == [
        ["session.created", "s"], ["run.started", "first.lua"], ["artifact.stored", "in.txt"],
        ["artifact.stored", "out.txt"],
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines if line.startswith(" ")] == [
        ["in.txt", "v1"], ["in.txt", "v1"], ["out.txt", "v1"],
    ]  # fmt: skip
    told = ran.json("session", "replay", "s", "--mode", "debug", "--to", "3")
    assert [entry["name"] for entry in told[2]["state"]["entries"]] == ["in.txt"]
    assert told[-1]["mode"] == "debug"


def test_mismatches_are_lines_and_the_exit_status(ran: Any) -> None:
    ran.ok("artifact", "purge", "s:in.txt", "--yes")
    result = ran("session", "replay", "s", "--mode", "simulate")
    assert result.exit_code == 1
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("event 3: in.txt: row: expected ")
    assert first.endswith("got nothing")
    assert "1 mismatches" in last
    stopped = ran("session", "replay", "s", "--mode", "simulate", "--stop-on-error", "--json")
    told = json.loads(stopped.stdout)
    assert (told["stopped"], told["events"]) == ("mismatch", 3)


def test_a_rerun_says_of_each_artifact_whether_it_is_the_same(ran: Any) -> None:
    result = ran("session", "replay", "s", "--mode", "rerun")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == ["same  s:in.txt", "same  s:out.txt", "same  s:sum.txt"]
    made = lines[-1].rpartition(" ")[2]
    assert ran.ok("artifact", "cat", f"{made}:sum.txt") == "5"
    assert names(ran, made) == ["in.txt", "out.txt", "sum.txt"]


def test_a_rerun_of_what_nobody_recorded_is_one_line(cli: Any, q4: str) -> None:
    assert q4
    assert cli.fails("session", "replay", "q4", "--mode", "rerun") == "recorded run not found: in q4"


def test_what_ran_in_a_sandbox_runs_again_in_one(cli: Any) -> None:
    cli.ok("session", "create", "s")
    Path("probe.lua").write_text("Artifact.store('', 'tool_result', 'io', tostring(io))")
    assert cli.ok("run", "--sandbox", "--session", "s", "probe.lua") == ""
    assert cli.ok("artifact", "cat", "s:io") == "nil"
    (told,) = cli.json("session", "replay", "s", "--mode", "rerun")
    assert told["success"], told
    assert [one["same"] for one in told["artifacts"]] == [True]


def test_a_rerun_touches_nothing_but_its_copy(cli: Any) -> None:
    cli.ok("session", "create", "other")
    code = "Artifact.store('other', 'user_input', 'x', tostring(#Artifact.list('other')))"
    cli.ok("run", "-e", code)
    before = cli.ok("session", "events", "other", "--json")
    (told,) = cli.json("session", "replay", "other", "--mode", "rerun")
    assert told["success"], told
    assert cli.ok("session", "events", "other", "--json") == before


def test_a_timeline_is_a_table_for_people_and_json_for_programs(ran: Any) -> None:
    lines = ran.ok("session", "timeline", "s").splitlines()
    assert lines[0].split() == ["SEQ", "AT", "SINCE", "ELAPSED", "KIND", "NAME"]
    assert lines[2].split()[-2:] == ["run.started", "first.lua"]
    told = ran.json("session", "timeline", "s")
    assert len(told) == len(lines) - 1
    assert told[0]["since_seconds"] == 0
    elapsed = [one["elapsed_seconds"] for one in told]
    assert elapsed == sorted(elapsed)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"), (350_000_000, "350 ms"), (12_500_000_000, "12.5 s"), (200 * 10**9, "3 m 20 s"),
        (18_120 * 10**9, "5 h 2 m"), (356_400 * 10**9, "4 d 3 h"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_do(ns: int, text: str) -> None:
    assert human_duration(ns) == text


def test_lineage_is_a_tree_json_and_a_graph(ran: Any) -> None:
    lines = ran.ok("artifact", "lineage", "s:out.txt").splitlines()
    assert [line.split("  (")[0] for line in lines] == [
        "s:out.txt",
        "made from:",
        "  s:in.txt",
        "made into:",
        "  s:sum.txt",
    ]
    (told,) = ran.json("artifact", "lineage", "s:sum.txt")
    assert told["made_from"][0]["name"] == "out.txt"
    assert told["made_from"][0]["made_from"][0]["script"] == "first.lua"
    dot = ran.ok("artifact", "lineage", "s:out.txt", "--dot").splitlines()
    assert (dot[0], dot[-1]) == ("digraph lineage {", "}")
    assert sum(" -> " in line for line in dot) == 2


def test_bad_usage_is_one_line(ran: Any) -> None:
    assert "exclude each other" in ran.fails("artifact", "lineage", "s:out.txt", "--dot", "--json", status=2)
    assert ran.fails("artifact", "lineage", "s:none") == "artifact not found: s:none"
    assert ran.fails("session", "replay", "nobody") == "session not found: nobody"
    assert "checkpoint" in ran.fails("session", "replay", "s", "--from", "2", "--checkpoint", "1", status=2)
    assert os.path.exists("first.lua")


@pytest.mark.parametrize("words", [
    ("--to", "0"), ("--from", "0"), ("--from", "3", "--to", "2"), ("--timeout", "inf"), ("--timeout", "nan"),
    ("--timeout", "0"), ("--timeout", "1e300"), ("--checkpoint", "0"), ("--mode", "other"),
])  # fmt: skip
def test_what_cannot_be_meant_is_one_line(ran: Any, words: tuple[str, ...]) -> None:
    assert ran.fails("session", "replay", "s", *words, status=2)


@pytest.mark.parametrize("words", [("--to", "9" * 30), ("--from", "9" * 30), ("--checkpoint", "9" * 30)])
def test_what_never_was_is_one_line(ran: Any, words: tuple[str, ...]) -> None:
    assert "not found" in ran.fails("session", "replay", "s", *words)


def test_a_cut_rerun_says_that_it_is_partial(cli: Any) -> None:
    cli.ok("run", "-e", "State.set('big', ('x'):rep(300000))")
    cli.ok("run", "-e", "Artifact.store(Session.create({name = 's'}), nil, 'n', #State.get('big') > 0 and 'y' or 'n')")
    result = cli("session", "replay", "s", "--mode", "rerun")
    assert any(line.startswith("partial: left out (-e): State global big") for line in result.stdout.splitlines())
    assert "partial" in result.stdout.splitlines()[-1]
