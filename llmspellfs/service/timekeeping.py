"""A clock that has jumped ahead must not empty a store: what goes by age asks here first."""

from __future__ import annotations

from llmspellfs.errors import NotAllowed
from llmspellfs.model.times import NS, iso
from llmspellfs.storage import timekeeping
from llmspellfs.storage.index import Connection
from llmspellfs.storage.timekeeping import COLLECTED, RETAINED

YEAR_NS = 365 * 86400 * NS
_HOUR_NS = 3600 * NS
_WORDS = {RETAINED: ("retention", "looked through by its rules"), COLLECTED: ("gc", "collected")}


def check_clock(db: Connection, what: str, now_ns: int) -> None:
    """Raise NotAllowed where more than a year has passed since *what*, RETAINED or COLLECTED, last was.

    The first time, since the last change that is older than an hour: changes by a clock that has just jumped say
    nothing.
    """
    noun, done = _WORDS[what]
    last = timekeeping.last_run_ns(db, what)
    if last is None:
        last, done = timekeeping.last_event_ns(db, now_ns - _HOUR_NS), "changed"
    if last is not None and now_ns - last > YEAR_NS:
        days = (now_ns - last) // (86400 * NS)
        why = f"the store was last {done} at {iso(last)}, {days} days ago"
        raise NotAllowed(f"{noun}: {why}: if the clock is right, it is to be forced")
