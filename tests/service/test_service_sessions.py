"""Sessions: names and refs, parents, fields, checkpoints, limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import AlreadyExists, InvalidName, InvalidValue, LimitExceeded, NotFound, SpellError

IDS = ("aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002")


@pytest.mark.parametrize(
    ("name", "dirname"),
    [
        ("q4 analysis", "q4 analysis"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("100%", "100%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("ü\nx", "ü\nx"),
        ("x" * 300, "x" * 255),
        ("ü" * 200, "ü" * 127),
    ],
)
def test_a_directory_is_called_after_its_session(store: Store, name: str, dirname: str) -> None:
    session = store.sessions.create(name)
    assert (session.name, session.dirname) == (name, dirname)
    assert store.sessions.get(dirname) == session


def test_a_name_that_is_taken_gets_a_number(store: Store) -> None:
    assert [store.sessions.create("s").dirname for _ in range(3)] == ["s", "s~2", "s~3"]
    assert [store.sessions.create("x" * 255).dirname for _ in range(2)] == ["x" * 255, "x" * 253 + "~2"]
    store.sessions.delete("s~2")
    assert store.sessions.create("s").dirname == "s~2"


def test_a_session_without_a_name_is_called_after_its_id(store: Store) -> None:
    session = store.sessions.create()
    assert session.name == f"session-{session.id[:8]}"


def test_names_that_cannot_be(store: Store) -> None:
    for name in ("", "a\0b", "\udcff", 7):
        with pytest.raises(SpellError):
            store.sessions.create(name)  # type: ignore[arg-type]
    store.sessions.create("s")
    for name in ("", "\0"):
        with pytest.raises(InvalidName):
            store.sessions.update("s", name=name)
    assert len(store.sessions.list()) == 1


def test_a_session_is_found_by_directory_id_and_prefix(store: Store) -> None:
    session = store.sessions.create("s")
    for ref in ("s", session.id, session.id[:4], session.id[:13]):
        assert store.sessions.get(ref) == session
    for ref in ("", session.id[:3], "S", session.id.upper(), session.id + "0", "s/", "\udcff", "no", "zzzz"):
        with pytest.raises(NotFound):
            store.sessions.get(ref)


def test_a_prefix_of_two_ids_is_ambiguous(tmp_path: Path) -> None:
    ids = iter(IDS)
    with open_store(tmp_path, config=Config(), new_id=lambda: next(ids)) as store:
        store.sessions.create("one")
        store.sessions.create("two")
        with pytest.raises(InvalidValue, match="aaaaaaaa-0000 is the beginning of several ids"):
            store.sessions.get("aaaaaaaa-0000")
        assert store.sessions.get(IDS[1]).name == "two"
        store.sessions.delete("two")
        assert store.sessions.get("aaaaaaaa-0000").name == "one"


def test_no_session_can_stand_in_for_another_by_having_its_id_as_a_name(store: Store) -> None:
    real = store.sessions.create("real")
    false = store.sessions.create(real.id)
    assert store.sessions.get(real.id).sid == real.sid
    assert store.sessions.get(false.id).sid == false.sid


def test_renaming_gives_a_new_directory(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    assert store.sessions.update("s", name="t").dirname == "t~2"
    assert store.sessions.rename("t~2", "a%2Fb").name == "a/b"
    assert store.sessions.update("a%2Fb", name="a/b").seq == 3
    with pytest.raises(AlreadyExists):
        store.sessions.rename("a%2Fb", "t")
    for dirname in ("", ".", "x/y", "x" * 256, "a\0"):
        with pytest.raises(InvalidName):
            store.sessions.rename("t", dirname)
    with pytest.raises(AlreadyExists):
        store.sessions.create(dirname="t")
    assert store.sessions.create(dirname="u%2Fv").name == "u/v"


def test_fields_given_are_replaced_and_the_rest_stays(store: Store, clock: list[int]) -> None:
    made = store.sessions.create("s", description="d", tags=["a", "b", "a"], metadata={"k": [1, None]}, created_by="me")
    assert (made.tags, made.created_by, made.created_ns, made.updated_ns) == (("a", "b"), "me", clock[0], clock[0])
    clock[0] += 5
    after = store.sessions.update("s", metadata={"n": 1.5})
    assert (after.metadata, after.description, after.tags) == ({"n": 1.5}, "d", ("a", "b"))
    assert (after.updated_ns, after.created_ns) == (clock[0], made.created_ns)
    assert store.sessions.update("s", metadata={"n": 1.5}) == after
    assert [event.kind for event in store.sessions.events("s")] == ["session.created", "session.updated"]


@pytest.mark.parametrize(
    "given",
    [
        {"tags": "abc"}, {"tags": [""]}, {"tags": ["a\nb"]}, {"tags": [1]}, {"description": 1},
        {"metadata": [1]}, {"metadata": {"a": float("nan")}}, {"metadata": {1: 2}}, {"metadata": {"a": object()}},
    ],
)  # fmt: skip
def test_bad_values_change_nothing(store: Store, given: dict[str, object]) -> None:
    session = store.sessions.create("s")
    calls: list[Callable[..., object]] = [store.sessions.create, store.sessions.update]
    for call in calls:
        with pytest.raises(InvalidValue):
            call("s", **given)
    assert store.sessions.list() == [session]


def test_a_cycle_in_metadata_is_a_bad_value(store: Store) -> None:
    cycle: dict[str, object] = {}
    cycle["me"] = cycle
    with pytest.raises(InvalidValue, match="nested"):
        store.sessions.create("s", metadata=cycle)


def test_children_and_parents(store: Store) -> None:
    top = store.sessions.create("top")
    child = store.sessions.create("child", parent="top")
    grandchild = store.sessions.create("grandchild", parent=child.id)
    assert child.parent_session_id == top.id
    assert store.sessions.children("top") == [child]
    assert store.sessions.list(parent="child") == [grandchild]
    for parent in ("top", "child", "grandchild"):
        with pytest.raises(InvalidValue, match="parent"):
            store.sessions.update("top", parent=parent)
    with pytest.raises(NotFound):
        store.sessions.create(parent="nobody")
    assert store.sessions.update("child", parent=None).parent_session_id is None
    assert store.sessions.update("top", parent="child").parent_session_id == child.id


def test_no_cycle_comes_about_through_a_deleted_parent(store: Store) -> None:
    store.sessions.create("a")
    store.sessions.create("b", parent="a")
    store.sessions.create("c", parent="b")
    store.sessions.delete("b")
    with pytest.raises(InvalidValue):
        store.sessions.update("a", parent="c")
    assert store.sessions.restore("b").parent_session_id == store.sessions.get("a").id


def test_save_gives_numbered_checkpoints(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    first = store.sessions.save("s", "before")
    clock[0] += 7
    second = store.sessions.save("s")
    assert (first.number, first.seq, first.label, first.at_ns) == (1, 2, "before", clock[0] - 7)
    assert (second.number, second.seq, second.label, second.at_ns) == (2, 3, None, clock[0])
    assert store.sessions.checkpoints("s") == [first, second]


def test_at_most_max_sessions_are_active_or_suspended(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config(max_sessions=2)) as store:
        store.sessions.create("a")
        store.sessions.create("b")
        store.sessions.suspend("b")
        with pytest.raises(LimitExceeded, match="max_sessions = 2"):
            store.sessions.create("c")
        store.sessions.complete("b")
        store.sessions.create("c")
        store.sessions.delete("c")
        store.sessions.create("d")
        with pytest.raises(LimitExceeded, match="max_sessions"):
            store.sessions.restore("c")
        store.sessions.delete("b")
        assert store.sessions.restore("b").status == "completed"
        store.sessions.complete("d")
        assert store.sessions.restore("c").status == "active"


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        ("created_at", ["b", "a", "c"]),
        ("name", ["a", "b", "c"]),
        ("artifact_count", ["b", "c", "a"]),
        ("total_artifact_size", ["b", "a", "c"]),
        ("updated_at", ["a", "c", "b"]),
        ("status", ["a", "c", "b"]),
    ],
)
def test_lists_are_sorted_and_paged(store: Store, clock: list[int], sort_by: str, expected: list[str]) -> None:
    for name in "bac":
        clock[0] += 10**9
        store.sessions.create(name)
    store.artifacts.put("a", "x", b"1")
    store.artifacts.put("a", "y", b"1")
    store.artifacts.put("c", "x", b"four")
    clock[0] += 10**9
    store.sessions.suspend("b")
    names = [s.name for s in store.sessions.list(sort_by=sort_by)]
    assert names == expected
    if sort_by != "status":
        assert [s.name for s in store.sessions.list(sort_by=sort_by, order="desc")] == expected[::-1]
    pages = [store.sessions.list(sort_by=sort_by, limit=1, offset=n) for n in range(4)]
    assert [s.name for s in itertools.chain(*pages)] == expected


@pytest.mark.parametrize(
    "wrong", [{"sort_by": "x"}, {"order": "up"}, {"limit": -1}, {"offset": -1}, {"status": "x"}, {"created_after": "x"}]
)
def test_bad_options_of_lists_are_bad_values(store: Store, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        store.sessions.list(**wrong)  # type: ignore[arg-type]
