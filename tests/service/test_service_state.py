"""Values that scripts keep: set and read back, compared and swapped, bounded, and gone with their session."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.service import state as state_module

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aä€\0\n"'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def test_a_value_is_there_until_it_is_deleted(store: Store) -> None:
    assert store.state.get("k") is None
    store.state.set("k", {"a": [1, None, []]})
    assert store.state.get("k") == {"a": [1, None, []]}
    store.state.set("k", 2)
    assert store.state.get("k") == 2
    assert store.state.delete("k")
    assert not store.state.delete("k")
    assert store.state.get("k", "nothing") == "nothing"


def test_null_is_a_value(store: Store) -> None:
    store.state.set("k", None)
    assert store.state.get("k", "nothing") is None
    assert store.state.list_keys() == ["k"]


def test_scopes_do_not_see_each_other(store: Store) -> None:
    store.state.set("k", 1)
    store.state.set("k", 2, scope="other")
    store.state.set("b", 3, scope="other")
    assert (store.state.get("k"), store.state.get("k", scope="other")) == (1, 2)
    assert store.state.get("k", scope="global") == 1
    assert store.state.list_keys("other") == ["b", "k"]
    store.state.delete("k", scope="other")
    assert store.state.list_keys() == ["k"]


@settings(deadline=None)
@given(JSON)
def test_what_json_can_say_comes_back_as_it_was(value: Any) -> None:
    with open_store(backend="memory", config=Config()) as store:
        store.state.set("k", value)
        back = store.state.get("k")
        assert back == value
        assert repr(back) == repr(value) or isinstance(value, dict | list)


def test_values_survive_the_process(tmp_path: Path) -> None:
    for expected, new in ((None, 1), (1, 2)):
        with open_store(tmp_path, config=Config()) as store:
            assert store.state.get("k") == expected
            store.state.set("k", new)


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 256, "\udc80", 5, None])
def test_what_is_no_key_is_refused(store: Store, key: Any) -> None:
    for call in (
        lambda: store.state.set(key, 1), lambda: store.state.get(key), lambda: store.state.delete(key),
        lambda: store.state.set("k", 1, scope=key), lambda: store.state.list_keys(key),
    ):  # fmt: skip
        with pytest.raises(InvalidValue):
            call()
    assert store.state.list_keys() == []


def test_a_key_of_255_bytes_is_one(store: Store) -> None:
    store.state.set("x" * 255, 1, scope="y" * 255)
    assert store.state.list_keys("y" * 255) == ["x" * 255]


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, b"raw", object(), "x" * (1 << 20), [[]] * 700_000])
def test_what_is_no_value_is_refused_and_changes_nothing(store: Store, value: Any) -> None:
    store.state.set("k", "before")
    with pytest.raises(InvalidValue, match=r"^state k"):
        store.state.set("k", value)
    with pytest.raises(InvalidValue, match=r"^state k"):
        store.state.update("k", lambda _: value)
    assert store.state.get("k") == "before"


def test_an_update_sees_what_was_and_gives_what_is(store: Store) -> None:
    assert store.state.update("n", lambda old: [old]) == [None]
    assert store.state.update("n", lambda old: [*old, 2]) == [None, 2]
    assert store.state.get("n") == [None, 2]


def test_an_update_is_made_again_on_what_others_changed(store: Store) -> None:
    seen = []

    def change(old: Any) -> Any:
        seen.append(old)
        if len(seen) == 1:
            store.state.set("n", 10)  # outside any transaction: this does not wait
        return (old or 0) + 1

    assert store.state.update("n", change) == 11
    assert seen == [None, 10]


def test_an_update_whose_value_was_deleted_meanwhile_is_made_again(store: Store) -> None:
    store.state.set("n", 1)

    def change(old: Any) -> Any:
        store.state.delete("n")
        return "was there" if old else "was not"

    assert store.state.update("n", change) == "was not"


def test_an_update_that_others_always_outrun_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "TRIES", 3)
    turns = iter(range(100))

    def change(_: Any) -> str:
        store.state.set("n", next(turns))
        return "mine"

    with pytest.raises(SpellError, match="state n: others changed it 3 times"):
        store.state.update("n", change)
    assert store.state.get("n") == 2


def test_updates_of_several_processes_are_all_counted(sqlite_store: Store) -> None:
    def count(other: Store) -> None:
        with other:
            for _ in range(25):
                other.state.update("n", lambda old: (old or 0) + 1)

    others = [open_store(sqlite_store.path, config=Config()) for _ in range(3)]
    threads = [threading.Thread(target=count, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sqlite_store.state.get("n") == 75


def test_an_update_that_raises_changes_nothing(store: Store) -> None:
    store.state.set("n", 1)
    with pytest.raises(ZeroDivisionError):
        store.state.update("n", lambda old: old / 0)
    assert store.state.get("n") == 1


def test_a_sessions_values_are_gone_when_it_is_purged(store: Store) -> None:
    one, other = (store.sessions.create(name) for name in ("one", "other"))
    for session in (one, other):
        store.state.set("k", "zeppelin", scope=f"session:{session.id}")
    store.state.set("k", 1)
    store.sessions.complete("one")
    store.state.set("late", 1, scope=f"session:{one.id}")
    store.sessions.delete("one")
    assert store.state.list_keys(f"session:{one.id}") == ["k", "late"]
    store.sessions.purge("one")
    assert store.state.list_keys(f"session:{one.id}") == []
    assert store.state.list_keys(f"session:{other.id}") == ["k"]
    assert store.state.list_keys() == ["k"]


def test_a_deleted_sessions_values_go_when_it_expires(store: Store, clock: list[int]) -> None:
    session = store.sessions.create("s")
    store.state.set("k", 1, scope=f"session:{session.id}")
    store.sessions.delete("s")
    clock[0] += 40 * 86_400 * 10**9
    store.upkeep.gc()
    assert store.state.list_keys(f"session:{session.id}") == []


def test_nothing_is_set_for_a_session_that_is_not_there(store: Store) -> None:
    session = store.sessions.create("s")
    store.state.set("k", 1, scope=f"session:{session.id}")
    store.sessions.delete("s")
    for scope in ("session:s", "session:", f"session:{session.id}"):
        with pytest.raises(NotFound):
            store.state.set("k", 2, scope=scope)
        with pytest.raises(NotFound):
            store.state.update("n", lambda _: 2, scope=scope)
    store.sessions.restore("s")
    assert store.state.get("k", scope=f"session:{session.id}") == 1
