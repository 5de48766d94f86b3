"""Replaying sessions: whether it can be done, and doing it; `store.replays`.

What is replayed is never changed. A missing or harmed line, row or content is a mismatch, not an error. A replay that
is broken off, by an error or by whoever follows its steps, leaves no session behind.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import replace

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.event import Origin
from llmspellfs.model.point import Point
from llmspellfs.model.replay import Mode, OnProgress, Replayability, Replayed, Steps, Wanted
from llmspellfs.model.session import Session
from llmspellfs.service import chains, rerunning
from llmspellfs.service.engine import Engine
from llmspellfs.service.moments import resolve
from llmspellfs.service.replaying import Clock, Replaying
from llmspellfs.service.rerunning import Runner
from llmspellfs.service.runs import Runs, trailed
from llmspellfs.service.session_rules import find_trail
from llmspellfs.storage import journal, replay, sessions
from llmspellfs.storage.index import Connection

_log = logging.getLogger(__name__)


class Replays:
    """The replays of a store's sessions. A *ref* names a session, deleted ones too."""

    def __init__(self, engine: Engine, runs: Runs) -> None:
        """Work on *engine*'s store; what scripts ran is known by *runs*."""
        self._engine, self._runs = engine, runs

    def replay(
        self,
        ref: str,
        wanted: Wanted | None = None,
        *,
        on_progress: OnProgress | None = None,
        runner: Runner | None = None,
        by: Origin | None = None,
    ) -> Replayed:
        """Replay the session *ref* as *wanted* says (`exact` by default) and return what came of it.

        *on_progress* gets each Step, outside of any transaction. What it raises ends the replay, in every mode alike,
        and is raised here; a new session is deleted then. *runner* runs a script for `rerun`. Raises NotFound for the
        session, a seq or a checkpoint that never was, and where `rerun` finds no run; InvalidValue for a range that is
        none; NotAllowed for `rerun` without a *runner*; LimitExceeded, StoreBusy and NoSpace.
        """
        with closing(self.steps(ref, wanted, runner=runner, by=by)) as steps:
            while True:
                try:
                    step = next(steps)
                except StopIteration as done:
                    result: Replayed = done.value
                    return result
                if on_progress is not None:
                    on_progress(step)

    def steps(
        self, ref: str, wanted: Wanted | None = None, *, runner: Runner | None = None, by: Origin | None = None
    ) -> Steps:
        """Replay as `replay` does, step by step: what comes of it is the value that the generator returns.

        A generator that is closed before its end deletes the new session.
        """
        wanted = wanted or Wanted()
        clock = Clock(wanted.timeout_seconds)
        with self._engine.index.snapshot() as db:
            session = find_trail(db, ref)
            span = _range(db, session, wanted, self._engine.now())
        if wanted.mode is Mode.RERUN:
            job = rerunning.Job(self._engine, self._runs, session, span, wanted, runner, by)
            return self._whole(job, rerunning.rerun(job, clock.left), by)
        replaying = Replaying(self._engine, session, span, wanted, by, clock)
        return self._whole(replaying, replaying.run(), by)

    def _whole(self, work: Replaying | rerunning.Job, steps: Steps, by: Origin | None) -> Steps:
        """Yield *steps*; where they are broken off, delete the session that *work* has made."""
        try:
            return (yield from steps)
        except BaseException:
            if work.made is not None:
                self._discard(work.made, by)
            raise

    def _discard(self, session_id: str, by: Origin | None) -> None:
        from llmspellfs.service.store import Store

        try:
            with suppress(NotFound):  # it was not made yet
                Store(self._engine).sessions.delete(session_id, by=by)
        except Exception as error:  # noqa: BLE001  what broke the replay off is what is told
            _log.warning("session %s, of a replay that was broken off, stays: %s", session_id, error)

    def can_replay(self, ref: str) -> tuple[bool, str | None]:
        """Return whether all that history keeps of *ref* can be replayed, and if not, why; its chain is verified."""
        try:
            why = self.metadata(ref).why_not
        except (NotFound, InvalidValue) as error:
            return False, error.message
        return why is None, why

    def metadata(self, ref: str) -> Replayability:
        """Return what there is to replay of *ref*, after its chain was verified; raise NotFound, InvalidValue."""
        with self._engine.index.snapshot() as db:
            session = find_trail(db, ref)
            found = _known(db, session, replay.missing_rows(db, session.sid).get(session.sid, 0))
            problem = chains.verify(db, session.sid)[0].problem
            runs = tuple(run.summary() for run in trailed(db, session.sid).get(session.sid, ()))
        if found.why_not is None and problem is not None:
            found = replace(found, why_not=f"its audit trail does not verify: {problem}")
        return replace(found, runs=runs)

    def replayable(self) -> list[Replayability]:
        """Return every live session of which all that history keeps can be replayed; chains are not verified."""
        with self._engine.index.snapshot() as db:
            missing = replay.missing_rows(db)
            runs = trailed(db)
            found = [
                replace(
                    _known(db, session, missing.get(session.sid, 0)),
                    runs=tuple(run.summary() for run in runs.get(session.sid, ())),
                )
                for session in sessions.live(db)
            ]
        return [one for one in found if one.why_not is None]


_PURGED = "it has been purged"


def _known(db: Connection, session: Session, missing: int) -> Replayability:
    horizon = max(replay.horizon(db, session.sid), 1)
    events = journal.events(db, session.sid, limit=1)
    first_ns = events[0].at_ns if events else session.created_ns
    why = None
    if replay.is_purged(db, session.sid):
        why = _PURGED
    elif missing and (gone := missing - replay.fleeting_rows(db, session.sid)) > 0:
        why = f"{gone} of the rows that its events made are gone"
    checkpoints = tuple((one.number, one.seq, one.label) for one in sessions.checkpoints(db, session.sid))
    return Replayability(session.id, session.name, why, session.seq, horizon, first_ns, session.updated_ns, checkpoints)


def _range(db: Connection, session: Session, wanted: Wanted, now_ns: int) -> tuple[int, int]:
    """Return the first and the last seq to replay: by default all that history keeps, or all after a checkpoint."""
    horizon = 0 if replay.is_purged(db, session.sid) else replay.horizon(db, session.sid)
    first = horizon + 1 if horizon > 1 else 1
    if wanted.checkpoint is not None:
        first = resolve(db, session.sid, Point(checkpoint=wanted.checkpoint), now_ns).seq + 1
    elif wanted.first is not None:
        first = wanted.first
    last = session.seq if wanted.last is None else wanted.last
    if last > session.seq or (wanted.first is not None and first > session.seq):
        raise NotFound("seq", max(first, last))
    if first > last + 1 or (first > last and wanted.checkpoint is None and wanted.last is not None):
        raise InvalidValue("from", f"expected a seq up to {last}, not {first}")
    return first, last
