"""The control directory `.session/` at the top of each session: its fields, sidecars and audit trail as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmspellfs.errors import NotFound
from llmspellfs.model.names import CONTROL
from llmspellfs.model.session import Session
from llmspellfs.model.stay import Stay
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.control_files import ControlFile, control_folder_attr
from llmspellfs.tree.fields import FIELDS, Field
from llmspellfs.tree.history import At, Checkpoints, Versions
from llmspellfs.tree.node import Context, Folder, Node
from llmspellfs.tree.scratch_folder import ScratchFolder
from llmspellfs.tree.sidecars import SidecarFolder
from llmspellfs.tree.trail import TrailFile


class FieldFile(ControlFile):
    """A field; what is certain to be refused at the end is refused as it is written already."""

    def __init__(self, ctx: Context, session: Session, name: str, field: Field) -> None:
        """Be the *field* called *name* of *session*."""
        self._field = field
        taken = None if field.apply is None else self._take
        super().__init__(ctx, session, name, self._show, taken, session.updated_ns)

    def _now(self) -> Session:
        return self.ctx.session(self.session.sid)

    def _show(self) -> bytes:
        return self._field.render(self._now())

    def _take(self, content: bytes, caller: Caller) -> None:
        assert self._field.apply is not None
        self._field.apply(self.ctx, self._now(), content, caller)

    def check(self, content: bytes) -> None:
        """Raise what `apply` would for whole lines that it cannot take."""
        if self._field.check is not None and content.endswith(b"\n"):
            self._field.check(self.ctx, self._now(), content)


class ControlFolder(ScratchFolder):
    """`.session/`."""

    def __init__(self, ctx: Context, sid: int, children: Callable[[Session], Folder]) -> None:
        """Be the control directory of session *sid*; *children* makes the folder of a session's children."""
        super().__init__(ctx, CONTROL, sid, 0)
        self._sid, self._children = sid, children

    def attr(self) -> Attr:
        """Return what stat shows."""
        return control_folder_attr(self.ctx, self.ctx.session(self._sid), "")

    def control(self, name: str) -> Node:
        """Return the control file or folder *name*; raise NotFound."""
        session = self.ctx.session(self._sid)
        if name in FIELDS:
            return FieldFile(self.ctx, session, name, FIELDS[name])
        if name in _OTHERS:
            return _OTHERS[name](self.ctx, session)
        if name == "children":
            return self._children(session)
        raise NotFound("control file", name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return everything that is here."""
        own = [(name, self.child(name).attr()) for name in (*FIELDS, *_OTHERS, "children")]
        return [*own, *self.scratch_children()]


def _versions(ctx: Context, session: Session) -> Versions:
    ctx.opened.sealer.settle()
    return Versions(ctx, session, "versions", (Stay(session.ino),), ctx.store.entries.attributes(session.ino))


_OTHERS: dict[str, Callable[[Context, Session], Node]] = {
    "artifacts": lambda ctx, session: SidecarFolder(ctx, session, session.ino, "artifacts"),
    "events.jsonl": TrailFile,
    "checkpoints": lambda ctx, session: Checkpoints(ctx, session, "checkpoints"),
    "at": lambda ctx, session: At(ctx, session, "at"),
    "versions": _versions,
}
"""What else there is, and how it is made."""
