"""Harmed stores whose repair is cut or fails; the functions are jobs of `forks`."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from llmspellfs.storage import disk, faults
from tests.crash import damage


def _make(path: Path) -> None:
    """Make a small store with a past, in which repairs find what they need."""
    chance = Random("repairs")
    with open_store(path, config=Config(), origin=damage.ORIGIN) as store:
        store.sessions.create("work", tags=["kept"], metadata={"of": "all"})
        store.artifacts.put("work", "small", b"inline", description="as it was", tags=["one"])
        store.artifacts.put("work", "small", b"inline, changed")
        for name in ("one", "two", "three"):
            store.artifacts.put("work", f"in/{name}", chance.randbytes(70_000))
        store.sessions.save("work", "first")
        store.artifacts.put("work", "gone", b"deleted")
        store.artifacts.delete("work", "gone")


def _rows(path: Path) -> None:
    """Change rows, remove one, add one, open the folder to others, and give a part of it away where that is allowed."""
    damage.sql(
        path,
        "UPDATE entry SET description = 'another' WHERE description = 'as it was' AND seq_to IS NULL",
        "UPDATE entry SET name = 'other' WHERE name = 'two'",
        "DELETE FROM entry WHERE name = 'three'",
        "DELETE FROM entry_label",
    )
    damage.blobs(path)[0].parent.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(damage.blobs(path)[0], 1, 1)


def _content(path: Path) -> None:
    """Swap the files of two chunks, and change a byte of a third, which is nowhere else."""
    one, two, three = damage.blobs(path)
    aside = path / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    damage.flip(three, 1000, 4)


def _nothing_to_mend(path: Path) -> None:
    """Lose a chunk that is nowhere else."""
    damage.blobs(path)[0].unlink()


def _with_wal(path: Path) -> None:
    """Have commits that only the WAL has, as a process leaves it that was killed."""
    with open_store(path, config=Config()) as store:
        for number in range(8):
            store.artifacts.put("work", f"wal/{number}", b"content %d" % number)
        store.sync()
        killed = path.with_name("killed")
        shutil.copytree(path, killed)
    shutil.rmtree(killed / "spool")
    shutil.rmtree(path)
    killed.rename(path)


def _wal(path: Path) -> None:
    """Change a byte within the WAL: what comes before is readable, and what comes after once the byte is put back."""
    _with_wal(path)
    assert (path / "index.db-wal").stat().st_size > 32 + 4120 * 8
    damage.flip(path / "index.db-wal", 32 + 4120 * 5 + 1000, 0x10)


def _hidden(path: Path) -> None:
    """Have an opening keep the WAL whose commits such a byte hides from it."""
    _wal(path)
    with open_store(path, config=Config()):
        pass
    assert list(path.glob("quarantine/*/hidden.wal"))


def _given_up(path: Path) -> None:
    """Change two bytes of a frame of the WAL, which nothing explains: a repair keeps what is behind it, unused."""
    _wal(path)
    damage.flip(path / "index.db-wal", 32 + 4120 * 5 + 2000, 0x11)


def _folded(path: Path) -> None:
    """Have commits that the database has, and its WAL too, as a live store rests."""
    _with_wal(path)
    shutil.copytree(path, path.with_name("folded"))
    with closing(sqlite3.connect(path.with_name("folded") / "index.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path.with_name("folded") / "index.db", path / "index.db")
    shutil.rmtree(path.with_name("folded"))


def _cut_wal(path: Path) -> None:
    """Lose the end of a WAL that was folded: what SQLite takes from its beginning is older than the database."""
    _folded(path)
    frames = (path / "index.db-wal").stat().st_size // 4120
    os.truncate(path / "index.db-wal", 32 + 4120 * (frames * 3 // 10) + 100)


def _lost_of_wal(path: Path) -> None:
    """Lose bytes of a WAL that was folded: SQLite mixes the pages before them with those of the last commit."""
    _folded(path)
    with (path / "index.db-wal").open("r+b") as file:
        file.seek(32 + 4120 * 3 + 24)
        file.write(bytes(512))


def _header(path: Path) -> None:
    """Destroy the header, and a row that would have its place twice."""
    damage.sql(path, "UPDATE entry SET description = 'another' WHERE description = 'as it was' AND seq_to IS NULL")
    with (path / "index.db").open("r+b") as file:
        file.write(bytes(16))


def _only_wal(path: Path) -> None:
    """Lose the index itself: what there is of it is its WAL."""
    _with_wal(path)
    (path / "index.db").unlink()


def _mixed_up(path: Path) -> None:
    """Have contents say each other's hash, one not say its chunks, another say a third one's, and lose an event."""
    one, other = (f"(SELECT cid FROM content WHERE data = CAST('{text}' AS BLOB))" for text in ("inline", "deleted"))
    cid = "(SELECT content FROM entry WHERE name = '{}')"
    damage.sql(
        path,
        f"CREATE TABLE kept AS SELECT cid AS number, hash FROM content WHERE cid IN ({one}, {other})",
        "UPDATE content SET hash = randomblob(32) WHERE cid IN (SELECT number FROM kept)",
        "UPDATE content SET hash = (SELECT hash FROM kept WHERE number != cid) WHERE cid IN (SELECT number FROM kept)",
        "DROP TABLE kept",
        f"DELETE FROM content_chunk WHERE cid = {cid.format('one')}",
        f"UPDATE content_chunk SET kid = (SELECT kid FROM content_chunk WHERE cid = {cid.format('three')})"
        f" WHERE cid = {cid.format('two')}",
        "DELETE FROM event WHERE seq = 3",
    )


def _strays(path: Path) -> None:
    """Have values of other types than their columns', some of which nothing but an event can tell."""
    damage.sql(
        path,
        "UPDATE content SET hash = CAST(hex(hash) AS TEXT), size = 'x' WHERE data IS NOT NULL",
        "UPDATE entry SET updated_ns = 'x', description = CAST(description AS BLOB) WHERE kind = 0",
        "UPDATE entry SET folder = x'07' WHERE name = 'one'",
        "INSERT INTO entry_label (key, value, eid) VALUES ('tag', 'strange', x'07')",
    )


HARMED: dict[str, Callable[[Path], None]] = {
    "rows": _rows,
    "content": _content,
    "nothing that can be mended": _nothing_to_mend,
    "a WAL with a changed byte": _wal,
    "a WAL that an opening has kept": _hidden,
    "a WAL that goes on after harm": _given_up,
    "a WAL with a gap": _lost_of_wal,
    "a WAL cut off": _cut_wal,
    "no header": _header,
    "nothing of the index but its WAL": _only_wal,
    "contents mixed up": _mixed_up,
    "values of other types": _strays,
}


def harm(name: str, path: str) -> list[Any]:
    """Make the store that the repair of *name* begins with, and return what can be read of it."""
    _make(Path(path))
    HARMED[name](Path(path))
    return _readable(path)


def _readable(path: str) -> list[Any]:
    """Return what can be read of the store at *path*, asked of a copy."""
    probe = damage.copied(Path(path), Path(path).with_name("probe"))
    found = damage.readable(probe)
    shutil.rmtree(probe)
    return sorted(map(list, found))


def mend(path: str) -> list[str]:
    """Repair the store and return the steps that it took."""
    steps: list[str] = []
    disk.hook = steps.append
    damage.mended(Path(path))
    disk.hook = None
    return steps


def mend_cut(path: str, fault: str) -> None:
    """Repair the store with *fault*, to be killed."""
    disk.hook = faults.armed(fault)
    damage.mended(Path(path))


def mend_after(path: str) -> dict[str, Any]:
    """Return what can be read of the store, and after another repair: what is left wrong, and what can be read."""
    before = _readable(path)
    report = damage.mended(Path(path))
    assert set(damage.checked(Path(path)).problems) == set(report.problems)
    return {"before": before, "problems": sorted(map(str, report.problems)), "after": _readable(path)}


def mend_fail(path: str, fault: str) -> dict[str, Any]:
    """Repair the store with *fault*; return what it raised, and the same as `mend_after`."""
    disk.hook = hook = faults.armed(fault)
    error = None
    try:
        damage.mended(Path(path))
    except (SpellError, OSError) as raised:
        error = type(raised).__name__
    disk.hook = None
    return mend_after(path) | {"error": error, "struck": sorted(hook.struck)}
