"""Batches: what they leave is what storing one by one leaves, and a bad item leaves nothing."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    InvalidName,
    InvalidValue,
    IsAFolder,
    LimitExceeded,
    NotAFolder,
    NotFound,
    SessionNotActive,
    SpellError,
    TooLarge,
    Vanished,
)
from llmspellfs.model.artifact import Attributes, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.creation import NewSession
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage.batches import place_all
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import dirname_taken

OWN = Ownership(0o755, 1, 1)
ORIGIN = Origin("uid:1000", "api")
LARGE = bytes(range(256)) * 300
"""Above what lives in the index in one piece."""
SHORT = {b"json": b"json " * 4000, b"large": LARGE}
"""What stands for long contents, so that a failing example can be read."""

NAMES = st.sampled_from(["a", "b.json", "d", "d/a", "d/e", "d/e/a", "d/e/ü 1.tar.gz", "f/g/h", "link"])
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, True, 1, 1.5, "one", "ü\n\ud7ff", {"in": [1]}, []])
ITEMS = st.lists(
    st.builds(
        NewArtifact,
        NAMES,
        st.sampled_from([b"", b"one", b"two", *SHORT]),
        st.sampled_from([None, "tool_result", "x.y"]),
        st.sampled_from([None, None, "text/x-ü"]),
        st.sampled_from([None, "", 'said "so" \x1f ü']),
        st.sampled_from([None, (), ("one", "two"), ("two", "ü")]),
        st.none() | st.dictionaries(st.sampled_from(["k", "ü", "a b"]), VALUES, max_size=2),
    ),
    max_size=9,
)
CONFIG = Config(max_artifacts_per_session=6)


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Everything the index has, but for which transaction it came in."""
    tables = (
        "session_row",
        "session_label",
        "inode",
        "entry",
        "entry_label",
        "event",
        "content",
        "content_chunk",
        "chunk",
    )
    with store.engine.index.read() as db:
        found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}
        columns = "sid, id, ino, seq, head, last_ns, trail_size, next_sequence, artifact_count, total_size"
        return found | {"session": db.execute(f"SELECT {columns} FROM session").fetchall()}


def one_by_one(store: Store, items: Sequence[NewArtifact]) -> tuple[list[str], SpellError | None]:
    ids = []
    for name, content, *told in items:
        keys = ("artifact_type", "mime_type", "description", "tags", "custom")
        try:
            ids.append(store.artifacts.put("s", name, content, **dict(zip(keys, told, strict=True))).id)  # type: ignore[arg-type]
        except SpellError as error:
            return ids, error
    return ids, None


def prepared(stack: ExitStack, config: Config = CONFIG) -> Store:
    """A store with a session that has a file, a draft, a folder with a file, and a symlink."""
    numbers, now = itertools.count(1), [1_795_262_400 * 10**9]
    store = stack.enter_context(
        open_store(
            config=config,
            backend="memory",
            origin=ORIGIN,
            now=lambda: now[0],
            new_id=lambda: str(uuid.UUID(int=next(numbers), version=4)),
        )
    )
    session = store.sessions.create("s")
    top = Place(session.sid, session.ino, "")
    store.artifacts.put("s", "a", b"one", tags=["one"], custom={"k": 1})
    store.artifacts.put("s", "d/a", b"two")
    store.entries.make_symlink(Place(top.sid, top.folder, "link"), "a", OWN)
    inode = (store.entries.reserve_ino(), Attributes(0o600, 1, 1, 5, 5))
    place, writer = Place(top.sid, top.folder, "b.json"), Writer(store.intake.owner)
    store.entries.commit(place, store.intake.stage(b"draft"), Given(), inode, writer)
    now[0] += 10**9
    return store


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(ITEMS)
@example([NewArtifact("n/m/x", b"one"), NewArtifact("n/m", b"two")])
@example([NewArtifact("n/x", b"one"), NewArtifact("n/m/x", b"two"), NewArtifact("n/m", b"two")])
@example([NewArtifact("x", b"one"), NewArtifact("x/y", b"two")])
@example([NewArtifact("x", b"one"), NewArtifact("x", b"one"), NewArtifact("x", b"two", tags=("t",))])
def test_a_batch_leaves_the_rows_and_events_that_one_by_one_leaves_or_nothing(items: list[NewArtifact]) -> None:
    items = [item._replace(content=SHORT.get(item.content, item.content)) for item in items]
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("llmspellfs.storage.batches._TOGETHER", 2)
        patch.setattr("llmspellfs.service.batches._WAITING", 5)
        alone, together = prepared(stack), prepared(stack)
        before = rows(together)
        assert rows(alone) == before
        ids, error = one_by_one(alone, items)
        if error is None:
            assert together.artifacts.put_many("s", iter(items)) == ids
            assert rows(together) == rows(alone)
        else:
            with pytest.raises(type(error)) as caught:
                together.artifacts.put_many("s", items)
            assert caught.value.message.startswith("item ")
            assert rows(together) == before
        assert together.upkeep.fsck().problems == ()
        assert together.upkeep.verify("s")[0].problem is None


def test_a_batch_of_thousands_is_read_back_found_and_in_order(store: Store) -> None:
    store.sessions.create("s")
    items = [NewArtifact(f"r{n % 3}/{n}.json", b"%d" % (n % 1500), tags=[f"t{n % 7}"]) for n in range(2000)]
    ids = store.artifacts.put_many("s", items)
    listed = store.artifacts.list("s")
    assert [one.id for one in listed] == ids
    assert [one.name for one in listed] == [item.name for item in items]
    assert [one.sequence for one in listed] == list(range(1, 2001))
    assert {store.artifacts.read(one) for one in listed} == {b"%d" % n for n in range(1500)}
    assert [one.name for one in store.artifacts.query("tag:t3 type:user_input", session="s")] == [
        f"r{n % 3}/{n}.json" for n in range(3, 2000, 7)
    ]
    session = store.sessions.get("s")
    assert (session.artifact_count, session.total_artifact_size) == (2000, sum(len(item.content) for item in items))
    # Twice over the bound of one question: the names and contents that are there are all seen.
    assert store.artifacts.put_many("s", items) == ids
    assert len(store.artifacts.list("s")) == 2000


BAD = {
    "name": (NewArtifact("d//x", b""), InvalidName),
    "reserved": (NewArtifact(".session/x", b""), InvalidName),
    "folder": (NewArtifact("d", b""), IsAFolder),
    "file in the way": (NewArtifact("a/x", b""), NotAFolder),
    "symlink": (NewArtifact("link", b""), AlreadyExists),
    "content": (NewArtifact("x", "text"), InvalidValue),  # type: ignore[arg-type]
    "no type": (NewArtifact("x", b"", ["list"]), InvalidValue),  # type: ignore[arg-type]
    "type": (NewArtifact("x", b"", "Bad Type"), InvalidValue),
    "tags": (NewArtifact("x", b"", tags="one"), InvalidValue),
    "custom": (NewArtifact("x", b"", custom={"k": float("nan")}), InvalidValue),
    "size": (NewArtifact("x", b"x" * 1001), TooLarge),
    "limit": (NewArtifact("x", b""), LimitExceeded),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_item_is_named_and_nothing_is_stored(what: str) -> None:
    bad, kind = BAD[what]
    with ExitStack() as stack:
        store = prepared(stack, Config(max_artifact_size=1000, max_artifacts_per_session=4 if what == "limit" else 9))
        before = rows(store)
        items = [NewArtifact("n/1", b"1"), NewArtifact("a", b"next version"), bad, NewArtifact("n/2", b"2")]
        with pytest.raises(kind, match=r"^item 3: "):
            store.artifacts.put_many("s", items)
        assert rows(store) == before


@pytest.mark.parametrize("bad", [NewArtifact("", b""), NewArtifact("c", b"!" * 1_000_001)])
def test_what_was_staged_of_a_batch_that_is_refused_goes_at_once(tmp_path: Path, bad: NewArtifact) -> None:
    common = os.urandom(400_000)
    with open_store(tmp_path / "store", config=Config(max_artifact_size=1_000_000)) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "there", common)
        before = list((tmp_path / "store" / "blobs").glob("*/*"))
        items = [NewArtifact("a", os.urandom(400_000)), NewArtifact("b", common), bad]
        with pytest.raises(SpellError, match=r"^item 3: "):
            store.artifacts.put_many("s", items)
        assert list((tmp_path / "store" / "blobs").glob("*/*")) == before
        store.artifacts.put_many("s", items[:2])
        assert store.upkeep.fsck().problems == ()


def test_a_batch_for_a_session_that_is_frozen_or_not_there_is_refused(store: Store) -> None:
    store.sessions.create("s")
    assert store.artifacts.put_many("s", []) == []
    store.sessions.suspend("s")
    for items in ([], [NewArtifact("a", b"")]):
        with pytest.raises(SessionNotActive):
            store.artifacts.put_many("s", items)
        with pytest.raises(NotFound):
            store.artifacts.put_many("gone", items)


def test_the_items_are_taken_before_the_transaction_begins(sqlite_store: Store) -> None:
    sqlite_store.sessions.create("s")

    def items() -> Iterator[NewArtifact]:
        sqlite_store.artifacts.put("s", "by hand", b"meanwhile")
        yield NewArtifact("batched", b"")

    sqlite_store.artifacts.put_many("s", items())
    assert [one.name for one in sqlite_store.artifacts.list("s")] == ["by hand", "batched"]


def test_content_that_gc_has_condemned_is_in_use_again(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put_many("s", [NewArtifact("a", b"one"), NewArtifact("b", LARGE)])
    with store.engine.index.write() as db:
        db.execute("UPDATE content SET condemned_ns = 1")
        db.execute("UPDATE chunk SET condemned_ns = 1")
    store.artifacts.put_many("s", [NewArtifact("c", b"one"), NewArtifact("d", LARGE)])
    with store.engine.index.read() as db:
        for table in ("content", "chunk"):
            assert db.execute(f"SELECT count(*) FROM {table} WHERE condemned_ns IS NOT NULL").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM content").fetchone() == (2,)


def test_a_chunk_that_is_purged_meanwhile_is_stored_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.sessions.create("s")
    times = []

    def vanishing(*arguments: Any) -> Any:
        times.append(1)
        if len(times) == 1:
            raise Vanished("a" * 64)
        return place_all(*arguments)

    monkeypatch.setattr("llmspellfs.service.batches.place_all", vanishing)
    store.artifacts.put_many("s", [NewArtifact("a", LARGE)])
    assert store.artifacts.read(store.artifacts.get("s", "a")) == LARGE
    assert len(times) == 2


def test_sessions_made_together_are_as_if_made_one_by_one() -> None:
    new = [
        NewSession("one", "said", ["t", "ü"], {"k": 1}, created_by="me"),
        NewSession("one", parent="one"),
        NewSession("three", parent="one~2", metadata={"deep": {"er": []}}),
    ]
    with ExitStack() as stack:
        alone, together = prepared(stack), prepared(stack)
        for item in new:
            alone.sessions.create(
                item.name,
                description=item.description,
                tags=item.tags,
                metadata=item.metadata,
                parent=item.parent,
                created_by=item.created_by,
            )
        made = together.sessions.create_many(iter(new))
        assert [one.dirname for one in made] == ["one", "one~2", "three"]
        assert rows(together) == rows(alone)
        assert made == [together.sessions.get(one.id) for one in made]


def test_the_names_of_sessions_made_together_are_each_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def taken(db: Connection, dirname: str, but: int | None = None) -> bool:
        tried.append(dirname)
        return dirname_taken(db, dirname, but)

    with ExitStack() as stack:
        store = prepared(stack)
        store.sessions.create("x~3")
        monkeypatch.setattr("llmspellfs.storage.sessions.dirname_taken", taken)
        made = store.sessions.create_many([NewSession("x")] * 50 + [NewSession("x~9"), NewSession("x")])
        numbers = [number for number in range(2, 53) if number != 3]
        names = ["x", *(f"x~{number}" for number in numbers[:49]), "x~9~2", f"x~{numbers[49]}"]
        assert [one.dirname for one in made] == names
    assert len(tried) == len(set(tried)) + 1  # x~9, by either name


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (NewSession("x", tags=[""]), InvalidValue),
        (NewSession("x", metadata={"k": {1}}), InvalidValue),
        (NewSession("x\0"), InvalidName),
        (NewSession("x", parent="nobody"), NotFound),
        (NewSession("x"), LimitExceeded),
    ],
)
def test_a_bad_session_is_named_and_none_is_made(bad: NewSession, kind: type[SpellError]) -> None:
    limit = 2 if kind is LimitExceeded else 0
    with ExitStack() as stack:
        store = prepared(stack, Config(max_sessions=limit))
        before = rows(store)
        with pytest.raises(kind, match=r"^item 2: "):
            store.sessions.create_many([NewSession("good"), bad, NewSession("good too")])
        assert rows(store) == before
        assert store.sessions.create_many([]) == []


def test_a_batch_is_one_transaction_for_other_processes(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as one, open_store(tmp_path, config=Config()) as other:
        session = one.sessions.create("s")
        other.drop_changed(lambda _: None)
        one.artifacts.put_many("s", [NewArtifact(f"d/{n}", b"%d" % n) for n in range(20)])
        dropped: list[int] = []
        other.drop_changed(dropped.append)
        assert dropped == [session.sid]
        assert len(other.artifacts.list("s")) == 20
