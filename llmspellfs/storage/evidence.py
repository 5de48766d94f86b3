"""Where bytes that the store has lost may still be: in its own folder, under other names, and in other rows.

What is yielded is checked by whoever asked, against a hash; what writes rows of content (`set_`, `add_`) is told only
what was proved so. Each function runs in the caller's transaction.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, pairwise

from blake3 import blake3

from llmspellfs.storage import disk
from llmspellfs.storage.codec import PLAIN, ZSTD, decoded, recover
from llmspellfs.storage.connections import look
from llmspellfs.storage.disk import StrPath
from llmspellfs.storage.index import Connection
from llmspellfs.storage.quarantine import all_blobs, kept_blobs

MOST_INLINE = 1 << 16
"""Bytes, as stored, of the largest content that is one row."""
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


def chunks_of_backup(backup: StrPath, digest: bytes) -> list[tuple[bytes, bytes | None]]:
    """Return the hash of each chunk of the content *digest* in the *backup*, in order, and its bytes as stored."""
    root = os.fspath(backup)
    query = """
        SELECT k.hash, k.data FROM content c JOIN content_chunk m ON m.cid = c.cid JOIN chunk k ON k.kid = m.kid
        WHERE c.hash = ? ORDER BY m.start
    """
    try:
        with closing(look(f"{root}/index.db", "mode=ro&immutable=1")) as db:
            rows = db.execute(query, (digest,)).fetchall()
    except sqlite3.Error:
        return []
    name = [bytes(row[0]).hex() for row in rows]
    files = (next(_whole(f"{root}/blobs/{each[:2]}/{each}"), None) for each in name)
    return [(bytes.fromhex(each), row[1] or data) for each, row, data in zip(name, rows, files, strict=True)]


def _of_backup(backup: str, digest: bytes) -> Iterator[bytes]:
    """Yield what the *backup* has under *digest*: a file, or what is in its index, which is left as it is."""
    yield from _whole(f"{backup}/blobs/{digest.hex()[:2]}/{digest.hex()}")
    query = "SELECT data FROM content WHERE hash = ?1 UNION ALL SELECT data FROM chunk WHERE hash = ?1"
    try:
        with closing(look(f"{backup}/index.db", "mode=ro&immutable=1")) as db:
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


def told_hashes(db: Connection, cid: int) -> set[str]:
    """Return the hashes (hex) that the events of the rows with the content *cid* tell of it."""
    query = """
        SELECT DISTINCT json_extract(v.line, '$.hash') FROM entry e JOIN event v ON v.sid = e.sid AND v.seq = e.seq_from
        WHERE e.content = ? AND json_valid(v.line)
    """
    return {row[0] for row in db.execute(query, (cid,)) if isinstance(row[0], str) and _HASH.fullmatch(row[0])}


def told_sizes(db: Connection, cid: int) -> set[int]:
    """Return the sizes that the events of the rows with the content *cid* tell of it."""
    query = """
        SELECT DISTINCT json_extract(v.line, '$.size') FROM entry e
        JOIN event v ON v.sid = e.sid AND v.seq = e.seq_from WHERE e.content = ? AND json_valid(v.line)
    """
    return {row[0] for row in db.execute(query, (cid,)) if isinstance(row[0], int)}


def content_size(db: Connection, cid: int) -> object:
    """Return the plain bytes that the row of the content *cid* says."""
    return db.execute("SELECT size FROM content WHERE cid = ?", (cid,)).fetchone()[0]


def sizes_of(db: Connection, cid: int) -> list[int]:
    """Return the plain bytes that the content *cid* may have, as its row, its artifacts' rows and their events say."""
    query = "SELECT size FROM content WHERE cid = ?1 UNION SELECT size FROM entry WHERE content = ?1"
    found = {row[0] for row in db.execute(query, (cid,))} | told_sizes(db, cid)
    return [size for size in found if isinstance(size, int) and size > 0]


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a content a chunk is, or of what *size* one is missing; *kid* is the number that is listed there."""

    size: int
    kid: int | None
    part: Part | None


def places(db: Connection, cid: int, size: int) -> list[Place]:
    """Return the places of chunks within the content *cid* of *size* bytes, in order and without gaps."""
    query = """
        SELECT m.start, m.kid, k.size, lead(m.start, 1, ?2) OVER (ORDER BY m.start) FROM content_chunk m
        LEFT JOIN chunk k ON k.kid = m.kid WHERE m.cid = ?1 ORDER BY m.start
    """
    found, end = [], 0
    for start, kid, known, until in db.execute(query, (cid, size)).fetchall():
        if start > end:
            found.append(Place(start - end, None, None))
        fits = known is not None and start + known <= until
        length = known if fits else until - start
        found.append(Place(length, None if known is not None else kid, Part(kid, known) if fits else None))
        end = start + length
    return [*found, *([Place(size - end, None, None)] if end < size else [])]


def bare_places(db: Connection, cid: int, size: int) -> list[Place]:
    """Return the places of chunks within the content *cid* of *size* bytes, whatever chunks are listed there."""
    query = "SELECT start FROM content_chunk WHERE cid = ? AND start > 0 AND start < ? ORDER BY start"
    starts = [0, *(start for (start,) in db.execute(query, (cid, size))), size]
    return [Place(until - start, None, None) for start, until in pairwise(starts)]


def chunks_of(db: Connection, size: int) -> list[Part]:
    """Return the chunks of *size* plain bytes, those first that no content has."""
    if size >= 1 << 63:  # of a place that no content has
        return []
    query = "SELECT kid, size FROM chunk k WHERE size = ? ORDER BY kid IN (SELECT kid FROM content_chunk), kid LIMIT 64"
    return [Part(*row) for row in db.execute(query, (size,))]


def kid_of(db: Connection, digest: bytes) -> int | None:
    """Return the chunk (kid) of that hash, or None."""
    row = db.execute("SELECT kid FROM chunk WHERE hash = ?", (digest,)).fetchone()
    return None if row is None else int(row[0])


def whole_chunk(db: Connection, digest: bytes) -> list[Part]:
    """Return the chunk that has the hash *digest* of a whole content, as all that the content is, or nothing."""
    return [Part(*row) for row in db.execute("SELECT kid, size FROM chunk WHERE hash = ?", (digest,))]


def is_named(db: Connection, digest: bytes) -> bool:
    """Tell whether the index has a chunk of that hash."""
    return db.execute("SELECT 1 FROM chunk WHERE hash = ?", (digest,)).fetchone() is not None


def add_chunk(db: Connection, kid: int | None, digest: bytes, codec: int, size: int, stored: int) -> int:
    """Insert a chunk, which is a file, as *kid* or with a number of its own; return that."""
    query = "INSERT INTO chunk (kid, hash, size, stored_size, codec) VALUES (?, ?, ?, ?, ?)"
    made = db.execute(query, (kid, digest, size, stored, codec)).lastrowid
    assert made is not None
    return made


def drop_chunk(db: Connection, kid: int) -> None:
    """Delete the row of the chunk *kid* again."""
    db.execute("DELETE FROM chunk WHERE kid = ?", (kid,))


def set_inline(db: Connection, cid: int, codec: int, data: bytes, size: int) -> None:
    """Give the content *cid* the stored bytes *data*, which are *size* plain."""
    query = "UPDATE content SET codec = ?, data = ?, size = ?, stored_size = ? WHERE cid = ?"
    db.execute(query, (codec, data, size, len(data), cid))


def set_hashes(db: Connection, table: str, hashes: dict[int, bytes]) -> None:
    """Give the rows of *table*, content or chunk, their *hashes*, which they may have of one another until then."""
    key = {"content": "cid", "chunk": "kid"}[table]
    query = f"UPDATE {table} SET hash = ? WHERE {key} = ?"  # noqa: S608 - words of the program
    db.executemany(query, [(os.urandom(32), number) for number in hashes])
    db.executemany(query, [(digest, number) for number, digest in hashes.items()])


def set_size(db: Connection, cid: int, size: int) -> None:
    """Have the content *cid* be of *size* bytes, which it does not have any more."""
    db.execute("UPDATE content SET size = ? WHERE cid = ?", (size, cid))


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
    for data in chain(as_stored(db, root, digest, backup), cuttings(root, (0,), MOST_INLINE)):
        found = recover(data, digest)
        if found is not None and len(found[1]) <= MOST_INLINE:
            query = "INSERT INTO content (hash, size, stored_size, codec, data) VALUES (?, ?, ?, ?, ?)"
            return db.execute(query, (digest, len(found[1]), len(data), found[0], data)).lastrowid
    return None
