"""Moments of sessions: how `REF@POINT` is read, and which seq a point means. All in the caller's connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.point import Point, parse_point
from llmspellfs.model.session import Session
from llmspellfs.service.session_rules import find_session
from llmspellfs.storage import past, sessions
from llmspellfs.storage.index import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moment:
    """A session (the store's number of it) as it was at the event *seq*, whose time is *at_ns*."""

    sid: int
    seq: int
    at_ns: int


def resolve(db: Connection, sid: int, point: Point, now_ns: int) -> Moment:
    """Return the moment of session *sid* that *point* means at *now_ns*; raise NotFound where it is not kept."""
    if point.checkpoint is not None:
        return _at_checkpoint(db, sid, point.checkpoint)
    seq = point.seq if point.seq is not None else past.seq_at(db, sid, point.at(now_ns))
    if not past.is_kept(db, sid, seq):
        raise NotFound("seq", seq if point.seq is not None else "no history goes back to then")
    return Moment(sid, seq, past.time_of(db, sid, seq))


def _at_checkpoint(db: Connection, sid: int, number: int) -> Moment:
    made = next((each for each in sessions.checkpoints(db, sid) if each.number == number), None)
    if made is None or not past.is_kept(db, sid, made.seq):
        raise NotFound("checkpoint", number)
    return Moment(sid, made.seq, made.at_ns)


def present(session: Session) -> Moment:
    """Return the moment that *session* is at, as it was read."""
    return Moment(session.sid, session.seq, session.updated_ns)


def find_moment(db: Connection, ref: str, now_ns: int) -> tuple[Session, Moment | None]:
    """Return the session that `REF` or `REF@POINT` names, and the moment of the point, None without one.

    A session whose name holds an "@" comes first. Raises NotFound, InvalidValue.
    """
    session, point = split_point(ref, lambda text: find_session(db, text))
    return session, None if point is None else resolve(db, session.sid, point, now_ns)


def need_moment(db: Connection, ref: str, now_ns: int) -> tuple[Session, Moment]:
    """Return what `find_moment` does; raise InvalidValue where no point is given."""
    session, moment = find_moment(db, ref, now_ns)
    if moment is None:
        raise InvalidValue(ref, "expected a point behind it, such as @12, @2026-11-01 or @2h")
    return session, moment


def split_point(ref: str, find: Callable[[str], T]) -> tuple[T, Point | None]:
    """Return what *find* gives for *ref*, or, where that is NotFound, for the text before the last "@" and the point.

    Raises NotFound as *find* does for *ref*, and InvalidValue where the text behind the "@" is no point.
    """
    try:
        return find(ref), None
    except NotFound:
        before, at, text = ref.rpartition("@")
        if not at or not before:
            raise
        found = find(before)
    return found, parse_point(text)
