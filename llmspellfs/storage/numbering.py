"""The inode numbers that the events of an imported session hashed.

A session that comes with its whole past out of an archive keeps its events byte for byte, and gets inode numbers of
this store. The `state` in its events covers rows with the numbers that they had where
they were written; so what they hashed is a number here plus a *shift*, which the table `numbering` has. Sessions that
were made here have no row in it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Numbering:
    """The shifts of one session: to the seq `until[i]` it is `shifts[i]`, and beyond the last 0."""

    until: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()

    def shift(self, seq: int) -> int:
        """Return what is to be added to an inode number here to get the one that event *seq* hashed."""
        place = bisect_left(self.until, seq)
        return self.shifts[place] if place < len(self.until) else 0

    def as_hashed(self, state: dict[str, Any], seq: int) -> dict[str, Any]:
        """Return the *state* of an entry's row with the inode numbers that event *seq* hashed."""
        shift = self.shift(seq)
        return state | {"folder": state["folder"] + shift, "ino": state["ino"] + shift} if shift else state


def load(db: Connection, sid: int) -> Numbering:
    """Return the numbering of session *sid*."""
    rows = db.execute("SELECT until, shift FROM numbering WHERE sid = ? ORDER BY until", (sid,)).fetchall()
    return Numbering(tuple(row[0] for row in rows), tuple(row[1] for row in rows))


def insert(db: Connection, sid: int, numbering: Numbering) -> None:
    """Give session *sid* the *numbering* with which it came."""
    rows = zip([sid] * len(numbering.until), numbering.until, numbering.shifts, strict=True)
    db.executemany("INSERT INTO numbering (sid, until, shift) VALUES (?, ?, ?)", rows)
