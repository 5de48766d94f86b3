"""What rules of retention say of sessions: which rule governs each, and whether its time has come. No clock, no store.

The first rule whose status and tags fit a session governs it, due or not: no later one is asked. A session that has the
tag `hold` is governed by none; what it is a child of is not exempt by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmspellfs.config import HOLD, Rule
from llmspellfs.model.session import TRANSITIONS, Action, Session
from llmspellfs.model.times import NS

_CHANGES = {"suspend": Action.SUSPEND, "complete": Action.COMPLETE}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What *rule* says of *session*; None: no rule governs it, or it is held."""

    session: Session
    rule: Rule | None
    is_due: bool


def action_of(rule: Rule) -> Action | None:
    """Return the change of state that *rule* makes, or None where it takes sessions away."""
    return _CHANGES.get(rule.action)


def since_ns(session: Session) -> int:
    """Return when *session*'s age begins: at its end, or, as long as it has not ended, at its last event."""
    return session.updated_ns if session.ended_ns is None else session.ended_ns


def is_held(session: Session) -> bool:
    """Tell whether *session* is exempt from every rule."""
    return HOLD in session.tags


def governing(rules: Sequence[Rule], session: Session) -> Rule | None:
    """Return the rule that governs *session*, or None."""
    if is_held(session):
        return None
    return next((rule for rule in rules if _fits(rule, session)), None)


def judge(rules: Sequence[Rule], sessions: Iterable[Session], now_ns: int) -> list[Verdict]:
    """Return what *rules* say of each of *sessions* at *now_ns*, the oldest first."""
    verdicts: list[Verdict] = []
    seen: dict[str, int] = {}
    for session in sorted(sessions, key=lambda each: (since_ns(each), each.sid), reverse=True):
        rule = governing(rules, session)
        rank = 0
        if rule is not None:
            rank = seen[rule.name] = seen.get(rule.name, 0) + 1
        is_due = rule is not None and rank > rule.keep_last and is_ripe(rule, session, now_ns)
        verdicts.append(Verdict(session, rule, is_due))
    return verdicts[::-1]


def is_ripe(rule: Rule, session: Session, now_ns: int) -> bool:
    """Tell whether *session* is as old as *rule* asks, and there is something for it to do."""
    action = action_of(rule)
    is_possible = action is None or session.status in TRANSITIONS[action]
    return is_possible and now_ns - since_ns(session) >= rule.older_than_seconds * NS


def _fits(rule: Rule, session: Session) -> bool:
    return session.status in rule.status and set(rule.tags) <= set(session.tags)
