"""Retention: the rules of `[runtime.sessions.retention]` applied, one transaction a session; `store.retention`.

A session with files that are open for writing is left for another time, by every rule. Where the clock seems to have
jumped (see `timekeeping`), nothing is done unless it is forced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmspellfs.config import Rule
from llmspellfs.errors import StoreBusy
from llmspellfs.model.event import Origin
from llmspellfs.model.retention import action_of, governing, is_held, is_ripe, judge, since_ns
from llmspellfs.model.session import EVENT_KINDS, Session, Status, next_status
from llmspellfs.service import erasure
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.presence import present
from llmspellfs.service.session_rules import put_row, take_out
from llmspellfs.service.timekeeping import check_clock
from llmspellfs.storage import entries, sessions, timekeeping
from llmspellfs.storage.erasing import Purge
from llmspellfs.storage.sessions import SessionRow
from llmspellfs.storage.timekeeping import RETAINED

OPEN, CHANGED = "has files open for writing, or a script at work", "changed meanwhile"


class _LeftAlone(Exception):
    """Nothing is to be done to a session, for the reason given."""


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
                check_clock(db, RETAINED, now)
            live = sessions.live(db)
        due = [verdict for verdict in judge(self.rules, live, now) if verdict.is_due]
        if not dry_run:
            with self._engine.index.write(frees=True) as db:
                timekeeping.note_run(db, RETAINED, now)
        purges: list[Purge] = []
        deeds = tuple(
            self._foretell(each.session, each.rule, is_busy)
            if dry_run
            else self._deal(each.session, each.rule, is_busy, by, purges)
            for each in due
            if each.rule is not None
        )
        why = erasure.end(self._engine, purges)
        return RetentionReport(deeds, sum(map(is_held, live)), dry_run, why)

    def _foretell(self, session: Session, rule: Rule, is_busy: Callable[[int], bool]) -> Deed:
        with self._engine.index.read() as db:
            is_open = is_busy(session.sid) or entries.has_drafts(db, session.sid)
        is_open = is_open or session.sid in present(self._engine)
        return replace(_deed(session, rule), left=OPEN if is_open else None)

    def _deal(
        self, session: Session, rule: Rule, is_busy: Callable[[int], bool], by: Origin | None, purges: list[Purge]
    ) -> Deed:
        """Do what *rule* says in one transaction, a purge's first included, which others go on with where it is cut.

        A purge is added to *purges*, which are to end together.
        """

        def act(tx: Transaction) -> None:
            left = self._why_left(tx, session, rule, is_busy)
            if left is not None:
                raise _LeftAlone(left)
            _act(tx, tx.session(session.sid), rule)

        deed = _deed(session, rule)
        try:
            if rule.action == "purge":
                gone = erasure.purge_session(self._engine, session, by, together=purges, first=act)
                return replace(deed, freed=gone.freed)
            with self._engine.write(by, frees=True) as tx:
                act(tx)
        except _LeftAlone as why:
            return replace(deed, left=str(why))
        except StoreBusy as busy:
            return replace(deed, left=busy.message)
        return deed

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
