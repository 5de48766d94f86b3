"""The fields of a session as control files: how each is shown, and how it is written where it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.document import (
    SESSION_WRITABLE,
    changed_fields,
    session_document,
    to_text,
)
from llmspellfs.model.session import Session, action_to, next_status, parse_status
from llmspellfs.model.values import check_metadata, check_tags, check_text, parse_json
from llmspellfs.tree.api import Caller
from llmspellfs.tree.changes import set_status, update_session
from llmspellfs.tree.node import Context


@dataclass(frozen=True, slots=True)
class Field:
    """What a control file says of a session, and what takes what is written to it; None: it cannot be written."""

    render: Callable[[Session], bytes]
    apply: Callable[[Context, Session, bytes, Caller], None] | None = None
    check: Callable[[Context, Session, bytes], None] | None = None
    """Raises what *apply* would, as far as that is certain for lines that may be followed by more."""


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
    update_session(ctx, session, caller, name=_name(content))


def _name(content: bytes) -> str:
    name = _one_line(content, "name")
    if not name:
        raise InvalidValue("name", "expected a name")
    return name


def _take_description(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, description=_line(content, "description"))


def _take_tags(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, tags=_tags(content))


def _tags(content: bytes) -> tuple[str, ...]:
    return check_tags(line.strip() for line in _line(content, "tags").split("\n") if line.strip())


def _take_parent(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    update_session(ctx, session, caller, parent=_one_line(content, "parent").strip() or None)


def _take_document(ctx: Context, session: Session, content: bytes, caller: Caller) -> None:
    fields = _document_fields(parse_json(content, "session.json"), session)
    if fields:
        update_session(ctx, session, caller, **fields)


def _check_status(ctx: Context, session: Session, content: bytes) -> None:
    status = parse_status(_one_line(content, "status").partition(":")[0].strip())
    if status is not session.status:
        next_status(session.dirname, session.status, action_to(status))


def _check_parent(ctx: Context, session: Session, content: bytes) -> None:
    parent = _one_line(content, "parent").strip()
    if parent:
        ctx.store.sessions.check_parent(session.id, parent)


def _check_tags(ctx: Context, session: Session, content: bytes) -> None:
    _tags(content)


def _check_name(ctx: Context, session: Session, content: bytes) -> None:
    _name(content)


def _check_document(ctx: Context, session: Session, content: bytes) -> None:
    """Check *content* once it is a whole document; until then more may come."""
    try:
        document = parse_json(content, "session.json")
    except InvalidValue:
        return
    fields = _document_fields(document, session)
    for name, check in _CHECKS.items():
        if name in fields:
            check(fields[name])
    if fields.get("parent") is not None:
        ctx.store.sessions.check_parent(session.id, fields["parent"])


_CHECKS: dict[str, Callable[[Any], object]] = {
    "name": lambda value: check_text(value, "name"),
    "description": lambda value: check_text(value, "description"),
    "tags": check_tags,
    "metadata": check_metadata,
}


def _document_fields(document: object, session: Session) -> dict[str, Any]:
    """Return the fields that *document* changes, as `Sessions.update` names them."""
    fields = changed_fields(document, session_document(session), SESSION_WRITABLE, "session.json")
    if "parent_session_id" in fields:
        fields["parent"] = fields.pop("parent_session_id")
    return fields


def _text(value: str | None) -> bytes:
    return b"" if not value else f"{value}\n".encode("utf-8", "surrogateescape")


FIELDS: dict[str, Field] = {
    "id": Field(lambda s: _text(s.id)),
    "status": Field(lambda s: _text(s.status), _take_status, _check_status),
    "name": Field(lambda s: _text(s.name), _take_name, _check_name),
    "description": Field(lambda s: _text(s.description), _take_description),
    "tags": Field(lambda s: _text("\n".join(s.tags)), _take_tags, _check_tags),
    "parent": Field(lambda s: _text(s.parent_session_id), _take_parent, _check_parent),
    "session.json": Field(lambda s: to_text(session_document(s)), _take_document, _check_document),
}
"""The control files of a session."""
