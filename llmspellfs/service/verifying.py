"""What an archive says of its sessions, held against itself: the one rule on what may come in, and so may go out.

`import` verifies by it before a row is anybody's, and `export` before a byte is written. Records are checked one by one
and go into a database of their own (`storage.staging`), which is asked how they fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from llmspellfs.errors import TooLarge
from llmspellfs.model import archive as model
from llmspellfs.model.archive import Manifest, Part, Plan, refuse
from llmspellfs.model.archive_events import event
from llmspellfs.model.event import FIRST_PREV, line_hash, read_line, state_hash
from llmspellfs.model.names import CONTROL
from llmspellfs.model.times import iso
from llmspellfs.service.arrival import Arrival, new_entry, session_row
from llmspellfs.storage.archive_rows import Record
from llmspellfs.storage.numbering import Numbering
from llmspellfs.storage.staging import Staging

Lines: TypeAlias = Callable[[Plan, Part], Iterator[bytes]]
"""Gives the lines of a part of a session, which are read in the order of the manifest, each part once."""


class Verification:
    """The records of one archive, which has *manifest*; each method raises Corrupt naming the place."""

    def __init__(self, manifest: Manifest, lines: Lines, staging: Staging, *, max_size: int = 0) -> None:
        """Verify what *lines* gives, into *staging*; with *max_size* larger files raise TooLarge."""
        self._manifest, self._lines, self._staging, self._max_size = manifest, lines, staging, max_size
        self._last = ""

    def sessions(self) -> list[Arrival]:
        """Verify and stage every session; return what is to be known of each."""
        arrivals = [self._session(number, plan) for number, plan in enumerate(self._manifest.sessions)]
        if self._staging.spans() > model.MAX_SPANS:
            raise refuse("tar", "inode numbers too far apart")
        return arrivals

    def contents(self) -> None:
        """See that the contents of the sessions are as many as the manifest says, and of as many bytes."""
        if self._staging.note_contents() != (self._manifest.contents, self._manifest.content_bytes):
            raise refuse(model.MANIFEST, "its contents are not those that the records have")

    def content(self, where: str, digest: str, size: int) -> bool:
        """See that *digest* (hex), of *size* bytes, may be the next content; return whether a live row has it."""
        said = self._staging.content(digest)
        if digest <= self._last or said is None or said[0] != size:
            raise refuse(where, "a second one, out of order, of another size, or nobody's")
        self._last = digest
        return said[1]

    def _session(self, s: int, plan: Plan) -> Arrival:
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

    def _facts(self, plan: Plan, part: Part) -> tuple[Record, Numbering]:
        lines = list(self._lines(plan, part)) if part.size <= model.MAX_LINE else []
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
        for seq, line in enumerate(self._lines(plan, part), 1):
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
        for line in self._lines(plan, part):
            said = model.record(line, where, model.ROW)
            if self._manifest.history:
                self._hold(s, said["seq_from"], session_row(said).state, where)
            elif said["seq_to"] is not None:
                raise refuse(where, "a row of the past in an archive without history")
            self._staging.add("row", s, said, where)

    def _records(self, s: int, plan: Plan, part: Part, table: str, shape: model.Shape) -> None:
        where = f"sessions/{plan.id}/{part.name}"
        for line in self._lines(plan, part):
            self._staging.add(table, s, model.record(line, where, shape), where)

    def _entries(self, s: int, plan: Plan, part: Part, facts: Record, shifts: Numbering | None) -> None:
        where = f"sessions/{plan.id}/{part.name}"
        limit = self._max_size
        for line in self._lines(plan, part):
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
