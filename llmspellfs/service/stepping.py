"""Going through a session's events one by one: each line, hash, row and place held against what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.event import Event, read_line, state_hash
from llmspellfs.model.replay import Mismatch
from llmspellfs.model.session import Session
from llmspellfs.service.chain import Chain
from llmspellfs.service.moments import Moment
from llmspellfs.service.rebuilding import KINDS, Applied, Tree
from llmspellfs.service.states import walk
from llmspellfs.storage import audit, numbering, past, replay
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.index import Connection
from llmspellfs.storage.sessions import SessionRow


@dataclass(slots=True)
class Stepped:
    """One event, what its line tells, what it did to the tree, and what is not as recorded."""

    event: Event
    told: dict[str, Any]
    row: Entry | None
    session: Session | None
    """The session with the fields that the event gave it."""
    applied: Applied
    mismatches: list[Mismatch] = field(default_factory=list)

    def differs(self, what: str, expected: object, got: object) -> None:
        """Note that *what* is other than *expected*."""
        texts = [None if value is None else str(value) for value in (expected, got)]
        self.mismatches.append(Mismatch(what, self.event.seq, self.name, texts[0], texts[1]))

    @property
    def name(self) -> str | None:
        """The name that the event is about, or the script."""
        name = self.told.get("name") or self.told.get("script")
        return None if name is None else str(name)


class Stepper:
    """The way through one session's events from *first* on; each call is within the caller's connection."""

    def __init__(self, db: Connection, session: Session, first: int, *, compare: bool) -> None:
        """Begin at the state before *first*; without *compare* only what cannot be done is a mismatch."""
        self.session, self._compare = session, compare
        self.tree = Tree(session.ino)
        self.fields = past.session_at(db, session.sid, max(first - 1, 1))
        """The session's own fields by now; None where they are gone."""
        self._numbering = numbering.load(db, session.sid)
        self._chain = Chain(audit.line(db, session.sid, first - 1))
        self.base: list[Mismatch] = []
        """What is wrong before the first event."""
        if first > 1:
            self._begin(db, self._chain.seq)

    def _begin(self, db: Connection, seq: int) -> None:
        if not past.is_kept(db, self.session.sid, seq):
            horizon = replay.horizon(db, self.session.sid)
            self.base.append(Mismatch("history", seq, None, f"the state at {seq}", f"kept from seq {horizon} on only"))
        for _, entry in walk(db, self.session.sid, self.session.ino, Moment(self.session.sid, seq, 0)):
            self.tree.put(entry)

    def step(self, db: Connection, event: Event) -> Stepped:
        """Replay *event*, the one after the last, and return what it did."""
        told = {key: value for key, value in read_line(event.line).items() if _is_sane(key, value)}
        done = Stepped(event, told, None, None, Applied(None, ()))
        try:
            done.row = row = self._row(db, event, told)
            if event.kind.startswith("session."):
                done.session = replay.session_row(db, self.session.sid, event.seq)
        except (Corrupt, ValueError, TypeError, AttributeError):
            row = None
            done.differs("row", told.get("state"), "a row that cannot be read")
        fields = done.session
        self._follow(db, done)
        self._check_row(db, done)
        try:
            done.applied = self.tree.apply(event.kind, told, row)
        except (KeyError, TypeError, ValueError):
            done.differs("line", "an event line", "one that cannot be read")
        self.fields = fields or self.fields
        if self._compare:
            self._check_places(db, done)
        return done

    def _row(self, db: Connection, event: Event, told: Mapping[str, Any]) -> Entry | None:
        noun = event.kind.partition(".")[0]
        if noun not in KINDS or "state" not in told:
            return None
        if "sequence" in told:
            return replay.file_row(db, self.session.sid, told["sequence"], event.seq)
        folder, name = self.tree.folder_of(str(told.get("name", "")))
        return None if folder is None else replay.row_in(db, self.session.sid, folder, name, event.seq)

    def _follow(self, db: Connection, done: Stepped) -> None:
        """Hold the line against those before it."""
        line = audit.line(db, self.session.sid, done.event.seq)
        if line is None:
            return
        for found in self._chain.breaks(line, done.told) if self._compare else ():
            done.differs(found.what, found.expected, found.got)
        self._chain.pass_by(line)

    def _check_row(self, db: Connection, done: Stepped) -> None:
        """Hold the row that the event made against the line: its state as a whole, then what the line tells itself."""
        expected = done.told.get("state")
        if expected is None:
            return
        state = self._state(done)
        if state is None:
            if not replay.is_fleeting(db, self.session.sid, done.told.get("sequence"), done.event.at_ns):
                done.differs("row", expected, self._why_gone(db, done.event.seq))
        elif done.row is not None and done.row.file is not None and not done.row.file.content_hash:
            done.differs("content", done.told.get("hash"), None)
        elif self._compare:
            if state_hash(state) != expected:
                done.differs("state", expected, state_hash(state))
            for name in ("sequence", "version", "hash", "size") if done.row is not None else ():
                if name in done.told and done.told[name] != state.get(name):
                    done.differs(name, done.told[name], state.get(name))

    def _state(self, done: Stepped) -> dict[str, Any] | None:
        """Return what the event should have hashed."""
        if done.row is not None:
            return self._numbering.as_hashed(NewEntry.of(done.row).state, done.event.seq)
        return None if done.session is None else SessionRow.of(done.session).state

    def _why_gone(self, db: Connection, seq: int) -> str | None:
        horizon = replay.horizon(db, self.session.sid)
        return f"pruned: history goes back to seq {horizon}" if seq <= horizon else None

    def _check_places(self, db: Connection, done: Stepped) -> None:
        """Hold each place that the event changed against what the past shows there."""
        if done.row is None and done.told.get("state") is not None:
            return
        for folder, name in sorted(done.applied.places):
            ours, recorded = (
                self.tree.at(folder, name),
                replay.entry_at(db, self.session.sid, folder, name, done.event.seq),
            )
            theirs = None if recorded is None else NewEntry.of(recorded)
            if ours != theirs:  # the rows' hashes have been held against the events'
                done.differs("place", _digest(theirs), _digest(ours))

    def final(self, db: Connection, seq: int) -> list[Mismatch]:
        """Return how the tree, now that the event *seq* is behind, differs from the whole state recorded there."""
        found = []
        if self._compare and seq == self.session.seq and self._chain.prev != self.session.head:
            found.append(Mismatch("chain", seq, "head", self.session.head, self._chain.prev))
        try:
            return found + self._tree_differences(db, seq)
        except (Corrupt, ValueError, TypeError):
            return [*found, Mismatch("final", seq, None, "rows that can be read", "one that cannot be read")]

    def _tree_differences(self, db: Connection, seq: int) -> list[Mismatch]:
        moment = Moment(self.session.sid, seq, 0)
        recorded = {path: NewEntry.of(entry) for path, entry in walk(db, self.session.sid, self.session.ino, moment)}
        ours = dict(self.tree.items())
        return [
            Mismatch("final", seq, path, _digest(recorded.get(path)), _digest(ours.get(path)))
            for path in sorted(recorded | ours)
            if recorded.get(path) != ours.get(path)
        ]

    def document(self) -> dict[str, Any]:
        """Return the whole state by now, for people and programs who step."""
        fields = self.fields
        about: dict[str, Any] = {} if fields is None else {
            "name": fields.name, "description": fields.description, "status": str(fields.status),
            "tags": list(fields.tags), "metadata": fields.metadata, "parent_session_id": fields.parent_session_id,
        }  # fmt: skip
        return {**about, "entries": [_shown(path, entry) for path, entry in self.tree.items()]}


def _is_sane(key: str, value: object) -> bool:
    if key in {"seq", "sequence", "from_sequence", "version", "size"}:
        return type(value) is int and 0 <= value < 1 << 63
    return key not in {"kind", "name", "hash", "state", "prev", "script"} or isinstance(value, str)


def _digest(entry: NewEntry | None) -> str | None:
    return None if entry is None else state_hash(entry.state)


def _shown(path: str, entry: NewEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": path, "kind": entry.kind.name.lower()}
    if entry.kind is Kind.SYMLINK:
        shown["target"] = entry.target
    if entry.kind is Kind.FILE:
        shown |= {
            "sequence": entry.sequence, "version": entry.version, "hash": entry.content_hash, "size": entry.size,
            "artifact_type": entry.artifact_type, "tags": list(entry.tags), "custom": entry.custom or {},
        }  # fmt: skip
    return shown
