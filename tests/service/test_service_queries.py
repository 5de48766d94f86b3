"""Questions asked of the store: filters of the API, the language, free words, and what is not found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmspellfs import Store
from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.times import NS, iso


@pytest.fixture
def filled(store: Store, clock: list[int]) -> Store:
    """Two sessions with artifacts stored an hour apart, and one that is deleted."""
    store.sessions.create("q4-sales", tags=["sales", "q4"], metadata={"team": "north"}, description="the big report")
    store.sessions.create("q3-sales", tags=["sales"], parent="q4-sales")
    store.sessions.create("gone", tags=["sales"], metadata={"team": "north"})
    for number, (session, name, kind, tags, size) in enumerate(
        [
            ("q4-sales", "report.csv", "tool_result", ["report", "final"], 2048),
            ("q4-sales", "results/a.csv", "user_input", ["report"], 10),
            ("q3-sales", "results/b.txt", "agent_output", ["draft"], 100),
            ("gone", "report.csv", "tool_result", ["report", "final"], 2048),
        ]
    ):
        clock[0] += 3600 * NS
        content = bytes([number]) * size
        custom = {"author": "jane", "n": number}
        store.artifacts.put(session, name, content, artifact_type=kind, tags=tags, custom=custom)
    store.sessions.suspend("q3-sales")
    store.sessions.delete("gone")
    return store


def found(store: Store, query: str) -> list[str]:
    return [artifact.name for artifact in store.artifacts.query(query)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["report.csv", "results/a.csv", "results/b.txt"]),
        ("type:tool_result", ["report.csv"]),
        ("type:tool_result,user_input", ["report.csv", "results/a.csv"]),
        ("tag:report", ["report.csv", "results/a.csv"]),
        ("tag:report tag:final", ["report.csv"]),
        ("-tag:report", ["results/b.txt"]),
        ("name:*.csv", ["report.csv", "results/a.csv"]),
        ("name:results/*", ["results/a.csv", "results/b.txt"]),
        ("size:>1k", ["report.csv"]),
        ("size:<=100", ["results/a.csv", "results/b.txt"]),
        ("session:q4*", ["report.csv", "results/a.csv"]),
        ("status:suspended", ["results/b.txt"]),
        ("mime:text/*", ["report.csv", "results/a.csv", "results/b.txt"]),
        ("meta.author:jane meta.n:1", ["results/a.csv"]),
        ("created:<2h", ["results/b.txt"]),
        ("created:>=2026-11-21T13:00:00Z created:<2026-11-21T14:00:00Z", ["report.csv"]),
        ("created:>2026-11-22", []),
        ("type:tool_result -session:q4*", []),
        ("jane", ["report.csv", "results/a.csv", "results/b.txt"]),
        ("jane final", ["report.csv"]),
        ('"final"', ["report.csv"]),
        ("jan", []),
    ],
)
def test_the_language_finds_live_artifacts(filled: Store, query: str, names: list[str]) -> None:
    assert found(filled, query) == names


def test_filters_are_the_guides(filled: Store, clock: list[int]) -> None:
    def names(**given: Any) -> list[str]:
        return [artifact.name for artifact in filled.artifacts.query(**given)]

    first = clock[0] // NS - 3 * 3600
    assert names(session="q4-sales", artifact_type="user_input") == ["results/a.csv"]
    assert names(tags=["report", "final"]) == ["report.csv"]
    assert names(tags=[]) == ["report.csv", "results/a.csv", "results/b.txt"]
    assert names(name_pattern="*.csv", min_size=1024, max_size=2048) == ["report.csv"]
    assert names(created_before=first) == names(created_before=iso(first * NS)) == ["report.csv"]
    assert names(created_after=first + 1) == ["results/a.csv", "results/b.txt"]
    assert names(updated_after=iso(clock[0] - 3601 * NS)) == ["results/b.txt"]
    assert names(limit=1) == ["report.csv"]
    assert names(limit=1, offset=2) == ["results/b.txt"]
    assert names(sort_by="size") == ["results/a.csv", "results/b.txt", "report.csv"]
    assert names(sort_by="name", order="desc") == ["results/b.txt", "results/a.csv", "report.csv"]
    assert names(query="tag:report", max_size=10) == ["results/a.csv"]
    with pytest.raises(NotFound):
        filled.artifacts.query(session="nobody")


def test_sessions_are_listed_by_every_filter(filled: Store, clock: list[int]) -> None:
    def names(query: str | None = None, **given: Any) -> list[str]:
        return [session.name for session in filled.sessions.list(query, **given)]

    assert names() == ["q4-sales", "q3-sales"]
    assert names(status="suspended") == ["q3-sales"]
    assert names(tags=["sales", "q4"]) == ["q4-sales"]
    assert names(name_pattern="q3*") == ["q3-sales"]
    assert names(parent="q4-sales") == ["q3-sales"]
    assert names(search="big report") == names("report big") == ["q4-sales"]
    assert names("tag:sales meta.team:north") == ["q4-sales"]
    assert names("type:agent_output") == ["q3-sales"]
    assert names(created_before=clock[0] // NS - 4 * 3600) == ["q4-sales", "q3-sales"]
    assert names(updated_after=clock[0] / NS) == ["q3-sales"]
    assert names(deleted=True) == ["gone"]
    assert names("tag:sales meta.team:north", deleted=True) == ["gone"]
    assert names(limit=1, sort_by="created_at", order="desc") == ["q3-sales"]


def test_free_words_follow_every_change(filled: Store) -> None:
    filled.artifacts.put("q4-sales", "new", b"x", description="aardvark")
    assert found(filled, "aardvark") == ["new"]
    filled.artifacts.update("q4-sales", "new", description="badger")
    assert (found(filled, "aardvark"), found(filled, "badger")) == ([], ["new"])
    filled.artifacts.update("q4-sales", "new", name="capybara.txt")
    assert found(filled, "capybara") == found(filled, "badger") == ["capybara.txt"]
    filled.artifacts.delete("q4-sales", "capybara.txt")
    assert found(filled, "badger") == []
    filled.artifacts.restore("q4-sales", "capybara.txt")
    assert found(filled, "badger") == ["capybara.txt"]
    filled.sessions.restore("gone")
    assert found(filled, "jane type:tool_result") == ["report.csv", "report.csv"]


def test_deleted_sessions_come_back_with_what_finds_them(filled: Store) -> None:
    filled.sessions.restore("gone")
    assert [s.name for s in filled.sessions.list("tag:sales meta.team:north")] == ["q4-sales", "gone"]
    assert len(filled.artifacts.query("tag:final")) == 2


@pytest.mark.parametrize(
    "query", ["nofield:x", "tag:", 'tag:"open', "size:big", "created:soon", "type:UPPER", "status:x"]
)
def test_a_bad_query_says_where_and_why(filled: Store, query: str) -> None:
    asks: list[Callable[[str], object]] = [filled.artifacts.query, filled.sessions.list, filled.search.artifacts]
    for ask in asks:
        with pytest.raises(InvalidValue, match=r"query: .* at column \d+"):
            ask(query)


@pytest.mark.parametrize(
    "given",
    [{"limit": -1}, {"limit": 1.5}, {"offset": True}, {"order": "x"}, {"sort_by": "x"}, {"created_after": "x"},
     {"min_size": "x"}, {"artifact_type": "X"}, {"tags": "x"}, {"name_pattern": 7}],
)  # fmt: skip
def test_bad_filters_are_bad_values(filled: Store, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        filled.artifacts.query(**given)


def test_what_there_is_can_be_listed(filled: Store) -> None:
    assert sorted(filled.search.types()) == ["agent_output", "tool_result", "user_input"]
    assert sorted(filled.search.tags()) == ["draft", "final", "q4", "report", "sales"]
