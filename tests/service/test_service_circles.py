"""Folders, and parents of sessions, that damage has set in a circle: nobody goes around for ever, and it is mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Attributes, Ownership
from llmspellfs.model.point import parse_point
from llmspellfs.model.query import parse_query
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage import entries, search
from tests.crash import damage as harm

pytestmark = pytest.mark.timeout(30)
OWN = Ownership(0o755, 1, 1)
CIRCLE = "UPDATE entry SET folder = (SELECT ino FROM entry WHERE name = 'e') WHERE kind = 1 AND name = 'd'"
"""The folder `d` comes into `d/e`."""
TOP_AGAIN = "UPDATE entry SET ino = (SELECT ino FROM session WHERE sid = 1) WHERE kind = 1 AND name = 'e'"
"""The folder `d/e` is the session's top."""
PARENTS = "UPDATE session_row SET parent = (SELECT id FROM session WHERE sid = 3) WHERE sid = 2"
DRAFT = "UPDATE entry SET {} WHERE name = 'draft.txt'"


def ino_of(store: Store, name: str) -> int:
    with store.engine.index.read() as db:
        ino: int = db.execute("SELECT ino FROM entry WHERE kind = 1 AND name = ?", (name,)).fetchone()[0]
    return ino


def place(store: Store, folder: str, name: str) -> Place:
    session = store.sessions.get("one")
    return Place(session.sid, ino_of(store, folder) if folder else session.ino, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with `one:d/e/f.txt`, and the sessions two and three below one another, closed."""
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("one")
        store.artifacts.put("one", "d/e/f.txt", b"x")
        store.artifacts.put("one", "h/i.txt", b"x")
        store.sessions.save("one")
        store.sessions.create("two")
        store.sessions.create("three", parent="two")
        store.sessions.create("four")
    return tmp_path / "s"


@pytest.fixture
def circle(path: Path) -> Iterator[Store]:
    """A store of which the folder `d` is within itself."""
    harm.sql(path, CIRCLE)
    with open_store(path, config=Config()) as store:
        yield store


def leave_draft(path: Path) -> None:
    """Have a draft in `d/e` whose process is dead."""
    pid = os.fork()
    if pid == 0:
        try:
            store = open_store(path, config=Config())
            inode = (store.entries.reserve_ino(), Attributes(0o600, 1, 1, 5, 5))
            writer = Writer(store.intake.owner)
            store.entries.commit(place(store, "e", "draft.txt"), store.intake.stage(b"z"), Given(), inode, writer)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    "query",
    [
        CIRCLE,
        DRAFT.format("tags = '{'"),
        DRAFT.format("kind = 9"),
        "UPDATE session_row SET tags = '{' WHERE sid = 1",
        "UPDATE session SET last_ns = 'x' WHERE sid = 1",
    ],
)
def test_a_store_opens_though_nobody_can_seal_a_draft_and_fsck_tells_of_the_damage(path: Path, query: str) -> None:
    leave_draft(path)
    harm.sql(path, query)
    assert harm.checked(path).problems


def test_a_draft_in_a_circle_is_put_into_history_once_that_is_mended(path: Path) -> None:
    leave_draft(path)
    harm.sql(path, CIRCLE)
    harm.mended(path)
    with open_store(path, config=Config()) as store:
        names = [one.name for one in store.artifacts.list("one")]
        (name,) = [name for name in names if name.endswith("/draft.txt")]
        stored = [event.fields["name"] for event in store.sessions.events("one", kinds=["artifact.stored"])]
        assert stored[-1] == name


def test_a_draft_of_a_process_that_nobody_can_name_is_put_into_history(path: Path) -> None:
    leave_draft(path)
    harm.sql(path, DRAFT.format("draft = x'ff'"))
    assert harm.checked(path).problems == ()


def test_drafts_elsewhere_are_put_into_history_beside_one_in_a_circle(circle: Store) -> None:
    drafts = []
    for folder, name in (("e", "a"), ("h", "b")):
        inode = (circle.entries.reserve_ino(), Attributes(0o600, 1, 1, 5, 5))
        where, writer = place(circle, folder, name), Writer(circle.intake.owner)
        drafts.append(circle.entries.commit(where, circle.intake.stage(b"z"), Given(), inode, writer))
    sealed = circle.entries.seal([(each, circle.origin) for each in drafts])
    assert [row.name for row in sealed] == ["b"]


def test_a_session_that_is_idle_and_harmed_lets_the_store_open(path: Path) -> None:
    harm.sql(path, "UPDATE session_row SET tags = '{' WHERE dirname = 'two'")
    with open_store(path, config=Config(session_timeout_seconds=60), now=lambda: 4 * 10**18) as store:
        assert [session.dirname for session in store.timed_out] == ["one", "three", "four"]


NEEDS_A_PATH: dict[str, Callable[[Store], object]] = {
    "list": lambda store: store.artifacts.list("one"),
    "query": lambda store: store.artifacts.query("name:f.txt"),
    "names": lambda store: store.search.names("name:f.txt", {}, store.sessions.get("one").id),
    "make": lambda store: store.entries.make_folder(place(store, "e", "g"), OWN),
    "move": lambda store: store.entries.rename(place(store, "", "h"), place(store, "e", "h")),
}


@pytest.mark.parametrize("what", NEEDS_A_PATH)
def test_what_needs_the_path_of_something_in_a_circle_says_so(circle: Store, what: str) -> None:
    with pytest.raises(Corrupt, match="inside itself"):
        NEEDS_A_PATH[what](circle)


def test_what_is_elsewhere_is_found_and_put_in_order_beside_a_circle(circle: Store) -> None:
    with circle.engine.index.read() as db:
        found = search.find_entries(db, parse_query("", 0), sort_by="name")
        assert sorted(row.name for row in entries.load_many(db, found)) == ["f.txt", "i.txt"]
    assert circle.artifacts.read(circle.artifacts.get("one", "h/i.txt")) == b"x"
    assert circle.upkeep.fsck().problems


def test_the_past_of_what_is_in_a_circle_now_is_its_owners_alone(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        store.entries.rename(place(store, "", "d"), place(store, "", "k"))
    harm.sql(path, CIRCLE.replace("'d'", "'k' AND seq_to IS NULL"))
    with open_store(path, config=Config()) as store:
        session = store.sessions.get("one")
        moment = store.past.moment(session.sid, parse_point("4"))
        (row,) = store.past.listing(moment, ino_of(store, "e"))
        assert (row.name, row.attributes.mode & 0o77) == ("f.txt", 0)


@pytest.mark.parametrize(
    "what",
    [
        lambda store: store.past.fork("one", "copy"),
        lambda store: store.past.fork("one@5", "copy"),
        lambda store: store.past.diff("one"),
        lambda store: store.past.rollback("one@1"),
    ],
    ids=["fork", "fork of the past", "diff", "rollback"],
)
def test_a_folder_that_is_its_own_top_is_walked_once(path: Path, what: Callable[[Store], object]) -> None:
    harm.sql(path, TOP_AGAIN)
    with open_store(path, config=Config()) as store, pytest.raises(Corrupt, match="inside itself"):
        what(store)


def test_a_parent_in_a_circle_is_refused(path: Path) -> None:
    harm.sql(path, PARENTS)
    with open_store(path, config=Config()) as store:
        with pytest.raises(Corrupt, match="inside itself"):
            store.sessions.update("four", parent="three")
        assert store.sessions.update("two", parent=None).parent_session_id is None
        assert store.sessions.update("four", parent="three").parent_session_id is not None
