"""Moments as text and numbers, and what a bound means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.times import NS, iso, parse_age, parse_iso, span

DAY = 86400 * NS
NOON = 1_795_262_400 * NS


def test_text_like_the_designs() -> None:
    assert iso(1_795_289_203_120_394_999) == "2026-11-21T19:26:43.120394Z"
    assert iso(0) == "1970-01-01T00:00:00.000000Z"
    assert iso(-1) == "1969-12-31T23:59:59.999999Z"


@given(st.datetimes(datetime(1600, 1, 1), datetime(2900, 1, 1)))
def test_text_reads_back(moment: datetime) -> None:
    ns = parse_iso(moment.isoformat())
    assert iso(ns) == moment.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    assert parse_iso(iso(ns)) == ns


@pytest.mark.parametrize(
    "text", ["2026-11-21T12:00:00Z", "2026-11-21T12:00:00", "2026-11-21T13:00:00+01:00", "2026-11-21 12:00"]
)
def test_zones_are_understood_and_utc_otherwise(text: str) -> None:
    assert parse_iso(text) == NOON


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "12:00", "2026-11-21T25:00:00", "21.11.2026"])
def test_what_is_no_time_is_a_bad_value(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_iso(text)
    with pytest.raises(InvalidValue, match="created_after"):
        span(text, "created_after")


def test_ages() -> None:
    assert parse_age("2h") == 7200 * NS
    assert parse_age("1.5d") == 36 * 3600 * NS
    assert parse_age("3w") == 21 * DAY
    assert [parse_age(text) for text in ("", "h", "-1h", "1y", "1 h", "1h2m")] == [None] * 6


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (NOON // NS, NS),
        (float(NOON // NS), NS),
        ("2026-11-21T12:00:00Z", NS),
        ("2026-11-21T12:00:00", NS),
        ("2026-11-21 12:00:00", NS),
        ("2026-11-21T13:00:00+01:00", NS),
        ("2026-11-21T12:00:00.000000Z", 1000),
        ("2026-11-21T12:00", 60 * NS),
        ("2026-11-21T13:00+01:00", 60 * NS),
        ("20261121T120000Z", NS),
        ("2026-11-21T12", 3600 * NS),
    ],
)
def test_a_bound_includes_what_it_names(value: str | float, length: int) -> None:
    assert span(value, "x") == (NOON, NOON + length - 1)


def test_a_bare_day_is_all_of_the_day_and_a_fraction_only_itself() -> None:
    assert span("2026-11-21", "x") == (NOON - DAY // 2, NOON + DAY // 2 - 1)
    assert span(NOON / NS + 0.5, "x") == (NOON + NS // 2, NOON + NS // 2)


@pytest.mark.parametrize("value", [True, None, [], float("nan"), float("inf"), 1e12, 10**400, b"2026-11-21"])
def test_what_is_no_bound_is_a_bad_value(value: float) -> None:
    with pytest.raises(InvalidValue, match="x"):
        span(value, "x")
