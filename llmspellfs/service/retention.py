"""Retention: the rules of `[runtime.sessions.retention]` applied, one transaction a session; `store.retention`.

A session with files that are open for writing is left for another time, by every rule. A clock that has jumped ahead
must not empty the store: where more than a year has passed since the rules were last applied (the first time: since the
last change that is older than an hour), nothing is done unless it is forced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmspellfs.config import Rule
from llmspellfs.errors import NotAllowed
from llmspellfs.model.event import Origin
from llmspellfs.model.retention import action_of, governing, is_held, is_ripe, judge, since_ns
from llmspellfs.model.session import EVENT_KINDS, Session, Status, next_status
from llmspellfs.model.times import NS, iso
from llmspellfs.service import clearing, erasure
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.presence import present
from llmspellfs.service.session_rules import put_row, take_out
from llmspellfs.storage import entries, sessions
from llmspellfs.storage import retention as memory
from llmspellfs.storage.sessions import SessionRow

YEAR_NS = 365 * 86400 * NS
_HOUR_NS = 3600 * NS
OPEN, CHANGED = "has files open for writing, or a script at work", "changed meanwhile"


@dataclass(frozen=True, slots=True)
class Deed:
    """What *rule* did to a session, or in a dry run would do; *left* says why it did not."""

    sid: int
    rule: str
    action: str
    session: str
    """Its directory name."""
    id: str
    status: str
    """As it was."""
    since_ns: int
    """Where its age is counted from."""
    left: str | None = None
    freed: int = 0
    """Stored bytes that a purge took away."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What the rules did, the oldest session first, and how many sessions are *held* by their tag."""

    deeds: tuple[Deed, ...]
    held: int
    dry_run: bool
    stale: str | None = None
    """As a purge's, of all that were purged."""


class Retention:
    """The rules that one store was opened with."""

    def __init__(self, engine: Engine) -> None:
        """Apply them to *engine*'s store."""
        self._engine = engine
        self.rules = engine.config.retention

    def apply(
        self,
        *,
        dry_run: bool = False,
        force: bool = False,
        is_busy: Callable[[int], bool] = lambda _: False,
        by: Origin | None = None,
    ) -> RetentionReport:
        """Do to each session that is due what its rule says; *dry_run* only tells.

        Sessions that are held, that have files open for writing, or of which *is_busy*(sid) says so, are left. Raises
        NotAllowed where the clock seems to have jumped, unless *force* is given.
        """
        if not self.rules:
            return RetentionReport((), 0, dry_run)
        now = self._engine.now()
        with self._engine.index.snapshot() as db:
            if not force:
                _check_clock(memory.last_run_ns(db), memory.last_event_ns(db, now - _HOUR_NS), now)
            live = sessions.live(db)
        due = [verdict for verdict in judge(self.rules, live, now) if verdict.is_due]
        if not dry_run:
            with self._engine.index.write(frees=True) as db:
                memory.note_run(db, now)
        deeds = tuple(
            self._foretell(each.session, each.rule, is_busy)
            if dry_run
            else self._deal(each.session, each.rule, is_busy, by)
            for each in due
            if each.rule is not None
        )
        has_purged = not dry_run and any(deed.action == "purge" and deed.left is None for deed in deeds)
        why = clearing.clear(self._engine) if has_purged else None
        return RetentionReport(deeds, sum(map(is_held, live)), dry_run, why)

    def _foretell(self, session: Session, rule: Rule, is_busy: Callable[[int], bool]) -> Deed:
        with self._engine.index.read() as db:
            is_open = is_busy(session.sid) or entries.has_drafts(db, session.sid)
        is_open = is_open or session.sid in present(self._engine)
        return replace(_deed(session, rule), left=OPEN if is_open else None)

    def _deal(self, session: Session, rule: Rule, is_busy: Callable[[int], bool], by: Origin | None) -> Deed:
        deed = _deed(session, rule)
        with self._engine.write(by, frees=True) as tx:
            left = self._why_left(tx, session, rule, is_busy)
            if left is not None:
                return replace(deed, left=left)
            _act(tx, tx.session(session.sid), rule)
        if rule.action != "purge":
            return deed
        gone = replace(session, deleted_ns=self._engine.now())
        return replace(deed, freed=erasure.purge_session(self._engine, gone, by, is_one_of_many=True).freed)

    def _why_left(self, tx: Transaction, was: Session, rule: Rule, is_busy: Callable[[int], bool]) -> str | None:
        """Return why nothing may be done to the session now that nobody else can change it, or None."""
        session = sessions.load(tx.db, was.sid)
        if session is None or governing(self.rules, session) != rule or not is_ripe(rule, session, tx.now_ns):
            return CHANGED
        if is_busy(was.sid) or entries.has_drafts(tx.db, was.sid) or was.sid in present(self._engine):
            return OPEN
        return None


def _deed(session: Session, rule: Rule) -> Deed:
    return Deed(
        session.sid, rule.name, rule.action, session.dirname, session.id, str(session.status), since_ns(session)
    )


def _act(tx: Transaction, session: Session, rule: Rule) -> None:
    """Change *session*'s state, or take it out of every listing; the event names the *rule*."""
    action = action_of(rule)
    if action is None:
        take_out(tx, session, rule=rule.name)
        return
    status = next_status(session.dirname, session.status, action)
    ended = tx.now_ns if status is Status.COMPLETED else session.ended_ns
    row = replace(SessionRow.of(session), status=status, ended_ns=ended)
    put_row(tx, session, row, EVENT_KINDS[action], status=str(status), reason="retention", rule=rule.name)


def _check_clock(last_run_ns: int | None, last_event_ns: int | None, now_ns: int) -> None:
    last, what = (last_event_ns, "changed") if last_run_ns is None else (last_run_ns, "looked through by its rules")
    if last is not None and now_ns - last > YEAR_NS:
        days = (now_ns - last) // (86400 * NS)
        why = f"the store was last {what} at {iso(last)}, {days} days ago"
        raise NotAllowed(f"retention: {why}: if the clock is right, it is to be forced")
