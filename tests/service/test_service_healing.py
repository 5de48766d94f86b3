"""What is stored again heals: whatever has become of its bytes or of their rows, an acknowledged store reads back."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.service.batches import NewArtifact
from tests.crash import damage
from tests.service.archives import export_one, take

BIG = os.urandom(3 << 20)
LONG = b"".join(b"%d of many lines\n" % number for number in range(60_000))
"""Its chunks are small as stored, and so in the index."""
SMALL = b"as it was " * 100

Door = Callable[[Store, bytes], None]


def put(store: Store, content: bytes) -> None:
    store.artifacts.put("s", "again", content)


def put_file(store: Store, content: bytes) -> None:
    store.artifacts.put("s", "again", io.BytesIO(content))


def put_many(store: Store, content: bytes) -> None:
    store.artifacts.put_many("s", [NewArtifact("again", content), NewArtifact("more", b"more")])


def import_archive(store: Store, content: bytes) -> None:
    assert take(store, export_one("s", "again", content), name="imported").known == 1


DOORS = [put, put_file, put_many, import_archive]


def altered(path: Path) -> None:
    damage.flip(path, path.stat().st_size // 2, 1)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def gone(path: Path) -> None:
    path.unlink()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        yield store


def check_healed(store: Store, door: Door, content: bytes) -> None:
    store.engine.rooms.cache.clear()
    door(store, content)
    stored = [each for session in store.sessions.list() for each in store.artifacts.list(session.id)]
    found = [store.artifacts.read(each) for each in stored if each.name in {"a", "again"}]
    assert found == [content, content]
    assert store.upkeep.fsck().ok


@pytest.mark.parametrize("harmed", [altered, cut, gone])
@pytest.mark.parametrize("door", DOORS)
def test_a_harmed_file_of_a_chunk_is_healed(store: Store, door: Door, harmed: Callable[[Path], None]) -> None:
    store.artifacts.put("s", "a", BIG)
    store.artifacts.put("s", "b", BIG)
    assert store.path is not None
    harmed(damage.blobs(store.path)[0])
    check_healed(store, door, BIG)


def test_what_a_scrub_has_found_is_healed_and_found_well_again(store: Store) -> None:
    store.artifacts.put("s", "a", BIG)
    assert store.path is not None
    altered(damage.blobs(store.path)[0])
    assert store.upkeep.scrub().harmed == ("s:a",)
    check_healed(store, put, BIG)
    assert store.upkeep.scrub().harmed == ()


ROWS = {
    "a chunk's bytes": (LONG, "UPDATE chunk SET data = zeroblob(length(data))"),
    "a chunk's codec": (LONG, "UPDATE chunk SET codec = 7"),
    "a chunk's size": (BIG, "UPDATE chunk SET size = size - 1 WHERE kid = 1"),
    "a chunk's row": (BIG, "DELETE FROM chunk WHERE kid = 1"),
    "a chunk taken for one in the index": (BIG, "UPDATE chunk SET data = x'00' WHERE kid = 1"),
    "a chunk taken for a file": (LONG, "UPDATE chunk SET data = NULL"),
    "the order of chunks": (BIG, "UPDATE content_chunk SET kid = 3 - kid WHERE kid < 3"),
    "a chunk's place": (BIG, "DELETE FROM content_chunk WHERE start = 0"),
    "the size of a large content": (BIG, "UPDATE content SET size = size + 1"),
    "a large content taken for a small one": (BIG, "UPDATE content SET codec = 0, data = x'00'"),
    "the bytes of a small content": (SMALL, "UPDATE content SET data = x'00'"),
    "a small content's bytes gone": (SMALL, "UPDATE content SET codec = NULL, data = NULL"),
    "the size of a small content": (SMALL, "UPDATE content SET size = size - 1"),
}


@pytest.mark.parametrize("what", ROWS)
@pytest.mark.parametrize("door", [put, put_many, import_archive])
def test_harmed_rows_of_a_content_are_healed(store: Store, door: Door, what: str) -> None:
    content, statement = ROWS[what]
    store.artifacts.put("s", "a", content)
    with store.engine.index.write() as db:
        assert db.execute(statement).rowcount > 0
    check_healed(store, door, content)
