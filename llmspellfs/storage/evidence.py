"""Where bytes that the store has lost may still be: in its own folder, under other names, and in other rows.

Every function reads only; what it yields is checked by whoever asked, against a hash.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from urllib.parse import quote

from blake3 import blake3

from llmspellfs.storage import disk
from llmspellfs.storage.codec import PLAIN, ZSTD, decoded, recover
from llmspellfs.storage.disk import StrPath
from llmspellfs.storage.index import Connection
from llmspellfs.storage.quarantine import all_blobs, kept_blobs

_INLINE = 1 << 16
_HASH = re.compile("[0-9a-f]{64}")
_MOST = 64 << 20
"""Bytes of a file that is read whole; longer ones are looked into where a chunk would be."""


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk whose bytes are not there: its row as it is, and where in which contents it belongs."""

    kid: int
    hash: bytes
    size: int
    stored_size: int
    data: bytes | None
    starts: tuple[int, ...]


def lost_chunk(db: Connection, kid: int) -> LostChunk | None:
    """Return the chunk *kid* as the index has it, or None."""
    row = db.execute("SELECT hash, size, stored_size, data FROM chunk WHERE kid = ?", (kid,)).fetchone()
    starts = tuple(row[0] for row in db.execute("SELECT DISTINCT start FROM content_chunk WHERE kid = ?", (kid,)))
    return None if row is None else LostChunk(kid, bytes(row[0]), row[1], row[2], row[3], starts)


def as_stored(db: Connection, root: StrPath, digest: bytes, backup: StrPath | None = None) -> Iterator[bytes]:
    """Yield bytes, plain or compressed, that may be those of the BLAKE3 *digest*: from rows and from files.

    Those of a *backup* of the store come last.
    """
    query = (
        "SELECT data FROM content WHERE hash = ?1 AND data IS NOT NULL UNION ALL SELECT data FROM chunk WHERE hash = ?1"
    )
    for (data,) in db.execute(f"{query} AND data IS NOT NULL", (digest,)):
        yield data
    yield from kept_blobs(root, digest.hex())
    for path in _files(f"{os.fspath(root)}/blobs"):
        name = os.path.basename(path)
        if name.startswith(".part-") or name == digest.hex():
            yield from _whole(path)
    if backup is not None:
        yield from _of_backup(os.fspath(backup), digest)


def _of_backup(backup: str, digest: bytes) -> Iterator[bytes]:
    """Yield what the *backup* has under *digest*: a file, or what is in its index, which is left as it is."""
    yield from _whole(f"{backup}/blobs/{digest.hex()[:2]}/{digest.hex()}")
    query = "SELECT data FROM content WHERE hash = ?1 UNION ALL SELECT data FROM chunk WHERE hash = ?1"
    try:
        with closing(sqlite3.connect(f"file:{quote(backup)}/index.db?mode=ro&immutable=1", uri=True)) as db:
            yield from [data for (data,) in db.execute(query, (digest,)) if isinstance(data, bytes)]
    except sqlite3.Error:
        return


def misnamed(root: StrPath, hashes: set[bytes]) -> dict[bytes, bytes]:
    """Return the stored bytes of those chunks of *hashes* that are in files of another name, by their hash.

    Looked into are the files of the others of *hashes*, and what earlier repairs took out: one may have ended before it
    put the bytes back.
    """
    names = (digest.hex() for digest in hashes)
    there = chain.from_iterable(_whole(f"{os.fspath(root)}/blobs/{name[:2]}/{name}") for name in names)
    found = {}
    for data in chain(there, all_blobs(root) if hashes else ()):
        for codec in (PLAIN, ZSTD):
            plain = decoded(codec, data)
            real = None if plain is None else blake3(plain).digest()
            if real is not None and real in hashes:
                found[real] = data
    return found


def orphans(db: Connection, root: StrPath) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file in `blobs` that no row names."""
    for path in _files(f"{os.fspath(root)}/blobs"):
        name = os.path.basename(path)
        if _HASH.fullmatch(name) and not is_named(db, bytes.fromhex(name)):
            yield from ((name, data) for data in _whole(path))


def cuttings(root: StrPath, starts: tuple[int, ...], size: int) -> Iterator[bytes]:
    """Yield *size* bytes from each of *starts* of every file that was being written, or was lost and found."""
    for folder in ("lost+found", "spool"):
        for path in _files(f"{os.fspath(root)}/{folder}"):
            for start in starts:
                yield from _range(path, start, size)


def _files(folder: str) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (f"{path}/{name}" for name in sorted(names))


def _whole(path: str) -> Iterator[bytes]:
    yield from _range(path, 0, _MOST)


def _range(path: str, start: int, size: int) -> Iterator[bytes]:
    try:
        descriptor = disk.open_file(path)
    except OSError:
        return
    try:
        yield os.pread(descriptor, size, start)
    except OSError:
        return
    finally:
        os.close(descriptor)


def is_told(db: Connection, hash_hex: str) -> bool:
    """Tell whether some event says that an artifact had the content of that hash."""
    query = "SELECT 1 FROM event WHERE instr(line, ?) LIMIT 1"
    return db.execute(query, (f'"hash":"{hash_hex}"',)).fetchone() is not None


def inline(db: Connection, cid: int) -> tuple[bytes, bytes | None] | None:
    """Return the hash and the stored bytes, if they are in the row, of the content *cid*; None where it is gone."""
    row: tuple[bytes, bytes | None] | None
    row = db.execute("SELECT hash, data FROM content WHERE cid = ?", (cid,)).fetchone()
    return row


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk in its place within a content."""

    kid: int
    size: int


def parts(db: Connection, cid: int) -> list[Part]:
    """Return the chunks of the content *cid* as the index orders them, without those that are gone."""
    query = "SELECT k.kid, k.size FROM content_chunk m JOIN chunk k ON k.kid = m.kid WHERE m.cid = ? ORDER BY m.start"
    return [Part(*row) for row in db.execute(query, (cid,))]


def content_size(db: Connection, cid: int) -> int:
    """Return the plain bytes that the content *cid* should have."""
    size: int = db.execute("SELECT size FROM content WHERE cid = ?", (cid,)).fetchone()[0]
    return size


def orders(db: Connection, cid: int, size: int, known: list[Part]) -> Iterator[list[Part]]:
    """Yield runs of chunks that the content *cid* of *size* bytes may have been: they are stored one after another.

    The runs are of chunks that no other content has, or of *known* ones, by their numbers.
    """
    query = "SELECT kid, size FROM chunk WHERE kid NOT IN (SELECT kid FROM content_chunk WHERE cid != ?) ORDER BY kid"
    free = [Part(*row) for row in db.execute(query, (cid,))]
    for run in (sorted(known, key=lambda part: part.kid), *_runs(free, size)):
        if sum(part.size for part in run) == size:
            yield run


def _runs(free: list[Part], size: int) -> Iterator[list[Part]]:
    first = total = 0
    for last, part in enumerate(free):
        total += part.size
        while total > size and first < last:
            total -= free[first].size
            first += 1
        if total == size:
            yield free[first : last + 1]


def set_parts(db: Connection, cid: int, order: list[Part]) -> None:
    """Give the content *cid* the chunks *order*."""
    rows, start = [], 0
    for part in order:
        rows.append((start, part.kid))
        start += part.size
    set_starts(db, cid, rows, start)


def add_content(db: Connection, cid: int, digest: bytes) -> None:
    """Insert the content *cid* of the chunks that are listed for it."""
    known = parts(db, cid)
    query = """
        INSERT INTO content (cid, hash, size, stored_size) SELECT ?1, ?2, ?3, sum(stored_size) FROM chunk
        WHERE kid IN (SELECT kid FROM content_chunk WHERE cid = ?1)
    """
    db.execute(query, (cid, digest, sum(part.size for part in known)))


def missing_chunks(db: Connection, cid: int) -> dict[int, int]:
    """Return the plain bytes of each chunk (kid) that the content *cid* lists and the index lacks, by their places."""
    query = """
        SELECT kid, until - start FROM (SELECT kid, start, lead(start, 1, (SELECT size FROM content WHERE cid = ?1))
        OVER (ORDER BY start) AS until FROM content_chunk WHERE cid = ?1)
        WHERE kid NOT IN (SELECT kid FROM chunk) ORDER BY start
    """
    return dict(db.execute(query, (cid,)).fetchall())


def is_named(db: Connection, digest: bytes) -> bool:
    """Tell whether the index has a chunk of that hash."""
    return db.execute("SELECT 1 FROM chunk WHERE hash = ?", (digest,)).fetchone() is not None


def add_chunk(db: Connection, kid: int, digest: bytes, codec: int, size: int, stored: int) -> None:
    """Insert the chunk *kid*, which is a file."""
    query = "INSERT INTO chunk (kid, hash, size, stored_size, codec) VALUES (?, ?, ?, ?, ?)"
    db.execute(query, (kid, digest, size, stored, codec))


def drop_chunk(db: Connection, kid: int) -> None:
    """Delete the row of the chunk *kid* again."""
    db.execute("DELETE FROM chunk WHERE kid = ?", (kid,))


def set_inline(db: Connection, cid: int, codec: int, data: bytes, size: int) -> None:
    """Give the content *cid* the stored bytes *data*, which are *size* plain."""
    query = "UPDATE content SET codec = ?, data = ?, size = ?, stored_size = ? WHERE cid = ?"
    db.execute(query, (codec, data, size, len(data), cid))


def set_content_hash(db: Connection, cid: int, digest: bytes) -> bool:
    """Give the content *cid* its real hash; where another has it already, rows refer to that one. Tell whether."""
    other = db.execute("SELECT cid FROM content WHERE hash = ?", (digest,)).fetchone()
    if other is None:
        db.execute("UPDATE content SET hash = ? WHERE cid = ?", (digest, cid))
    else:
        db.execute("UPDATE entry SET content = ? WHERE content = ?", (other[0], cid))
    return True


def set_starts(db: Connection, cid: int, rows: list[tuple[int, int]], size: int) -> None:
    """Give the content *cid* the chunks *rows* (start, kid), and its *size*."""
    db.execute("DELETE FROM content_chunk WHERE cid = ?", (cid,))
    marks = [(cid, start, kid) for start, kid in rows]
    db.executemany("INSERT INTO content_chunk (cid, start, kid) VALUES (?, ?, ?)", marks)
    db.execute("UPDATE content SET size = ? WHERE cid = ?", (size, cid))


def set_chunk(db: Connection, kid: int, digest: bytes, codec: int, size: int, stored: int, data: bytes | None) -> None:
    """Give the chunk *kid* what it is now known to be."""
    query = "UPDATE chunk SET hash = ?, codec = ?, size = ?, stored_size = ?, data = ? WHERE kid = ?"
    db.execute(query, (digest, codec, size, stored, data, kid))


def content_from_files(db: Connection, root: StrPath, digest: bytes, backup: StrPath | None = None) -> int | None:
    """Return the content (cid) of the BLAKE3 *digest*, made of bytes that are still somewhere; None where none are."""
    chunk = db.execute("SELECT kid, size, stored_size FROM chunk WHERE hash = ?", (digest,)).fetchone()
    if chunk is not None:
        query = "INSERT INTO content (hash, size, stored_size) VALUES (?, ?, ?)"
        cid = db.execute(query, (digest, *chunk[1:])).lastrowid
        db.execute("INSERT INTO content_chunk (cid, start, kid) VALUES (?, 0, ?)", (cid, chunk[0]))
        return cid
    for data in chain(as_stored(db, root, digest, backup), cuttings(root, (0,), _INLINE)):
        found = recover(data, digest)
        if found is not None and len(found[1]) <= _INLINE:
            query = "INSERT INTO content (hash, size, stored_size, codec, data) VALUES (?, ?, ?, ?, ?)"
            return db.execute(query, (digest, len(found[1]), len(data), found[0], data)).lastrowid
    return None
