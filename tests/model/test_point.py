"""Points in a history, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.point import Point, parse_point
from llmspellfs.model.times import NS, iso

NOON = 1_795_262_400 * NS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Point(seq=0)),
        ("12", Point(seq=12)),
        ("20261121", Point(seq=20261121)),
        ("c1", Point(checkpoint=1)),
        ("c120", Point(checkpoint=120)),
        ("2h", Point(age_ns=7200 * NS)),
        ("1.5d", Point(age_ns=129600 * NS)),
        ("0s", Point(age_ns=0)),
        ("2026-11-21T12:00:00Z", Point(moment_ns=NOON + NS - 1)),
        ("2026-11-21 12:00:00", Point(moment_ns=NOON + NS - 1)),
        ("2026-11-21T13:00:00+01:00", Point(moment_ns=NOON + NS - 1)),
        ("2026-11-21T12:00:00.000001Z", Point(moment_ns=NOON + 1999)),
        ("2026-11-21", Point(moment_ns=NOON + 43200 * NS - 1)),
    ],
)
def test_each_form_means_what_it_says(text: str, expected: Point) -> None:
    assert parse_point(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+1", "1 ", "01", "1.0", "c", "c0", "c01", "C1", "c-1", "checkpoint", "x", "2 h", "h", "-2h", "٣",
     "c٣", "2026-13-01", "2026-11-31", "2026-11-21T25:00", "now", "1\n", "c1\n", "2h\n", "9" * 19, "1e3", "0x1"],
)  # fmt: skip
def test_anything_else_is_refused_and_says_what_is_expected(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        parse_point(text)


@given(st.text(max_size=30))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        point = parse_point(text)
    except InvalidValue:
        return
    assert sum(part is not None for part in (point.seq, point.moment_ns, point.age_ns, point.checkpoint)) == 1


@given(st.integers(0, 4 * 10**18))
def test_the_time_of_an_event_as_it_is_shown_means_that_event(moment_ns: int) -> None:
    shown = parse_point(iso(moment_ns)).moment_ns
    assert shown is not None
    assert moment_ns <= shown < moment_ns + NS


def test_an_age_counts_back_from_now() -> None:
    assert parse_point("1h").at(NOON) == NOON - 3600 * NS
    assert parse_point("2026-11-21").at(0) == NOON + 43200 * NS - 1
