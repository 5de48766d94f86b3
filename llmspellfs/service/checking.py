"""Checking a store: audit chains, the rows that they cover, and every byte of content.

Nothing is changed and nothing raised for what is wrong: problems are lines, and artifacts that they harm are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from blake3 import blake3

from llmspellfs.errors import SpellError
from llmspellfs.model.event import read_line, state_hash
from llmspellfs.service.chain import Chain
from llmspellfs.service.engine import Engine
from llmspellfs.service.paths import path_of
from llmspellfs.storage import audit, contents
from llmspellfs.storage.content import ChunkCache, ContentReader
from llmspellfs.storage.index import Connection

Progress = Callable[[int, int], None]
_CACHE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ChainReport:
    """One session's audit chain: how many *events*, its *head*, and the first *problem*, or None."""

    session_id: str
    dirname: str
    events: int
    head: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What a check looked at and found; *harmed* are artifacts, as `SESSION:NAME`."""

    problems: tuple[str, ...]
    harmed: tuple[str, ...]
    sessions: int
    events: int
    contents: int
    chunks: int

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


@dataclass(slots=True)
class _Findings:
    problems: list[str] = field(default_factory=list)
    harmed: dict[str, None] = field(default_factory=dict)


def verify(db: Connection, sid: int | None = None) -> list[ChainReport]:
    """Check the chain of session *sid*, or of all, purged ones too."""
    return [_verify_chain(db, chain) for chain in audit.chains(db, sid)]


def _verify_chain(db: Connection, told: audit.Chain) -> ChainReport:
    chain = Chain()
    for line in audit.lines(db, told.sid):
        found = next(chain.breaks(line, read_line(line.text)), None)
        if found is not None:
            why = f"event {chain.seq + 1}: {found.problem}"
            return ChainReport(told.id, told.dirname, chain.seq + 1, told.head, why)
        chain.pass_by(line)
    problem: str | None = None
    if chain.seq != told.seq:
        problem = f"event {chain.seq + 1}: missing; the session counts {told.seq}"
    elif chain.prev != told.head:
        problem = f"event {chain.seq}: altered; its hash is not the session's head"
    return ChainReport(told.id, told.dirname, chain.seq, told.head, problem)


def fsck(engine: Engine, progress: Progress | None = None) -> FsckReport:
    """Check everything of *engine*'s store; the index is seen as at one moment."""
    found = _Findings()
    with engine.index.snapshot() as db:
        found.problems += [f"index: {line}" for line in audit.integrity(db)]
        reports = verify(db)
        found.problems += [f"{r.dirname}: {r.problem}" for r in reports if r.problem is not None]
        _check_rows(db, found)
        found.problems += audit.broken_references(db)
        total, chunks = _check_contents(engine, db, found, progress)
    events = sum(report.events for report in reports)
    return FsckReport(tuple(found.problems), tuple(found.harmed), len(reports), events, total, chunks)


def _check_rows(db: Connection, found: _Findings) -> None:
    """Hold each row against the `state` of the event that made it, and each such event against its row."""
    for row in audit.covered_rows(db):
        if row.event_state is None:
            found.problems.append(f"{row.what}: no event covers its row of seq {row.seq}")
        elif row.event_state != state_hash(row.state):
            found.problems.append(f"{row.what}: its row differs from event {row.seq}")
            if row.harms is not None:
                found.harmed[_full_name(db, *row.harms)] = None
    found.problems += audit.uncovered_events(db)


def _check_contents(engine: Engine, db: Connection, found: _Findings, progress: Progress | None) -> tuple[int, int]:
    cache = ChunkCache(_CACHE_BYTES)
    whole = list(contents.all_contents(db))
    total, done = sum(size for _, _, size in whole) or 1, 0
    for cid, digest, size in whole:
        problems = _content_problems(engine, db, cache, cid, digest)
        if problems:
            found.problems += [problem for problem in problems if problem not in found.problems]
            found.harmed |= dict.fromkeys(_harmed_by(db, cid))
        done += size
        if progress is not None:
            progress(done, total)
    for ref in contents.loose_chunks(db):
        problem = _problem(ContentReader([ref], ref.size, engine.rooms.blobs, cache).blocks, None)
        found.problems += [] if problem is None else [problem]
    cache.close()
    return len(whole), contents.count_chunks(db)


def _content_problems(engine: Engine, db: Connection, cache: ChunkCache, cid: int, digest: bytes) -> list[str]:
    """Return what is wrong with the content *cid*: each chunk that does not read back, or the whole's hash."""

    def blocks() -> Iterator[bytes]:
        size, refs = contents.load_refs(db, cid)
        yield from ContentReader(refs, size, engine.rooms.blobs, cache).blocks()

    whole = _problem(blocks, digest)
    if whole is None:
        return []
    try:
        refs = contents.load_refs(db, cid)[1]
    except SpellError:
        return [whole]
    alone = (ContentReader([replace(ref, start=0)], ref.size, engine.rooms.blobs, cache) for ref in refs)
    each = [problem for problem in (_problem(reader.blocks, None) for reader in alone) if problem is not None]
    return each or [whole]


def _problem(blocks: Callable[[], Iterator[bytes]], digest: bytes | None) -> str | None:
    """Return what is wrong with the content that *blocks* yields, which has the BLAKE3 *digest*, or None."""
    whole = blake3()
    try:
        for block in blocks():
            whole.update(block)
    except SpellError as error:
        return error.message
    if digest is not None and whole.digest() != digest:
        return f"corrupt: content {digest.hex()}: its bytes have another hash"
    return None


def _harmed_by(db: Connection, cid: int) -> list[str]:
    return [_full_name(db, *place) for place in audit.places_of(db, cid)]


def _full_name(db: Connection, dirname: str, session_ino: int, folder: int, name: str) -> str:
    return f"{dirname}:{path_of(db, session_ino, folder, name)}"
