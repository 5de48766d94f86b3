"""Repairing what rows are gone of: the very row that an event has the hash of, made again.

What the row may have been is tried: its event tells name, sequence, version and content, the rest is what rows of the
same artifact have, or what comes by itself. A row that has the hash is the one that was; nothing else is inserted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from llmspellfs.model.artifact import Kind
from llmspellfs.model.event import state_hash
from llmspellfs.model.mime import guess_mime
from llmspellfs.service.check_rows import as_hashed, line_fields
from llmspellfs.service.engine import Transaction
from llmspellfs.service.versions import DEFAULT_TYPE
from llmspellfs.storage import audit, entries, mending_history, mending_regain, mending_rows
from llmspellfs.storage.audit import Uncovered
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.mending import Done

_TYPES = (DEFAULT_TYPE, "agent_output", "tool_result", "system_generated")
_KINDS = {"artifact": Kind.FILE, "folder": Kind.FOLDER}
_MOST_INODES = 8
"""Inodes that no row has which are tried for a row, those first that changed when its event was."""


class _Regaining:
    """The making again of rows in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._db = tx.db
        self._shifts = audit.shifts(tx.db)
        self._spare = mending_regain.spare_inodes(tx.db)

    def regained(self, event: Uncovered) -> list[Done]:
        """Insert the row that *event* left behind, where it can be made out; return what was done."""
        told, kind = line_fields(event.line), _KINDS.get(event.kind.split(".", maxsplit=1)[0])
        name, state = told.get("name"), told.get("state")
        if kind is None or not isinstance(name, str) or not isinstance(state, str):
            return []
        for candidate in self._candidates(event, kind, name, told):
            try:
                if state_hash(as_hashed(candidate, event.seq, self._shifts)) != state:
                    continue
            except (ValueError, TypeError, RecursionError):
                continue
            return self._inserted(event, candidate, name)
        return []

    def _inserted(self, event: Uncovered, new: NewEntry, path: str) -> list[Done]:
        db = self._db
        if new.sequence is not None:
            end = mending_rows.next_about(db, event.sid, new.sequence, event.seq)
        else:
            end = mending_regain.end_of_folder(db, event.sid, new.ino, path, event.seq)
        if end is None and entries.lookup(db, new.folder, new.name) is not None:
            return []
        eid = mending_regain.insert_ended(db, new, event.seq, end)
        if end is None and mending_history.has_live_twin(db, eid):
            mending_regain.remove(db, eid)
            return []
        self._spare.pop(new.ino, None)
        version = "" if new.version is None else f", version {new.version},"
        return [Done("event", f"{path}{version} is there again, as event {event.seq} says", event.sid)]

    def _candidates(self, event: Uncovered, kind: Kind, path: str, told: dict[str, object]) -> Iterator[NewEntry]:
        folder = mending_regain.folder_at(self._db, event.sid, path, event.seq)
        if folder is None:
            return
        new = NewEntry(event.sid, folder, path.rsplit("/", 1)[-1], 0, kind)
        if kind is Kind.FOLDER:
            yield from (replace(new, ino=ino) for ino in self._inodes(event.at_ns, len(self._spare)))
            return
        sequence, version, digest, size = (told.get(key) for key in ("sequence", "version", "hash", "size"))
        if not (isinstance(sequence, int) and isinstance(version, int) and isinstance(digest, str)):
            return
        content = mending_rows.content_of(self._db, digest)
        if content is None or not isinstance(size, int):
            return
        new = replace(
            new, sequence=sequence, version=version, content=content, content_hash=digest, size=size, description="",
            mime_type=guess_mime(new.name), tags=(), custom={},
        )  # fmt: skip
        yield from self._files(event, new)

    def _files(self, event: Uncovered, new: NewEntry) -> Iterator[NewEntry]:
        known = mending_rows.rows_of_sequence(self._db, event.sid, new.sequence or 0)
        described = [
            replace(new, artifact_type=one.artifact_type, mime_type=one.mime_type, description=one.description,
                    tags=one.tags, custom=one.custom)
            for one in known
        ]  # fmt: skip
        described += [replace(new, artifact_type=name) for name in _TYPES]
        inodes = [*dict.fromkeys(one.ino for one in known), *self._inodes(event.at_ns, _MOST_INODES)]
        for ino, one in product(inodes, described):
            moments = dict.fromkeys((event.at_ns, *self._spare.get(ino, ())))
            made = dict.fromkeys(other.created_ns for other in known) or moments
            for created_ns, updated_ns in product(made, moments):
                yield replace(one, ino=ino, created_ns=created_ns, updated_ns=updated_ns)

    def _inodes(self, at_ns: int, most: int) -> list[int]:
        return sorted(self._spare, key=lambda ino: abs(self._spare[ino][0] - at_ns))[:most]


def regain_rows(tx: Transaction, lost: list[Uncovered]) -> list[Done]:
    """Insert again the rows that the *lost* events left behind, those that can be made out; folders come first."""
    regaining, done = _Regaining(tx), list[Done]()
    for event in sorted(lost, key=lambda one: (not one.kind.startswith("folder."), one.sid, one.seq)):
        done += regaining.regained(event)
    return done
