"""The session that an exact replay makes: each event of the original done again in it, row by row.

Its rows say what the original's say, sequences, versions and times included; the session, the inodes and its name are
its own. Its events have their own times. Every function runs in the caller's transaction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Attributes, Entry, Kind, Ownership
from llmspellfs.model.event import state_hash
from llmspellfs.model.replay import Mismatch, Wanted
from llmspellfs.model.session import Session
from llmspellfs.model.values import check_text
from llmspellfs.service import versions
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.moves import NOUNS
from llmspellfs.service.rebuilding import Key, Tree
from llmspellfs.service.session_rules import check_limit, dirname_of, insert_session
from llmspellfs.service.stepping import Stepped, Stepper
from llmspellfs.storage import entries, inodes, replay, runs, sessions
from llmspellfs.storage.entries import NewEntry
from llmspellfs.storage.sessions import SessionRow

_HERE = {
    "artifact.moved_in": "artifact.stored", "folder.moved_in": "folder.created", "symlink.moved_in": "symlink.created",
}  # fmt: skip
"""What an event of a move between sessions is where the other session has no part in it."""
_TOLD = ("from_sequence",)


class Replica:
    """The new session of one replay of *original*."""

    def __init__(self, engine: Engine, original: Session) -> None:
        """Make nothing yet."""
        self._engine, self._original = engine, original
        self._inos = {original.ino: 0}
        self._live: dict[Key, Entry] = {}
        self.session: Session | None = None

    def begin(self, tx: Transaction, stepper: Stepper, wanted: Wanted, span: tuple[int, int]) -> Session:
        """Make the session with the state that *stepper* begins with; raise LimitExceeded (`max_sessions`)."""
        check_limit(tx, self._engine.config.max_sessions)
        then = stepper.fields or self._original
        name = check_text(wanted.name or f"{self._original.name} replay", "name")
        row = SessionRow(
            name, dirname_of(tx, name), then.description, then.status, then.tags, then.metadata,
            then.parent_session_id, then.ended_ns, then.failure_reason,
        )  # fmt: skip
        top = inodes.load(tx.db, self._original.ino)
        own = Ownership(0o755, os.getuid(), os.getgid()) if top is None else Ownership(top.mode, top.uid, top.gid)
        made = insert_session(tx, self._engine.new_id(), row, self._original.created_by, own)
        self._inos[self._original.ino] = made.ino
        told = {"session": self._original.id, "name": self._original.dirname, "from": span[0], "to": span[1]}
        tx.journal.append(made.sid, "replay.started", None, of=told)
        self.session = made
        for path, entry in _folders_first(stepper.tree):
            verb = "stored" if entry.kind is Kind.FILE else "created"
            self._insert(tx, entry, f"{NOUNS[entry.kind]}.{verb}", path, {})
        return made

    def follow(self, tx: Transaction, tree: Tree, steps: Iterable[Stepped]) -> None:
        """Do what *steps* did; where a row or a content is gone, that step is left out."""
        for step in steps:
            if step.session is not None:
                self._put_fields(tx, step)
            elif step.event.kind == "session.saved":
                self._save(tx, step)
            elif step.applied.made is not None or step.applied.left:
                self._change(tx, tree, step)

    def finish(self, tx: Transaction, mismatches: int, stopped: str | None) -> None:
        """Say in the session's trail how the replay went."""
        tx.journal.append(self._there.sid, "replay.finished", None, mismatches=mismatches, stopped=stopped)

    @property
    def _there(self) -> Session:
        if self.session is None:
            raise NotFound("session", "of a replay that has not begun")
        return self.session

    def _put_fields(self, tx: Transaction, step: Stepped) -> None:
        assert step.session is not None
        if step.event.kind == "session.created":
            return
        live = tx.session(self._there.sid)
        row = replace(SessionRow.of(step.session), name=live.name, dirname=live.dirname)
        kind = "session.updated" if step.event.kind == "session.restored" else step.event.kind
        seq = tx.journal.append(live.sid, kind, row.state, name=row.dirname, status=str(row.status))
        sessions.end_row(tx.db, live.sid, seq)
        sessions.insert_row(tx.db, live.sid, row, seq)

    def _save(self, tx: Transaction, step: Stepped) -> None:
        seq = tx.journal.append(self._there.sid, "session.saved", None)
        label = replay.label_of(tx.db, self._original.sid, step.event.seq)
        sessions.insert_checkpoint(tx.db, self._there.sid, seq, label, tx.journal.last_ns(self._there.sid))

    def _change(self, tx: Transaction, tree: Tree, step: Stepped) -> None:
        leaving = [self._live.pop(_key(one)) for one in step.applied.left if _key(one) in self._live]
        kind = _HERE.get(step.event.kind, step.event.kind)
        made = step.applied.made
        path = step.name or (tree.path(made) if made is not None else "")
        if made is not None and self._can_be(tx, made):
            told = {name: step.told[name] for name in _TOLD if name in step.told}
            if kind.endswith(".renamed") and leaving:
                told["from"] = step.told.get("from")
            self._insert(tx, made, kind, path, told, leaving)
            return
        for entry in leaving:
            f = entry.file
            told = {} if f is None else {"sequence": f.sequence, "hash": f.content_hash, "size": f.size}
            deleted = f"{NOUNS[entry.kind]}.deleted"
            self._end(tx, entry, tx.journal.append(self._there.sid, deleted, None, name=path or entry.name, **told))

    def _can_be(self, tx: Transaction, made: NewEntry) -> bool:
        """Tell whether the row's folder is there, and its content."""
        if made.folder not in self._inos:
            return False
        return made.content_hash is None or runs.content_of(tx.db, made.content_hash) is not None

    def _insert(
        self,
        tx: Transaction,
        old: NewEntry,
        kind: str,
        path: str,
        told: Mapping[str, object],
        leaving: Iterable[Entry] = (),
    ) -> None:
        new = replace(old, sid=self._there.sid, folder=self._inos[old.folder], ino=self._ino(tx, old))
        tally = tx.journal.touch(new.sid)
        if new.sequence is not None:
            tally.next_sequence = max(tally.next_sequence, new.sequence + 1)
            tally.artifact_count += 1
            tally.total_size += new.size or 0
        seq = tx.journal.append(
            new.sid, kind, new.state, name=path, sequence=new.sequence, version=new.version, hash=new.content_hash,
            size=new.size, **told,
        )  # fmt: skip
        for entry in leaving:
            self._end(tx, entry, seq)
        self._live[_key(old)] = versions.inserted(tx, new, seq)

    def _ino(self, tx: Transaction, old: NewEntry) -> int:
        if old.ino not in self._inos:
            self._inos[old.ino] = next(tx.inos)
            found = inodes.load(tx.db, old.ino) or Attributes(0o644, os.getuid(), os.getgid(), tx.now_ns, tx.now_ns)
            inodes.insert(tx.db, self._inos[old.ino], replace(found, ctime_ns=tx.now_ns))
        return self._inos[old.ino]

    def _end(self, tx: Transaction, entry: Entry, seq: int) -> None:
        entries.end(tx.db, entry, seq)
        if entry.file is not None:
            tally = tx.journal.touch(entry.sid)
            tally.artifact_count -= 1
            tally.total_size -= entry.file.size

    def differences(self, tx: Transaction, stepper: Stepper, seq: int) -> list[Mismatch]:
        """Return where what is stored now is other than what *stepper* has, which is at the original's event *seq*."""
        found = [] if stepper.fields is None else self._other_fields(tx, stepper.fields, seq)
        return found + self._other_entries(tx, stepper.tree, seq)

    def _other_fields(self, tx: Transaction, fields: Session, seq: int) -> list[Mismatch]:
        live = SessionRow.of(tx.session(self._there.sid))
        wanted = replace(SessionRow.of(fields), name=live.name, dirname=live.dirname)
        if live.state == wanted.state:
            return []
        return [Mismatch("rebuilt", seq, None, state_hash(wanted.state), state_hash(live.state))]

    def _other_entries(self, tx: Transaction, tree: Tree, seq: int) -> list[Mismatch]:
        back = {ino: old for old, ino in self._inos.items()}
        stored = {
            tree.path(new): new
            for entry in (entries.load(tx.db, one.eid) for one in self._live.values())
            if entry is not None
            for new in [
                replace(NewEntry.of(entry), sid=self._original.sid, folder=back[entry.folder], ino=back[entry.ino])
            ]
        }
        wanted = dict(tree.items())
        return [
            Mismatch("rebuilt", seq, path, _text(wanted.get(path)), _text(stored.get(path)))
            for path in sorted(wanted | stored)
            if wanted.get(path) != stored.get(path)
        ]


def _text(entry: NewEntry | None) -> str | None:
    return None if entry is None else state_hash(entry.state)


def _folders_first(tree: Tree) -> list[tuple[str, NewEntry]]:
    """Return *tree*'s entries by path, folders before what is in them, files in the order of their sequences."""
    return sorted(tree.items(), key=lambda item: (item[1].kind is Kind.FILE, item[1].sequence or 0, item[0]))


def _key(entry: NewEntry) -> Key:
    return entry.kind, entry.ino if entry.sequence is None else entry.sequence
