"""Reading an archive: everything in it verified, and its content stored, before a row of it is anybody's to see.

Records go into a database of their own (`storage.staging`), contents into the store as content that no row refers to
yet. Then one transaction makes the sessions. What is refused leaves nothing: content that only it brought is unlinked
again at once, and after a crash it is garbage like any other.
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
from llmspellfs.model.archive_events import event
from llmspellfs.model.event import FIRST_PREV, Origin, line_hash, read_line, state_hash
from llmspellfs.model.names import CONTROL
from llmspellfs.model.times import iso
from llmspellfs.service.arrival import Arrival, Imported, arrive, new_entry, refuse_known, session_row
from llmspellfs.service.engine import Engine
from llmspellfs.service.intake import Intake
from llmspellfs.service.unplaced import Unplaced
from llmspellfs.storage.archive import ArchiveReader, Member
from llmspellfs.storage.archive_rows import Record
from llmspellfs.storage.numbering import Numbering
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
        reading = _Reading(engine, file, staging, wanted.limits)
        manifest = reading.manifest()
        if name is not None and len(manifest.sessions) != 1:
            raise InvalidValue("as", f"the archive has {len(manifest.sessions)} sessions, and one name is for one")
        keeps = manifest.history and name is None
        if keeps:
            _refuse_known(engine, manifest.sessions)
        arrivals = [reading.session(number, plan) for number, plan in enumerate(manifest.sessions)]
        if staging.spans() > model.MAX_SPANS:
            raise refuse("tar", "inode numbers too far apart")
        with Unplaced(engine, intake, staging) as unplaced:
            known = reading.contents(None if dry_run else unplaced, live_only=not keeps, progress=progress)
            if dry_run:
                found = tuple(Imported(p.id, p.dirname, p.id, p.seq if keeps else 0) for p in manifest.sessions)
            else:
                unplaced.place()
                found = arrive(engine, staging, arrivals, name=name, keeps=keeps, by=by)
                unplaced.keep()
    return ImportReport(found, keeps, manifest.contents, manifest.content_bytes, known, dry_run)


def _refuse_known(engine: Engine, plans: Sequence[Plan]) -> None:
    """Raise AlreadyExists where the store has, or had, a session of *plans*."""
    with engine.index.read() as db:
        for plan in plans:
            refuse_known(db, plan.id)


class _Reading:
    """An archive that is read in order: the manifest, each session, the contents."""

    def __init__(self, engine: Engine, file: BinaryIO, staging: Staging, limits: Limits) -> None:
        """Begin; nothing is read yet."""
        self._engine, self._staging, self._limits = engine, staging, limits
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

    def session(self, s: int, plan: Plan) -> Arrival:
        """Return what is to be known of the session *plan*, its records staged as number *s* and checked."""
        where = f"sessions/{plan.id}"
        parts = {part.name: part for part in plan.parts}
        facts, numbering = self._facts(plan, parts["session.json"])
        trail_size = self._events(s, plan, parts["events.jsonl"], facts) if self._manifest.history else 0
        shifts = numbering if self._manifest.history else None
        self._rows(s, plan, parts["rows.jsonl"])
        self._records(s, plan, parts["inodes.jsonl"], "inode", model.INODE)
        self._entries(s, plan, parts["entries.jsonl"], facts, shifts)
        if self._manifest.history:
            self._records(s, plan, parts["checkpoints.jsonl"], "checkpoint", model.CHECKPOINT)
        self._staging.check(s, facts, where, history=self._manifest.history)
        return Arrival(s, facts, numbering, trail_size)

    def contents(self, unplaced: Unplaced | None, *, live_only: bool, progress: Progress | None) -> int:
        """Read every content, and give those that are wanted to *unplaced*; return how many the store had already."""
        m = self._manifest
        if self._staging.note_contents() != (m.contents, m.content_bytes):
            raise refuse(model.MANIFEST, "its contents are not those that the records have")
        last, count, known, done = "", 0, 0, 0
        while (member := self._reader.next()) is not None:
            digest = model.content_hash(member.name)
            said = self._staging.content(digest)
            if digest <= last or said is None or said[0] != member.size:
                raise refuse(member.name, "a second one, out of order, of another size, or nobody's")
            self._refuse_large(member)
            is_wanted = unplaced is not None and (said[1] or not live_only)
            known += self._content(member, digest, unplaced if is_wanted else None)
            last, count, done = digest, count + 1, done + member.size
            if progress is not None:
                progress(done, m.content_bytes)
        if count != m.contents:
            raise refuse("tar", f"{m.contents - count} contents are missing")
        return known

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

    def _part(self, plan: Plan, part: Part) -> Iterator[bytes]:
        """Yield the lines of the next member, which has to be *part*."""
        where = f"sessions/{plan.id}/{part.name}"
        member = self._reader.next()
        if member is None or (member.name, member.size) != (where, part.size):
            found = "the end" if member is None else f"{member.name[:200]!r} of {member.size} bytes"
            raise refuse("tar", f"expected {where} of {part.size} bytes, found {found}")
        return self._reader.lines(where, part.hash)

    def _facts(self, plan: Plan, part: Part) -> tuple[Record, Numbering]:
        lines = list(self._part(plan, part)) if part.size <= model.MAX_LINE else []
        where = f"sessions/{plan.id}/{part.name}"
        facts = model.record(lines[0] if len(lines) == 1 else b"", where, model.SESSION)
        if (facts["id"], facts["seq"], facts["head"]) != (plan.id, plan.seq, plan.head):
            raise refuse(where, "the manifest says otherwise")
        if facts["horizon_seq"] > facts["seq"]:
            raise refuse(where, "a horizon beyond the last event")
        ranges = [model.shaped(each, where, model.NUMBERING) for each in facts["numbering"]]
        until = [each["until"] for each in ranges]
        if not until or until[-1] is not None or until[:-1] != sorted({each or 0 for each in until[:-1]}):
            raise refuse(where, "numbering: expected ranges in order, the last without an end")
        return facts, Numbering((*until[:-1], facts["seq"]), tuple(each["shift"] for each in ranges))

    def _events(self, s: int, plan: Plan, part: Part, facts: Record) -> int:
        """Stage the trail, each line verified against the one before it; return its bytes."""
        prev, last_ns, ends, seq = FIRST_PREV, -model.MOST, 0, 0
        where = f"sessions/{plan.id}/{part.name}"
        for seq, line in enumerate(self._part(plan, part), 1):
            said = event(line, where, seq, prev, last_ns)
            text = line.decode("utf-8")
            prev, last_ns, ends = line_hash(text), said["at_ns"], ends + len(line) + 1
            if seq == 1 and (read_line(text).get("id"), iso(facts["created_ns"])) != (plan.id, iso(last_ns)):
                raise refuse(where, "its first event is another session's, or of another time")
            if seq == plan.seq:  # a line tells microseconds
                said["at_ns"] = facts["last_ns"]
            self._staging.add("event", s, {"seq": seq, **said, "ends": ends, "line": text}, where)
        if (seq, prev) != (plan.seq, plan.head):
            raise refuse(where, f"its {seq} events do not end at the session's head")
        if iso(facts["last_ns"]) != iso(last_ns):
            raise refuse(where, "its last event is of another time")
        return ends

    def _rows(self, s: int, plan: Plan, part: Part) -> None:
        where = f"sessions/{plan.id}/{part.name}"
        for line in self._part(plan, part):
            said = model.record(line, where, model.ROW)
            if self._manifest.history:
                self._hold(s, said["seq_from"], session_row(said).state, where)
            elif said["seq_to"] is not None:
                raise refuse(where, "a row of the past in an archive without history")
            self._staging.add("row", s, said, where)

    def _records(self, s: int, plan: Plan, part: Part, table: str, shape: model.Shape) -> None:
        where = f"sessions/{plan.id}/{part.name}"
        for line in self._part(plan, part):
            self._staging.add(table, s, model.record(line, where, shape), where)

    def _entries(self, s: int, plan: Plan, part: Part, facts: Record, shifts: Numbering | None) -> None:
        where = f"sessions/{plan.id}/{part.name}"
        limit = self._engine.config.max_artifact_size
        for line in self._part(plan, part):
            said = model.entry(line, where)
            if said["folder"] == facts["ino"] and said["name"] == CONTROL:
                raise refuse(where, f"{CONTROL} is reserved")
            if limit and said.get("size", 0) > limit:
                raise TooLarge("max_artifact_size", limit)
            if shifts is not None:
                self._hold(s, said["seq_from"], _entry_state(said, shifts.shift(said["seq_from"])), where)
            elif said["seq_to"] is not None:
                raise refuse(where, "a row of the past in an archive without history")
            self._staging.add("entry", s, said, where)

    def _hold(self, s: int, seq: int, state: Record, where: str) -> None:
        """Raise Corrupt where the event *seq* covers another row than that of *state*."""
        if self._staging.event_state(s, seq) != state_hash(state):
            raise refuse(where, f"the row of seq {seq} is not the one that its event covers")


def _entry_state(said: Record, shift: int) -> Record:
    """Return the row *said* as its event hashed it, its inodes by numbers *shift* away."""
    return new_entry(said, 0, said["folder"] + shift, said["ino"] + shift).state
