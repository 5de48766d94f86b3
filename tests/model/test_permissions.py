"""Permissions of the past: nobody gets more than then and now both gave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.model.permissions import Permissions, owners_alone, searchable, stricter

IDS = st.integers(1, 3)
PERMISSIONS = st.builds(Permissions, st.integers(0, 0o7777), IDS, IDS)
GROUPS = st.frozensets(IDS)


def rights(of: Permissions, uid: int, groups: frozenset[int]) -> int:
    """Return the rights (rwx) that POSIX gives the user *uid* in *groups*: of one class alone, the first that fits."""
    if uid == of.uid:
        return of.mode >> 6 & 7
    return (of.mode >> 3 if of.gid in groups else of.mode) & 7


@given(PERMISSIONS, PERMISSIONS, IDS, GROUPS)
def test_stricter_grants_nobody_what_then_or_now_do_not(
    then: Permissions, now: Permissions, uid: int, groups: frozenset[int]
) -> None:
    found = rights(stricter(then, now), uid, groups)
    assert found & ~rights(then, uid, groups) == 0
    assert found & ~rights(now, uid, groups) == 0


@given(PERMISSIONS, PERMISSIONS, IDS, GROUPS)
def test_searchable_grants_nothing_to_those_who_could_not_get_there(
    own: Permissions, folder: Permissions, uid: int, groups: frozenset[int]
) -> None:
    found = rights(searchable(own, folder), uid, groups)
    assert found & ~rights(own, uid, groups) == 0
    if not rights(folder, uid, groups) & 1:
        assert found == 0


@given(PERMISSIONS, IDS, GROUPS)
def test_owners_alone_grants_nothing_to_others(own: Permissions, uid: int, groups: frozenset[int]) -> None:
    found = rights(owners_alone(own), uid, groups)
    assert found == (rights(own, uid, groups) if uid == own.uid else 0)


@given(PERMISSIONS, st.integers(0, 0o777))
def test_the_same_people_keep_what_both_give(then: Permissions, mode: int) -> None:
    now = Permissions(mode, then.uid, then.gid)
    for uid in (1, 2, 3):
        for groups in (frozenset[int](), frozenset({1}), frozenset({1, 2, 3})):
            both = rights(then, uid, groups) & rights(now, uid, groups)
            assert rights(stricter(then, now), uid, groups) == both


@given(PERMISSIONS, PERMISSIONS)
def test_whose_it_is_stays(own: Permissions, other: Permissions) -> None:
    for found in (stricter(own, other), searchable(own, other), owners_alone(own)):
        assert (found.uid, found.gid, found.mode & 0o7000) == (own.uid, own.gid, own.mode & 0o7000)
