"""Purging: nothing of what was stored stays anywhere, and what others need does."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store
from llmspellfs.errors import Corrupt, NotFound, Vanished

WORDS = {"description": "marmalade", "tags": ["zeppelin"], "custom": {"quicksilver": "xylophone"}}
SECRETS = (b"marmalade", b"zeppelin", b"quicksilver", b"xylophone")


def traces(store: Store, words: tuple[bytes, ...]) -> list[tuple[str, bytes]]:
    """Return in which of the store's files which of *words* stands, the index looked at through a copy."""
    assert store.path is not None
    found = []
    for folder, _, names in os.walk(store.path):
        for name in names:
            if not name.startswith("index.db"):
                data = Path(folder, name).read_bytes()
                found += [(name, word) for word in words if word in data]
    # In a child: opening and closing the index here as a plain file would drop SQLite's locks.
    for name in ("index.db", "index.db-wal"):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            data = (store.path / name).read_bytes() if (store.path / name).exists() else b""
            os.write(writer, b"\n".join(word for word in words if word in data))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            found += [(name, word) for word in pipe.read().split(b"\n") if word]
        os.waitpid(child, 0)
    return found


def fill(store: Store) -> tuple[bytes, bytes]:
    """Store two versions, a small and a large one, of s:doc; have them indexed; return their contents' beginnings."""
    small, large = b"smallcontent" + os.urandom(8).hex().encode(), b"largecontent" + os.urandom(64)
    store.artifacts.put("s", "doc", small + b"!" * 900, **WORDS)  # type: ignore[arg-type]
    store.artifacts.put("s", "doc", large + os.urandom(3 << 20))
    store.artifacts.put("s", "kept", b"kept", description="keeper")
    assert [a.name for a in store.search.artifacts("marmalade")] == ["doc"]
    assert [a.name for a in store.search.artifacts("keeper")] == ["kept"]
    return small, large


@pytest.mark.parametrize("deleted_before", [False, True])
def test_nothing_of_a_purged_artifact_is_left(sqlite_store: Store, deleted_before: bool) -> None:
    store = sqlite_store
    store.sessions.create("s")
    contents = fill(store)
    words = SECRETS + contents
    assert {word for _, word in traces(store, words)} == set(words)
    before = store.upkeep.stats()
    if deleted_before:
        store.artifacts.delete("s", "doc")
    report = store.artifacts.purge("s", "doc")
    assert traces(store, words) == []
    assert len(report.unlinked) >= 1
    assert report.freed >= 3 << 20
    assert store.upkeep.stats().stored_bytes == before.stored_bytes - report.freed
    for call in (store.artifacts.get, store.artifacts.history, store.artifacts.restore, store.artifacts.purge):
        with pytest.raises(NotFound):
            call("s", "doc")
    assert [a.name for a in store.search.artifacts("keeper")] == ["kept"]
    assert store.artifacts.list("s") == [store.artifacts.get("s", "kept")]
    after = store.sessions.get("s")
    assert (after.artifact_count, after.total_artifact_size) == (1, 4)


@pytest.mark.parametrize("deleted_before", [False, True])
def test_nothing_of_a_purged_session_is_left(sqlite_store: Store, deleted_before: bool) -> None:
    store = sqlite_store
    session = store.sessions.create("s", description="marzipan", tags=["pumpernickel"], metadata={"sauer": "kraut99"})
    words = (b"marzipan", b"pumpernickel", b"sauer", b"kraut99", *SECRETS, *fill(store))
    store.sessions.update("s", description="other")
    store.sessions.save("s")
    assert {word for _, word in traces(store, words)} == set(words)
    if deleted_before:
        store.sessions.delete("s")
    store.sessions.purge("s")
    assert traces(store, words) == []
    assert store.upkeep.stats().stored_bytes == 0
    assert list((store.path or Path()).glob("blobs/*/*")) == []
    assert [report.problem for report in store.upkeep.verify(session.id)] == [None]


def test_a_purge_leaves_what_others_refer_to(store: Store) -> None:
    content = os.urandom(3 << 20)
    for ref in "st":
        store.sessions.create(ref)
        store.artifacts.put(ref, "a", content)
        store.artifacts.put(ref, "b", b"small")
    report = store.artifacts.purge("s", "a")
    assert (report.unlinked, report.freed) == ((), 0)
    report = store.sessions.purge("s")
    assert (report.unlinked, report.freed) == ((), 0)
    assert store.artifacts.read(store.artifacts.get("t", "a")) == content
    assert store.artifacts.read(store.artifacts.get("t", "b")) == b"small"


def test_a_purged_content_can_be_stored_again(store: Store) -> None:
    store.sessions.create("s")
    content = os.urandom(3 << 20)
    store.artifacts.put("s", "a", content)
    store.artifacts.purge("s", "a")
    again = store.artifacts.put("s", "a", content)
    assert (again.sequence, again.version) == (2, 1)
    assert store.artifacts.read(again) == content


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_an_artifact_from_before_its_purge_never_reads_what_came_after(store: Store, size: int) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    art = store.artifacts.put("s", "secret", b"S" * size)
    store.artifacts.purge("s", "secret")
    store.artifacts.put("t", "other", b"O" * size)
    with pytest.raises(Corrupt):
        store.artifacts.read(art)


class Pipe(io.BytesIO):
    """Bytes that can be read once."""

    def seekable(self) -> bool:
        return False


def purge_once_staged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have s:one purged once the next content is staged."""
    stage = type(store.intake).stage

    def slow(intake: Any, *args: Any, **options: Any) -> object:
        staged = stage(intake, *args, **options)
        monkeypatch.undo()
        store.artifacts.purge("s", "one")
        return staged

    monkeypatch.setattr(type(store.intake), "stage", slow)


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, Pipe])
def test_content_whose_chunks_are_purged_while_it_is_stored_is_stored_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: Callable[[bytes], Any]
) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    store.artifacts.put("s", "one", content)
    purge_once_staged(store, monkeypatch)
    if kind is Pipe:
        with pytest.raises(Vanished, match="store it once more"):
            store.artifacts.put("s", "two", kind(content))
        assert store.artifacts.list("s") == []
    assert store.artifacts.read(store.artifacts.put("s", "two", kind(content))) == content


def test_content_read_from_where_a_file_stands_is_stored_anew_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    file = io.BytesIO(b"header" + content)
    file.seek(6)
    store.artifacts.put("s", "one", content)
    purge_once_staged(store, monkeypatch)
    assert store.artifacts.read(store.artifacts.put("s", "two", file)) == content


def test_what_is_read_while_it_is_purged_is_right_or_refused(store: Store) -> None:
    store.sessions.create("s")
    content = os.urandom(9 << 20)
    with store.artifacts.open(store.artifacts.put("s", "a", content)) as reader:
        assert reader.read_at(0, 10) == content[:10]
        store.artifacts.purge("s", "a")
        with pytest.raises(Corrupt):
            reader.read_at(8 << 20, 1 << 20)
