"""`events.jsonl`: a session's audit trail as a file, read from the index as it grows."""

from __future__ import annotations

import os

from llmspellfs.errors import ReadOnly
from llmspellfs.model.session import Session
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.control_files import control_attr
from llmspellfs.tree.node import Context, File


class TrailHandle:
    """`events.jsonl`, open: read from the index as it grows."""

    direct_io, keep_cache = True, False

    def __init__(self, file: TrailFile) -> None:
        """Read from the trail of *file*'s session."""
        self._file = file

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill *view* from *offset* on."""
        piece = self._file.ctx.store.sessions.trail_bytes(self._file.sid, offset, len(view))
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: memoryview, offset: int) -> int:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def attr(self) -> Attr:
        """Return what fstat shows."""
        return self._file.attr()

    def truncate(self, size: int) -> None:
        """Refuse."""
        raise ReadOnly(self._file.name)

    def flush(self) -> None:
        """Have nothing to commit."""

    def fsync(self, datasync: bool) -> None:
        """Have nothing to make durable."""

    def release(self) -> None:
        """Let go."""


class TrailFile(File):
    """`events.jsonl`: the audit trail, of exact size, so that `wc` and `tail -f` work."""

    def __init__(self, ctx: Context, session: Session) -> None:
        """Be the trail of *session*."""
        super().__init__(ctx, "events.jsonl")
        self._session, self.sid = session, session.sid

    def attr(self) -> Attr:
        """Return what stat shows."""
        session = self.ctx.session(self.sid)
        size = self.ctx.store.sessions.trail_size(self.sid)
        return control_attr(self.ctx, session, self.name, size, session.updated_ns, False)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise ReadOnly(self.name)
        self.ctx.opened.sealer.settle()
        return TrailHandle(self)
