"""Repairing the rows of chunks: those that are gone are made again of files that no row names.

Which file belongs where is told by its length, and proved by the hash of the whole content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product

from llmspellfs.storage import evidence
from llmspellfs.storage.codec import recover
from llmspellfs.storage.index import Connection

_MOST_TRIED = 64
"""Ways to put files in the places of missing chunks, where some are of one length: each takes hashing the content."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A sound file that no row names: its hash, how it is written, and its bytes plain and as stored."""

    hash: bytes
    codec: int
    size: int
    stored: int


class Orphans:
    """The sound files in the blobs of the store at *root* that no row names, by the length of their plain bytes."""

    def __init__(self, root: str) -> None:
        """Look for nothing yet."""
        self._root = root
        self._by_size: dict[int, list[Orphan]] | None = None

    def of(self, db: Connection, size: int) -> list[Orphan]:
        """Return those of *size* bytes that no row names yet; all are read when first one is asked for."""
        if self._by_size is None:
            self._by_size = {}
            for name, data in evidence.orphans(db, self._root):
                found = recover(data, bytes.fromhex(name))
                if found is not None:
                    orphan = Orphan(bytes.fromhex(name), found[0], len(found[1]), len(data))
                    self._by_size.setdefault(orphan.size, []).append(orphan)
        return [orphan for orphan in self._by_size.get(size, ()) if not evidence.is_named(db, orphan.hash)]


def with_orphans(db: Connection, cid: int, orphans: Orphans, is_whole: Callable[[], bool]) -> list[bytes]:
    """Make the rows again of the chunks that the content *cid* lists and the index lacks; return their hashes.

    *is_whole* tells whether the content has its hash with them; nothing is changed where no way makes it so.
    """
    sizes = evidence.missing_chunks(db, cid)
    for way in islice(_ways([orphans.of(db, size) for size in sizes.values()]), _MOST_TRIED):
        for kid, orphan in zip(sizes, way, strict=True):
            evidence.add_chunk(db, kid, orphan.hash, orphan.codec, orphan.size, orphan.stored)
        if is_whole():
            return [orphan.hash for orphan in way]
        for kid in sizes:
            evidence.drop_chunk(db, kid)
    return []


def _ways(fitting: list[list[Orphan]]) -> Iterator[tuple[Orphan, ...]]:
    """Yield the ways to take one of each of *fitting*, none twice, and nothing where there is nothing to take."""
    return (way for way in product(*fitting) if way and len({orphan.hash for orphan in way}) == len(way))
