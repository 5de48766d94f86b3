"""`events.jsonl`: a session's audit trail as a file, read from the index as it grows."""

from __future__ import annotations

from dataclasses import replace

from llmspellfs.model.session import Session
from llmspellfs.tree.api import Attr, Caller, Handle
from llmspellfs.tree.control_files import control_attr
from llmspellfs.tree.node import Context, File
from llmspellfs.tree.readonly import ReadOnlyHandle, check_reading, filling

OWNERS_ALONE = 0o170700
"""What a trail's mode keeps: it names what is in private folders too."""


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
        attr = control_attr(self.ctx, session, self.name, size, session.updated_ns, False)
        return replace(attr, mode=attr.mode & OWNERS_ALONE)

    def open(self, flags: int, caller: Caller) -> Handle:
        """Open for reading."""
        check_reading(self.name, flags)
        self.ctx.opened.sealer.settle()
        read = self.ctx.store.sessions.trail_bytes
        fill = filling(lambda offset, size: read(self.sid, offset, size))
        return ReadOnlyHandle(self, fill, direct_io=True)
