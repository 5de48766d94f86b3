"""Artifacts by name: stored, read, listed, changed, deleted and brought back; `store.artifacts`."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, BinaryIO

from llmspellfs.errors import AlreadyExists, InvalidValue, IsAFolder, NotAllowed, NotFound, Vanished
from llmspellfs.model import numbers
from llmspellfs.model.artifact import Artifact, ArtifactId, Entry, Ownership
from llmspellfs.model.event import Origin
from llmspellfs.model.names import split_path
from llmspellfs.model.session import Session
from llmspellfs.service import batches, erasure, moves, undelete, versions
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.engine import Engine, Transaction, check_active
from llmspellfs.service.incoming import Incoming
from llmspellfs.service.intake import Intake
from llmspellfs.service.paths import path_of, to_artifact, to_artifacts
from llmspellfs.service.provisional import Provisional
from llmspellfs.service.purged import PurgeReport
from llmspellfs.service.reader import Reader
from llmspellfs.service.resolution import (
    deleted_sequence,
    entry_named,
    find_artifact,
    live_row,
    older_row,
    past_sequence,
    purged_sequence,
)
from llmspellfs.service.search import Search
from llmspellfs.service.session_rules import find_place, find_session
from llmspellfs.service.versions import Given, check_given
from llmspellfs.storage import contents, entries
from llmspellfs.storage.ingest import INLINE_LIMIT, Staged

Progress = Callable[[int], None]
_BYTES = (bytes, bytearray, memoryview)


class Artifacts:
    """Every artifact of a store. *session* is a session's ref; *ref* an artifact's name (its path) or its id."""

    def __init__(self, engine: Engine, search: Search, intake: Intake) -> None:
        """Work on *engine*'s store; queries go to *search*, content comes in through *intake*."""
        self._engine, self._search, self._intake = engine, search, intake

    def put(
        self,
        session: str,
        name: str,
        content: bytes | BinaryIO,
        *,
        artifact_type: str | None = None,
        mime_type: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        custom: Mapping[str, Any] | None = None,
        replace: bool = True,
        progress: Progress | None = None,
        by: Origin | None = None,
    ) -> Artifact:
        """Store *content*, bytes or an open binary file (never held whole), as the artifact *name* and return it.

        Under a name that exists it becomes the next version, or AlreadyExists without *replace*; what is None keeps
        what the artifact has. *progress* is called with the bytes taken so far. Raises SessionNotActive, NotFound,
        InvalidName, InvalidValue, TooLarge, LimitExceeded, NoSpace.
        """
        split_path(name)
        if not isinstance(content, _BYTES) and not hasattr(content, "read"):
            raise InvalidValue("content", f"expected bytes or a binary file, not {type(content).__name__}")
        given = check_given(artifact_type, mime_type, description, tags, custom)
        if not isinstance(content, _BYTES) or len(content) > INLINE_LIMIT:
            self._check_before(session, name, replace)
        start = content.tell() if not isinstance(content, _BYTES) and content.seekable() else None
        with nullcontext() if isinstance(content, _BYTES) else Incoming(self._engine):
            try:
                staged = self._intake.stage(content, progress)
                return self._commit(session, name, staged, given, replace, by)
            except Vanished:
                if not isinstance(content, _BYTES):
                    if start is None:
                        raise
                    content.seek(start)
                with Incoming(self._engine):
                    staged = self._intake.stage(content, progress, trusting=False)
                    return self._commit(session, name, staged, given, replace, by)

    def _commit(
        self, session: str, name: str, staged: Staged, given: Given, may_replace: bool, by: Origin | None
    ) -> Artifact:
        own = Ownership(0o644, os.getuid(), os.getgid())
        with Provisional(self._engine, (staged,)), self._engine.write(by) as tx:
            owner = check_active(find_session(tx.db, session))
            return self._store(tx, owner, name, staged, given, own, may_replace)

    def _check_before(self, session: str, name: str, may_replace: bool) -> None:
        """Refuse what cannot succeed before much content is taken; the transaction checks again."""
        with self._engine.index.read() as db:
            found = check_active(find_session(db, session))
            if not may_replace and entry_named(db, found, name) is not None:
                raise AlreadyExists("artifact", f"{found.dirname}:{name}")

    def _store(
        self,
        tx: Transaction,
        session: Session,
        name: str,
        staged: Staged,
        given: Given,
        own: Ownership,
        may: bool,
    ) -> Artifact:
        place = undelete.make_place(tx, session, name, own)
        if not may and entries.lookup(tx.db, place.folder, place.name) is not None:
            raise AlreadyExists("artifact", f"{session.dirname}:{name}")
        placed = contents.place(tx.db, staged, self._engine.rooms.blobs)
        inode = (next(tx.inos), own.at(tx.now_ns))
        entry = versions.store(tx, self._engine.config, session, place, placed, given, inode=inode)
        return to_artifact(session.id, name, entry)

    def put_many(self, session: str, items: Iterable[NewArtifact], *, by: Origin | None = None) -> builtins.list[str]:
        """Store *items* as `put` would one after another, in one transaction, and return their ids in that order.

        Their contents are held in memory. Raises as `put` does, and nothing is stored then; the message says which
        item it is about, counted from 1.
        """
        return batches.put_many(self._engine, self._intake, session, items, by)

    def put_file(
        self,
        session: str,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        artifact_type: str | None = None,
        mime_type: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        custom: Mapping[str, Any] | None = None,
        replace: bool = True,
        progress: Progress | None = None,
        by: Origin | None = None,
    ) -> Artifact:
        """Store the file *path* as the artifact *name*, by default its own last component; otherwise as `put`.

        Raises NotFound, IsAFolder and NotAllowed for the file.
        """
        if "\0" in os.fspath(path):
            raise NotFound("file", repr(path))
        name = os.path.basename(os.path.abspath(path)) if name is None else name
        try:
            with open(path, "rb") as source:
                return self.put(
                    session, name, source, artifact_type=artifact_type, mime_type=mime_type,
                    description=description, tags=tags, custom=custom, replace=replace, progress=progress, by=by,
                )  # fmt: skip
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("file", os.fspath(path)) from None
        except IsADirectoryError:
            raise IsAFolder(os.fspath(path)) from None
        except OSError as error:
            raise NotAllowed(f"cannot read {os.fspath(path)}: {error.strerror or error}") from None

    def get(self, session: str, ref: str) -> Artifact:
        """Return the artifact *ref*; an id with an older hash gives that older version while history keeps it.

        Raises NotFound, and NotAllowed where the id is another session's.
        """
        with self._engine.index.snapshot() as db:
            return find_artifact(db, find_session(db, session), ref)

    def place(self, text: str) -> tuple[str, str]:
        """Return the session's id and the ref in it that *text* means: `SESSION:NAME`, or an artifact id.

        A directory name may hold colons too: the shortest beginning that is a session counts. Whether the artifact
        is there is not asked. Raises NotFound for the session, InvalidValue.
        """
        with self._engine.index.read() as db:
            session, ref = find_place(db, text)
            return session.id, ref

    def resolve(self, text: str) -> Artifact:
        """Return the artifact that *text* names, as `place` reads it. Raises NotFound, InvalidValue."""
        return self.get(*self.place(text))

    def read(self, artifact: Artifact, offset: int = 0, size: int | None = None) -> bytes:
        """Return *artifact*'s bytes from *offset* on, at most *size* of them; raise Corrupt, never return others."""
        if offset < 0 or (size is not None and size < 0):
            raise InvalidValue("range", "expected an offset and a size of 0 or more")
        with self.open(artifact) as reader:
            return reader.read_at(offset, reader.size if size is None else size)

    def open(self, artifact: Artifact) -> Reader:
        """Return a reader of *artifact*'s content."""
        if (witness := self._engine.witness) is not None:
            witness.read(artifact)
        return Reader(self._engine, artifact.content, artifact.content_hash, artifact.size)

    def list(self, session: str, *, limit: int | None = None, offset: int = 0) -> list[Artifact]:
        """Return the session's artifacts by sequence. Raises NotFound, InvalidValue."""
        limit, offset = numbers.page(limit, offset)
        with self._engine.index.snapshot() as db:
            found = find_session(db, session)
            hidden = self._hidden(found.id)
            if not hidden:
                return to_artifacts(db, found, entries.files(db, found.sid, limit, offset))
            shown = [row for row in entries.files(db, found.sid) if row.facts.sequence not in hidden]
            return to_artifacts(db, found, shown[offset : None if limit is None else offset + limit])

    def _hidden(self, session_id: str) -> frozenset[int]:
        """Return the sequences of the records that a script which runs on this thread is not to see: its own."""
        witness = self._engine.witness
        return frozenset() if witness is None else witness.hidden(session_id)

    def query(
        self,
        query: str | None = None,
        *,
        session: str | None = None,
        artifact_type: str | None = None,
        tags: Iterable[str] = (),
        name_pattern: str | None = None,
        created_after: str | float | None = None,
        created_before: str | float | None = None,
        updated_after: str | float | None = None,
        updated_before: str | float | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        limit: int | None = None,
        offset: int = 0,
        sort_by: str | None = None,
        order: str = "asc",
    ) -> builtins.list[Artifact]:
        """Return the artifacts, of *session* or of all, that fit *query* and every filter that is given.

        All of *tags* must be there; sizes are bytes; bounds include what they name. Raises NotFound, InvalidValue.
        """
        if session is not None:
            with self._engine.index.read() as db:
                session = find_session(db, session).id
        wanted = {
            "artifact_type": artifact_type, "tags": tags, "name_pattern": name_pattern,
            "created_after": created_after, "created_before": created_before, "updated_after": updated_after,
            "updated_before": updated_before, "min_size": min_size, "max_size": max_size,
        }  # fmt: skip
        found = self._search.list_artifacts(
            query, wanted, session=session, sort_by=sort_by, order=order, limit=limit, offset=offset
        )
        if self._engine.witness is None:
            return found
        return [one for one in found if one.sequence not in self._hidden(one.session_id)]

    def delete(self, session: str, ref: str, *, by: Origin | None = None) -> Artifact:
        """Delete the artifact, in any state of its session, and return it as it was; raise NotFound, NotAllowed."""
        with self._engine.write(by, frees=True) as tx:
            owner = find_session(tx.db, session)
            entry = live_row(tx.db, owner, ref)
            if ArtifactId.is_id(ref) and ArtifactId.parse(ref).content_hash != entry.facts.content_hash:
                raise InvalidValue(ref, f"names an older version; the artifact is at version {entry.facts.version}")
            name = path_of(tx.db, owner.ino, entry.folder, entry.name)
            return to_artifact(owner.id, name, moves.remove(tx, owner, entry))

    def restore(self, session: str, ref: str, *, name: str | None = None, by: Origin | None = None) -> Artifact:
        """Bring a deleted artifact back, under *name* or the name it had, and return it.

        An id brings back the version that it names; of an artifact that is there still, as a new one under *name*.
        Raises NotFound where history has none, AlreadyExists where it is there or the name is taken.
        """
        with self._engine.write(by) as tx:
            owner = tx.active_session(find_session(tx.db, session).sid)
            sequence = deleted_sequence(tx.db, owner, ref)
            row = undelete.last_row(tx, owner, sequence)
            if ArtifactId.is_id(ref):
                row = older_row(tx.db, owner, ArtifactId.parse(ref)) or row
            is_live = entries.live_of_sequence(tx.db, owner.sid, sequence) is not None
            if is_live and name is None:
                raise AlreadyExists("artifact", ref)
            own = Ownership(0o755, os.getuid(), os.getgid())
            entry = undelete.restore_artifact(tx, self._engine.config, owner, row, name, own, is_copy=is_live)
            return to_artifact(owner.id, path_of(tx.db, owner.ino, entry.folder, entry.name), entry)

    def purge(self, session: str, ref: str, *, by: Origin | None = None) -> PurgeReport:
        """Erase every version of the artifact, deleted or not, and content that nothing else uses, for good.

        What was renamed over it goes with it. A name that nothing has now is of the last artifact that left it, unless
        that has another name now: this raises InvalidValue. One of which damage has left nothing but events counts as
        purged from then on.
        """
        with self._engine.index.snapshot() as db:
            owner = find_session(db, session)
            sequence = purged_sequence(db, owner, ref)
        return erasure.purge_artifact(self._engine, owner, sequence, by)

    def history(self, session: str, ref: str) -> builtins.list[Artifact]:
        """Return each retained version of the artifact, oldest first; a deleted one's too.

        A name that nothing has now is of the last artifact that left it, however it did.
        """
        with self._engine.index.snapshot() as db:
            owner = find_session(db, session)
            rows = entries.rows_of_sequence(db, owner.sid, past_sequence(db, owner, ref))
            if not rows:
                raise NotFound("artifact", f"{owner.dirname}:{ref}")
            newest = {row.facts.version: row for row in rows}
            return to_artifacts(db, owner, [newest[version] for version in sorted(newest)])

    def update(
        self,
        session: str,
        ref: str,
        *,
        name: str | None = None,
        artifact_type: str | None = None,
        mime_type: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        custom: Mapping[str, Any] | None = None,
        by: Origin | None = None,
    ) -> Artifact:
        """Replace the metadata that is given, rename to *name* where given, and return the artifact.

        Raises NotFound, SessionNotActive, InvalidValue, and AlreadyExists where *name* is taken.
        """
        given = check_given(artifact_type, mime_type, description, tags, custom)
        own = Ownership(0o755, os.getuid(), os.getgid())
        with self._engine.write(by) as tx:
            owner = tx.active_session(find_session(tx.db, session).sid)
            entry = versions.sealed(tx, owner, live_row(tx.db, owner, ref))
            entry = versions.describe(tx, owner, entry, given)
            path = path_of(tx.db, owner.ino, entry.folder, entry.name)
            if name is not None and name != path:
                place = undelete.make_place(tx, owner, name, own)
                if entries.lookup(tx.db, place.folder, place.name) is not None:
                    raise AlreadyExists("artifact", f"{owner.dirname}:{name}")
                entry, path = moves.rename(tx, self._engine.config, owner, entry, owner, place), name
            return to_artifact(owner.id, path, entry)

    def of_entry(self, session: Session, entry: Entry) -> Artifact:
        """Return the file *entry* of *session* as an artifact."""
        with self._engine.index.read() as db:
            return to_artifacts(db, session, [entry])[0]
