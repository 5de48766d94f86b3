"""The lines of the audit trail."""

from __future__ import annotations

import json

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.model.event import FIRST_PREV, KINDS, Event, Origin, compose_line, line_hash, state_hash

ORIGIN = Origin("uid:1000", "mount")
AT = 1_795_289_203_120_394_000


def test_a_line_is_as_the_design_shows_it() -> None:
    line = compose_line(7, AT, "artifact.stored", ORIGIN, "b" * 64, "a" * 64, {"name": "report.txt", "size": 3})
    assert line == (
        '{"v":1,"seq":7,"at":"2026-11-21T19:26:43.120394Z","kind":"artifact.stored","actor":"uid:1000",'
        f'"door":"mount","name":"report.txt","size":3,"state":"{"a" * 64}","prev":"{"b" * 64}"}}'
    )
    assert Event(1, "id", 7, "artifact.stored", AT, line).fields["name"] == "report.txt"


def test_an_event_without_a_row_has_no_state() -> None:
    line = compose_line(1, AT, "session.saved", ORIGIN, FIRST_PREV, None, {})
    assert "state" not in json.loads(line)
    assert json.loads(line)["prev"] == "0" * 64


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_name_of_any_text_is_one_line_that_says_it(name: str) -> None:
    line = compose_line(1, AT, "folder.created", ORIGIN, FIRST_PREV, None, {"name": name})
    assert "\n" not in line
    assert json.loads(line)["name"] == name
    assert line_hash(line) == blake3(line.encode()).hexdigest()


def test_the_state_does_not_depend_on_the_order_of_keys() -> None:
    assert state_hash({"a": 1, "b": "ü"}) == state_hash({"b": "ü", "a": 1})
    assert state_hash({"a": 1}) == blake3(b'{"a":1}').hexdigest()


def test_the_kinds_are_the_designs() -> None:
    assert {"session.forked", "artifact.moved_in", "folder.renamed", "symlink.created"} <= KINDS
    assert all(kind.count(".") == 1 for kind in KINDS)
