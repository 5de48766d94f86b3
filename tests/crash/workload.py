"""What is done to a store while the recorder looks on; `python -m tests.crash.workload NAME STORE`.

Marks say what the store has promised by then. Each is a JSON object: `will` before a change, with the value that each
name it touches may have from now on (a content's BLAKE3, null where there is no such artifact); `durable` once the
store has said that what is so survives power loss, with every name's value; `gone` after a purge, with what may be
nowhere;
`lost` with bytes that are in lost+found, or stored under a name again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from blake3 import blake3

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.service.batches import NewArtifact
from llmspellfs.storage.destination import Destination
from tests.crash.recorder import Marker
from tests.tree.trees import Walker, close, write

KIB, MIB = 1 << 10, 1 << 20
HOUR = 3600 * 10**9


def content(seed: str, size: int) -> bytes:
    """Return *size* bytes that no compressor shortens."""
    return Random(seed).randbytes(size)


class Ledger:
    """What is promised: the names of a store and their contents, told to the recorder as they change."""

    def __init__(self) -> None:
        self.marker = Marker()
        self._live: dict[str, str | None] = {}

    @contextmanager
    def will(self, **values: bytes | None) -> Iterator[None]:
        """Say that the names *values* change to these contents within the block."""
        hashes = {name: None if data is None else blake3(data).hexdigest() for name, data in values.items()}
        self._note(will=hashes)
        yield
        self._live.update(hashes)

    def moved(self, old: str, new: str) -> None:
        self._live[new], self._live[old] = self._live[old], None

    def durable(self) -> None:
        """Say that all of this survives power loss from now on."""
        self._note(durable=self._live)

    def gone(self, *chunks: str, word: str) -> None:
        self._note(gone={"chunks": chunks, "word": word})

    def lost(self, item: str, name: str, data: bytes) -> None:
        """Say that *data* is the lost *item*, or the artifact *name*, from now on."""
        self._note(lost={"item": item, "name": name, "hash": blake3(data).hexdigest()})

    def _note(self, **what: object) -> None:
        self.marker.note(json.dumps(what))


class Bench:
    """An open store with one session `s`, its ledger, and a clock that can be moved."""

    def __init__(self, path: Path) -> None:
        self.ahead = 0
        self.ledger = Ledger()
        self.store = open_store(path, config=Config(), now=lambda: time.time_ns() + self.ahead)

    def put(self, name: str, data: bytes) -> None:
        with self.ledger.will(**{name: data}):
            self.store.artifacts.put("s", name, data)

    def save(self) -> None:
        self.store.sessions.save("s")
        self.ledger.durable()


def begin(bench: Bench) -> None:
    """Do the first things in a store that was just made, or brought up to date."""
    bench.put("new", content("new", 2000))
    bench.save()
    bench.put("large", content("large", 200 * KIB))
    bench.save()


def api(bench: Bench) -> None:
    """Go through what programs do."""
    store, ledger = bench.store, bench.ledger
    bench.put("small", content("small", 900))
    bench.put("large", content("large", 600 * KIB))
    bench.save()
    bench.put("small", content("small2", 1200))
    bench.put("large", content("large2", 700 * KIB))
    bench.put("many", content("many", 3 * MIB))
    store.sync()
    ledger.durable()
    batch = {f"b{number}": content(f"b{number}", 200 + 40 * KIB * number) for number in range(4)}
    with ledger.will(**batch):
        store.artifacts.put_many("s", [NewArtifact(name, data) for name, data in batch.items()])
    bench.save()
    with ledger.will(b1=None):
        store.artifacts.delete("s", "b1")
    with ledger.will(b1=batch["b1"]):
        store.artifacts.restore("s", "b1")
    bench.save()
    with ledger.will(b2=None):
        store.artifacts.delete("s", "b2")
    store.sync()
    ledger.durable()


def forget(bench: Bench) -> None:
    """Have content go: garbage in two passes, and a purge."""
    store, ledger = bench.store, bench.ledger
    bench.put("kept", content("shared", 500 * KIB))
    word = "marmalade" * 3
    with ledger.will(secret=(secret := content("secret", 300 * KIB))):
        store.artifacts.put("s", "secret", secret, description=word)
    bench.save()
    bench.put("gone", content("gone", 400 * KIB))  # no checkpoint has it, which would keep it
    store.sync()
    ledger.durable()
    with ledger.will(gone=None):
        store.artifacts.delete("s", "gone")
    bench.ahead += 40 * 24 * HOUR
    assert store.upkeep.gc().condemned
    bench.put("back", content("gone", 400 * KIB))
    bench.put("new", content("new", 450 * KIB))
    bench.ahead += 2 * HOUR
    store.upkeep.gc(grace_seconds=0)
    store.sync()
    ledger.durable()
    with ledger.will(back=None):
        store.artifacts.delete("s", "back")
    bench.ahead += 40 * 24 * HOUR
    assert store.upkeep.gc(grace_seconds=0).condemned
    bench.ahead += 2 * HOUR
    assert store.upkeep.gc(grace_seconds=0).removed
    bench.put("again", content("gone", 400 * KIB))
    bench.save()
    with ledger.will(secret=None):
        report = store.artifacts.purge("s", "secret")
    ledger.gone(*report.unlinked, word=word)
    bench.put("after", content("after", 100 * KIB))
    bench.save()
    with ledger.will(**dict.fromkeys(["kept", "new", "again", "after"])):
        store.sessions.delete("s")
        store.sessions.purge("s")
    ledger.durable()


def tree(bench: Bench) -> None:
    """Go through what a mount does, with fsync as editors and databases call it."""
    ledger, walker = bench.ledger, Walker(bench.store)
    for name, size in (("small", 3000), ("large", 900 * KIB)):
        with ledger.will(**{name: content(name, size)}):
            handle = walker.create(f"/sessions/s/{name}", content(name, size))
            handle.fsync(False)
        ledger.durable()
        close(handle)
    data = content("large", 900 * KIB) + b"more"
    with ledger.will(large=data):
        handle = walker.open("/sessions/s/large")
        write(handle, b"more", 900 * KIB)
        handle.fsync(True)
    ledger.durable()
    data = b"less" + data[4:]
    with ledger.will(large=data):
        write(handle, b"less", 0)
        close(handle)
    with ledger.will(swap=(fresh := content("fresh", 5000))):
        handle = walker.create("/sessions/s/swap", fresh)
        handle.fsync(False)
    ledger.durable()
    close(handle)
    with ledger.will(small=fresh, swap=None):
        walker.tree.rename("/sessions/s/swap", "/sessions/s/small", walker.caller)
    walker.tree.sync()
    ledger.durable()
    with ledger.will(large=None):
        walker.tree.unlink("/sessions/s/large", walker.caller)
    walker.tree.sync()
    ledger.durable()
    with ledger.will(last=content("last", 2000)):
        walker.write("/sessions/s/last", content("last", 2000))
    walker.tree.destroy()
    bench.store.sync()
    ledger.durable()


def fold(bench: Bench) -> None:
    """Have the WAL folded into the database between commits, and the store closed and opened again."""
    for turn in range(3):
        for number in range(12):
            bench.put(f"f{number}", content(f"{turn}/{number}", 300 + 4 * KIB * number))
        bench.save()
        bench.store.engine.index._fold()
        bench.put("f0", content(f"{turn}", 50))
    bench.save()
    path = bench.store.path
    assert path is not None
    bench.store.close()
    with open_store(path, config=Config()) as bench.store:
        bench.put("f1", content("second", 70_000))
        bench.save()
        bench.store.engine.index._fold()
        bench.put("f2", content("third", 70))
        bench.save()


def salvage(bench: Bench) -> None:
    """Have what a dead process left in the spool brought to lost+found, and from there back."""
    path = bench.store.path
    assert path is not None
    if (child := os.fork()) == 0:
        with open_store(path, config=Config()) as store:
            session = store.sessions.get("s").id
            file = store.intake.spool_file(Destination(session, "found"))
            os.write(file.fd, content("found", 300 * KIB))
            os._exit(0)
    os.waitpid(child, 0)
    with open_store(path, config=Config()) as store:
        (item,) = store.upkeep.lost()
        bench.ledger.lost(item.id, "found", content("found", 300 * KIB))
        with bench.ledger.will(found=content("found", 300 * KIB)):
            store.upkeep.recover(item.id)
        store.sync()
        bench.ledger.durable()


def beside(bench: Bench) -> None:
    """Have one connection make the WAL and another one sync it, which alone makes no name durable."""
    path, first = bench.store.path, bench.store
    assert path is not None
    with open_store(path, config=Config()) as bench.store:
        bench.put("a", content("a", 5000))
        bench.save()
        bench.put("b", content("b", 200 * KIB))
        bench.save()
    bench.store = first


WORKLOADS: dict[str, Callable[[Bench], None]] = {
    "api": api,
    "forget": forget,
    "tree": tree,
    "fold": fold,
    "salvage": salvage,
    "beside": beside,
}


def main(name: str, path: str) -> None:
    bench = Bench(Path(path))
    if bench.store.sessions.list() == []:
        bench.store.sessions.create("s")
    WORKLOADS.get(name, begin)(bench)
    bench.store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
