"""The control directory `.session/` at the top of each session: its fields, sidecars and audit trail as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.document import (
    SESSION_WRITABLE,
    changed_fields,
    session_document,
    to_text,
)
from llmspellfs.model.session import Session, action_to, next_status, parse_status
from llmspellfs.model.values import check_tags, parse_json
from llmspellfs.tree.api import Attr, Caller
from llmspellfs.tree.changes import set_status, update_session
from llmspellfs.tree.control_files import ControlFile, control_folder_attr
from llmspellfs.tree.node import Context, Folder, Node
from llmspellfs.tree.sidecars import SidecarFolder
from llmspellfs.tree.trail import TrailFile


class StatusFile(ControlFile):
    """`status`: a whole line that cannot be a state, or one that nothing leads to, is refused as it is written."""

    def check(self, content: bytes) -> None:
        """Raise InvalidValue or InvalidTransition for a line that `apply` would refuse."""
        if not content.endswith(b"\n"):
            return
        session = self.ctx.session(self.session.sid)
        status = parse_status(_one_line(content, "status").partition(":")[0].strip())
        if status is not session.status:
            next_status(session.dirname, session.status, action_to(status))


class ControlFolder(Folder):
    """`.session/`; checkpoints, the past and children have their place here as further children."""

    def __init__(self, ctx: Context, sid: int) -> None:
        """Be the control directory of session *sid*."""
        super().__init__(ctx, ".session")
        self._sid = sid

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be remembered: never, since nothing here may be stale."""
        return False

    def attr(self) -> Attr:
        """Return what stat shows."""
        return control_folder_attr(self.ctx, self.ctx.session(self._sid), "")

    def child(self, name: str) -> Node:
        """Return the control file or folder *name*; raise NotFound."""
        session = self.ctx.session(self._sid)
        if name == "artifacts":
            return SidecarFolder(self.ctx, session, session.ino, "artifacts")
        if name == "events.jsonl":
            return TrailFile(self.ctx, session)
        if name not in _FIELDS:
            raise NotFound("control file", name)
        render, apply = _FIELDS[name]
        return self._file(session, name, render, apply)

    def _file(
        self,
        session: Session,
        name: str,
        render: Callable[[Session], bytes],
        apply: Callable[[Context, Session, bytes, Caller], None] | None,
    ) -> ControlFile:
        ctx, sid = self.ctx, self._sid

        def write(content: bytes, caller: Caller) -> None:
            assert apply is not None
            apply(ctx, ctx.session(sid), content, caller)

        taken = None if apply is None else write
        kind = StatusFile if name == "status" else ControlFile
        return kind(ctx, session, name, lambda: render(ctx.session(sid)), taken, session.updated_ns)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return everything that is here."""
        return [(name, self.child(name).attr()) for name in (*_FIELDS, "artifacts", "events.jsonl")]


def _line(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(where, "expected UTF-8 text") from None
    return text.removesuffix("\n")


def _one_line(content: bytes, where: str) -> str:
    text = _line(content, where)
    if "\n" in text:
        raise InvalidValue(where, "expected one line")
    return text


def _take_status(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    set_status(ctx, session, _one_line(content, "status"), caller)


def _take_name(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    name = _one_line(content, "name")
    if not name:
        raise InvalidValue("name", "expected a name")
    update_session(ctx, session, caller, name=name)


def _take_description(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, description=_line(content, "description"))


def _take_tags(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    tags = check_tags(line.strip() for line in _line(content, "tags").split("\n") if line.strip())
    update_session(ctx, session, caller, tags=tags)


def _take_parent(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, parent=_one_line(content, "parent").strip() or None)


def _take_document(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    old = session_document(session)
    fields = changed_fields(parse_json(content, "session.json"), old, SESSION_WRITABLE, "session.json")
    if "parent_session_id" in fields:
        fields["parent"] = fields.pop("parent_session_id")
    if fields:
        update_session(ctx, session, caller, **fields)


def _text(value: str | None) -> bytes:
    return b"" if not value else f"{value}\n".encode("utf-8", "surrogateescape")


_FIELDS: dict[str, tuple[Callable[[Session], bytes], Callable[[Context, Session, bytes, Caller], None] | None]] = {
    "id": (lambda s: _text(s.id), None),
    "status": (lambda s: _text(s.status), _take_status),
    "name": (lambda s: _text(s.name), _take_name),
    "description": (lambda s: _text(s.description), _take_description),
    "tags": (lambda s: _text("\n".join(s.tags)), _take_tags),
    "parent": (lambda s: _text(s.parent_session_id), _take_parent),
    "session.json": (lambda s: to_text(session_document(s)), _take_document),
}
"""The control files of a session: how each is shown, and how it is written where it can be."""
