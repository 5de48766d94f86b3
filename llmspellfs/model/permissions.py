"""Who may do what by mode bits, where two sets of them have to agree: the past grants no more than the present."""

from __future__ import annotations

from dataclasses import dataclass

_SEARCH = 0o1


@dataclass(frozen=True, slots=True)
class Permissions:
    """The permission bits (0o7777) of a file or folder, and whom their classes mean."""

    mode: int
    uid: int
    gid: int


def stricter(then: Permissions, now: Permissions) -> Permissions:
    """Return *then* without what *now* does not surely grant to the same people."""
    return _without(then, _sure(then, now))


def searchable(own: Permissions, folder: Permissions) -> Permissions:
    """Return *own* with nothing left for those who may not search *folder*, which is on the way to it."""
    rights = tuple(0o7 if right & _SEARCH else 0 for right in _sure(own, folder))
    return _without(own, rights)


def owners_alone(own: Permissions) -> Permissions:
    """Return *own* with nothing left for others than the owner."""
    return _without(own, (0o7, 0, 0))


def _sure(classes: Permissions, granted: Permissions) -> tuple[int, int, int]:
    """Return the bits that *granted* gives, whoever they are, to each of *classes*' owner, group and others."""
    user, group, other = granted.mode >> 6 & 7, granted.mode >> 3 & 7, granted.mode & 7
    if classes.uid == granted.uid:
        owner, any_user = user, 0o7
    else:
        owner, any_user = group & other, user
    members = group if classes.gid == granted.gid else group & other
    others = other if classes.gid == granted.gid else group & other
    return owner, members & any_user, others & any_user


def _without(own: Permissions, rights: tuple[int, ...]) -> Permissions:
    kept = rights[0] << 6 | rights[1] << 3 | rights[2]
    return Permissions(own.mode & (kept | 0o7000), own.uid, own.gid)
