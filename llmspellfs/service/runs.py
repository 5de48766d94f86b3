"""The runs that a store has records of: looked up, and what they say of where artifacts come from; `store.runs`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.event import Event, Origin
from llmspellfs.model.run import MIME_TYPE, Run, RunScript, parse_run
from llmspellfs.service.engine import Engine
from llmspellfs.service.intake import Intake
from llmspellfs.service.reader import Reader
from llmspellfs.service.records import Recorder
from llmspellfs.service.session_rules import find_trail
from llmspellfs.storage import journal, runs

if TYPE_CHECKING:
    from llmspellfs.model.lineage import Lineage


class Runs:
    """The runs that a store has records of."""

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
        """Return every run that a live artifact is the record of, oldest first, each once."""
        with self._engine.index.snapshot() as db:
            found = runs.record_contents(db, MIME_TYPE)
        return self._load(found)

    def of(self, ref: str) -> list[Run]:
        """Return the runs whose records are in the session *ref*, oldest first. Raises NotFound, InvalidValue.

        How one ended whose record was written before, the session's trail tells.
        """
        with self._engine.index.snapshot() as db:
            session = find_trail(db, ref)
            found = runs.record_contents(db, MIME_TYPE, session.sid)
            ends = {one.fields["run"]: one for one in journal.events(db, session.sid, kinds=("run.finished",))}
        return [_ended(run, ends.get(run.id)) for run in self._load(found)]

    def text(self, run: Run) -> bytes:
        """Return the text of *run*'s script; raise NotFound where the store has it no more, Corrupt."""
        with self._engine.index.read() as db:
            cid = runs.content_of(db, run.script_hash)
        if cid is None:
            raise NotFound("script", run.script_artifact)
        return _read(self._engine, cid, run.script_hash)

    def lineage(self, text: str) -> Lineage:
        """Return what the artifact *text* (`SESSION:NAME` or an id) was made from and what of it; raise NotFound."""
        from llmspellfs.service.lineage import lineage

        return lineage(self._engine, text, self.all())

    def _load(self, found: list[tuple[int, str]]) -> list[Run]:
        known: dict[str, Run] = {}
        for cid, content_hash in found:
            try:
                run = parse_run(_read(self._engine, cid, content_hash))
            except SpellError:
                continue
            known[run.id] = known[run.id].merged(run) if run.id in known else run
        return sorted(known.values(), key=lambda run: (run.started_ns, run.id))


def _ended(run: Run, event: Event | None) -> Run:
    if run.finished_ns is not None or event is None:
        return run
    return replace(run, finished_ns=event.at_ns, status=event.fields.get("status"))


def _read(engine: Engine, cid: int, content_hash: str) -> bytes:
    with Reader(engine, cid, content_hash) as reader:
        return reader.read_at(0, reader.size)
