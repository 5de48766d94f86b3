"""Stores that are harmed on purpose: one with something of everything, ways to harm it, and what of it can be read."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Artifact, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.paths import Place
from llmspellfs.service.repair import repair

ORIGIN = Origin("uid:1000", "cli")
Contents = set[tuple[str, str]]
"""The ids of sessions, each with the BLAKE3 of a content that can be read in it."""


def make_store(path: Path, seed: int = 1) -> None:
    """Make a store at *path* that has something of everything."""
    chance = random.Random(seed)
    with open_store(path, config=Config(), origin=ORIGIN) as store:
        about = {"k": 1, "who": "jane"}
        s = store.sessions.create("work", tags=["alpha", "beta"], metadata=about, description="day one")
        child = store.sessions.create("child", parent=s.id)
        told = {"tags": ["t"], "custom": {"n": 7}, "description": "some words"}
        store.artifacts.put("work", "small.txt", b"inline content", **told)  # type: ignore[arg-type]
        store.artifacts.put("work", "small.txt", b"inline content, changed")
        store.artifacts.put("work", "d/e/text.csv", b"line of text\n" * 400)
        store.artifacts.put("work", "d/one.bin", chance.randbytes(80_000))
        store.artifacts.put("work", "big.bin", chance.randbytes(3 << 20))
        store.artifacts.put("work", "big.txt", b"".join(b"%d %d\n" % (n, n * n) for n in range(90_000)))
        folder = store.entries.lookup(s.ino, "d")
        assert folder is not None
        store.entries.make_symlink(Place(s.sid, folder.ino, "link"), "one.bin", Ownership(0o777, 0, 0))
        store.sessions.save("work", "first")
        store.artifacts.put("work", "gone.txt", b"deleted later")
        store.artifacts.delete("work", "gone.txt")
        store.artifacts.put("child", "a", b"of the child")
        store.artifacts.put("child", "empty", b"")
        store.sessions.complete(child.id)
        store.search.artifacts('"words"')
        deleted = store.sessions.create("deleted")
        store.artifacts.put("deleted", "b", b"in a deleted session")
        store.sessions.delete(deleted.id)
        store.state.set("key", 1)


def readable(path: Path) -> Contents:
    """Return what of the store at *path* can be read through the API, nothing where it does not open."""
    found: Contents = set()
    with suppress(SpellError), open_store(path, config=Config(), create=False) as store:
        for session_id, live in _live(store):
            with suppress(SpellError):
                for artifact in store.artifacts.history(session_id, live.name):
                    found |= _content(store, session_id, artifact)
    return found


def listed(path: Path) -> dict[tuple[str, str], str | None]:
    """Return the BLAKE3 of what each artifact reads as, None for an error, by the session's id and the name."""
    found: dict[tuple[str, str], str | None] = {}
    with suppress(SpellError), open_store(path, config=Config(), create=False) as store:
        for session_id, artifact in _live(store):
            digests = _content(store, session_id, artifact)
            found[session_id, artifact.name] = next((digest for _, digest in digests), None)
    return found


def _live(store: Store) -> Iterator[tuple[str, Artifact]]:
    """Yield each artifact that can be listed, behind its session's id."""
    for session in store.sessions.list():
        try:
            live = store.artifacts.list(session.id)
        except SpellError:
            continue
        yield from ((session.id, artifact) for artifact in live)


def _content(store: Store, session_id: str, artifact: Artifact) -> Contents:
    try:
        data = store.artifacts.read(artifact)
    except SpellError:
        return set()
    digest = blake3(data).hexdigest()
    assert digest == artifact.content_hash, "wrong bytes were served"
    return {(session_id, digest)}


def mended(path: Path) -> FsckReport:
    """Repair the store at *path* and return the report."""
    return repair(path, Config(), origin=ORIGIN)


def checked(path: Path, *, quick: bool = False) -> FsckReport:
    """Check the store at *path* and return the report."""
    with open_store(path, config=Config(), create=False) as store:
        return store.upkeep.fsck(quick=quick)


def sql(path: Path, *statements: str) -> None:
    """Run *statements* on the index of the closed store at *path*; each must change something."""
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement


def blobs(path: Path) -> list[Path]:
    """Return the files of chunks, in order."""
    return sorted(file for file in path.glob("blobs/??/*") if file.is_file() and not file.is_symlink())


def copied(source: Path, target: Path) -> Path:
    """Return *target*, made a copy of the store *source*."""
    shutil.copytree(source, target)
    target.chmod(0o700)
    return target


Damage = Callable[[Path, random.Random], None]
PAGE = 4096


def flip(file: Path, at: int, mask: int) -> None:
    """Change the byte at *at* of *file* by *mask*."""
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ mask]))


def _flip_blob(path: Path, chance: random.Random) -> None:
    file = chance.choice(blobs(path))
    flip(file, chance.randrange(file.stat().st_size), 1 << chance.randrange(8))


def _cut_blob(path: Path, chance: random.Random) -> None:
    file = chance.choice(blobs(path))
    os.truncate(file, chance.randrange(file.stat().st_size))


def _grow_blob(path: Path, chance: random.Random) -> None:
    with chance.choice(blobs(path)).open("ab") as file:
        file.write(chance.randbytes(chance.randrange(1, 5000)))


def _drop_blob(path: Path, chance: random.Random) -> None:
    chance.choice(blobs(path)).unlink()


def _swap_blobs(path: Path, chance: random.Random) -> None:
    one, two = chance.sample(blobs(path), 2)
    aside = path / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def _link_blob(path: Path, chance: random.Random) -> None:
    file = chance.choice(blobs(path))
    file.unlink()
    chance.choice([lambda: file.symlink_to("/etc/passwd"), file.mkdir])()


def _flip_index(path: Path, chance: random.Random) -> None:
    file = path / "index.db"
    for _ in range(chance.choice((1, 1, 1, 4))):
        flip(file, chance.randrange(file.stat().st_size), 1 << chance.randrange(8))


def _zero_page(path: Path, chance: random.Random) -> None:
    file = path / "index.db"
    page = chance.randrange(file.stat().st_size // 4096)
    with file.open("r+b") as opened:
        opened.seek(page * 4096)
        opened.write(bytes(4096))


def _copy_page(path: Path, chance: random.Random) -> None:
    file = path / "index.db"
    data = file.read_bytes()
    one, two = (chance.randrange(len(data) // PAGE) for _ in range(2))
    with file.open("r+b") as opened:
        opened.seek(two * PAGE)
        opened.write(data[one * PAGE : (one + 1) * PAGE])


def _kill(path: Path, chance: random.Random) -> None:
    """Have commits that the WAL has, as a process leaves it that was killed; in the database too, or not yet."""
    aside = path.with_name(f"{path.name}-aside")
    with open_store(path, config=Config(), origin=ORIGIN) as store:
        for number in range(12):
            store.artifacts.put("work", f"wal/{number}", f"content {number}".encode() * 20)
        copied(path, aside)
    shutil.rmtree(path)
    aside.rename(path)
    shutil.rmtree(path / "spool")
    (path / "index.db-shm").unlink()
    if chance.random() < 0.5:
        wal = (path / "index.db-wal").read_bytes()
        with closing(sqlite3.connect(path / "index.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (path / "index.db-wal").write_bytes(wal)


def _flip_wal(path: Path, chance: random.Random) -> None:
    _kill(path, chance)
    wal = path / "index.db-wal"
    for _ in range(chance.choice((1, 1, 2))):
        flip(wal, chance.randrange(wal.stat().st_size), 1 << chance.randrange(8))


def _cut_wal(path: Path, chance: random.Random) -> None:
    _kill(path, chance)
    os.truncate(path / "index.db-wal", chance.randrange((path / "index.db-wal").stat().st_size))


def _open_after(harmed: Damage) -> Damage:
    """Return *harmed* and a plain opening after it, which may fail."""

    def harm(path: Path, chance: random.Random) -> None:
        harmed(path, chance)
        with suppress(SpellError), open_store(path, config=Config(), create=False):
            pass

    return harm


def _cut_index(path: Path, chance: random.Random) -> None:
    size = (path / "index.db").stat().st_size
    os.truncate(path / "index.db", chance.randrange(size // 2, size))


def _header(path: Path, chance: random.Random) -> None:
    with (path / "index.db").open("r+b") as opened:
        opened.write(chance.randbytes(chance.choice((16, 100, 4096))))


LAST: list[str] = []
"""What `_edit` last changed."""


def _edit(path: Path, chance: random.Random) -> None:
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        table = chance.choice(("entry", "session_row", "session", "content", "chunk", "content_chunk", "event", "inode",
                               "checkpoint", "entry_label", "session_label"))  # fmt: skip
        names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        keys = {"entry": "eid", "session_row": "rid", "session": "sid", "content": "cid", "chunk": "kid", "event": "id"}
        key = keys.get(table, names[0])
        value = chance.choice(db.execute(f"SELECT {key} FROM {table}").fetchall())[0]
        column = chance.choice([name for name in names if name != keys.get(table)])
        old = db.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (value,)).fetchone()[0]
        LAST[:] = [f"{table}.{column} of {value}: {old!r:.80}"]
        try:
            if chance.random() < 0.2:
                LAST[0] += " (row deleted)"
                db.execute(f"DELETE FROM {table} WHERE {key} = ?", (value,))
            else:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (_other(old, chance), value))
        except sqlite3.IntegrityError:
            return


def _other(value: object, chance: random.Random) -> object:
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(20)
    if isinstance(value, bytes) and value:
        at = chance.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
    if isinstance(value, str) and value:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice("abcxyz019 {") + value[at + 1 :]
    return chance.choice((None, 1, "x"))


def _some(db: sqlite3.Connection, table: str, key: str, chance: random.Random) -> list[int]:
    """Return one of the rows of *table*, or a few that are next to each other."""
    keys = [row[0] for row in db.execute(f"SELECT {key} FROM {table} ORDER BY {key}")]
    first = chance.randrange(len(keys))
    return keys[first : first + chance.choice((1, 1, 2, 5))]


def _lose_rows(path: Path, chance: random.Random) -> None:
    """Lose rows of the tables that say what content is, as a page does that is gone."""
    table = chance.choice(("content_chunk", "chunk", "content", "content_chunk"))
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        rows = _some(db, table, "rowid" if table != "content_chunk" else "cid", chance)
        if table == "content_chunk" and chance.random() < 0.5:
            kept = chance.choice(db.execute("SELECT cid, start FROM content_chunk").fetchall())
            db.execute("DELETE FROM content_chunk WHERE cid = ? AND start = ?", kept)
            LAST[:] = [f"content_chunk {kept} deleted"]
            return
        key = {"content_chunk": "cid", "chunk": "kid", "content": "cid"}[table]
        db.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(row,) for row in rows])
        LAST[:] = [f"{table} {rows} deleted"]


_OF_CONTENT = {
    "content": ("cid", ("hash", "data", "data, codec, size, stored_size", "size")),
    "chunk": ("kid", ("hash", "data", "data, codec, size, stored_size", "size")),
    "entry": ("eid", ("content", "size")),
}


def _swap_rows(path: Path, chance: random.Random) -> None:
    """Have a row say what another says of its content, and perhaps the other what the first said."""
    table = chance.choice(list(_OF_CONTENT))
    key, columns = _OF_CONTENT[table]
    names = chance.choice(columns)
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        where = "data IS NOT NULL" if "data" in names else "kind = 0" if table == "entry" else "1"
        numbers = [row[0] for row in db.execute(f"SELECT {key} FROM {table} WHERE {where}")]
        pair = chance.sample(numbers, 2) if len(numbers) > 1 else numbers * 2
        said = [db.execute(f"SELECT {names} FROM {table} WHERE {key} = ?", (n,)).fetchone() for n in pair]
        if len(set(said)) < 2:  # nothing would change
            _swap_rows(path, chance)
            return
        one, other = said
        update = f"UPDATE {table} SET ({names}) = ({', '.join('?' * len(one))}) WHERE {key} = ?"
        is_swap = names == "hash" or chance.random() < 0.5
        LAST[:] = [f"{table}.{names} of {pair}{' swapped' if is_swap else ''}"]
        if names == "hash":
            db.execute(update, (chance.randbytes(32), pair[0]))
            is_swap = chance.random() < 0.7
            db.execute(update, (*one, pair[1]))
            if is_swap:
                db.execute(update, (*other, pair[0]))
            return
        db.execute(update, (*other, pair[0]))
        if is_swap:
            db.execute(update, (*one, pair[1]))


def _empty_content(path: Path, chance: random.Random) -> None:
    """Leave nothing of a content but its row, beside an empty file."""
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        cid, is_inline = chance.choice(db.execute("SELECT cid, data NOTNULL FROM content WHERE size").fetchall())
        LAST[:] = [f"content {cid} emptied"]
        if is_inline:
            db.execute("UPDATE content SET data = x'' WHERE cid = ?", (cid,))
        else:
            db.execute("DELETE FROM content_chunk WHERE cid = ?", (cid,))
        if chance.random() < 0.5:
            db.execute("UPDATE content SET size = 0 WHERE cid = ?", (cid,))


def _lose_events(path: Path, chance: random.Random) -> None:
    """Lose events that are next to each other, or some here and there."""
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        rows = _some(db, "event", "id", chance) + (_some(db, "event", "id", chance) if chance.random() < 0.5 else [])
        db.executemany("DELETE FROM event WHERE id = ?", [(row,) for row in rows])
        LAST[:] = [f"events {rows} deleted"]


DAMAGES: dict[str, Damage] = {
    "a byte of a blob changed": _flip_blob,
    "a blob cut off": _cut_blob,
    "a blob grown": _grow_blob,
    "a blob removed": _drop_blob,
    "two blobs swapped": _swap_blobs,
    "a blob replaced by a link or a folder": _link_blob,
    "bytes of the index changed": _flip_index,
    "a page of the index zeroed": _zero_page,
    "a page of the index overwritten by another": _copy_page,
    "the index cut off": _cut_index,
    "the header of the index destroyed": _header,
    "a row edited": _edit,
    "rows of content lost": _lose_rows,
    "content swapped between rows": _swap_rows,
    "a content emptied": _empty_content,
    "events lost": _lose_events,
    "the WAL of a killed store changed": _flip_wal,
    "the WAL of a killed store changed, and it was opened": _open_after(_flip_wal),
    "the WAL of a killed store cut off": _cut_wal,
    "the WAL of a killed store cut off, and it was opened": _open_after(_cut_wal),
}
