"""Repairing of what chunks a content is: which stand where, and rows of chunks that are gone, of files no row names.

What belongs where is told by its length, and proved by the hash of the whole content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from llmspellfs.storage import evidence
from llmspellfs.storage.codec import recover
from llmspellfs.storage.evidence import Part, Place
from llmspellfs.storage.index import Connection

_MOST_TRIED = 64
"""Ways to fill the places of missing chunks, where some are of one length: each takes hashing the content."""


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


def filled(
    db: Connection, cid: int, size: int, orphans: Orphans, is_whole: Callable[[list[Part]], bool]
) -> tuple[list[Part], int]:
    """Return the chunks that make up the content *cid* of *size* bytes, and how many rows of them were made.

    Those that are listed stay in their places; the others are filled with chunks of the index, and of *orphans*, of
    which rows are made. Failing that no chunk is believed to be where it is listed. *is_whole* tells whether the
    content has its hash with them; where no way makes it so nothing is changed, and there are no chunks.
    """
    for places in (evidence.places(db, cid, size), evidence.bare_places(db, cid, size)):
        order, made = _filled(db, places, orphans, is_whole)
        if order:
            return order, made
    return [], 0


def _filled(
    db: Connection, places: list[Place], orphans: Orphans, is_whole: Callable[[list[Part]], bool]
) -> tuple[list[Part], int]:
    gaps = [place for place in places if place.part is None]
    fitting: list[tuple[Part | Orphan, ...]] = [
        (*evidence.chunks_of(db, gap.size), *orphans.of(db, gap.size)) for gap in gaps
    ]
    for way in islice(_ways(fitting), _MOST_TRIED):
        made: list[int] = []
        parts = iter([_part(db, one, gap.kid, made) for gap, one in zip(gaps, way, strict=True)])
        order = [place.part or next(parts) for place in places]
        if is_whole(order):
            return order, len(made)
        for kid in made:
            evidence.drop_chunk(db, kid)
    return [], 0


def as_one(db: Connection, digest: bytes, size: int, orphans: Orphans) -> list[Part]:
    """Return a content of the hash *digest* and *size* bytes as the one chunk that a file of *orphans* is, or none."""
    return [_part(db, one, None, []) for one in orphans.of(db, size) if one.hash == digest]


def _part(db: Connection, one: Part | Orphan, kid: int | None, made: list[int]) -> Part:
    """Return *one* as a chunk of the index, with a row where it was none: the number that is listed, if one is."""
    if isinstance(one, Part):
        return one
    made.append(evidence.add_chunk(db, kid, one.hash, one.codec, one.size, one.stored))
    return Part(made[-1], one.size)


def _ways(fitting: list[tuple[Part | Orphan, ...]]) -> Iterator[Sequence[Part | Orphan]]:
    """Yield the ways to take one of each of *fitting*, no file twice, and nothing where there is nothing to take."""
    for way in product(*fitting):
        files = [one.hash for one in way if isinstance(one, Orphan)]
        if way and len(set(files)) == len(files):
            yield way
