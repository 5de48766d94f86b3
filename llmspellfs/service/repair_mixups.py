"""Repairing what was mixed up within the index: hashes that stand at other rows' bytes, and bytes in other rows.

Which of the two is wrong is told by what refers to the row: the events of a content's rows, the contents of a chunk.
All is put right in one transaction, since each row may have what another lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from llmspellfs.storage import contents, evidence
from llmspellfs.storage.codec import PLAIN, ZSTD, decoded
from llmspellfs.storage.evidence import LostChunk, Part
from llmspellfs.storage.index import Connection
from llmspellfs.storage.mending import Done

Hash = Callable[[Connection, list[Part]], bytes | None]
Completes = Callable[[Connection, LostChunk, bytes], bool]


@dataclass(frozen=True, slots=True)
class _Bytes:
    """What stored bytes are, read as of *codec*."""

    codec: int
    data: bytes
    plain: bytes
    hash: bytes


def _readings(data: object) -> Iterator[_Bytes]:
    for codec in (ZSTD, PLAIN):
        plain = decoded(codec, data)
        if isinstance(data, bytes) and plain is not None:
            yield _Bytes(codec, data, plain, blake3(plain).digest())


def unmix(
    db: Connection, cids: list[int], lost: list[LostChunk], hash_of: Hash, completes: Completes
) -> tuple[list[Done], set[int]]:
    """Put right what is mixed up among the contents *cids* and the *lost* chunks; return what was done.

    With it come the chunks (kids) that read again. *hash_of* is that of chunks in order, *completes* tells whether
    bytes in the place of a chunk give a content its hash.
    """
    chunks = [chunk for chunk in lost if chunk.data is not None]
    rows = {cid: row for cid in cids if (row := evidence.inline(db, cid)) is not None}
    held = {
        one.hash: one
        for data in (*(row[1] for row in rows.values()), *(c.data for c in chunks))
        for one in _readings(data)
    }
    done, named = _call_contents(db, rows, hash_of)
    more, read = _call_chunks(db, chunks, completes)
    done += more
    for cid, (digest, data) in rows.items():
        if cid not in named and data is not None and digest in held and is_right(db, cid, digest):
            one = held[digest]
            evidence.set_inline(db, cid, one.codec, one.data, len(one.plain))
            done.append(Done("bytes", f"content {digest.hex()}: it reads again"))
    done += _exchange_parts(db, [cid for cid, row in rows.items() if cid not in named and row[1] is None], hash_of)
    for chunk in chunks:
        if chunk.kid not in read and chunk.hash in held:
            one = held[chunk.hash]
            evidence.set_chunk(db, chunk.kid, chunk.hash, one.codec, len(one.plain), len(one.data), one.data)
            done.append(Done("chunk", f"chunk {chunk.hash.hex()} reads again: its bytes were found elsewhere"))
            read.add(chunk.kid)
    return done, read


def is_right(db: Connection, cid: int, digest: bytes) -> bool:
    """Tell whether nothing says that the hash *digest* of the content *cid* is not that of its rows' events."""
    told = evidence.told_hashes(db, cid)
    return not told or digest.hex() in told


def _call_contents(
    db: Connection, rows: dict[int, tuple[bytes, bytes | None]], hash_of: Hash
) -> tuple[list[Done], dict[int, bytes]]:
    """Give contents the hashes that all events of their rows tell, and their bytes the codec and the size for it.

    Whatever their bytes are, they are served as that content's or not at all.
    """
    told = {cid: evidence.told_hashes(db, cid) for cid in rows}
    plan = {
        cid: bytes.fromhex(*told[cid]) for cid in rows if len(told[cid]) == 1 and not is_right(db, cid, rows[cid][0])
    }
    plan = _free(plan, lambda digest: contents.cid_of(db, digest))
    evidence.set_hashes(db, "content", plan)
    for cid, digest in plan.items():
        data = rows[cid][1]
        if data is None and hash_of(db, parts := evidence.parts(db, cid)) == digest:
            evidence.set_parts(db, cid, parts)
        for one in _readings(data):
            if one.hash == digest:
                evidence.set_inline(db, cid, one.codec, one.data, len(one.plain))
    said = [
        f"content {rows[cid][0].hex()}: its hash is {real.hex()} again, as events say" for cid, real in plan.items()
    ]
    return [Done("bytes", what) for what in said], plan


def _exchange_parts(db: Connection, cids: list[int], hash_of: Hash) -> list[Done]:
    """Give the contents *cids*, which are in chunks, those that make them up and are listed for others of them."""
    listed = [(cid, evidence.parts(db, cid)) for cid in cids]
    found = {hash_of(db, parts): parts for _, parts in listed}
    wanted = [(cid, row[0]) for cid, _ in listed if (row := evidence.inline(db, cid)) is not None]
    done = []
    for cid, digest in wanted:
        if digest in found and is_right(db, cid, digest):
            evidence.set_parts(db, cid, found[digest])
            done.append(Done("bytes", f"content {digest.hex()}: its chunks are those again that another had"))
    return done


def _call_chunks(db: Connection, chunks: list[LostChunk], completes: Completes) -> tuple[list[Done], set[int]]:
    """Give chunks the hashes of their bytes, with which a content has its own."""
    found = {chunk.kid: one for chunk in chunks for one in _readings(chunk.data) if completes(db, chunk, one.plain)}
    plan = _free({kid: one.hash for kid, one in found.items()}, lambda digest: evidence.kid_of(db, digest))
    evidence.set_hashes(db, "chunk", plan)
    done = []
    for chunk in chunks:
        if chunk.kid in plan:
            one = found[chunk.kid]
            evidence.set_chunk(db, chunk.kid, one.hash, one.codec, len(one.plain), len(one.data), one.data)
            what = f"chunk {chunk.hash.hex()} is called {one.hash.hex()} again, as its bytes and its content say"
            done.append(Done("chunk", what))
    return done, set(plan)


def _free(plan: dict[int, bytes], owner: Callable[[bytes], int | None]) -> dict[int, bytes]:
    """Return what of *plan* (row: its hash) can be: no two rows get one hash, and none that another row keeps."""
    plan = {row: digest for digest, row in {digest: row for row, digest in plan.items()}.items()}
    while taken := [row for row, digest in plan.items() if (other := owner(digest)) is not None and other not in plan]:
        plan = {row: digest for row, digest in plan.items() if row not in taken}
    return plan
