"""Anchors as text and as JSON: what is written is read, and what is neither is refused by its line."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.anchors import Anchor, Anchors, parse_anchors

STORE, SESSION, HEAD = str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), "ab" * 32
FIRST = f"llmspellfs-anchors 1 {STORE} 2026-11-21T12:00:00.000000Z"
GOOD = [FIRST, f"{SESSION} 3 {HEAD}"]

heads = st.lists(
    st.builds(
        Anchor,
        st.uuids().map(str),
        st.integers(1, 10**17),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
    ),
    unique_by=lambda anchor: anchor.session_id,
)
anchors = st.builds(
    Anchors, st.uuids().map(str), st.integers(0, 10**9).map(lambda us: us * 10**3 + 10**18), heads.map(tuple)
)


@given(anchors)
def test_what_is_written_is_read(made: Anchors) -> None:
    assert parse_anchors((f"{line}\n" for line in made.lines()), "x") == made
    assert parse_anchors(map(json.dumps, made.documents()), "x") == made


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "x: expected anchors"),
        ([""], "x, line 1: expected `llmspellfs-anchors 1 STORE TIME`"),
        (["{}"], "x, line 1: expected an object with session_id, seq, head"),
        (['{"format": []}'], "x, line 1: expected an object"),
        (["[" * 100_000], "x, line 1: expected `llmspellfs"),
        (["{" + '"a":{' * 100_000], "x, line 1: not JSON"),
        ([FIRST.replace(" 1 ", " 2 ")], "x, line 1: expected version 1 of the format, not 2"),
        ([FIRST.replace(STORE, "here")], "x, line 1: expected the store's UUID"),
        ([FIRST.replace("T12", "T99")], "x, line 1: .*expected an ISO 8601 time"),
        ([*GOOD, ""], "x, line 3: expected a session's id, a seq and a head of 64 hex digits"),
        ([*GOOD, GOOD[1]], "x, line 3: this session has a line already"),
        ([FIRST, GOOD[1].replace(" 3 ", " 03 ")], "x, line 2: expected a session's id"),
        ([FIRST, GOOD[1].replace(" 3 ", " ٣ ")], "x, line 2: expected a session's id"),
        ([FIRST, GOOD[1] + " "], "x, line 2: expected a session's id"),
        ([FIRST, GOOD[1][:-1]], "x, line 2: expected a session's id"),
        ([FIRST, '{"session_id": 1, "seq": true, "head": null}'], "x, line 2: expected an object"),
    ],
)
def test_a_line_that_does_not_fit_is_named(lines: list[str], says: str) -> None:
    with pytest.raises(InvalidValue, match=says) as refused:
        parse_anchors(lines, "x")
    assert "\n" not in refused.value.message
