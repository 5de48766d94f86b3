"""Running a session's recorded scripts again, each on a copy of what it had before it, and comparing what they make.

The copy is a store of its own in a temporary folder, which holds the sessions that the script read or changed, under
their own ids, as they were when it began, and the values of State that it read: no script reaches the real store. The
modules that it had loaded stand beside it. What a script does outside of the store it does again. The outcome of the
last run is kept as a new session of the real store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from llmspellfs.errors import Corrupt, NotAllowed, NotFound, SpellError
from llmspellfs.model.event import Origin
from llmspellfs.model.replay import Mismatch, Mode, Outcome, Replayed, Step, Steps, Wanted
from llmspellfs.model.run import Run, Status, Touched, Trailed
from llmspellfs.model.session import Session
from llmspellfs.model.values import check_text
from llmspellfs.service.copying import copy_session, entries_of
from llmspellfs.service.engine import Engine
from llmspellfs.service.runs import Runs, trailed
from llmspellfs.storage import past, sessions
from llmspellfs.storage.state import SESSION

if TYPE_CHECKING:
    from llmspellfs.service.store import Store


@dataclass(frozen=True, slots=True)
class Task:
    """A script to run: on the store in the folder *store*, at most *timeout_seconds* long."""

    store: Path
    text: bytes
    name: str
    args: tuple[str, ...]
    session: str | None
    timeout_seconds: float | None
    sandbox: Mapping[str, Any] | None = None
    """As in `model.run.RunScript`; a script that ran in a sandbox has to run again in one."""
    modules: Mapping[str, bytes] = field(default_factory=dict)
    """What `require` is to find, by name."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended: its exit status, None where time was up, and what it said on stderr."""

    status: int | None
    error: str = ""


Runner: TypeAlias = Callable[[Task], Ended]


@dataclass(slots=True)
class Job:
    """One `rerun` of the runs that began in *session* within *span* (seqs), and what came of it so far."""

    engine: Engine
    runs: Runs
    session: Session
    span: tuple[int, int]
    wanted: Wanted
    runner: Runner | None
    by: Origin | None
    mismatches: list[Mismatch] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    left_out: dict[str, None] = field(default_factory=dict)
    """What could not be brought or compared because it was too much to be recorded."""
    made: str | None = None
    """The id of the new session."""


def rerun(job: Job, left: Callable[[], float | None]) -> Steps:
    """Do *job*, for which *left* tells the seconds. Raises NotAllowed without a runner, NotFound without runs."""
    if job.runner is None:
        raise NotAllowed("scripts cannot be run again from here")
    began, recorded = monotonic_ns(), _recorded(job)
    stopped, count = None, 0
    for told in recorded:
        if left() == 0:
            stopped = "timeout"
            break
        before, ended = len(job.mismatches), None
        run = job.runs.record(told)
        if run is None:
            job.mismatches.append(Mismatch("record", told.seq, told.script, told.id, None))
        else:
            ended = _run_again(job, run, left(), is_last=told is recorded[-1])
        count += 1
        new = tuple(job.mismatches[before:])
        yield Step(count, len(recorded), told.seq, "run.started", told.started_ns, told.script, new)
        if ended is not None and ended.status is None:
            stopped = "timeout"
            break
        if new and job.wanted.stop_on_error:
            stopped = "mismatch"
            break
    span_ns = recorded[-1].started_ns - recorded[0].started_ns
    return Replayed(
        Mode.RERUN, job.session.id, job.made, *job.span, count, 0, monotonic_ns() - began, span_ns,
        tuple(job.mismatches), stopped, count, tuple(job.outcomes), tuple(job.left_out),
    )  # fmt: skip


def _recorded(job: Job) -> list[Trailed]:
    """Return the runs that began in the span, oldest first."""
    with job.engine.index.snapshot() as db:
        found = trailed(db, job.session.sid).get(job.session.sid, [])
    within = [told for told in found if job.span[0] <= told.seq <= job.span[1]]
    if not within:
        raise NotFound("recorded run", f"in {job.session.dirname}")
    return within


def _run_again(job: Job, run: Run, seconds: float | None, *, is_last: bool) -> Ended | None:
    import tempfile  # and what it imports: most starts of the program need neither

    from llmspellfs.service.store import open_store

    text = _text(job, "script", run.script, run.script_hash, run.script_artifact)
    if text is None:
        return None
    modules = {one.name: _text(job, "module", one.name, one.content_hash, one.artifact) for one in run.modules}
    unlisted = [f"{run.unlisted_read} of the artifacts that it read"] if run.unlisted_read else []
    job.left_out |= dict.fromkeys(f"{run.script}: {what}" for what in (*run.left_out, *unlisted))
    config = replace(job.engine.config, storage_backend="sqlite", session_timeout_seconds=0)
    with tempfile.TemporaryDirectory(prefix="llmspellfs-rerun-") as folder:
        path = Path(folder, "store")
        with open_store(path, config=config) as scratch:
            for session, seq in _needed(job, run):
                _bring(job, scratch, session, seq)
            _bring_state(job, scratch, run)
            known = {one.id for one in scratch.sessions.list()}
            current = run.session if run.session in known else None
        assert job.runner is not None
        there = {name: source for name, source in modules.items() if source is not None}
        ended = job.runner(Task(path, text, run.script, run.args, current, seconds, run.sandbox, there))
        with open_store(path, config=config) as scratch:
            _compare(job, run, ended, scratch)
            if is_last:
                _keep(job, run, scratch)
    return ended


def _text(job: Job, what: str, name: str, content_hash: str, artifact: str) -> bytes | None:
    try:
        return job.runs.text(content_hash, artifact)
    except SpellError as error:
        job.mismatches.append(Mismatch(what, None, name, content_hash, error.message))
        return None


def _needed(job: Job, run: Run) -> Iterator[tuple[Session, int]]:
    """Yield each session that *run* read or changed and that was there before, with the seq that it had then."""
    with job.engine.index.snapshot() as db:
        read = {one.session_id for one in run.read} | ({run.session} if run.session else set())
        read |= {one.scope.removeprefix(SESSION) for one in run.state if one.scope.startswith(SESSION)}
        for session_id in dict.fromkeys([*run.sessions, *sorted(read)]):
            session = sessions.by_id(db, session_id, deleted=True)
            seq = run.sessions.get(session_id)
            if session is not None and seq is None:
                seq = past.seq_at(db, session.sid, run.started_ns)
            if session is None and seq != 0:
                job.mismatches.append(Mismatch("session", None, session_id, session_id, None))
            elif session is not None and seq:
                yield session, seq


def _bring(job: Job, scratch: Store, session: Session, seq: int) -> None:
    """Copy *session* as it was at *seq* into *scratch*, under its own id."""
    with job.engine.index.snapshot() as db:
        then = past.session_at(db, session.sid, seq) if past.is_kept(db, session.sid, seq) else None
        if then is None:
            job.mismatches.append(Mismatch("history", seq, session.dirname, f"the state at {seq}", None))
            return
        found = entries_of(db, then, seq)
    for path, why in copy_session(job.engine, found, scratch, then, session_id=session.id, dirname=then.dirname):
        job.mismatches.append(Mismatch("content", seq, path, "readable content", why))


def _bring_state(job: Job, scratch: Store, run: Run) -> None:
    """Set what *run* read of State before it set it."""
    for one in run.state:
        try:
            scratch.state.set(one.key, json.loads(one.text), scope=one.scope)
        except (SpellError, ValueError) as error:
            why = error.message if isinstance(error, SpellError) else "a value that cannot be read"
            job.mismatches.append(Mismatch("state", None, f"{one.scope} {one.key}", "the value that it had", why))


def _compare(job: Job, run: Run, ended: Ended, scratch: Store) -> None:
    """Hold what the script did this time against its record: its exit status, and each artifact that it made."""
    if run.finished_ns is not None and ended.status != run.status:
        got = f"{_ending(ended.status)} {ended.error}".strip()
        job.mismatches.append(Mismatch("status", None, run.script, _ending(run.status), got))
    again = scratch.runs.all()[-1:]
    same = _counterparts(run, again[0]) if again else {}
    now = _last_hashes(again[0].made if again else (), same)
    then = _last_hashes(run.made, {})
    cut = {"then": run.unlisted_made, "now": again[0].unlisted_made if again else 0}
    job.left_out |= dict.fromkeys(
        f"{run.script}: {count} of the artifacts that it made {when}" for when, count in cut.items() if count
    )
    for key in dict.fromkeys([*then, *now]):
        if (key not in now and cut["now"]) or (key not in then and cut["then"]):
            continue  # it may be among those that are not listed
        outcome = Outcome(_dirname(job, scratch, key[0]), key[1], then.get(key), now.get(key))
        job.outcomes.append(outcome)
        if job.wanted.compare and not outcome.is_same:
            told = f"{outcome.session}:{outcome.name}"
            job.mismatches.append(Mismatch("artifact", None, told, outcome.expected, outcome.got))


def _ending(status: Status) -> str:
    return "no end in time" if status is None else status if isinstance(status, str) else f"exit status {status}"


def _counterparts(then: Run, now: Run) -> dict[str, str]:
    """Return from the id of each session that the script made this time to that of the one that it made then."""
    made = [[session_id for session_id, seq in run.sessions.items() if seq == 0] for run in (now, then)]
    return dict(zip(made[0], made[1], strict=False))


def _last_hashes(made: tuple[Touched, ...], same: dict[str, str]) -> dict[tuple[str, str], str]:
    return {(same.get(one.session_id, one.session_id), one.name): one.content_hash for one in made}


def _dirname(job: Job, scratch: Store, session_id: str) -> str:
    with job.engine.index.read() as db:
        found = sessions.by_id(db, session_id, deleted=True)
    found = found or scratch.sessions.by_id(session_id)
    return session_id if found is None else found.dirname


def _keep(job: Job, run: Run, scratch: Store) -> None:
    """Keep what has become of the session in *scratch* as a new session of the real store."""
    from llmspellfs.service.store import Store

    again = scratch.runs.all()
    mine = {then: now for now, then in _counterparts(run, again[-1]).items()} if again else {}
    session = scratch.sessions.by_id(mine.get(job.session.id, job.session.id))
    if session is None:
        return
    with scratch.engine.index.snapshot() as db:
        found = entries_of(db, session, None)
    name = check_text(job.wanted.name or f"{job.session.name} rerun", "name")
    real = Store(job.engine)
    job.made = job.engine.new_id()
    for path, why in copy_session(scratch.engine, found, real, session, session_id=job.made, name=name, by=job.by):
        job.mismatches.append(Mismatch("content", None, path, "readable content", why))
    told = {"session": job.session.id, "name": job.session.dirname, "from": job.span[0], "to": job.span[1]}
    with job.engine.write(job.by) as tx:
        made = sessions.by_id(tx.db, job.made)
        if made is None:
            raise Corrupt(f"session {job.made}, made this moment")
        tx.journal.append(made.sid, "replay.started", None, of=told, run=run.id)
        tx.journal.append(made.sid, "replay.finished", None, mismatches=len(job.mismatches))
