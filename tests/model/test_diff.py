"""Differences between two trees: complete, sorted, a rename told as one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.model.artifact import Attributes, Entry, FileFacts, Kind
from llmspellfs.model.diff import Change, changed_fields, changes_between, content_of

A = Attributes(0o644, 1, 1, 0, 0)


def file(sequence: int, content: str = "x", *, size: int = 1, tags: tuple[str, ...] = ()) -> Entry:
    facts = FileFacts(sequence, 1, 1, content, size, 1, "user_input", "text/plain", "", tags, {}, 0, 0)
    return Entry(sequence, 1, 1, "name", 100 + sequence, Kind.FILE, 1, None, A, facts)


def folder(ino: int) -> Entry:
    return Entry(ino, 1, 1, "name", ino, Kind.FOLDER, 1, None, A)


def link(ino: int, target: str) -> Entry:
    return Entry(ino, 1, 1, "name", ino, Kind.SYMLINK, 1, None, A, None, target)


def kinds(old: dict[str, Entry], new: dict[str, Entry], *, same: bool = True) -> list[tuple[str, str, str | None]]:
    return [(c.kind, c.path, c.old_path) for c in changes_between(old, new, same_session=same)]


def test_files_are_the_same_by_sequence_and_others_by_inode() -> None:
    old = {"a": file(1), "d": folder(5), "l": link(6, "x")}
    new = {"b": file(1, "y"), "e": folder(5), "m": link(6, "x")}
    assert kinds(old, new) == [("renamed", "b", "a"), ("renamed", "e", "d"), ("renamed", "m", "l")]
    assert kinds(old, {"b": file(2), "e": folder(6), "m": link(7, "x")}) == [
        ("removed", "a", None), ("added", "b", None), ("removed", "d", None), ("added", "e", None),
        ("removed", "l", None), ("added", "m", None),
    ]  # fmt: skip


def test_another_kind_under_a_name_is_removed_then_added() -> None:
    for old, new in ((file(1), folder(5)), (folder(5), link(6, "x")), (link(6, "x"), file(1))):
        assert kinds({"a": old}, {"a": new}) == [("removed", "a", None), ("added", "a", None)]


def test_across_sessions_only_a_single_pair_of_contents_is_a_rename() -> None:
    old = {"a": file(1, "one"), "b": file(2, "twice"), "c": file(3, "twice"), "e": file(4, "none", size=0)}
    new = {"x": file(7, "one"), "y": file(8, "twice"), "z": file(9, "none", size=0)}
    assert [change for change in kinds(old, new, same=False) if change[0] == "renamed"] == [("renamed", "x", "a")]


def test_contents_are_told_apart_by_kind_hash_and_target() -> None:
    assert content_of(file(1, "x")) == content_of(file(2, "x"))
    assert content_of(file(1, "x")) != content_of(file(1, "y"))
    assert content_of(link(1, "x")) != content_of(link(1, "y"))
    assert content_of(folder(1)) == content_of(folder(2))
    assert content_of(folder(1)) != content_of(link(1, "x"))


def test_metadata_alone_is_described_and_not_other_content() -> None:
    (change,) = changes_between({"a": file(1)}, {"a": file(1, tags=("x",))}, same_session=True)
    assert (change.kind, change.has_other_content) == ("described", False)
    assert [(field.name, field.old, field.new) for field in change.fields] == [("tags", (), ("x",))]
    assert Change("a", None, file(1)).fields == Change("a", link(1, "x"), file(1)).fields == ()


def test_fields_that_are_equal_are_left_out() -> None:
    assert changed_fields(file(1).facts, file(1).facts, ("tags", "custom")) == ()


ENTRIES = st.one_of(
    st.builds(file, st.integers(1, 6), st.sampled_from("xyz")),
    st.builds(folder, st.integers(10, 14)),
    st.builds(link, st.integers(20, 24), st.sampled_from("xy")),
)
TREES = st.dictionaries(st.sampled_from("abcdef"), ENTRIES)


@pytest.mark.parametrize("same", [True, False])
@given(old=TREES, new=TREES)
def test_each_path_is_accounted_for_once(same: bool, old: dict[str, Entry], new: dict[str, Entry]) -> None:
    changes = changes_between(old, new, same_session=same)
    tree = dict(old)
    for change in changes:
        if change.old is not None:
            assert tree.pop(change.old_path or change.path) is change.old
    for change in changes:
        if change.new is not None:
            assert tree.setdefault(change.path, change.new) is change.new
            assert new[change.path] is change.new
    assert tree.keys() == new.keys()
    for path, entry in tree.items():
        assert content_of(entry) == content_of(new[path])
    assert [change.path for change in changes] == sorted(change.path for change in changes)


def test_another_type_of_a_value_is_a_change() -> None:
    @dataclass(frozen=True)
    class Facts:
        custom: dict[str, object]

    changed = changed_fields(Facts({"n": 1}), Facts({"n": True}), ("custom",))
    assert [(change.old, change.new) for change in changed] == [({"n": 1}, {"n": True})]
    assert changed_fields(Facts({"n": 1}), Facts({"n": 1}), ("custom",)) == ()
