"""Recording a run: which script ran, with what, what it read and made.

A recorder follows the work of one thread. In each session that it changes it leaves the events `run.started` and
`run.finished`, and the record, the script's text and its modules' as `system_generated` artifacts: when the run ends,
or right before the run freezes the session. A session that was frozen before has the events only, and so has one where
these would go beyond `max_artifacts_per_session`. What a run only looked at is not touched. `run.finished` holds the
hash of the record: anybody can store an artifact that looks like one, but no event.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from blake3 import blake3

from llmspellfs.config import Config
from llmspellfs.errors import AlreadyExists, IsAFolder, NotAFolder, SpellError, Vanished
from llmspellfs.model.artifact import Artifact, Entry, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.run import FOLDER, MIME_TYPE, SCRIPT_MIME_TYPE, Run, RunScript, Status, Touched
from llmspellfs.model.session import Session
from llmspellfs.service import limits, undelete, versions
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.incoming import Incoming
from llmspellfs.service.intake import Intake
from llmspellfs.service.provisional import Provisional
from llmspellfs.service.recalling import Recall, within
from llmspellfs.service.versions import Given
from llmspellfs.storage import contents, runs, sessions
from llmspellfs.storage.contents import Placed
from llmspellfs.storage.ingest import Staged
from llmspellfs.storage.journal import Journal

_log = logging.getLogger(__name__)
_BATCH = 64
"""Sessions whose records are written in one transaction."""
_MAX_ERROR = 500
_EMPTY: frozenset[int] = frozenset()


class RunEnded(BaseException):
    """Ends what a thread does for a recorded run that was ended from outside; *status* says by what."""

    def __init__(self, status: str) -> None:
        """Keep the status."""
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The events after *first* up to *last* of one session, made when *reads* artifacts had been read."""

    sid: int
    first: int
    last: int
    reads: int


class Recorder:
    """One run that is being recorded; a Witness of its thread."""

    def __init__(self, engine: Engine, intake: Intake, script: RunScript, by: Origin) -> None:
        """Record a run of *script* by *by* on *engine*'s store."""
        self._engine, self._intake, self._script, self._by = engine, intake, script, by
        self.run = Run(
            engine.new_id(), script.name, blake3(script.text).hexdigest(), script.args, script.session,
            script.environment, engine.now(), sandbox=script.sandbox,
        )  # fmt: skip
        """What is known of the run so far."""
        self.status: int | None = None
        """The script's exit status."""
        self.recall = Recall()
        """What the run uses beside sessions."""
        self._asked: str | None = None
        self._is_over = False
        self._turn = threading.Lock()
        self._before: dict[int, int] = {}
        """The seq that each session had before the run changed it."""
        self._begun: set[int] = set()
        self._journal: Journal | None = None
        self._stretches: list[_Stretch] = []
        self._read: dict[tuple[str, int, int], Touched] = {}
        self._own: dict[str, frozenset[int]] = {}
        self._records: dict[int, str] = {}
        """By session the hash of the record that was stored there last."""

    def __enter__(self) -> Self:
        """Begin to follow this thread."""
        self._thread = threading.get_ident()
        self._engine.witnesses[self._thread] = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the records."""
        self._engine.witnesses.pop(self._thread, None)
        if isinstance(error, RunEnded):
            self._end(error.status, None)
        elif error is None:
            self._end(self.status, None)
        else:
            self._end(1, str(error)[:_MAX_ERROR] or type(error).__name__)

    def ask(self, status: str) -> None:
        """Have the thread that is followed end at its next change of the store; RunEnded is raised there."""
        self._asked = status

    def cut(self) -> None:
        """Write the records from another thread, as the process is about to be ended; `ask` said by what."""
        self._end(self._asked, None)

    def _end(self, status: Status, why: str | None) -> None:
        with self._turn:
            if self._is_over:
                return
            self._is_over = True
            self.run = replace(self.run, finished_ns=self._engine.now(), status=status, error=why)
            try:
                self._write_all()
            except SpellError as failed:
                _log.warning("the run of %s is not recorded: %s", self._script.name, failed.message)

    # What the engine tells

    def begins(self, journal: Journal) -> None:
        """Have `run.started` come before the first event in each session."""
        self._journal, self._begun = journal, set()
        journal.herald = self._announce

    def ends(self, journal: Journal) -> None:
        """Tell those sessions of the run that were made, or got events in one go, by this transaction."""
        for sid, tally in list(journal.touched.items()):
            if tally.seq > tally.first:
                self._announce(sid)

    def wrote(self, journal: Journal) -> None:
        """Remember what the transaction did."""
        for sid, tally in journal.touched.items():
            if tally.seq > tally.first:
                self._before.setdefault(sid, tally.first)
                self._stretches.append(_Stretch(sid, tally.first, tally.seq, len(self._read)))
        if self._asked is not None:
            raise RunEnded(self._asked)

    def looked(self, scope: str, key: str, text: str | None) -> None:
        """Remember what a key of State was."""
        self.recall.looked(scope, key, text)

    def read(self, artifact: Artifact) -> None:
        """Remember that *artifact* was read."""
        key = artifact.session_id, artifact.sequence, artifact.version
        self._read.setdefault(key, Touched(*key, artifact.name, artifact.content_hash))

    def freezes(self, session: Session) -> None:
        """Write the record into *session*, which the run is about to freeze."""
        is_new = session.sid not in self._before
        self._before.setdefault(session.sid, session.seq)
        del self._engine.witnesses[self._thread]
        try:
            self._write(self._composed(session.sid), [session.sid], starts=is_new)
        except SpellError as failed:
            _log.warning("the run of %s is not recorded in %s: %s", self._script.name, session.dirname, failed.message)
            if is_new:
                del self._before[session.sid]
        finally:
            self._engine.witnesses[self._thread] = self

    def hidden(self, session_id: str) -> frozenset[int]:
        """Return the sequences of this run's own records in a session."""
        return self._own.get(session_id, _EMPTY)

    def _announce(self, sid: int) -> None:
        if sid in self._before or sid in self._begun:
            return
        assert self._journal is not None
        self._begun.add(sid)
        self._tell_start(self._journal, sid)

    def _tell_start(self, journal: Journal, sid: int) -> None:
        name = self.run.script.encode("utf-8", "backslashreplace").decode()  # a line is text, whatever a file is called
        told = {"run": self.run.id, "script": name, "hash": self.run.script_hash}
        journal.append(sid, "run.started", None, **told)

    # Writing

    def _write_all(self) -> None:
        self.run, sids = self._composed(), list(self._before)
        for start in range(0, len(sids), _BATCH):
            self._write(self.run, sids[start : start + _BATCH])

    def _write(self, run: Run, sids: list[int], *, starts: bool = False) -> None:
        with self._engine.index.read() as db:
            told = [(sid, within(run, runs.id_of(db, sid))) for sid in sids]
        for one in {id(one): one for _, one in told}.values():
            mine = [sid for sid, other in told if other is one]
            try:
                self._commit(one, mine, self._stage(one, trusting=True), starts)
            except Vanished:
                with Incoming(self._engine):
                    self._commit(one, mine, self._stage(one, trusting=False), starts)

    def _stage(self, run: Run, *, trusting: bool) -> list[tuple[str, str, Staged]]:
        """Bring in the script, its modules and the record; return of each its name, its MIME type and its content."""
        modules = ((one.artifact, SCRIPT_MIME_TYPE, self.recall.modules[one.name]) for one in run.modules)
        script = (run.script_artifact, SCRIPT_MIME_TYPE, self._script.text)
        parts = dict.fromkeys([script, *modules, (run.artifact, MIME_TYPE, run.to_json())])
        with self._intake.together() as gathered:
            gathered.extend(self._intake.stage(text, trusting=trusting) for _, _, text in parts)
        return [(name, mime, staged) for (name, mime, _), staged in zip(parts, gathered, strict=True)]

    def _commit(self, run: Run, sids: list[int], staged: list[tuple[str, str, Staged]], starts: bool) -> None:
        own: dict[str, frozenset[int]] = {}
        made = Counter(one.session_id for one in run.made)
        with Provisional(self._engine, [one for *_, one in staged]), self._engine.write(self._by) as tx:
            blobs = self._engine.rooms.blobs
            placed = [(name, mime, contents.place(tx.db, one, blobs)) for name, mime, one in staged]
            for sid in sids:
                session = sessions.load(tx.db, sid)
                if session is None:
                    continue
                if starts:
                    self._tell_start(tx.journal, sid)
                if session.is_active and self._has_room(tx, session, len(placed)):
                    with suppress(NotAFolder, IsAFolder, AlreadyExists):  # something else has the name
                        own[session.id] = self._store(tx, session, placed)
                        self._records[sid] = placed[-1][2].hash
                if run.finished_ns is not None:
                    record = self._records.get(sid, placed[-1][2].hash)
                    told = {"run": run.id, "status": run.status, "made": made[session.id], "record": record}
                    tx.journal.append(sid, "run.finished", None, **told)
        for session_id, mine in own.items():
            self._own[session_id] = self.hidden(session_id) | mine

    def _has_room(self, tx: Transaction, session: Session, more: int) -> bool:
        return limits.may_have(self._engine.config, tx.journal.touch(session.sid).artifact_count + more)

    def _store(self, tx: Transaction, session: Session, placed: list[tuple[str, str, Placed]]) -> frozenset[int]:
        """Store what is *placed*; return the sequences of those artifacts that were not there."""
        made = set()
        for name, mime, content in placed:
            before = tx.journal.touch(session.sid).next_sequence
            entry = self._put(tx, session, name, content, Given("system_generated", mime))
            if entry.facts.sequence >= before:
                made.add(entry.facts.sequence)
        return frozenset(made)

    def _put(self, tx: Transaction, session: Session, name: str, placed: Placed, given: Given) -> Entry:
        own = Ownership(0o644, os.getuid(), os.getgid())
        place = undelete.make_place(tx, session, name, own)
        inode = (next(tx.inos), own.at(tx.now_ns))
        return versions.store(tx, _UNLIMITED, session, place, placed, given, inode=inode)

    def _composed(self, only: int | None = None) -> Run:
        """Return the run with what it read and made so far; *only* in one session, which has all of that then."""
        with self._engine.index.snapshot() as db:
            ids = {sid: runs.id_of(db, sid) for sid in list(self._before) if only in {None, sid}}
            made = [
                Touched(ids[part.sid], *told, part.reads)
                for part in self._stretches
                if only in {None, part.sid}
                for told in runs.stored_between(db, part.sid, part.first, part.last)
            ]
        last = {(one.key, one.version): one for one in made if not one.name.startswith(f"{FOLDER}/")}
        touched = {ids[sid]: seq for sid, seq in self._before.items() if sid in ids}
        run = replace(self.run, sessions=touched, read=tuple(self._read.values()), made=tuple(last.values()))
        return self.recall.told(run)


_UNLIMITED = Config()
