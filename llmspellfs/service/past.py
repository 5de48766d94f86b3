"""What sessions were: at a seq, at a time, at a checkpoint; `store.past`.

The past is read only. It grants no more than the present: a file or folder of it has its own permission bits less what
the present one's, and the folders' on the way to that, do not give; what is gone now is its owner's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.diff import ArtifactDiff, Change, SessionDiff
from llmspellfs.model.event import Origin
from llmspellfs.model.point import Point
from llmspellfs.model.session import Session
from llmspellfs.model.stay import Stay
from llmspellfs.service import comparing, forks, rollback
from llmspellfs.service.engine import Engine
from llmspellfs.service.grants import Grants
from llmspellfs.service.moments import Moment, resolve
from llmspellfs.service.reader import Reader
from llmspellfs.storage import past
from llmspellfs.storage.index import Connection
from llmspellfs.storage.past import PastRow


@dataclass(frozen=True, slots=True)
class Version:
    """One retained content of a name: its newest row, and when that content was stored there, in nanoseconds."""

    entry: Entry
    made_ns: int


class Past:
    """Every session's history; the ways back too: diff, rollback, fork."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine

    def moment(self, sid: int, point: Point) -> Moment:
        """Return the seq of session *sid* that *point* means, and its time; raise NotFound where it is not kept."""
        with self._engine.index.snapshot() as db:
            return resolve(db, sid, point, self._engine.now())

    def moments(self, sid: int) -> list[Moment]:
        """Return every moment at which session *sid*'s state changed, as far as history goes back, oldest first."""
        with self._engine.index.read() as db:
            return [Moment(sid, seq, at_ns) for seq, at_ns in past.changes(db, sid)]

    def session(self, moment: Moment) -> Session:
        """Return the session as it was at *moment*; raise NotFound where that is not kept any more."""
        with self._engine.index.snapshot() as db:
            self._check(db, moment)
            found = past.session_at(db, moment.sid, moment.seq)
        if found is None:
            raise NotFound("seq", moment.seq)
        return found

    def trail_size(self, moment: Moment) -> int:
        """Return the bytes that the audit trail had at *moment*."""
        with self._engine.index.read() as db:
            return past.trail_size_at(db, moment.sid, moment.seq)

    def listing(self, moment: Moment, folder: int) -> list[Entry]:
        """Return what was in *folder* (an ino) at *moment*, from one query, with the permissions that the past grants.

        Raises NotFound where *moment* is not kept any more.
        """
        with self._engine.index.snapshot() as db:
            self._check(db, moment)
            grants = Grants(db, moment.sid)
            return [grants.entry(row, moment.at_ns) for row in past.folder_at(db, moment.sid, folder, moment.seq)]

    def lookup(self, moment: Moment, folder: int, name: str) -> Entry | None:
        """Return what was *name* in *folder* at *moment*, or None; otherwise as `listing`."""
        with self._engine.index.snapshot() as db:
            self._check(db, moment)
            row = past.lookup_at(db, moment.sid, folder, name, moment.seq)
            return None if row is None else Grants(db, moment.sid).entry(row, moment.at_ns)

    def names(self, sid: int, stays: Sequence[Stay]) -> list[str]:
        """Return the names that files and folders had in the folders of *stays* then, as far as history goes."""
        with self._engine.index.read() as db:
            return past.names(db, sid, stays)

    def named(self, sid: int, stays: Sequence[Stay], name: str) -> tuple[list[Version], list[tuple[Entry, Stay]]]:
        """Return each retained content of *name* in *stays*, oldest first, and the folders of that name with theirs.

        All have the permissions that the past grants.
        """
        with self._engine.index.snapshot() as db:
            grants = Grants(db, sid)
            rows = [(row, stay) for stay in stays for row in past.named(db, sid, stay, name)]
            rows.sort(key=lambda found: found[0][0].seq_from or 0)
            versions = _versions(row for row, _ in rows if row[0].kind is Kind.FILE)
            now = self._engine.now()
            inner = [(row, stay.within(row[0])) for row, stay in rows if row[0].kind is Kind.FOLDER]
            return (
                [Version(grants.entry(row, made_ns), made_ns) for row, made_ns in versions],
                [(grants.entry(row, now), stay) for row, stay in inner],
            )

    def open_content(self, entry: Entry) -> Reader:
        """Return a reader of the content of the file *entry*; raise Corrupt where it is gone."""
        return Reader(self._engine, entry.facts.content, entry.facts.content_hash, entry.facts.size)

    def diff(self, old: str, new: str | None = None) -> SessionDiff:
        """Compare two moments, of one session or of two, each `REF` (now) or `REF@POINT`.

        Without *new*, *old*'s point is compared with now; *old* without a point means its last checkpoint, or its
        beginning. Equal contents are told by their hashes and not read. Raises NotFound, InvalidValue.
        """
        return comparing.diff_sessions(self._engine, old, new)

    def diff_artifacts(self, old: str, new: str | None = None) -> ArtifactDiff:
        """Compare two versions of an artifact, or two artifacts: by `SESSION:NAME` or id, with `@POINT` or without.

        Without *new*, *old* is compared with what is there now; where it is that, with the version before. Raises
        NotFound, InvalidValue.
        """
        return comparing.diff_artifacts(self._engine, old, new)

    def text_diff(self, change: Change, old_label: str, new_label: str) -> Iterator[str] | None:
        """Return the lines of a unified diff of *change*'s content, without line ends, or None where it is no text.

        A side of more than 4 MiB is not looked at and counts as no text. Raises Corrupt.
        """
        return comparing.text_diff(self._engine, change, old_label, new_label)

    def rollback(self, ref: str, *, by: Origin | None = None) -> Session:
        """Bring the session of `REF@POINT` back to what it was there, as new events, in one transaction.

        Its files, folders, symlinks, name, description, tags, metadata and parent; not its status: it must be active.
        Raises NotFound, InvalidValue, SessionNotActive, LimitExceeded.
        """
        return rollback.rollback_session(self._engine, ref, by)

    def rollback_artifact(self, ref: str, *, by: Origin | None = None) -> Entry:
        """Bring the artifact of `SESSION:NAME@POINT` back to the content and metadata that the name had there.

        As a new version, or anew where it was deleted. Raises NotFound, InvalidValue, SessionNotActive, LimitExceeded.
        """
        return rollback.rollback_artifact(self._engine, ref, by)

    def fork(self, ref: str, name: str, *, created_by: str | None = None, by: Origin | None = None) -> Session:
        """Make an active session called *name* with all that `REF` or `REF@POINT` had; the origin is its parent.

        One transaction; no content is copied. Raises NotFound, InvalidValue, InvalidName, LimitExceeded.
        """
        return forks.fork(self._engine, ref, name, created_by, by)

    def _check(self, db: Connection, moment: Moment) -> None:
        if not past.is_kept(db, moment.sid, moment.seq):
            raise NotFound("seq", moment.seq)


def _versions(rows: Iterable[PastRow]) -> list[tuple[PastRow, int]]:
    """Return the newest row of each version in *rows*, which are in order, and when the first of it was stored."""
    found: list[tuple[PastRow, int]] = []
    for row in rows:
        facts = row[0].facts
        last = found[-1][0][0].facts if found else None
        if last is not None and (last.sequence, last.content) == (facts.sequence, facts.content):
            found[-1] = row, found[-1][1]
        else:
            found.append((row, facts.updated_ns))
    return found
