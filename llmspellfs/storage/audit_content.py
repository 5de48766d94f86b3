"""The SQL of checking content: every content with its chunks in order, in one query, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from llmspellfs.storage.audit import BYTES
from llmspellfs.storage.content import ChunkRef
from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Whole:
    """A content: its hash and size, and its pieces in order as they are streamed; one piece where it is inline."""

    cid: int
    hash: bytes
    size: int
    is_inline: bool
    pieces: Iterator[ChunkRef]


_CONTENTS = """
    SELECT c.cid, c.hash, c.size, c.codec, c.data, m.start, k.size, k.kid, k.hash, k.codec, k.data FROM content c
    LEFT JOIN content_chunk m ON m.cid = c.cid AND c.data IS NULL LEFT JOIN chunk k ON k.kid = m.kid
    ORDER BY c.cid, m.start
"""


def wholes(db: Connection) -> Iterator[Whole]:
    """Yield every content; the pieces of one must be read before the next is asked for."""
    for cid, rows in groupby(db.execute(_CONTENTS), key=lambda row: row[0]):
        first = next(rows)
        if first[4] is not None:
            piece = ChunkRef(0, first[2], -cid, first[1], first[3], first[4])
            yield Whole(cid, first[1], first[2], True, iter((piece,)))
        else:
            yield Whole(cid, first[1], first[2], False, _pieces(first, rows))  # noqa: B031 - streamed, once


def _pieces(first: tuple[Any, ...], rest: Iterator[tuple[Any, ...]]) -> Iterator[ChunkRef]:
    for row in chain((first,), rest):
        if row[7] is not None:
            yield ChunkRef(*row[5:])


def content_bytes(db: Connection) -> tuple[int, int]:
    """Return how many contents there are, and the sum of their plain bytes."""
    query = f"SELECT count(*), {BYTES} FROM content"  # noqa: S608 - a word of the program
    found: tuple[int, int] = db.execute(query).fetchone()
    return found


def is_content(db: Connection, cid: int) -> bool:
    """Tell whether the index has the content *cid*."""
    return db.execute("SELECT 1 FROM content WHERE cid = ?", (cid,)).fetchone() is not None


def is_chunk(db: Connection, kid: int) -> bool:
    """Tell whether the index has the chunk *kid*."""
    return db.execute("SELECT 1 FROM chunk WHERE kid = ?", (kid,)).fetchone() is not None
