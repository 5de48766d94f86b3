from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.query import Query, Term, filters, labels, parse_query
from llmspellfs.model.query_values import IdMatch, Match, PathMatch, Range, Value
from llmspellfs.model.times import NS, parse_iso

NOW = parse_iso("2026-11-21T12:00:00Z")
DAY = 86400 * NS


def one(text: str) -> Term:
    (term,) = parse_query(text, NOW).terms
    return term


def value(text: str) -> Value:
    (found,) = one(text).values
    return found


def why(text: str) -> str:
    with pytest.raises(InvalidValue) as caught:
        parse_query(text, NOW)
    assert caught.value.where == "query"
    return caught.value.expected


def test_every_word_of_the_documented_example_is_a_term() -> None:
    text = (
        "type:tool_result tag:report name:*.csv size:>10k created:>2026-11-01 updated:<1h session:q4* "
        'status:active mime:image/* meta.author:jane -tag:draft "free words"'
    )
    terms = parse_query(text, NOW).terms
    fields = "type tag name size created updated session status mime meta.author tag words"
    assert " ".join(term.field for term in terms) == fields
    assert [term.field for term in terms if term.negated] == ["tag"]
    assert terms[-1].values == (Match("free words"),)


def test_nothing_asks_for_nothing() -> None:
    assert parse_query("", NOW) == parse_query(" \t\n", NOW) == Query()


def test_a_comma_is_either_and_a_minus_is_not() -> None:
    assert one("-tag:a,b") == Term("tag", (Match("a"), Match("b")), negated=True)


def test_quotes_take_spaces_commas_colons_and_minus_as_they_are() -> None:
    assert value('tag:"two words"') == Match("two words")
    assert value('name:"a, b".txt') == Match("a, b.txt")
    assert one('"type:x"') == Term("words", (Match("type:x"),))
    assert one('"-x"') == Term("words", (Match("-x"),))
    assert value('meta."due date":"1:2"') == Match("1:2")
    assert one('meta."due date":x').field == "meta.due date"


def test_a_backslash_in_quotes_takes_the_next_character_as_it_is() -> None:
    assert value(r'tag:"say \"hi\" \\"') == Match('say "hi" \\')
    assert value(r'name:"a\*b"') == Match("a*b")
    assert value(r'name:"a\*b*"') == Match("a[*]b*", is_glob=True)
    assert value(r"tag:a\b") == Match(r"a\b")


def test_a_pattern_in_quotes_is_still_one() -> None:
    assert value('name:"my *.txt"') == Match("my *.txt", is_glob=True)


def test_quoted_nothing_is_a_value_and_nothing_is_none() -> None:
    assert value('mime:""') == Match("")
    assert why("tag:") == "a value expected at column 5"
    assert why("tag:a,,b") == "a value expected at column 7"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("size:10k", 10240, 10240),
        ("size:>10k", 10241, None),
        ("size:>=1.5M", 3 << 19, None),
        ("size:<2G", None, (2 << 30) - 1),
        ("size:<=300", None, 300),
        ("size:>9999999999999999999G", (1 << 63) - 1, None),
    ],
)
def test_sizes(text: str, low: int | None, high: int | None) -> None:
    assert value(text) == Range(low, high)


def test_a_day_is_all_of_the_day() -> None:
    first = parse_iso("2026-11-01")
    last = first + DAY - 1
    assert value("created:2026-11-01") == Range(first, last)
    assert value("created:>2026-11-01") == Range(last + 1, None)
    assert value("created:>=2026-11-01") == Range(first, None)
    assert value("created:<2026-11-01") == Range(None, first - 1)
    assert value("created:<=2026-11-01") == Range(None, last)


def test_a_whole_second_includes_itself() -> None:
    first = parse_iso("2026-11-01T10:00:00Z")
    assert value('updated:"<=2026-11-01T10:00:00Z"') == Range(None, first + NS - 1)
    assert value("updated:>=1793527200") == Range(first, None)


def test_an_age_is_compared_as_an_age() -> None:
    assert value("updated:<1h") == Range(NOW - 3600 * NS + 1, None)
    assert value("created:>7d") == Range(None, NOW - 7 * DAY - 1)
    assert "< or > expected before an age" in why("created:7d")


def test_names_without_slash_are_of_the_last_component() -> None:
    assert value("name:*.csv") == Match("*.csv", is_glob=True)
    assert value("name:**/*.csv") == Match("*.csv", is_glob=True)
    assert value("name:a.csv") == Match("a.csv")


def test_names_with_slash_are_of_the_whole_path() -> None:
    any_name = Match("*", is_glob=True)
    whole = Match("results/**", is_glob=True)
    assert value("name:results/**") == PathMatch((Match("results"), None, any_name), whole)
    assert value("name:/a.csv") == PathMatch((Match("a.csv"),), Match("/a.csv"))
    assert value("name:a*/**/**/b") == PathMatch(
        (Match("a*", is_glob=True), None, Match("b")), Match("a*/**/**/b", is_glob=True)
    )
    assert why("name:a//b") == "a path without empty parts expected, not 'a//b' at column 6"


def test_brackets_are_classes_where_they_close() -> None:
    assert value("name:[!a-c]x") == Match("[^a-c]x", is_glob=True)
    assert value("name:[abc") == Match("[abc")
    assert value("name:[abc*") == Match("[[]abc*", is_glob=True)
    assert value("name:[]") == Match("[]")
    assert value("name:[!]") == Match("[!]")


def test_ids() -> None:
    assert value("id:0123abcd") == IdMatch("0123abcd")
    assert value("id:0123abcd/7/ff") == IdMatch("0123abcd", 7, "ff")
    assert "4 at least" in why("id:xyz")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("tag:a typ:b", 7),
        ('tag:a "open', 7),
        ("tag:a -", 7),
        ("tag:a --b", 7),
        ("status:active,done", 15),
        ("size:>ten", 6),
        ("created:yesterday", 9),
        ("type:Tool", 6),
        ("meta.:x", 1),
        ("tag:a\0b", 6),
        ("tag:\udcff", 5),
        ("x" * 8193, 8193),
        ('""', 1),
    ],
)
def test_a_bad_query_says_where(text: str, column: int) -> None:
    assert why(text).endswith(f" at column {column}")


def test_too_many_values_are_refused() -> None:
    assert "more than 200 values" in why(",".join("a" * 201))


PIECES = st.sampled_from(
    [
        *'-:,"\\*?[]!^/ <>=.kT\0é',
        "size:",
        "created:",
        "updated:<",
        "name:",
        "id:",
        "meta.",
        "9" * 30,
        "2026-11-01",
        "1h",
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
@example("updated:<" + "9" * 400 + "d")
@example("created:0001-01-01T00:00:00+23:59")
@example("created:9999-12-31T23:59:59-23:59")
@example("created:>9999-12-31")
@example("size:" + "9" * 400)
@settings(max_examples=500, deadline=None)
def test_no_text_raises_anything_but_invalid_value(text: str) -> None:
    try:
        query = parse_query(text, NOW)
    except InvalidValue as error:
        where, why_and_column = error.where, error.expected
    else:
        where, why_and_column = "query", "fine at column 0"
        bounds = [b for t in query.terms for v in t.values if isinstance(v, Range) for b in (v.low, v.high)]
        assert all(bound is None or abs(bound) < 1 << 63 for bound in bounds)
    assert where == "query"
    assert " at column " in why_and_column


@pytest.mark.parametrize("unit", ["[", "*a", "[!", "[]", '"', "a,", "-", "\\", "**/", "[^]"])
def test_no_text_takes_long(unit: str) -> None:
    started = time.process_time()
    for prefix in ("name:", "tag:", ""):
        try:
            parse_query((prefix + unit * 8192)[:8192], NOW)
        except InvalidValue:
            continue
    assert time.process_time() - started < 5


def test_filters_without_options_ask_for_nothing() -> None:
    assert filters() == filters(tags=()) == filters(words="  ") == Query()


def test_filters_bounds_are_inclusive() -> None:
    query = filters(created_after="2026-11-01", created_before=100, min_size=5, max_size=float("inf"))
    first = parse_iso("2026-11-01")
    assert query.terms == (
        Term("created", (Range(first, None),)),
        Term("created", (Range(None, 101 * NS - 1),)),
        Term("size", (Range(5, (1 << 63) - 1),)),
    )


def test_filters_want_all_tags_and_all_words() -> None:
    query = filters(tags=["a", "b*"], words="two words")
    assert query.terms[:2] == (Term("tag", (Match("a"),)), Term("tag", (Match("b*"),)))
    assert query.terms[2:] == (Term("words", (Match("two"),)), Term("words", (Match("words"),)))
    assert query.has_words
    assert (Query() & query) == query


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"status": "done"}, "status"),
        ({"tags": "report"}, "tags"),
        ({"artifact_type": "Tool"}, "type"),
        ({"name_pattern": "a\0"}, "name_pattern"),
        ({"name_pattern": "\udcff"}, "name_pattern"),
        ({"created_after": "soon"}, "created_after"),
        ({"updated_before": float("nan")}, "updated_before"),
        ({"updated_before": 10**400}, "updated_before"),
        ({"min_size": "big"}, "min_size"),
        ({"min_size": float("nan")}, "min_size"),
        ({"words": "x" * 9000}, "words"),
        ({"words": "x " * 300}, "query"),
    ],
)
def test_bad_filters_name_the_option(options: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        filters(**options)
    assert caught.value.where == where


def test_labels_are_tags_and_scalars() -> None:
    metadata = {"s": "text", "n": 1.5, "b": True, "z": None, "l": [1], "o": {}, "long": "x" * 300}
    assert labels(("a", "b", "a"), metadata) == [
        ("tag", "a"),
        ("tag", "b"),
        ("meta.s", "text"),
        ("meta.n", "1.5"),
        ("meta.b", "true"),
        ("meta.z", "null"),
        ("meta.long", "x" * 256),
    ]
