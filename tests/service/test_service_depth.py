"""Names with more folders than Python has frames: as long as a path may be, they are names like any other."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Iterator

import pytest

from llmspellfs import Store
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.point import parse_point
from llmspellfs.service.paths import Place
from tests.tree.trees import Walker

_FOLDERS, _FRAMES = 200, 120
DEEP = "/".join("a" * _FOLDERS)
NAME = f"{DEEP}/f.txt"


@pytest.fixture
def deep(sqlite_store: Store) -> Iterator[Store]:
    """A store with an artifact in more folders than there are frames to call in."""
    sqlite_store.sessions.create("one")
    sqlite_store.sessions.create("two")
    sqlite_store.artifacts.put("one", NAME, b"deep")
    sqlite_store.sessions.save("one")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + _FRAMES)
    try:
        yield sqlite_store
    finally:
        sys.setrecursionlimit(limit)


def test_it_is_listed_found_and_put_in_order(deep: Store) -> None:
    assert [one.name for one in deep.artifacts.list("one")] == [NAME]
    assert [one.name for one in deep.artifacts.query("name:f.txt")] == [NAME]
    assert [one.name for one in deep.artifacts.query("", sort_by="name")] == [NAME]


def test_its_past_is_shown_and_goes_to_a_fork(deep: Store) -> None:
    session = deep.sessions.get("one")
    last = deep.artifacts.get("one", NAME).folder
    moment = deep.past.moment(session.sid, parse_point(str(_FOLDERS + 2)))
    assert [row.name for row in deep.past.listing(moment, last)] == ["f.txt"]
    deep.past.fork(f"one@{_FOLDERS + 2}", "copy")
    assert deep.artifacts.read(deep.artifacts.get("copy", NAME)) == b"deep"


def test_its_folders_move_to_another_session(deep: Store) -> None:
    one, two = deep.sessions.get("one"), deep.sessions.get("two")
    deep.entries.rename(Place(one.sid, one.ino, "a"), Place(two.sid, two.ino, "b"))
    assert [one.name for one in deep.artifacts.list("two")] == ["b" + NAME[1:]]
    assert deep.artifacts.list("one") == []
    deep.entries.make_folder(Place(one.sid, one.ino, "c"), Ownership(0o755, 1, 1))
    archive = io.BytesIO()
    deep.archive.export(["two"], archive)
    archive.seek(0)
    deep.archive.import_(archive, name="three")
    assert deep.artifacts.read(deep.artifacts.get("three", "b" + NAME[1:])) == b"deep"


def test_a_mount_shows_it_now_and_then(deep: Store) -> None:
    walker = Walker(deep)
    try:
        assert walker.read(f"/sessions/one/{NAME}") == b"deep"
        assert walker.read(f"/sessions/one/.session/checkpoints/1/{NAME}") == b"deep"
        assert walker.read(f"/sessions/one/.session/versions/{NAME}/1") == b"deep"
        assert b"f.txt" in walker.read(f"/sessions/one/.session/artifacts/{NAME}.json")
        walker.tree.rename("/sessions/one/a", "/sessions/two/b", walker.caller)
        assert walker.read(f"/sessions/two/b{NAME[1:]}") == b"deep"
    finally:
        walker.tree.destroy()
