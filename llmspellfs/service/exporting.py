"""Writing sessions into an archive: rows as records, trails as they are, each content once and whole.

All of it is what the index had at one moment; the format is `model.archive`'s. Files that are being written are in it
as far as they are committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from llmspellfs.errors import InvalidValue, LimitExceeded, NotFound
from llmspellfs.model.archive import LIVE, MANIFEST, MAX_MANIFEST, PAST, Manifest, Part, Plan, content_name
from llmspellfs.model.session import Session
from llmspellfs.model.values import canonical
from llmspellfs.service.engine import Engine
from llmspellfs.service.session_rules import find_session
from llmspellfs.service.versions import seal_all
from llmspellfs.storage import archive_rows, contents, entries, numbering
from llmspellfs.storage.archive import ArchiveWriter, PartFile
from llmspellfs.storage.archive_rows import Exported, Record
from llmspellfs.storage.content import ContentReader
from llmspellfs.storage.index import Connection

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
    plan: Plan
    files: tuple[PartFile, ...]


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
    with engine.index.snapshot() as db, ExitStack() as stack:
        found = sorted({s.id: s for s in (find_session(db, ref) for ref in refs)}.values(), key=lambda s: s.id)
        if not found:
            raise NotFound("session", "")
        numbers = [archive_rows.ranges(numbering.load(db, s.sid), s.seq) for s in found]
        exported = [Exported(s.sid, history, shift) for s, (shift, _) in zip(found, numbers, strict=True)]
        packed = []
        for s, of, (_, ranges) in zip(found, exported, numbers, strict=True):
            records = _parts(db, of, ranges, metadata=metadata)
            packed.append(_pack(s, records, PAST if history else LIVE))
            for part in packed[-1].files:
                stack.callback(part.close)
        whole = archive_rows.content_of(db, exported)
        size = sum(content[1] for content in whole)
        manifest = Manifest(history, metadata, tuple(each.plan for each in packed), len(whole), size)
        _write(engine, db, file, manifest, packed, whole, progress)
    return ExportReport(tuple((s.id, s.dirname) for s in found), len(whole), size)


def _seal(engine: Engine, refs: Sequence[str]) -> None:
    """Put what has been committed of open files into history, so that the archive has it."""
    if engine.rooms.read_only is not None:
        return
    with engine.index.read() as db:
        found = [session for session in (find_session(db, ref) for ref in refs) if entries.has_drafts(db, session.sid)]
    for session in found:
        with engine.write() as tx:
            seal_all(tx, tx.session(session.sid))


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


def _pack(session: Session, parts: dict[str, Iterable[bytes]], names: Sequence[str]) -> _Packed:
    """Write the parts *names* aside, and return what the manifest says of the session."""
    files = []
    for name in names:
        file = PartFile()
        files.append(file)
        buffer: list[bytes] = []
        held = 0
        for line in parts[name]:
            buffer.append(line)
            held += len(line)
            if held > _BUFFER:
                file.write(b"".join(buffer))
                buffer, held = [], 0
        file.write(b"".join(buffer))
    told = tuple(Part(name, file.size, file.hash) for name, file in zip(names, files, strict=True))
    return _Packed(Plan(session.id, session.dirname, session.seq, session.head, told), tuple(files))


def _write(
    engine: Engine,
    db: Connection,
    file: BinaryIO,
    manifest: Manifest,
    packed: Sequence[_Packed],
    whole: Sequence[tuple[str, int, int]],
    progress: Progress | None,
) -> None:
    text = json.dumps(manifest.document(), indent=1, ensure_ascii=True).encode("ascii") + b"\n"
    if len(text) > MAX_MANIFEST:
        raise LimitExceeded("bytes of an archive's manifest", MAX_MANIFEST)
    writer = ArchiveWriter(file)
    writer.add(MANIFEST, len(text), [text])
    for each in packed:
        for part, made in zip(each.plan.parts, each.files, strict=True):
            writer.add(f"sessions/{each.plan.id}/{part.name}", part.size, made.blocks())
    done = 0
    for digest, size, cid in whole:
        _, refs = contents.load_refs(db, cid, digest)
        reader = ContentReader(refs, size, engine.rooms.blobs, engine.rooms.cache)
        writer.add(content_name(digest), size, reader.blocks())
        done += size
        if progress is not None:
            progress(done, manifest.content_bytes)
    writer.finish()
