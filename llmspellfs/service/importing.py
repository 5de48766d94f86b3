"""Reading an archive: everything in it verified, and its content stored, before a row of it is anybody's to see.

Records are verified aside (`verifying`), contents go into the store as content that no row refers to yet. Then one
transaction makes the sessions. What is refused leaves nothing: content that only it brought is unlinked again at once,
and after a crash it is garbage like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3

from llmspellfs.errors import InvalidValue, TooLarge
from llmspellfs.model import archive as model
from llmspellfs.model.archive import Limits, Manifest, Part, Plan, refuse
from llmspellfs.model.event import Origin
from llmspellfs.service.arrival import Imported, arrive, refuse_known
from llmspellfs.service.engine import Engine
from llmspellfs.service.intake import Intake
from llmspellfs.service.unplaced import Unplaced
from llmspellfs.service.verifying import Verification
from llmspellfs.storage.archive import ArchiveReader, Member
from llmspellfs.storage.staging import Staging

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came out of an archive: sessions, contents, their bytes, and how many contents the store had already."""

    sessions: tuple[Imported, ...]
    history: bool
    contents: int
    content_bytes: int
    known: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an import is to do; see `Archive.import_`."""

    name: str | None
    dry_run: bool
    limits: Limits


def import_archive(
    engine: Engine, intake: Intake, file: BinaryIO, wanted: Wanted, by: Origin | None, progress: Progress | None
) -> ImportReport:
    """Make the sessions in the archive *file*; see `Archive.import_`."""
    name, dry_run = wanted.name, wanted.dry_run
    with closing(Staging()) as staging:
        reading = _Reading(engine, file, wanted.limits)
        manifest = reading.manifest()
        if name is not None and len(manifest.sessions) != 1:
            raise InvalidValue("as", f"the archive has {len(manifest.sessions)} sessions, and one name is for one")
        keeps = manifest.history and name is None
        if keeps:
            _refuse_known(engine, manifest.sessions)
        verification = Verification(manifest, reading.lines, staging, max_size=engine.config.max_artifact_size)
        arrivals = verification.sessions()
        with Unplaced(engine, intake, staging) as unplaced:
            taking = None if dry_run else unplaced
            came = reading.contents(verification, taking, live_only=not keeps, progress=progress)
            if dry_run:
                found = tuple(Imported(p.id, p.dirname, p.id, p.seq if keeps else 0) for p in manifest.sessions)
            else:
                unplaced.place()
                found = arrive(engine, staging, arrivals, name=name, keeps=keeps, by=by)
                unplaced.keep()
    return ImportReport(found, keeps, came.number, came.size, came.known, dry_run)


def _refuse_known(engine: Engine, plans: Sequence[Plan]) -> None:
    """Raise AlreadyExists where the store has, or had, a session of *plans*."""
    with engine.index.read() as db:
        for plan in plans:
            refuse_known(db, plan.id)


@dataclass(frozen=True, slots=True)
class _Came:
    """The *number* of contents that sessions have of an archive, and their bytes; those *known* the store had."""

    number: int
    size: int
    known: int


class _Reading:
    """An archive that is read in order: the manifest, each session, the contents."""

    def __init__(self, engine: Engine, file: BinaryIO, limits: Limits) -> None:
        """Begin; nothing is read yet."""
        self._engine, self._limits = engine, limits
        self._reader = ArchiveReader(file, limits)
        self._manifest: Manifest

    def manifest(self) -> Manifest:
        """Return what the archive says of itself; what is beyond the limits is refused by that already."""
        member = self._reader.next()
        if member is None or member.name != model.MANIFEST or member.size > model.MAX_MANIFEST:
            raise refuse("tar", f"expected {model.MANIFEST} first, of at most {model.MAX_MANIFEST} bytes")
        self._manifest = model.read_manifest(b"".join(self._reader.blocks()))
        if self._manifest.size > self._limits.size:
            raise TooLarge("--max-size", self._limits.size)
        return self._manifest

    def lines(self, plan: Plan, part: Part) -> Iterator[bytes]:
        """Yield the lines of the next member, which has to be *part*."""
        where = f"sessions/{plan.id}/{part.name}"
        member = self._reader.next()
        if member is None or (member.name, member.size) != (where, part.size):
            found = "the end" if member is None else f"{member.name[:200]!r} of {member.size} bytes"
            raise refuse("tar", f"expected {where} of {part.size} bytes, found {found}")
        return self._reader.lines(where, part.hash)

    def contents(
        self, verification: Verification, unplaced: Unplaced | None, *, live_only: bool, progress: Progress | None
    ) -> _Came:
        """Read every content, and give those that are wanted to *unplaced*; return what is wanted."""
        verification.contents()
        m = self._manifest
        count = number = size = known = done = 0
        while (member := self._reader.next()) is not None:
            digest = model.content_hash(member.name)
            is_live = verification.content(member.name, digest, member.size)
            self._refuse_large(member)
            is_wanted = is_live or not live_only
            known += self._content(member, digest, unplaced if is_wanted else None)
            number, size = number + is_wanted, size + member.size * is_wanted
            count, done = count + 1, done + member.size
            if progress is not None:
                progress(done, m.content_bytes)
        if count != m.contents:
            raise refuse("tar", f"{m.contents - count} contents are missing")
        return _Came(number, size, known)

    def _refuse_large(self, member: Member) -> None:
        limit = self._engine.config.max_artifact_size
        if limit and member.size > limit:
            raise TooLarge("max_artifact_size", limit)

    def _content(self, member: Member, digest: str, unplaced: Unplaced | None) -> bool:
        """Verify a content, and stage it; return whether the store had it, whole or harmed."""
        if unplaced is not None:
            is_known = unplaced.has(digest)
            unplaced.stage(member.name, digest, member.size, self._reader.blocks())
            return is_known
        whole = blake3()
        for block in self._reader.blocks():
            whole.update(block)
        if whole.hexdigest() != digest:
            raise refuse(member.name, "its bytes have another hash")
        return False
