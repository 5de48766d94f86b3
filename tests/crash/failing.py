"""What a store does when system calls fail; `python -m tests.crash.failing NAME STORE ARGUMENT…`, under recorder.c.

Each function arms a fault, sees that what is done then fails with the right error and changes nothing, takes the fault
away, and sees that the same then succeeds. The process ends without a word to the store, so that whoever opens it
next finds what a kill would leave.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, NoSpace
from tests.crash.recorder import Marker
from tests.crash.test_full_disk import data, listing
from tests.tree.trees import Walker, close, content_of

KIB = 1 << 10
ERRORS: dict[int, type[Exception]] = {errno.ENOSPC: NoSpace, errno.EIO: Corrupt}


def wal_write(store: Store, marker: Marker, code: str, nth: str) -> None:
    """The *nth* write to the WAL fails."""
    before = listing(store)
    marker.fail("write", "index.db-wal", int(code), int(nth), -1)
    with pytest.raises(ERRORS[int(code)]):
        store.artifacts.put("s", "new", data("new", 20 * KIB))
    assert listing(store) == before
    if os.environ.get("ENDS"):
        return
    marker.heal()
    store.artifacts.put("s", "new", data("new", 20 * KIB))
    assert listing(store) == {**before, "s:new": data("new", 20 * KIB)}


def wal_sync(store: Store, marker: Marker, code: str) -> None:
    """The WAL cannot be synced: nothing is called durable until it has been folded and begun anew."""
    assert store.path is not None
    store.artifacts.put("s", "early", b"in the WAL, and not synced yet")
    before = listing(store)
    marker.fail("sync", "index.db-wal", int(code), 1, -1)
    for _ in range(2):
        with pytest.raises(Corrupt):
            store.sessions.save("s", "never")
    assert store.sessions.checkpoints("s") == []
    assert listing(store) == before
    if os.environ.get("ENDS"):
        return
    marker.heal()
    marker.note("healed")
    store.sessions.save("s", "at last")
    marker.note("saved")
    assert [checkpoint.label for checkpoint in store.sessions.checkpoints("s")] == ["at last"]


def wal_sync_once(store: Store, marker: Marker, code: str) -> None:
    """A commit whose sync failed does not come back with the WAL, though the next sync would succeed."""
    marker.fail("sync", "index.db-wal", int(code), 1, 1)
    with pytest.raises(Corrupt):
        store.sessions.save("s", "never")


def blob_write(store: Store, marker: Marker, call: str, code: str) -> None:
    """A chunk cannot be written, or not synced: it is written anew, not synced once more."""
    assert store.path is not None
    before, content = listing(store), data("new", 200 * KIB)
    digest = blake3(content).hexdigest()
    blob = store.path / "blobs" / digest[:2] / digest
    if call == "folder":
        marker.fail("sync", f"blobs/{digest[:2]}", int(code), 1, 1)
    else:
        marker.fail(call, "*.part-", int(code), 1, -1)
    with pytest.raises(ERRORS[int(code)]):
        store.artifacts.put("s", "new", content)
    assert not blob.exists()
    marker.heal()
    assert listing(store) == before
    store.artifacts.put("s", "new", content)
    assert listing(store) == {**before, "s:new": content}


def blob_read(store: Store, marker: Marker) -> None:
    """A chunk cannot be read."""
    content = data("large", 200 * KIB)
    artifact = store.artifacts.get("s", "large")
    marker.fail("read", blake3(content).hexdigest(), errno.EIO, 1, -1)
    with pytest.raises(Corrupt):
        store.artifacts.read(artifact)
    walker = Walker(store)
    handle = walker.open("/sessions/s/large", os.O_RDONLY)
    with pytest.raises(Corrupt):
        content_of(handle)
    marker.heal()
    assert content_of(handle) == store.artifacts.read(artifact) == content
    close(handle)
    walker.tree.destroy()


def index_read(store: Store, marker: Marker) -> None:
    """A page of the index cannot be read."""
    path, before = store.path, listing(store)
    store.close()
    assert path is not None
    store = open_store(path, config=Config())
    marker.fail("read", "index.db", errno.EIO, 1, -1)
    with pytest.raises(Corrupt):
        store.artifacts.read(store.artifacts.get("s", "a77"))
    marker.heal()
    assert listing(store) == before
    store.close()


def prepare(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        store.sessions.create("s")
        for number in range(80):
            store.artifacts.put("s", f"a{number}", data(number, 4 * KIB))
        store.artifacts.put("s", "large", data("large", 200 * KIB))


def main(name: str, path: str, *arguments: str) -> None:
    store, marker = open_store(path, config=Config()), Marker()
    globals()[name](store, marker, *arguments)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
