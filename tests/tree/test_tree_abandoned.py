"""Chunks of large files that were stored while they were written, and that nothing came to name: they go at once."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

import pytest

from llmspellfs import Store
from llmspellfs.errors import SessionNotActive
from llmspellfs.service.incoming import Incoming
from llmspellfs.storage.ingest import Ingest
from tests.mount.live import wait_for
from tests.service.test_service_unlinking import noted_elsewhere
from tests.tree.trees import Walker

SIZE = 20 << 20


def loose(store: Store) -> set[str]:
    """Return the chunks that are files and in no row."""
    with store.engine.index.read() as db:
        named = {row[0].hex() for row in db.execute("SELECT hash FROM chunk WHERE data IS NULL")}
    return {name for name, _ in store.engine.rooms.blobs.iterate()} - named


@pytest.mark.parametrize("change", ["rewritten", "cut", "unlinked"])
def test_what_was_stored_of_a_file_that_changed_while_it_was_written_goes(sqlite_store: Store, change: str) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    content = os.urandom(SIZE)
    handle = walker.create("/sessions/s/doc")
    for start in range(0, SIZE, 1 << 20):
        handle.write(memoryview(content[start : start + (1 << 20)]), start)
    walker.tree._ctx.opened.workers.submit(int).result()
    walker.tree._ctx.opened.workers.submit(int).result()
    if change == "rewritten":
        content = os.urandom(SIZE)
        handle.write(memoryview(content), 0)
    elif change == "cut":
        content = content[: SIZE // 3]
        walker.tree.truncate("/sessions/s/doc", len(content), walker.caller)
    else:
        walker.tree.unlink("/sessions/s/doc", walker.caller)
    if change != "unlinked":
        handle.flush()
    handle.release()
    walker.tree.destroy()
    assert loose(store) == set()
    if change != "unlinked":
        assert store.artifacts.read(store.artifacts.get("s", "doc")) == content


def test_what_was_put_again_for_a_commit_that_is_refused_goes_whatever_else_comes_in(sqlite_store: Store) -> None:
    store, content = sqlite_store, os.urandom(SIZE)
    store.sessions.create("s")
    walker = Walker(store)
    handle = walker.create("/sessions/s/doc")
    with noted_elsewhere(store, Incoming):
        for start in range(0, SIZE, 1 << 20):
            handle.write(memoryview(content[start : start + (1 << 20)]), start)
        for _ in range(2):
            walker.tree._ctx.opened.workers.submit(int).result()
        wait_for(lambda: loose(store))
        handle.write(memoryview(b"changed"), 0)
        store.sessions.suspend("s")
        with pytest.raises(SessionNotActive):
            handle.flush()
        assert loose(store) == set()
    handle.release()
    walker.tree.destroy()


class Broken:
    """A file that ends with an error."""

    def __init__(self) -> None:
        self.blocks = 30

    def seekable(self) -> bool:
        return False

    def read(self, _: int) -> bytes:
        self.blocks -= 1
        if self.blocks < 0:
            raise OSError("gone")
        return os.urandom(1 << 20)


def test_what_was_stored_of_content_that_ended_with_an_error_goes(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    with pytest.raises(OSError, match="gone"):
        store.artifacts.put("s", "doc", cast("BinaryIO", Broken()))
    assert loose(store) == set()


def test_what_was_stored_of_bytes_that_failed_midway_goes(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sqlite_store
    store.sessions.create("s")

    def fails(_: Ingest) -> None:
        raise OSError("gone")

    monkeypatch.setattr(Ingest, "finish", fails)
    with pytest.raises(OSError, match="gone"):
        store.artifacts.put("s", "doc", os.urandom(SIZE))
    assert loose(store) == set()
