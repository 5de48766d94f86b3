"""Deleting files of chunks that nobody names: none that was put since is anybody's to delete but its owner's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded
from llmspellfs.service import unlinking
from llmspellfs.service.incoming import Incoming, Outgoing
from llmspellfs.storage import erasing
from llmspellfs.storage.ingest import Staged, written

KIB100 = 100_000


def test_a_file_that_was_put_at_the_moment_or_later_stays_and_one_from_before_goes(sqlite_store: Store) -> None:
    ((chunk, _),) = written([sqlite_store.intake.stage(os.urandom(KIB100))])
    put_ns = sqlite_store.engine.rooms.blobs.put_ns(chunk)
    assert put_ns is not None
    for before_ns in (put_ns, put_ns - 1):
        assert unlinking.chunks(sqlite_store.engine, [chunk], put_before_ns=before_ns) == []
    assert unlinking.chunks(sqlite_store.engine, [chunk], put_before_ns=put_ns + 1) == [chunk]
    assert sqlite_store.engine.rooms.blobs.put_ns(chunk) is None


def test_a_file_whose_time_has_not_come_yet_is_of_a_clock_that_was_set_back_and_goes(sqlite_store: Store) -> None:
    ((chunk, _),) = written([sqlite_store.intake.stage(os.urandom(KIB100))])
    assert sqlite_store.path is not None
    later_ns = time.time_ns() + 3600 * 10**9
    os.utime(sqlite_store.path / "blobs" / chunk[:2] / chunk, ns=(later_ns, later_ns))
    assert unlinking.chunks(sqlite_store.engine, [chunk], put_before_ns=time.time_ns()) == [chunk]


def test_a_file_that_a_row_names_stays(sqlite_store: Store) -> None:
    sqlite_store.sessions.create("s")
    sqlite_store.artifacts.put("s", "f", content := os.urandom(KIB100))
    assert sqlite_store.path is not None
    chunks = [path.name for path in sqlite_store.path.glob("blobs/*/*")]
    assert chunks
    assert unlinking.chunks(sqlite_store.engine, chunks) == []
    assert sqlite_store.artifacts.read(sqlite_store.artifacts.get("s", "f")) == content


@contextmanager
def noted_elsewhere(store: Store, note: type[Incoming]) -> Iterator[None]:
    """Have another thread take content in, or out, for as long as the block takes."""
    is_noted, is_over = threading.Event(), threading.Event()

    def work() -> None:
        with note(store.engine):
            is_noted.set()
            is_over.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert is_noted.wait(60)
        yield
    finally:
        is_over.set()
        thread.join()


def files(store: Store) -> int:
    return len(list(store.engine.rooms.blobs.iterate()))


def staged(store: Store, content: bytes, times: int = 1) -> list[Staged]:
    return [store.intake.stage(content, trusting=False) for _ in range(times)]


def test_what_is_refused_takes_no_room_whatever_else_comes_in(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config(storage_quota=KIB100)) as store:
        store.sessions.create("s")
        with noted_elsewhere(store, Incoming):
            for _ in range(3):
                with pytest.raises(LimitExceeded):
                    store.artifacts.put("s", "f", os.urandom(2 * KIB100))
            assert files(store) == 0


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_nobody_else_has_put_goes_at_once_whatever_else_comes_in(store: Store, times: int) -> None:
    with noted_elsewhere(store, Incoming):
        mine = staged(store, os.urandom(KIB100), times)
        unlinking.take_back(store.engine, written(mine))
    assert files(store) == 0


def test_what_somebody_has_put_since_is_left_to_them(store: Store) -> None:
    content = os.urandom(KIB100)
    mine, theirs = staged(store, content), staged(store, content)
    unlinking.take_back(store.engine, written(mine))
    assert files(store) == 1
    unlinking.take_back(store.engine, written(theirs))
    assert files(store) == 0


@pytest.mark.parametrize(("note", "left"), [(Incoming, 1), (Outgoing, 0)])
def test_what_was_put_before_is_left_to_who_takes_content_in_since(
    sqlite_store: Store, clock: list[int], note: type[Incoming], left: int
) -> None:
    clock[0], content = time.time_ns(), os.urandom(KIB100)  # files have the system's time
    with noted_elsewhere(sqlite_store, note):
        staged(sqlite_store, content)
        unlinking.take_back(sqlite_store.engine, written(staged(sqlite_store, content)))
        assert files(sqlite_store) == left


def test_what_was_put_before_otherwise_compressed_is_left_to_who_takes_content_in_since(
    sqlite_store: Store, clock: list[int]
) -> None:
    clock[0], content = time.time_ns(), os.urandom(KIB100) + bytes(KIB100)  # as above
    with (
        noted_elsewhere(sqlite_store, Incoming),
        open_store(sqlite_store.path, config=Config(artifact_compression_threshold=1 << 30)) as other,
    ):
        theirs = staged(sqlite_store, content)
        mine = staged(other, content)
        assert [one.stored_size for one in theirs] != [one.stored_size for one in mine]
        unlinking.take_back(other.engine, written(mine))
        assert files(sqlite_store) == len(written(theirs)) > 0
        unlinking.take_back(sqlite_store.engine, written(theirs))


def test_what_is_to_go_by_a_purge_is_so_until_it_has_gone(sqlite_store: Store) -> None:
    content, engine = os.urandom(KIB100), sqlite_store.engine
    ((chunk, _),) = written(mine := staged(sqlite_store, content))
    staged(sqlite_store, content)
    with engine.index.write() as db:
        erasing.doom(db, [chunk])
    unlinking.take_back(engine, written(mine))
    assert unlinking.doomed(engine) == [chunk]
    assert files(sqlite_store) == 0
