"""What a check finds, as data: problems and notes, the artifacts that they harm, and the report of it all."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmspellfs.service.check_progress import Course
from llmspellfs.service.kept import Kept, why_kept
from llmspellfs.storage import audit, audit_rows, audit_spots, audit_types
from llmspellfs.storage.index import Connection
from llmspellfs.storage.invariants import Flaw

_SESSION = re.compile(r"\bsession ([0-9a-f]{8}-[0-9a-f-]{27})(:)?")
MOST_OF_A_KIND = 10_000
"""Findings of one kind that are told one by one; the rest are counted."""


LOSS = "loss"
"""The kind of a note that says that the index has lost events."""
_OF_CONTENT = (
    "content that is lost here comes back with `fsck --repair --from BACKUP`, or when the same file is stored once"
    " more and --repair said again; without either it is lost for good: `artifact purge` of what is harmed ends this"
)
_OF_HISTORY = (
    "what the index has lost of a history is lost for good; it is told until `gc` prunes that history (`history_days`),"
    " or until `artifact purge` or `session purge` erases what it is of: copy out, or `session fork`, what is to stay"
)
_OF_TRAILS = (
    "a trail is never rewritten, and a broken one stays broken: `session fork` makes a session that goes on with a"
    " sound one, and the other stays as evidence"
)
_OF_LOSS = (
    "where the index has lost events, rows are gone with them: `llmspellfs restore-store BACKUP --to DIR` makes a whole"
    " store of a backup, beside this one"
)
_OF_HIDDEN = (
    "commits that a WAL hid, and without which the store has gone on, are lost: what they said stays in that WAL, of"
    " which is told until you remove its folder in `quarantine`"
)
_ADVICE = (
    (frozenset({LOSS}), _OF_LOSS),
    (frozenset({"chunk", "bytes", "content"}), _OF_CONTENT),
    (frozenset({"event", "row", "validity"}), _OF_HISTORY),
    (frozenset({"chain"}), _OF_TRAILS),
    (frozenset({"hidden"}), _OF_HIDDEN),
)
"""What ends a problem that a repair has left, by its kinds."""
_FIRST = "`llmspellfs fsck --repair` mends what can be (unmount the store first)"


@dataclass(frozen=True, slots=True)
class Harm:
    """An artifact that a problem harms: its *name*, `SESSION:NAME`, and which of its versions."""

    name: str
    version: int
    is_live: bool

    def __str__(self) -> str:
        """Return the name, with the version where it is one of the past."""
        return self.name if self.is_live else f"{self.name} (version {self.version})"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a *kind*: *where* it is, *what* is wrong there, and what it harms."""

    kind: str
    where: str
    what: str
    harmed: tuple[Harm, ...] = ()
    repaired: bool = False
    is_note: bool = False
    """Whether it is no more than information: nothing is wrong."""
    key: int = 0
    """The number of the row that it is about, for a repair."""

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.where}: {self.what}"

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.kind, "what": self.what, "where": self.where, "harmed": [str(harm) for harm in self.harmed],
            "repaired": self.repaired,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What a check looked at and found, and, after a repair, what was done and where the old is kept."""

    found: tuple[Problem, ...]
    sessions: int
    events: int
    contents: int
    chunks: int
    done: tuple[str, ...] = ()
    quarantine: str | None = None
    is_repair: bool = False
    """Whether it is the report on a repair, which leaves only what it cannot mend."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now, as lines."""
        return tuple(str(p) for p in self.found if not p.is_note and not p.repaired)

    @property
    def repaired(self) -> tuple[str, ...]:
        """What was wrong and is not any more, as lines."""
        return tuple(str(p) for p in self.found if p.repaired)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing and wrong with nothing, as lines."""
        return tuple(str(p) for p in self.found if p.is_note)

    @property
    def harms(self) -> tuple[Harm, ...]:
        """The artifacts that are harmed now, in the versions that are."""
        return tuple(dict.fromkeys(harm for p in self.found if not p.repaired for harm in p.harmed))

    @property
    def harmed(self) -> tuple[str, ...]:
        """The names of the artifacts that are harmed now, as `SESSION:NAME`."""
        return tuple(dict.fromkeys(harm.name for harm in self.harms))

    @property
    def ok(self) -> bool:
        """Whether there is no problem, or none any more."""
        return not self.problems

    @property
    def advice(self) -> tuple[str, ...]:
        """What is to be done about what is wrong now, as lines."""
        if self.ok:
            return ()
        told = (problem for problem in self.found if problem.kind == LOSS or not problem.is_note)
        kinds = {problem.kind for problem in told if not problem.repaired}
        lines = tuple(line for about, line in _ADVICE if kinds & about)
        return lines if self.is_repair else (_FIRST, *(f"what that leaves: {line}" for line in lines))

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "ok": self.ok, "problems": [p.document() for p in self.found if not p.is_note],
            "notes": [p.document() for p in self.found if p.is_note], "harmed": [str(harm) for harm in self.harms],
            "sessions": self.sessions, "events": self.events, "contents": self.contents, "chunks": self.chunks,
            "done": list(self.done), "quarantine": self.quarantine, "advice": list(self.advice),
        }  # fmt: skip


@dataclass
class Findings:
    """What a check has found so far in the store that *db* shows, and how far its *course* is."""

    db: Connection
    root: Path | None = None
    """Where the store is."""
    course: Course = field(default_factory=lambda: Course(None))
    problems: dict[Problem, None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _names: dict[str, str] | None = None

    @functools.cached_property
    def kept(self) -> Kept | None:
        """Why `gc` takes no content of this store, None where it does."""
        return why_kept(self.db, self.root)

    def goes(self, how: str) -> str:
        """Return *how* `gc` takes what is in no use, or that it does not."""
        return how if self.kept is None else "`gc` leaves all content where it is"

    def flaw(self, flaw: Flaw) -> None:
        """Add *flaw*, with the artifacts that it harms."""
        key = flaw.harms[1] if flaw.harms is not None and flaw.harms[0] in {"eid", "content"} else 0
        harmed, where = self._harmed(flaw), flaw.where
        if len(harmed) == 1 and flaw.harms is not None and flaw.harms[0] == "eid":
            where = str(harmed[0])
        self.add(flaw.kind, where, flaw.what, harmed, key=key if isinstance(key, int) else 0)

    def dirname(self, session_id: str) -> str:
        """Return what the session of that id is called, or the id where nothing says so."""
        if self._names is None:
            rows = audit.told(iter(audit.chains(self.db)), _nothing)
            self._names = {chain.id: chain.dirname for chain in rows}
        return self._names.get(session_id, session_id)

    def _named(self, where: str) -> str:
        """Return *where* with the names of sessions, as `NAME` or `NAME:PATH`, in place of their ids."""
        return _SESSION.sub(
            lambda found: f"{self.dirname(found[1])}:" if found[2] else f"session {self.dirname(found[1])}", where
        )

    def add(
        self, kind: str, where: str, what: str, harmed: tuple[Harm, ...] = (), *, is_note: bool = False, key: int = 0
    ) -> None:
        """Add a problem, or a note; beyond so many of a *kind* they are only counted."""
        self.counts[kind] += 1
        where = self._named(where)
        if self.counts[kind] <= MOST_OF_A_KIND:
            self.problems[Problem(kind, where, what, harmed, is_note=is_note, key=key)] = None

    def _harmed(self, flaw: Flaw) -> tuple[Harm, ...]:
        if flaw.harms is None or self.counts[flaw.kind] > MOST_OF_A_KIND:
            return ()
        column, key = flaw.harms
        return self.harmed_by(column, key)

    def harmed_by(self, column: str, key: object) -> tuple[Harm, ...]:
        """Return the artifacts whose row's *column* is *key*, or that are in a folder or session (`Flaw`)."""
        if column == "below":
            spots = audit_spots.spots_below(self.db, int(str(key)))
        elif column == "session":
            spots = audit_spots.spots_of_session(self.db, int(str(key)))
        else:
            spots = audit_spots.spots(self.db, column, key)
        found = audit.told(spots, _nothing)
        return tuple(dict.fromkeys(Harm(f"{spot.dirname}:{spot.path}", spot.version, spot.is_live) for spot in found))

    def rows(self) -> None:
        """Add what rows must not be among each other."""
        for flaw in audit_rows.flaws(self.db, self.unreadable):
            self.flaw(flaw)

    def types(self) -> None:
        """Add the cells of another type than their columns'."""
        for stray in audit.told(audit_types.strays(self.db), self.unreadable):
            self.flaw(stray.flaw)

    def unreadable(self, why: str) -> None:
        """Add that the index could not be read to its end."""
        self.add("index", "index", why)

    def all(self) -> tuple[Problem, ...]:
        """Return everything, and of each kind of which there is too much how much more."""
        more = (
            Problem(kind, kind, f"and {count - MOST_OF_A_KIND} more of this kind")
            for kind, count in self.counts.items()
            if count > MOST_OF_A_KIND
        )
        return (*self.problems, *more)


def _nothing(why: str) -> None:
    """Let pass that the index cannot be read there: it is told elsewhere."""
