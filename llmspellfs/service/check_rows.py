"""Checking rows: each held against the event that made it and the one that ended it, and against what is made of it.

A row's event has the hash of the row as its `state`, so that any change of a row is found. Derived rows, which are
labels and the full text, are held against the rows that they are derived from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llmspellfs.errors import SpellError
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.event import state_hash
from llmspellfs.model.query import labels
from llmspellfs.service.check_findings import Findings, Harm
from llmspellfs.storage import audit, audit_rows, audit_text
from llmspellfs.storage.audit import EntryRow, Shifts, Uncovered
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.index import Connection
from llmspellfs.storage.numbering import Numbering
from llmspellfs.storage.schema import SUPERSEDED
from llmspellfs.storage.sessions import SessionRow

_NOUNS = {Kind.FILE: "artifact.", Kind.FOLDER: "folder.", Kind.SYMLINK: "symlink."}


def check_entries(found: Findings) -> None:
    """Hold each row of a tree against its events."""
    names = {chain.sid: chain.dirname for chain in audit.told(iter(audit.chains(found.db)), found.unreadable)}
    shifts = audit.shifts(found.db)
    for row in found.course.through(audit.told(audit.entry_rows(found.db), found.unreadable)):
        where = f"{names.get(row.entry.sid, '?') if row.entry else '?'}:{row.name}"
        for what in _entry_problems(row, shifts):
            found.add("row", where, what, found.harmed_by("eid", row.eid), key=row.eid)


def _entry_problems(row: EntryRow, shifts: Shifts) -> list[str]:
    entry = row.entry
    if entry is None:
        return [f"its row ({row.eid}) cannot be read"]
    if entry.seq_from is None:
        return []
    problems = []
    told = line_fields(row.begins)
    if told.get("state") is None:
        problems.append(f"no event covers its row of seq {entry.seq_from}")
    elif told["state"] != entry_state_hash(entry, shifts):
        problems.append(f"its row differs from event {entry.seq_from}")
    if entry.seq_to not in {None, SUPERSEDED} and row.ends is not None and not _ends(entry, line_fields(row.ends)):
        problems.append(f"its row ends at event {entry.seq_to}, which is about something else")
    return problems


def _ends(entry: Entry, told: dict[str, Any]) -> bool:
    """Tell whether the event with the fields *told* can have ended *entry*'s row; one that cannot be read may have."""
    kind = told.get("kind")
    if not isinstance(kind, str):
        return True
    if not kind.startswith(_NOUNS[entry.kind]) or kind.endswith(".created"):
        return False
    if entry.file is not None:
        return entry.file.sequence in {told.get("sequence"), told.get("from_sequence")}
    paths = (told.get("name"), told.get("from"))
    return any(isinstance(path, str) and path.split("/")[-1] == entry.name for path in paths)


def is_endless(row: EntryRow, shifts: Shifts) -> bool:
    """Tell whether *row* is what its event made it, and the event where it ends, if there is one, did not end it."""
    entry = row.entry
    if entry is None or entry.seq_to is None or line_fields(row.begins).get("state") != entry_state_hash(entry, shifts):
        return False
    return row.ends is None or not _ends(entry, line_fields(row.ends))


def entry_state_hash(entry: Entry, shifts: Shifts) -> str | None:
    """Return the hash that the event of *entry*'s row should have as its `state`; None where it has none at all."""
    try:
        return state_hash(as_hashed(NewEntry.of(entry), entry.seq_from or 0, shifts))
    except (ValueError, TypeError, RecursionError):
        return None


def as_hashed(new: NewEntry, seq: int, shifts: Shifts) -> dict[str, Any]:
    """Return what event *seq* hashed of the row *new*: an imported session's inodes had other numbers elsewhere."""
    return shifts.get(new.sid, Numbering()).as_hashed(new.state, seq)


def check_sessions(found: Findings) -> None:
    """Hold each row of sessions' own fields against its event."""
    for row in found.course.through(audit.told(audit.session_rows(found.db), found.unreadable)):
        state = line_fields(row.line).get("state")
        if row.session is None:
            what = f"its row ({row.rid}) cannot be read"
        elif state is None:
            what = f"no event covers its row of seq {row.seq_from}"
        elif state != session_state_hash(SessionRow.of(row.session)):
            what = f"its row differs from event {row.seq_from}"
        else:
            continue
        found.add("row", row.dirname, what)


def session_state_hash(row: SessionRow) -> str | None:
    """Return the hash that the event of a session's *row* should have as its `state`; None where it has none at all."""
    try:
        return state_hash(row.state)
    except (ValueError, TypeError, RecursionError):
        return None


def line_fields(line: object) -> dict[str, Any]:
    """Return what an event's *line* says, nothing where it cannot be read."""
    try:
        fields = json.loads(line) if isinstance(line, str) else {}
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def check_events(found: Findings) -> None:
    """Add events that left a row behind which is gone, though it was neither purged nor fleeting."""
    for event, replaced_by in audit.told(lost_events(found.db), found.unreadable):
        told = line_fields(event.line)
        name, version = told.get("name"), told.get("version")
        where, what = f"session {event.session_id}:{name}", event.kind.partition(".")[0]
        harmed: tuple[Harm, ...] = ()
        if what == "session":
            where, what = f"session {event.session_id}", "its name and all it said of itself"
        elif isinstance(version, int):
            harmed = (Harm(f"{found.dirname(event.session_id)}:{name}", version, False),)
            what = f"version {version}"
        made = f"{what}, as of event {event.seq} ({event.kind}),"
        if replaced_by is None:
            found.add("event", where, f"{made} is gone from the index", harmed)
        else:
            found.add("event", where, f"{made} is there again since event {replaced_by}", is_note=True)


def lost_events(db: Connection, sid: int | None = None) -> Iterator[tuple[Uncovered, int | None]]:
    """Yield events whose rows are gone and should not be, and the event by which a repair brought that back, if any.

    With *sid* those of that session alone.
    """
    known, goings = 0, audit.NOTHING_GONE
    for event in audit.uncovered_events(db, sid):
        if event.sid != known:
            known, goings = event.sid, audit.goings(db, event.sid)
        if not goings.excuses(line_fields(event.line).get("sequence"), event.seq, event.at_ns):
            yield event, goings.replaced.get(event.seq)


def check_labels(found: Findings) -> None:
    """Hold labels against the tags and metadata of live rows."""
    for eid, tags, custom, there in audit.told(audit_rows.labelled(found.db), found.unreadable):
        if not _is_labelled(tags, custom, there):
            found.add("label", f"row {eid}", "its labels are not its tags and metadata", found.harmed_by("eid", eid))
    for sid, tags, metadata, there in audit.told(audit_rows.labelled_sessions(found.db), found.unreadable):
        if not _is_labelled(tags, metadata, there):
            found.add("label", f"session {sid}", "its labels are not its tags and metadata")


def _is_labelled(tags: str, custom: str, there: str | None) -> bool:
    """Tell whether the labels *there* (JSON) are those of *tags* and *custom*; of a damaged row, too."""
    try:
        wanted = labels(json.loads(tags), json.loads(custom))
        return {(key, value) for key, value in json.loads(there or "[]")} == set(wanted)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return True  # told where rows are held against events


def check_text(found: Findings) -> None:
    """Hold the full text against live rows."""
    for eid, what in audit.told(audit_text.out_of_step(found.db), found.unreadable):
        found.add("text", f"row {eid}", what)


def check_text_within(found: Findings) -> None:
    """Have SQLite check a copy of the full text's own index, unless there is no room for one."""
    try:
        problem = audit_text.integrity(found.db)
    except SpellError as error:
        found.add("text", "full text", f"its own index was not checked: {error.message}", is_note=True)
    else:
        if problem is not None:
            found.add("text", "full text", problem)


def check_parents(found: Findings) -> None:
    """Add sessions that are their own ancestors."""
    for own, count in circles(audit_rows.parents(found.db)).items():
        found.add("parent", f"session {own}", f"it is its own ancestor, in a circle of {count}")


def circles(above: dict[str, str]) -> dict[str, int]:
    """Return one session of each circle of parents, the first by its id, and how many are in it."""
    found, settled = dict[str, int](), set[str]()
    for start in above:
        path: dict[str, None] = {}
        here: str | None = start
        while here is not None and here not in settled and here not in path:
            path[here] = None
            here = above.get(here)
        if here in path:
            around = list(path)[list(path).index(here) :]
            found[min(around)] = len(around)
        settled |= set(path)
    return found
