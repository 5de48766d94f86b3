"""What may be a name, and how names become directories and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.errors import InvalidName, NameNotText, NameTooLong
from llmspellfs.model.names import check_component, dirname_for, from_view_name, split_path, view_name


@pytest.mark.parametrize("name", ["a", "a b", ".hidden", "...", "ü" * 127, "x" * 255, "new\nline", "-", "%2F"])
def test_components_that_can_be(name: str) -> None:
    assert check_component(name) == name


@pytest.mark.parametrize(
    ("name", "error"),
    [("", InvalidName), (".", InvalidName), ("..", InvalidName), ("a/b", InvalidName), ("a\0", InvalidName),
     ("x" * 256, NameTooLong), ("ü" * 128, NameTooLong), ("\udcff", NameNotText)],
)  # fmt: skip
def test_components_that_cannot_be(name: str, error: type[InvalidName]) -> None:
    with pytest.raises(error) as caught:
        check_component(name)
    caught.value.message.encode("utf-8")


def test_paths_are_split_and_checked() -> None:
    assert split_path("a/b c/d") == ("a", "b c", "d")
    assert split_path("a/.session") == ("a", ".session")
    for path in ("", "/", "a/", "/a", "a//b", "./a", "a/..", ".session", ".session/id", "a/\0"):
        with pytest.raises(InvalidName):
            split_path(path)
    with pytest.raises(NameTooLong):
        split_path("/".join(["x" * 255] * 17))
    with pytest.raises(NameNotText):
        split_path("a/\udc80")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("%/2F5", max_size=20))
def test_names_in_views_are_reversible_components(text: str) -> None:
    component = view_name(text)
    assert "/" not in component
    assert from_view_name(component) == text


@given(st.text("%/2F5", max_size=12), st.text("%/2F5", max_size=12))
def test_two_names_never_share_a_view(first: str, second: str) -> None:
    assert (view_name(first) == view_name(second)) == (first == second)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300))
def test_any_name_has_a_directory_that_can_be_and_is_free(name: str) -> None:
    taken: set[str] = set()
    for _ in range(12):
        dirname = dirname_for(name, taken.__contains__)
        assert check_component(dirname) not in taken
        taken.add(dirname)


def test_a_directory_keeps_its_number_where_the_name_is_long() -> None:
    assert dirname_for("x" * 300, {"x" * 255}.__contains__) == "x" * 253 + "~2"
    for name in ("", "a\0b"):
        with pytest.raises(InvalidName):
            dirname_for(name, lambda _: False)
