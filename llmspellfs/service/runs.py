"""The runs that a store knows of: by its trails, and by records that the trails vouch for; `store.runs`.

Whoever may store an artifact may store one that looks like a record. One is believed where a `run.finished` of a
session that it names has its hash; that of a run without an end, where there is the beginning of that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.event import Origin, read_line
from llmspellfs.model.record import parse_run
from llmspellfs.model.run import MAX_LISTED, MAX_RECORD, MIME_TYPE, Run, RunScript, Trailed
from llmspellfs.service.engine import Engine
from llmspellfs.service.intake import Intake
from llmspellfs.service.reader import Reader
from llmspellfs.service.records import Recorder
from llmspellfs.service.session_rules import find_trail
from llmspellfs.storage import runs, sessions
from llmspellfs.storage.index import Connection

if TYPE_CHECKING:
    from llmspellfs.model.lineage import Lineage


class Runs:
    """The runs that a store knows of."""

    def __init__(self, engine: Engine, intake: Intake) -> None:
        """Work on *engine*'s store; records come in through *intake*."""
        self._engine, self._intake = engine, intake

    def recording(self, script: RunScript, *, by: Origin | None = None) -> Recorder:
        """Return a context in which what this thread does is recorded as a run of *script*.

        Its `status` is to be set to the script's own exit status. A record that cannot be written is a warning in the
        log; nothing that the script did is lost by it.
        """
        return Recorder(self._engine, self._intake, script, by or self._engine.origin)

    def all(self) -> list[Run]:
        """Return every run that a live artifact is the record of, oldest first, each once, as its trail says it ended.

        Two sessions may have a record of one run, each of a part of it.
        """
        with self._engine.index.snapshot() as db:
            found = runs.record_contents(db, MIME_TYPE, MAX_RECORD)
        return self._believed(found)

    def of(self, ref: str) -> list[Run]:
        """Return the runs whose records are in the session *ref*, as `all` does. Raises NotFound, InvalidValue."""
        with self._engine.index.snapshot() as db:
            sid = find_trail(db, ref).sid
            found = runs.record_contents(db, MIME_TYPE, MAX_RECORD, sid)
        return self._believed(found)

    def record(self, told: Trailed) -> Run | None:
        """Return the run *told* of by a trail as its record has it; None where the store has that no more."""
        if told.record is None:
            return None
        try:
            run = parse_run(self.text(told.record, "record", most=MAX_RECORD))
        except SpellError:
            return None
        return _with_end(run, told) if (run.id, run.script_hash) == (told.id, told.script_hash) else None

    def text(self, content_hash: str, name: str, *, most: int | None = None) -> bytes:
        """Return the content with the hash, which is that of the artifact *name*.

        Raises NotFound where the store has it no more or it has more than *most* bytes, and Corrupt.
        """
        try:
            with self._engine.index.read() as db:
                cid = runs.content_of(db, content_hash)
        except ValueError:
            cid = None
        if cid is None:
            raise NotFound("content", name)
        return _read(self._engine, cid, content_hash, most)

    def lineage(self, text: str) -> Lineage:
        """Return what the artifact *text* (`SESSION:NAME` or an id) was made from and what of it; raise NotFound."""
        from llmspellfs.service.lineage import lineage

        return lineage(self._engine, text, self.all())

    def _believed(self, found: Iterable[tuple[int, str]]) -> list[Run]:
        known: dict[str, Run] = {}
        with self._engine.index.snapshot() as db:
            trails = _Trails(db)
            for cid, content_hash in found:
                try:
                    run = trails.vouched(parse_run(_read(self._engine, cid, content_hash, MAX_RECORD)), content_hash)
                except SpellError:
                    continue
                if run is not None:
                    known[run.id] = known[run.id].merged(run) if run.id in known else run
        return sorted(known.values(), key=lambda run: (run.started_ns, run.id))


class _Trails:
    """What sessions' trails tell of runs, looked up once each, within one view of the store."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._known: dict[str, dict[str, Trailed]] = {}

    def vouched(self, run: Run, content_hash: str) -> Run | None:
        """Return *run*, whose record has the hash, with how it ended, or None where no trail vouches for it."""
        for session_id in islice(run.sessions, MAX_LISTED):
            told = self._of(session_id).get(run.id)
            if told is None or told.script_hash != run.script_hash:
                continue
            if told.finished_ns is None and run.finished_ns is None:
                return run
            if told.record == content_hash:
                return _with_end(run, told)
        return None

    def _of(self, session_id: str) -> dict[str, Trailed]:
        if session_id not in self._known:
            db = self._db
            session = sessions.by_id(db, session_id, deleted=True) or sessions.purged_by_id(db, session_id)
            told = [] if session is None else trailed(db, session.sid).get(session.sid, [])
            self._known[session_id] = {one.id: one for one in told}
        return self._known[session_id]


def trailed(db: Connection, sid: int | None = None) -> dict[int, list[Trailed]]:
    """Return the runs that the trail of session *sid* tells of, or each session's, by sid, in the order they began."""
    found: dict[int, list[Trailed]] = {}
    ends: dict[tuple[int, object], tuple[int, Mapping[str, Any]]] = {}
    for owner, seq, kind, at_ns, line in runs.trail(db, sid):
        told = read_line(line)
        if kind == "run.finished":
            ends[owner, _text(told.get("run"))] = at_ns, told
        else:
            script, digest = _text(told.get("script")), _text(told.get("hash"))
            found.setdefault(owner, []).append(Trailed(_text(told.get("run")) or "", script, digest, seq, at_ns))
    return {owner: [_ended(one, ends.get((owner, one.id))) for one in told] for owner, told in found.items()}


def _with_end(run: Run, told: Trailed) -> Run:
    return replace(run, finished_ns=run.finished_ns or told.finished_ns, status=told.status)


def _ended(run: Trailed, end: tuple[int, Mapping[str, Any]] | None) -> Trailed:
    if end is None:
        return run
    status = end[1].get("status")
    status = status if type(status) is int else _text(status)
    return replace(run, finished_ns=end[0], status=status, record=_text(end[1].get("record")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read(engine: Engine, cid: int, content_hash: str, most: int | None = None) -> bytes:
    with Reader(engine, cid, content_hash) as reader:
        if most is not None and reader.size > most:
            raise NotFound("content", content_hash)
        return reader.read_at(0, reader.size)
