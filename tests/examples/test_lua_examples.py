"""Each example in Lua does what its first lines say, and fails as they say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store
from llmspellfs.errors import ScriptFailed
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.session import Session
from tests.examples.conftest import EXAMPLES, PLANETS, Example


def names(store: Store, session: str) -> list[str]:
    """Return the names of what *session* holds, without what the record of runs adds."""
    return [one.name for one in store.artifacts.list(session) if not one.name.startswith(".runs/")]


def read_json(store: Store, session: str, name: str) -> Any:
    return json.loads(store.artifacts.read(store.artifacts.get(session, name)))


def only(store: Store, query: str = "") -> Session:
    (session,) = store.sessions.list(query)
    return session


def test_the_readme_names_every_example_and_nothing_else() -> None:
    named = set(re.findall(r"^\| \[[^]]*\]\(([^)]*)\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {str(path.relative_to(EXAMPLES)) for pattern in ("lua/*", "shell/*") for path in EXAMPLES.glob(pattern)}
    assert named == there - {"shell/stage.sh"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("lua/*.lua")), ids=lambda path: path.stem)
def test_every_example_has_a_test_and_says_how_it_is_run(path: Path) -> None:
    tests = Path(__file__).read_text() + (Path(__file__).parents[1] / "lua" / "test_lua_guides.py").read_text()
    assert f'example("{path.stem}"' in tests or f'"{path.name}"' in tests
    assert f"--   llmspellfs run examples/lua/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("binary", ["x.wav", "high"]), ("cleanup", ["--delte"]), ("hierarchy", []), ("import", []),
        ("performance", []), ("pipeline", []), ("pipeline", [PLANETS, "polish"]), ("pubsub", ["weather"]),
        ("pubsub", ["follow", "weather", "long"]), ("replay", []), ("retries", []), ("retries", ["ls", "-l"]),
        ("templates", []), ("templates", ["measurement"]), ("templates", ["measurement", "x", "celsius"]),
    ],
)  # fmt: skip
def test_bad_usage_is_said_in_one_line_and_makes_no_session(
    store: Store, example: Example, capfd: pytest.CaptureFixture[str], name: str, args: list[object]
) -> None:
    assert example(name, *args, exits=2) == ""
    assert re.fullmatch(rf"usage: {name}\.lua .*\n", capfd.readouterr().err)
    assert store.sessions.list() == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("binary", "/nowhere/x.wav"), ("complete_workflow", "/nowhere"), ("import", "/nowhere"), ("import", "/"),
        ("performance", "/nowhere"), ("pipeline", "/nowhere"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_the_reason_that_the_session_failed_for(
    store: Store, example: Example, name: str, path: str
) -> None:
    with pytest.raises(ScriptFailed) as failed:
        example(name, path)
    assert str(only(store, "status:failed").failure_reason) in str(failed.value)
    assert len(store.sessions.list()) == 1


def test_a_pipeline_goes_on_where_it_stopped(store: Store, example: Example) -> None:
    assert example("pipeline", PLANETS, "transform").splitlines() == [
        "validate\tcheckpoint 1",
        "transform\tcheckpoint 2",
    ]
    assert only(store).status == "suspended"
    printed = example("pipeline", PLANETS).splitlines()
    assert printed[:4] == [
        "validate\tis there already",
        "transform\tis there already",
        "analyze\tcheckpoint 3",
        "report\tcheckpoint 4",
    ]
    assert printed[4:] == store.artifacts.read(store.artifacts.get(only(store).id, "report.txt")).decode().splitlines()
    assert printed[6] == "Earth      1.000 AU    1.000 years  1.0000"
    session = only(store, "status:completed tag:pipeline")
    assert [one.label for one in store.sessions.checkpoints(session.id)] == [
        "validate", "transform", "analyze", "report"
    ]  # fmt: skip
    assert 0.01 < read_json(store, session.id, "steps/3-analyze.json")["worst"] < 0.03


def test_a_pipeline_that_cannot_go_on_fails_with_the_reason(store: Store, example: Example, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("planet,distance_million_km,period_days\nVulcan,,1\n")
    with pytest.raises(ScriptFailed, match="row 1 has no distance or no period"):
        example("pipeline", bad)
    assert only(store).failure_reason == "row 1 has no distance or no period"
    assert store.sessions.checkpoints(only(store).id) == []


def test_a_template_gives_tags_metadata_and_first_files(store: Store, example: Example) -> None:
    session = store.sessions.get(example("templates", "measurement", "boiling", "unit=celsius", "repeats=2").strip())
    assert (session.name, set(session.tags)) == ("boiling", {"measurement", "template:measurement"})
    assert session.metadata == {"unit": "celsius", "repeats": 2}
    plan, readings = (
        store.artifacts.read(store.artifacts.get(session.id, name)) for name in ("plan.md", "readings.csv")
    )
    assert plan == b"# boiling\n\nMeasure 2 times, in celsius.\n"
    assert readings.decode().splitlines() == ["number,celsius", "1,", "2,"]


def test_a_session_of_a_template_does_not_change_the_template(store: Store, example: Example) -> None:
    example("templates", "comparison", "one", "before=v1")
    example("templates", "comparison", "two")
    assert [one.metadata["before"] for one in store.sessions.list()] == ["v1", "HEAD~1"]


def test_an_unknown_template_makes_no_session(store: Store, example: Example) -> None:
    with pytest.raises(ScriptFailed, match="no such template: nix"):
        example("templates", "nix", "x")
    assert store.sessions.list() == []


def test_a_message_is_handled_once_by_those_who_come_later(store: Store, example: Example) -> None:
    example("pubsub", "publish", "weather", "rain")
    example("pubsub", "publish", "traffic", "slow")
    assert example("pubsub", "follow", "weather") == "weather: rain\n"
    assert example("pubsub", "follow", "weather") == ""
    assert example("pubsub", "follow", "traffic") == "traffic: slow\n"
    assert {one.status for one in store.sessions.list("tag:publisher")} == {"completed"}


def test_a_message_wakes_a_follower_in_another_process(example: Example, tmp_path: Path) -> None:
    example("pubsub", "publish", "weather", "rain")
    words = ["--store", str(tmp_path / "store"), "run", str(EXAMPLES / "lua/pubsub.lua"), "follow", "weather", "60"]
    with subprocess.Popen(
        [sys.executable, "-m", "llmspellfs", *words],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    ) as follower:  # fmt: skip
        assert follower.stdout is not None
        try:
            assert follower.stdout.readline() == b"weather: rain\n"  # it waits now, or is about to
            example("pubsub", "publish", "weather", "sun")
            assert follower.stdout.readline() == b"weather: sun\n"
        finally:
            follower.terminate()


def test_a_command_is_retried_until_it_succeeds(store: Store, example: Example, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    printed = example("retries", f"echo x >> '{tries}'; echo try; test $(wc -l < '{tries}') = 2")
    assert printed == "attempt 1 of 3 failed\ntry\n"
    session = only(store, "status:completed")
    assert names(store, session.id) == ["attempt-1.txt", "attempt-2.txt"]
    assert [one.tags for one in store.artifacts.query("name:attempt-*", sort_by="name")] == [("error",), ("success",)]


def test_a_command_is_given_up_after_three_attempts(store: Store, example: Example) -> None:
    assert "attempt 3 of 3 failed" in example("retries", "echo no such thing >&2; exit 7", exits=1)
    session = only(store, "status:failed")
    assert session.failure_reason == "3 attempts failed"
    for name in names(store, session.id):
        assert store.artifacts.read(store.artifacts.get(session.id, name)) == b"no such thing\n"


def test_cleanup_deletes_what_the_policy_says_and_keeps_what_is_held(
    store: Store, example: Example, days_ago: list[int]
) -> None:
    def ended(name: str, days: int, how: str, *tags: str) -> None:
        days_ago[0] = days
        session = store.sessions.create(name, tags=tags)
        store.artifacts.put(session.id, "a.txt", b"12345")
        getattr(store.sessions, how)(session.id)

    for name, days, how in (
        ("failed long ago", 91, "fail"), ("failed", 40, "fail"), ("completed long ago", 39, "complete"),
        ("suspended long ago", 38, "suspend"), ("just completed", 1, "complete"),
    ):  # fmt: skip
        ended(name, days, how)
        ended(f"{name}, held", days, how, "hold")
    days_ago[0] = 0
    told = example("cleanup")
    assert told.endswith("would delete 2 sessions, 10 bytes\n")
    assert len(store.sessions.list()) == 10
    assert example("cleanup", "--delete") == told.replace("would delete", "deleted")
    left = {one.name for one in store.sessions.list()}
    assert len(left) == 8
    assert not left & {"failed long ago", "completed long ago"}
    assert example("cleanup", "--delete") == "deleted 0 sessions, 0 bytes\n"


def test_measurements_are_artifacts_and_what_is_measured_is_right(store: Store, example: Example) -> None:
    printed = example("performance", PLANETS)
    operations = ["read", "blake3", "sha256", "sha1", "md5"]
    assert [line.split()[0] for line in printed.splitlines()] == operations
    session = only(store, "status:completed")
    md5 = store.artifacts.read(store.artifacts.get(session.id, "md5.txt")).decode()
    assert md5 == hashlib.md5(PLANETS.read_bytes(), usedforsecurity=False).hexdigest()
    metrics = store.artifacts.query("tag:metrics")
    assert {one.custom["operation"] for one in metrics} == set(operations)
    assert all(read_json(store, session.id, one.name)["duration_seconds"] >= 0 for one in metrics)


def test_what_fails_is_measured_too(store: Store, example: Example, tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match="No such file"):
        example("performance", tmp_path / "missing")
    metric = read_json(store, only(store).id, "metrics/read.json")
    assert metric["success"] is False


def test_a_part_that_fails_leaves_the_others_whole(store: Store, example: Example, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("two words\n")
    printed = example("hierarchy", PLANETS, tmp_path / "missing.txt", note).splitlines()
    assert printed[-1] == "10 lines, 11 words"
    parent = only(store, "tag:counting")
    assert parent.status == "completed"
    assert [(one.name, one.status) for one in store.sessions.children(parent.id)] == [
        ("Count planets.csv", "completed"), ("Count missing.txt", "failed"), ("Count note.txt", "completed"),
    ]  # fmt: skip
    assert printed[2].startswith("    Count missing.txt: failed")
    assert read_json(store, parent.id, "total.json") == {"lines": 10, "words": 11}


def test_a_session_is_rebuilt_as_it_was_at_its_last_checkpoint(store: Store, example: Example) -> None:
    lost = store.sessions.create("lost")
    store.artifacts.put(lost.id, "a.txt", b"good", tags=["t"])
    store.sessions.save(lost.id)
    store.artifacts.put(lost.id, "a.txt", b"bad")
    store.artifacts.put(lost.id, "b.txt", b"bad")
    store.sessions.fail(lost.id, "bad")
    printed = example("replay", lost.id).splitlines()
    assert printed[0] == "simulate: 6 events, 0 mismatches"
    assert printed[1:4] == ["since checkpoint 1:", "  changed a.txt", "  added b.txt"]
    assert printed[-2] == "exact: 3 events, 0 mismatches"
    again = store.sessions.get(printed[-1])
    assert (again.name, again.status, names(store, again.id)) == ("lost recovered", "active", ["a.txt"])
    found: Artifact = store.artifacts.get(again.id, "a.txt")
    assert (store.artifacts.read(found), found.tags) == (b"good", ("t",))
    assert store.sessions.get(lost.id).status == "failed"


def test_a_harmed_content_is_a_mismatch(store: Store, example: Example, tmp_path: Path) -> None:
    harmed = store.sessions.create("harmed")
    store.artifacts.put(harmed.id, "a.bin", os.urandom(200_000))
    (blob, *_) = [path for path in (tmp_path / "store/blobs").rglob("*") if path.is_file()]
    whole = blob.read_bytes()
    blob.write_bytes(b"x" * len(whole))
    printed = example("replay", harmed.id, exits=1).splitlines()
    blob.write_bytes(whole)
    assert printed[0].startswith("  content: expected ")
    assert printed[-2:] == ["simulate: 2 events, 1 mismatches", "no checkpoint to go back to"]


def test_replay_of_no_session_says_so(store: Store, example: Example) -> None:
    with pytest.raises(ScriptFailed, match="session not found: nix"):
        example("replay", "nix")


def test_binary_data_come_back_as_they_were(store: Store, example: Example, tmp_path: Path) -> None:
    target = tmp_path / "tone.wav"
    assert example("binary", target, 1000).splitlines()[0] == "8000 samples a second, 16000 bytes a second"
    with wave.open(str(target)) as tone:
        assert (tone.getnframes(), tone.getframerate(), tone.getsampwidth(), tone.getnchannels()) == (8000, 8000, 2, 1)
        frames = tone.readframes(8)
    assert frames[:4] == (8485).to_bytes(2, "little") + (12000).to_bytes(2, "little")
    session = only(store, "status:completed")
    kept = store.artifacts.get(session.id, "tone.wav")
    assert (store.artifacts.read(kept), kept.mime_type) == (target.read_bytes(), "audio/x-wav")
    assert store.artifacts.get(session.id, "tone.wav.zst").custom == {"original_size": 16_044}


def test_rows_are_imported_at_once_and_found_by_their_columns(store: Store, example: Example) -> None:
    assert example("import", PLANETS) == "8 rows are in Import of planets.csv\n"
    session = only(store, "status:completed tag:import")
    assert names(store, session.id)[:2] == ["Mercury.json", "Venus.json"]
    (earth,) = store.artifacts.query("meta.moons:1")
    assert earth.name == "Earth.json"
    assert read_json(store, session.id, "Earth.json") == earth.custom
    assert earth.custom["distance_million_km"] == 149.6


@pytest.mark.parametrize(("row", "why"), [(",1,2,3", "row 9 has no planet"), ("../x,1,2,3", "item 9: invalid name")])
def test_a_bad_row_refuses_the_whole_import(store: Store, example: Example, tmp_path: Path, row: str, why: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{PLANETS.read_text()}{row}\n")
    with pytest.raises(ScriptFailed, match=why):
        example("import", bad)
    assert names(store, only(store, "status:failed").id) == []
