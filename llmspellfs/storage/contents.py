"""The SQL of contents and chunks: each content once, each chunk once, and what nobody refers to any more.

Every function takes a connection and runs in the caller's transaction. Content is durable before it comes here:
`place` only names what an Ingest has stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

from llmspellfs.errors import Corrupt, Vanished
from llmspellfs.storage.blobs import BlobStore
from llmspellfs.storage.codec import decode_checked
from llmspellfs.storage.content import ChunkRef
from llmspellfs.storage.index import Connection
from llmspellfs.storage.ingest import KNOWN, Staged, StagedChunk

EMPTY = blake3().digest()
"""The hash of no bytes."""
Has: TypeAlias = tuple[Any, Any, Any]
"""What a row says of its bytes: size, codec and data; harmed, it may say anything."""


class Placed(NamedTuple):
    """A content as the index knows it; *hash* is 64 hex digits, sizes are bytes. A tuple, since batches make many."""

    cid: int
    hash: str
    size: int
    stored_size: int


def place(db: Connection, staged: Staged, blobs: BlobStore) -> Placed:
    """Return the row of *staged*'s content, inserted where the index does not have it yet.

    A chunk that the content relies on is looked for under the write lock that the caller holds, so that garbage
    collection cannot take it away. Raises Vanished where one is not there.
    """
    query = "SELECT cid, condemned_ns, stored_size, size, codec, data FROM content WHERE hash = ?"
    row = db.execute(query, (staged.hash,)).fetchone()
    kids = [(chunk.start, _place_chunk(db, chunk, blobs)) for chunk in staged.chunks]
    if row is None:
        cid, stored = _insert(db, staged), staged.stored_size
    else:
        cid, condemned_ns, stored = row[:3]
        if condemned_ns is not None:
            _pardon(db, cid)
        if _is_sound(db, cid, staged, kids, row[3:]):
            return Placed(cid, staged.hash.hex(), staged.size, stored)
        stored = _correct(db, cid, staged)
    return Placed(cid, staged.hash.hex(), staged.size, _say_chunks(db, cid, kids) if kids else stored)


def _insert(db: Connection, staged: Staged) -> int:
    cursor = db.execute(
        "INSERT INTO content (hash, size, stored_size, codec, data) VALUES (?, ?, ?, ?, ?)",
        (staged.hash, staged.size, staged.stored_size, staged.codec, staged.data),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _is_sound(db: Connection, cid: int, staged: Staged, kids: list[tuple[int, int]], has: Has) -> bool:
    """Tell whether what the index *has* (size, codec, data) of content *cid* gives back what is *staged*.

    What is stored again is acknowledged, and so must be readable then, whatever has become of it before.
    """
    if has != (staged.size, staged.codec, staged.data):
        return staged.data is not None and _decodes(has, staged)
    query = "SELECT start, kid FROM content_chunk WHERE cid = ? ORDER BY start"
    return not kids or db.execute(query, (cid,)).fetchall() == kids


def _decodes(has: Has, staged: Staged | StagedChunk) -> bool:
    """Tell whether *has* (size, codec, data), as another threshold has left it, says what is *staged*."""
    size, codec, data = has
    try:
        decode_checked(codec, data, staged.size, staged.hash)
    except Corrupt:
        return False
    return bool(size == staged.size)


def _correct(db: Connection, cid: int, staged: Staged) -> int:
    """Put what is *staged* in place of what the index says of content *cid*; return its stored bytes."""
    query = "UPDATE content SET size = ?, stored_size = ?, codec = ?, data = ? WHERE cid = ?"
    db.execute(query, (staged.size, staged.stored_size, staged.codec, staged.data, cid))
    db.execute("DELETE FROM content_chunk WHERE cid = ?", (cid,))
    return staged.stored_size


def _say_chunks(db: Connection, cid: int, kids: list[tuple[int, int]]) -> int:
    """Have content *cid* consist of *kids*, each with its offset; return their stored bytes."""
    db.executemany("INSERT INTO content_chunk (cid, start, kid) VALUES (?, ?, ?)", [(cid, *each) for each in kids])
    query = "SELECT sum(stored_size) FROM chunk WHERE kid IN (SELECT kid FROM content_chunk WHERE cid = ?)"
    stored: int = db.execute(query, (cid,)).fetchone()[0]
    db.execute("UPDATE content SET stored_size = ? WHERE cid = ?", (stored, cid))
    return stored


def _pardon(db: Connection, cid: int) -> None:
    db.execute("UPDATE content SET condemned_ns = NULL WHERE cid = ?", (cid,))
    db.execute(
        "UPDATE chunk SET condemned_ns = NULL WHERE kid IN (SELECT kid FROM content_chunk WHERE cid = ?)",
        (cid,),
    )


def _place_chunk(db: Connection, chunk: StagedChunk, blobs: BlobStore) -> int:
    query = "SELECT kid, condemned_ns, size, codec, data FROM chunk WHERE hash = ?"
    row = db.execute(query, (chunk.hash,)).fetchone()
    is_gone = chunk.codec != KNOWN and chunk.data is None and not blobs.exists(chunk.hash.hex())
    if is_gone or (row is None and chunk.codec == KNOWN):
        raise Vanished(chunk.hash.hex())
    if row is not None:
        if chunk.codec != KNOWN:
            _heal_chunk(db, chunk, row[2:], blobs)
        if row[1] is not None:
            db.execute("UPDATE chunk SET condemned_ns = NULL WHERE kid = ?", (row[0],))
        return int(row[0])
    cursor = db.execute(
        "INSERT INTO chunk (hash, size, stored_size, codec, data) VALUES (?, ?, ?, ?, ?)",
        (chunk.hash, chunk.size, chunk.stored_size, chunk.codec, chunk.data),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _heal_chunk(db: Connection, chunk: StagedChunk, has: Has, blobs: BlobStore) -> None:
    """Have the index say of *chunk* what was stored just now, unless what it *has* (size, codec, data) is as good."""
    data, name = chunk.data, chunk.hash.hex()
    if has == (chunk.size, chunk.codec, data):
        return
    if data is not None and has[2] is None:  # its bytes are a file
        if blobs.exists(name) and _decodes((has[0], has[1], _stored(blobs, name)), chunk):
            return
        blobs.put(name, data)
        blobs.sync()
        data = None
    elif data is not None and _decodes(has, chunk):
        return
    query = "UPDATE chunk SET size = ?, stored_size = ?, codec = ?, data = ? WHERE hash = ?"
    db.execute(query, (chunk.size, chunk.stored_size, chunk.codec, data, chunk.hash))


def _stored(blobs: BlobStore, name: str) -> bytes:
    try:
        return blobs.get(name)
    except Corrupt:
        return b""


def known_chunk(db: Connection, chunk_hash: bytes, blobs: BlobStore) -> ChunkRef | None:
    """Return the chunk if the index has it, its file is there, and nothing has condemned it; it may be harmed."""
    query = "SELECT 0, size, kid, hash, codec, data FROM chunk WHERE hash = ? AND condemned_ns IS NULL"
    row = db.execute(query, (chunk_hash,)).fetchone()
    return None if row is None or (row[5] is None and not blobs.exists(chunk_hash.hex())) else ChunkRef(*row)


def is_known_content(db: Connection, digest: bytes) -> bool:
    """Tell whether the index has the content with the BLAKE3 *digest* and nothing has condemned it."""
    query = "SELECT 1 FROM content WHERE hash = ? AND condemned_ns IS NULL"
    return db.execute(query, (digest,)).fetchone() is not None


def cid_of(db: Connection, digest: bytes) -> int | None:
    """Return the index's number of the content with the BLAKE3 *digest*, condemned or not, or None."""
    row = db.execute("SELECT cid FROM content WHERE hash = ?", (digest,)).fetchone()
    return None if row is None else int(row[0])


def use(db: Connection, digest: bytes) -> int | None:
    """Return what `cid_of` does, for a row that is about to refer to it: it is condemned no more."""
    row = db.execute("SELECT cid, condemned_ns FROM content WHERE hash = ?", (digest,)).fetchone()
    if row is not None and row[1] is not None:
        _pardon(db, row[0])
    return None if row is None else int(row[0])


def cids_of(db: Connection, digests: Sequence[str]) -> dict[str, int]:
    """Return what `cid_of` does for each of some hundred *digests* (hex) that the index has."""
    marks = ",".join("?" * len(digests))
    query = f"SELECT lower(hex(hash)), cid FROM content WHERE hash IN ({marks})"  # noqa: S608
    return dict(db.execute(query, [bytes.fromhex(digest) for digest in digests]))


def are_in_use(db: Connection, cids: Sequence[int]) -> bool:
    """Tell whether the index has each of some hundred different contents, and none is condemned."""
    marks = ",".join("?" * len(cids))
    query = f"SELECT count(*) FROM content WHERE cid IN ({marks}) AND condemned_ns IS NULL"  # noqa: S608
    count: int = db.execute(query, list(cids)).fetchone()[0]
    return count == len(cids)


def load_refs(
    db: Connection, cid: int, content_hash: str | None = None, told: int | None = None
) -> tuple[int, list[ChunkRef]]:
    """Return the size of content *cid* and its chunks in order.

    Raises Corrupt where the index lacks it, or where it is another than *content_hash* (64 hex digits) says, or not of
    the size that is *told*: readers ask for no more than that.
    """
    row = db.execute("SELECT hash, size, codec, data FROM content WHERE cid = ?", (cid,)).fetchone()
    if row is None or content_hash not in {None, row[0].hex()}:
        raise Corrupt(f"content {content_hash or cid} is not in the index")
    digest, size, codec, data = row
    if told not in {None, size}:
        raise Corrupt(f"content {digest.hex()} is of {size} bytes, and not of {told}")
    if not size and digest != EMPTY:  # no byte will be held against a hash
        raise Corrupt(f"content {digest.hex()} is empty, and its hash is not")
    if data is not None:
        return size, [ChunkRef(0, size, -cid, digest, codec, data)]
    query = (
        "SELECT m.start, k.size, k.kid, k.hash, k.codec, k.data FROM content_chunk m JOIN chunk k ON k.kid = m.kid"
        " WHERE m.cid = ? ORDER BY m.start"
    )
    refs = [ChunkRef(*row) for row in db.execute(query, (cid,))]
    if sum(ref.size for ref in refs) != size:
        raise Corrupt(f"content {digest.hex()} lacks chunks in the index")
    if len(refs) == 1 and refs[0].hash != digest:
        raise Corrupt(f"content {digest.hex()} is one chunk of another hash")
    return size, refs


_LACKING = """
    SELECT cid, lower(hex(hash)) FROM (
        SELECT c.cid, c.hash, c.size, c.data IS NULL AS is_chunked, m.start, k.size AS length, k.hash AS of_chunk,
            coalesce(sum(k.size) OVER (PARTITION BY c.cid ORDER BY m.start
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM content c LEFT JOIN content_chunk m ON m.cid = c.cid AND c.data IS NULL LEFT JOIN chunk k ON k.kid = m.kid
        WHERE {where}
    ) x GROUP BY cid HAVING EXISTS (SELECT 1 FROM entry e WHERE e.content = x.cid AND e.size IS NOT x.size)
    OR (is_chunked AND (coalesce(sum(length), 0) != size OR count(length) != count(start) OR max(start != before)
        OR (count(start) = 1 AND max(of_chunk) != hash))) OR (size = 0 AND hash != ?)
"""


def lacking(db: Connection) -> list[str]:
    """Return the hashes of the contents that cannot be read for what the index says of them, whatever their chunks."""
    return [row[1] for row in db.execute(_LACKING.format(where="1"), (EMPTY,))]


def is_lacking(db: Connection, digest: bytes) -> bool:
    """Tell whether `lacking` names the content of that hash."""
    return db.execute(_LACKING.format(where="c.hash = ?"), (digest, EMPTY)).fetchone() is not None


def chunk_refs(db: Connection, kid: int) -> list[ChunkRef]:
    """Return the chunk *kid* as a reference with start 0, or none."""
    query = "SELECT 0, size, kid, hash, codec, data FROM chunk WHERE kid = ?"
    return [ChunkRef(*row) for row in db.execute(query, (kid,))]


def contents_with(db: Connection, kid: int) -> Iterator[int]:
    """Yield the contents (cids) that have the chunk *kid*."""
    for (cid,) in db.execute("SELECT DISTINCT cid FROM content_chunk WHERE kid = ?", (kid,)).fetchall():
        yield cid


def loose_chunks(db: Connection) -> Iterator[ChunkRef]:
    """Yield the chunks that no content has, each as a reference with start 0."""
    query = "SELECT 0, size, kid, hash, codec, data FROM chunk WHERE kid NOT IN (SELECT kid FROM content_chunk)"
    for row in db.execute(query):
        yield ChunkRef(*row)


def count_chunks(db: Connection) -> int:
    """Return how many chunks there are."""
    count: int = db.execute("SELECT count(*) FROM chunk").fetchone()[0]
    return count


def has_chunk(db: Connection, hash_hex: str) -> bool:
    """Tell whether the index has a chunk of that hash, condemned or not."""
    return db.execute("SELECT 1 FROM chunk WHERE hash = ?", (bytes.fromhex(hash_hex),)).fetchone() is not None


def totals(db: Connection) -> tuple[int, int]:
    """Return the plain and the stored bytes of everything kept, each content and chunk counted once."""
    inline = "SELECT coalesce(sum(size), 0), coalesce(sum(stored_size), 0) FROM content WHERE data IS NOT NULL"
    chunked = "SELECT coalesce(sum(size), 0), coalesce(sum(stored_size), 0) FROM chunk"
    first, second = db.execute(inline).fetchone(), db.execute(chunked).fetchone()
    return first[0] + second[0], first[1] + second[1]
