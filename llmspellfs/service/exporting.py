"""Writing sessions into an archive: rows as records, trails as they are, each content once and whole.

All of it is what the index had at one moment; the format is `model.archive`'s. Files that are being written are in it
as far as they are committed. What `import` would refuse is not written: it would be found out where it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3

from llmspellfs.errors import Corrupt, InvalidValue, LimitExceeded, NoSpace, NotFound
from llmspellfs.model.archive import LIVE, MANIFEST, MAX_MANIFEST, PAST, Manifest, Part, Plan, content_name
from llmspellfs.model.session import Session
from llmspellfs.model.values import canonical
from llmspellfs.service.engine import Engine
from llmspellfs.service.incoming import Outgoing
from llmspellfs.service.session_rules import find_session
from llmspellfs.service.verifying import Verification
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import archive_rows, contents, entries, numbering
from llmspellfs.storage.archive import ArchiveWriter, PartFile
from llmspellfs.storage.archive_rows import Exported, Record
from llmspellfs.storage.content import ContentReader
from llmspellfs.storage.index import Connection
from llmspellfs.storage.staging import Staging

Progress = Callable[[int, int], None]
_BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an archive has: sessions (id and directory name), contents, and the bytes of these."""

    sessions: tuple[tuple[str, str], ...]
    contents: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class _Packed:
    """What an archive is to have: its records, aside, and the hash, the size and the cid of each content."""

    manifest: Manifest
    files: dict[tuple[str, str], PartFile]
    """By the session's id and the part's name."""
    whole: Sequence[tuple[str, int, int]]


def export(
    engine: Engine,
    refs: Sequence[str],
    file: BinaryIO,
    *,
    history: bool = True,
    metadata: bool = True,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the sessions *refs* into *file*; see `Archive.export`."""
    if history and not metadata:
        raise InvalidValue("metadata", "history is verified with its metadata: leave out both, or neither")
    _seal(engine, refs)
    with _kept(engine), engine.index.snapshot() as db, ExitStack() as stack:
        found = sorted({s.id: s for s in (find_session(db, ref) for ref in refs)}.values(), key=lambda s: s.id)
        if not found:
            raise NotFound("session", "")
        packed = _packed(db, found, stack, history=history, metadata=metadata)
        refused = _refused(packed)
        if refused is not None:
            would_do = history and _refused(_packed(db, found, stack, history=False, metadata=True)) is None
            hint = "; `export --no-history` takes what there is now" if would_do else ""
            raise Corrupt(f"{refused}{hint}")
        _write(engine, db, file, packed, progress)
    size = packed.manifest.content_bytes
    return ExportReport(tuple((s.id, s.dirname) for s in found), len(packed.whole), size)


@contextmanager
def _kept(engine: Engine) -> Iterator[None]:
    """Keep garbage collection from what is exported; where a full disk has no room to note that, it goes on without."""
    with ExitStack() as stack:
        with suppress(NoSpace):
            stack.enter_context(Outgoing(engine))
        yield


def _seal(engine: Engine, refs: Sequence[str]) -> None:
    """Put what has been committed of open files into history, so that the archive has it."""
    if engine.rooms.read_only is not None:
        return
    with engine.index.read() as db:
        found = [session for session in (find_session(db, ref) for ref in refs) if entries.has_drafts(db, session.sid)]
    for session in found:
        with engine.write() as tx:
            seal_all(tx, tx.session(session.sid))


def _packed(db: Connection, found: Sequence[Session], stack: ExitStack, *, history: bool, metadata: bool) -> _Packed:
    """Write the records of the sessions *found* aside, into files that *stack* closes."""
    plans, exported, files = [], [], {}
    for s in found:
        shift, ranges = archive_rows.ranges(numbering.load(db, s.sid), s.seq)
        of = Exported(s.sid, history, shift)
        records, told = _parts(db, of, ranges, metadata=metadata), []
        for name in PAST if history else LIVE:
            made = files[s.id, name] = _part_file(records[name], stack)
            told.append(Part(name, made.size, made.hash))
        plans.append(Plan(s.id, s.dirname, s.seq, s.head, tuple(told)))
        exported.append(of)
    whole = archive_rows.content_of(db, exported)
    size = sum(content[1] for content in whole)
    return _Packed(Manifest(history, metadata, tuple(plans), len(whole), size), files, whole)


def _refused(packed: _Packed) -> str | None:
    """Return why no import would take what is *packed*, or None."""
    manifest = packed.manifest

    def lines(plan: Plan, part: Part) -> Iterator[bytes]:
        return packed.files[plan.id, part.name].lines(f"sessions/{plan.id}/{part.name}")

    with closing(Staging()) as staging:
        verification = Verification(manifest, lines, staging)
        try:
            verification.sessions()
            verification.contents()
            for digest, size, _ in packed.whole:
                verification.content(content_name(digest), digest, size)
        except Corrupt as error:
            named = [plan.dirname for plan in manifest.sessions if plan.id in error.what]
            names = ", ".join(named or [plan.dirname for plan in manifest.sessions])
            return f"{names}: no import would take it: {error.what}"
    return None


def _parts(
    db: Connection, of: Exported, ranges: Sequence[tuple[int | None, int]], *, metadata: bool
) -> dict[str, Iterable[bytes]]:
    """Return what each part of a session is made of."""
    bare: Record = {} if metadata else {"description": "", "tags": "[]"}
    return {
        "session.json": _lines([archive_rows.session(db, of, ranges)]),
        "events.jsonl": (line.encode("utf-8") + b"\n" for line in archive_rows.events(db, of.sid)),
        "rows.jsonl": _lines(archive_rows.rows(db, of), bare | ({} if metadata else {"metadata": "{}"})),
        "inodes.jsonl": _lines(archive_rows.inodes(db, of)),
        "entries.jsonl": _lines(archive_rows.entries(db, of), bare | ({} if metadata else {"custom": "{}"})),
        "checkpoints.jsonl": _lines(archive_rows.checkpoints(db, of.sid)),
    }


def _lines(records: Iterable[Record], bare: Record | None = None) -> Iterator[bytes]:
    """Yield each record as a line, with the values of *bare* in the place of its own."""
    for said in records:
        shown = said if not bare else {key: bare.get(key, value) for key, value in said.items()}
        yield canonical(shown).encode("ascii") + b"\n"


def _part_file(lines: Iterable[bytes], stack: ExitStack) -> PartFile:
    """Write *lines* aside."""
    file = PartFile()
    stack.callback(file.close)
    buffer: list[bytes] = []
    held = 0
    for line in lines:
        buffer.append(line)
        held += len(line)
        if held > _BUFFER:
            file.write(b"".join(buffer))
            buffer, held = [], 0
    file.write(b"".join(buffer))
    return file


def _write(engine: Engine, db: Connection, file: BinaryIO, packed: _Packed, progress: Progress | None) -> None:
    manifest = packed.manifest
    text = json.dumps(manifest.document(), indent=1, ensure_ascii=True).encode("ascii") + b"\n"
    if len(text) > MAX_MANIFEST:
        raise LimitExceeded("bytes of an archive's manifest", MAX_MANIFEST)
    writer = ArchiveWriter(file)
    writer.add(MANIFEST, len(text), [text])
    for (ref, name), made in packed.files.items():
        writer.add(f"sessions/{ref}/{name}", made.size, made.blocks())
    done = 0
    for digest, size, cid in packed.whole:
        _, refs = contents.load_refs(db, cid, digest)
        reader = ContentReader(refs, size, engine.rooms.blobs, engine.rooms.cache)
        writer.add(content_name(digest), size, _checked(reader.blocks(), digest))
        done += size
        if progress is not None:
            progress(done, manifest.content_bytes)
    writer.finish()


def _checked(blocks: Iterable[bytes], digest: str) -> Iterator[bytes]:
    """Yield *blocks*, whose BLAKE3 is *digest* (hex); raise Corrupt at their end where it is another."""
    whole = blake3()
    for block in blocks:
        whole.update(block)
        yield block
    if whole.hexdigest() != digest:
        raise Corrupt(f"content {digest}: its bytes have another hash")
