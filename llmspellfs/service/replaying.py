"""One replay under way, from a session's events: stepped through, checked, and for `exact` done again in a new session.

Events are taken in batches: a short view of the index, the contents that they name, for `exact` one write transaction,
and only then are they yielded as steps: whoever takes them may do anything meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from llmspellfs.errors import SpellError
from llmspellfs.model.event import Event, Origin
from llmspellfs.model.replay import Mismatch, Mode, Replayed, Step, Steps, Wanted
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Engine
from llmspellfs.service.reader import Reader
from llmspellfs.service.replica import Replica
from llmspellfs.service.stepping import Stepped, Stepper
from llmspellfs.storage import journal
from llmspellfs.storage.index import Connection

_BATCH = 200
"""Events between two looks at the store."""


class Clock:
    """How long a replay has taken, and how long it may."""

    def __init__(self, seconds: float | None) -> None:
        """Begin; at most *seconds* are given, None sets no bound."""
        self._began = time.monotonic_ns()
        self._until = None if seconds is None else time.monotonic() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether time is up."""
        return self._until is not None and time.monotonic() >= self._until

    def left(self) -> float | None:
        """Return the seconds that are left, None where there is no bound."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since it began."""
        return time.monotonic_ns() - self._began


@dataclass(slots=True)
class Replaying:
    """One replay that is not a `rerun`."""

    engine: Engine
    session: Session
    span: tuple[int, int]
    wanted: Wanted
    by: Origin | None
    clock: Clock
    mismatches: list[Mismatch] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    stopped: str | None = None
    done: int = 0
    at_ns: tuple[int, int] | None = None
    made: str | None = None
    """The id of the new session."""

    def run(self) -> Steps:
        """Yield the steps as they are done, and return what came of it."""
        with self.engine.index.snapshot() as db:
            stepper = Stepper(db, self.session, self.span[0], compare=self.wanted.compare)
        self.mismatches += stepper.base
        replica = Replica(self.engine, self.session) if self.wanted.mode is Mode.EXACT else None
        if replica is not None:
            with self.engine.write(self.by, inos=32 + stepper.tree.count) as tx:
                made = replica.begin(tx, stepper, self.wanted, self.span)
            self.made = made.id
        for batch in self._batches(stepper):
            if replica is not None:
                with self.engine.write(self.by, inos=32 + len(batch)) as tx:
                    replica.follow(tx, stepper.tree, [step for step, _ in batch])
            for step, shown in batch:
                self.done, self.at_ns = shown.number, ((self.at_ns or (shown.at_ns, 0))[0], shown.at_ns)
                self.mismatches += step.mismatches
                yield shown
        return self._finish(stepper, replica)

    def _batches(self, stepper: Stepper) -> Iterator[list[tuple[Stepped, Step]]]:
        """Yield the steps, some at a time, until all are done, time is up, or the first mismatch where that ends it."""
        first, last = self.span
        after = first - 1
        size = 1 if self.wanted.mode is Mode.DEBUG else _BATCH
        while after < last and self.stopped is None:
            with self.engine.index.snapshot() as db:
                events = journal.events(db, self.session.sid, after=after, limit=min(size, last - after))
                batch = list(self._steps(db, stepper, events))
            if self.wanted.compare:
                batch = self._with_contents(batch)
            if not events:
                self.mismatches.append(Mismatch("event", after + 1, None, "an event", None))
                return
            if batch:
                after = batch[-1][0].event.seq
                yield batch

    def _steps(self, db: Connection, stepper: Stepper, events: Sequence[Event]) -> Iterator[tuple[Stepped, Step]]:
        total = self.span[1] - self.span[0] + 1
        for event in events:
            if self.clock.has_passed:
                self.stopped = "timeout"
                return
            step = stepper.step(db, event)
            state = stepper.document() if self.wanted.mode is Mode.DEBUG else None
            number = event.seq - self.span[0] + 1
            shown = Step(number, total, event.seq, event.kind, event.at_ns, step.name, tuple(step.mismatches), state)
            yield step, shown
            if step.mismatches and self.wanted.stop_on_error:
                self.stopped = "mismatch"
                return

    def _with_contents(self, batch: list[tuple[Stepped, Step]]) -> list[tuple[Stepped, Step]]:
        """Read the contents of the rows that *batch*'s events made, each once, and add what is wrong with them."""
        for index, (step, shown) in enumerate(batch):
            facts = None if step.row is None else step.row.file
            if facts is not None and not facts.content_hash:
                self.contents.add("")  # it is not in the index, and the step has said so
            if facts is None or facts.content_hash in self.contents:
                continue
            if self.clock.has_passed:
                self.stopped = "timeout"
                return batch[: index + 1]
            why = self._content_problem(facts.content, facts.content_hash)
            if why is not None:
                step.differs("content", facts.content_hash, why)
            batch[index] = step, replace(shown, mismatches=tuple(step.mismatches))
            if step.mismatches and self.wanted.stop_on_error:
                self.stopped = "mismatch"
                return batch[: index + 1]
        return batch

    def _check_base(self, stepper: Stepper) -> None:
        """Read the contents that were there before the first event and are there still."""
        for path, entry in stepper.tree.items():
            if entry.content is not None and entry.content_hash not in self.contents and not self.clock.has_passed:
                why = self._content_problem(entry.content, entry.content_hash or "")
                if why is not None:
                    self.mismatches.append(Mismatch("content", None, path, entry.content_hash, why))

    def _content_problem(self, cid: int, content_hash: str) -> str | None:
        """Return what is wrong with a content, None where it reads back as its hash says."""
        self.contents.add(content_hash)
        whole = blake3()
        try:
            with Reader(self.engine, cid, content_hash) as reader:
                for block in reader.blocks():
                    whole.update(block)
        except SpellError as error:
            return error.message
        return None if whole.hexdigest() == content_hash else whole.hexdigest()

    def _finish(self, stepper: Stepper, replica: Replica | None) -> Replayed:
        first, last = self.span
        seq = first + self.done - 1
        if self.wanted.compare and self.stopped is None and seq >= 1:
            with self.engine.index.snapshot() as db:
                self.mismatches += stepper.final(db, seq)
            self._check_base(stepper)
        if replica is not None:
            with self.engine.write(self.by) as tx:
                if self.wanted.compare and self.stopped is None:
                    self.mismatches += replica.differences(tx, stepper, seq)
                replica.finish(tx, len(self.mismatches), self.stopped)
        begun, ended = self.at_ns or (0, 0)
        return Replayed(
            self.wanted.mode, self.session.id, self.made, first, last, self.done, len(self.contents - {""}),
            self.clock.elapsed_ns, ended - begun, tuple(self.mismatches), self.stopped,
        )  # fmt: skip
