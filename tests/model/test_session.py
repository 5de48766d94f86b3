"""The lifecycle table itself."""

from __future__ import annotations

import itertools

import pytest

from llmspellfs.errors import InvalidTransition, InvalidValue
from llmspellfs.model.event import KINDS
from llmspellfs.model.session import EVENT_KINDS, TRANSITIONS, Action, Status, action_to, next_status, parse_status


@pytest.mark.parametrize(("action", "status"), list(itertools.product(Action, Status)))
def test_every_pair_leads_somewhere_or_is_refused_by_name(action: Action, status: Status) -> None:
    if status in TRANSITIONS[action]:
        assert next_status("s", status, action) is TRANSITIONS[action][status]
        return
    with pytest.raises(InvalidTransition, match=f"session s is {status}: cannot {action}"):
        next_status("s", status, action)


def test_ended_sessions_never_become_active_again() -> None:
    for action, status in itertools.product(Action, (Status.COMPLETED, Status.FAILED)):
        assert TRANSITIONS[action].get(status, status) is status


def test_every_action_has_an_event_and_every_state_an_action() -> None:
    assert set(EVENT_KINDS) == set(Action)
    assert set(EVENT_KINDS.values()) <= KINDS
    assert {status: action_to(status) for status in Status} == {
        Status.ACTIVE: Action.RESUME, Status.SUSPENDED: Action.SUSPEND, Status.COMPLETED: Action.COMPLETE,
        Status.FAILED: Action.FAIL,
    }  # fmt: skip


def test_a_status_is_one_of_four_words() -> None:
    assert [parse_status(word) for word in ("active", "suspended", "completed", "failed")] == list(Status)
    for word in ("", "Active", "archived", "active "):
        with pytest.raises(InvalidValue, match="expected one of active, suspended, completed, failed"):
            parse_status(word)
