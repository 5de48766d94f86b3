"""Extended attributes of artifacts and sessions: which there are, and how values go in and out.

`user.llmspell.*` are fields: some can be set and are listed where they are set, the others are read by name only, so
that `rsync -X` and `cp -a` stay quiet. The freedesktop names are aliases. Every other `user.NAME` is the metadata key
NAME: text as itself, other JSON as JSON, a text that would parse as JSON in quotes, bytes that are not UTF-8 intact.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from llmspellfs.model.artifact import Entry, FileFacts
from llmspellfs.model.mime import guess_mime
from llmspellfs.model.session import Session
from llmspellfs.model.times import iso
from llmspellfs.model.values import check_metadata, check_type, is_text
from llmspellfs.service.versions import DEFAULT_TYPE, Given
from llmspellfs.tree.xattr_values import MAX_VALUE, decode, decode_tags, decode_text, encode, encode_tags

CREATE, REPLACE = 1, 2
"""The flags of setxattr(2)."""
PREFIX = "user.llmspell."
ALIASES = {
    "user.mime_type": f"{PREFIX}mime_type",
    "user.xdg.tags": f"{PREFIX}tags",
    "user.xdg.comment": f"{PREFIX}description",
}
_MAX_NAME = 255
_MAX_LIST = (1 << 16) - 256
"""Bytes of all names of metadata keys: what the kernel takes (XATTR_LIST_MAX), less room for the fields."""
_ARTIFACT_FIELDS = ("type", "mime_type", "description", "tags")

_READ_ONLY: dict[str, Callable[[FileFacts], object]] = {
    "hash": lambda f: f.content_hash,
    "version": lambda f: f.version,
    "sequence": lambda f: f.sequence,
    "size": lambda f: f.size,
    "stored_size": lambda f: f.stored_size,
    "created_at": lambda f: iso(f.created_ns),
    "updated_at": lambda f: iso(f.updated_ns),
}
SESSION_FIELDS = ("name", "description", "tags", "parent")
SESSION_READABLE: dict[str, Callable[[Session], object]] = {
    "id": lambda s: s.id,
    "status": lambda s: s.status,
    "artifact_count": lambda s: s.artifact_count,
    "total_artifact_size": lambda s: s.total_artifact_size,
    "created_at": lambda s: iso(s.created_ns),
    "updated_at": lambda s: iso(s.updated_ns),
    "head": lambda s: s.head,
    "seq": lambda s: s.seq,
    "failure_reason": lambda s: s.failure_reason,
    "created_by": lambda s: s.created_by,
}


def missing() -> OSError:
    """Return the error for an attribute that is not there."""
    return OSError(errno.ENODATA, os.strerror(errno.ENODATA))


def unsupported() -> OSError:
    """Return the error for an attribute that cannot be."""
    return OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def field_of(name: str) -> str | None:
    """Return the field that *name* is, by its own name or an alias, or None for a metadata key."""
    full = ALIASES.get(name, name)
    return full[len(PREFIX) :] if full.startswith(PREFIX) else None


def key_of(name: str) -> str:
    """Return the metadata key that *name* is; raise EOPNOTSUPP outside `user.`."""
    if not name.startswith("user.") or len(name) == len("user."):
        raise unsupported()
    return name[len("user.") :]


def custom_names(custom: dict[str, Any]) -> list[str]:
    """Return the attribute names of the metadata keys that can have one; the others are in the sidecar only."""
    names, room = [], _MAX_LIST
    for key, value in custom.items():
        name = f"user.{key}"
        if _can_be_named(name) and _fits(value):
            room -= len(name.encode()) + 1
            if room < 0:
                break
            names.append(name)
    return names


def _can_be_named(name: str) -> bool:
    is_own = name not in ALIASES and not name.startswith(PREFIX) and name != "user."
    return is_own and "\0" not in name and is_text(name) and len(name.encode()) <= _MAX_NAME


def _fits(value: object) -> bool:
    """Tell whether *value* can be an attribute: a tool that lists one and cannot read it fails as a whole."""
    return isinstance(value, int | float | None) or len(encode(value)) <= MAX_VALUE


def check_flags(is_set: bool, flags: int) -> None:
    """Raise EEXIST or ENODATA where *flags* (XATTR_CREATE, XATTR_REPLACE) do not fit."""
    if flags & CREATE and is_set:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    if flags & REPLACE and not is_set:
        raise missing()


def get_of_artifact(now: Given, file_name: str, entry: Entry | None, session_id: str, name: str) -> bytes:
    """Return the attribute *name* of a file called *file_name* with the metadata *now*; raise ENODATA.

    *entry* is its row, None while it is pending.
    """
    field = field_of(name)
    if field is None:
        custom = now.custom or {}
        key = name.removeprefix("user.")
        if not name.startswith("user.") or key not in custom:
            raise missing()
        return encode(custom[key])
    value = _fields(now, file_name).get(field)
    if value is not None:
        return value
    if entry is None:
        raise missing()
    if field == "id":
        return f"{session_id}/{entry.facts.sequence}/{entry.facts.content_hash}".encode()
    if field not in _READ_ONLY:
        raise missing()
    return str(_READ_ONLY[field](entry.facts)).encode()


def _fields(given: Given, file_name: str) -> dict[str, bytes]:
    """Return the fields that are set, with their bytes; defaults are not listed but can be read."""
    found = {
        "type": (given.artifact_type or DEFAULT_TYPE).encode(),
        "mime_type": (given.mime_type or guess_mime(file_name)).encode(),
    }
    if given.description:
        found["description"] = given.description.encode("utf-8", "surrogateescape")
    if given.tags:
        found["tags"] = encode_tags(given.tags)
    return found


def list_of_artifact(now: Given, file_name: str) -> list[str]:
    """Return the names that metadata *now* of a file called *file_name* sets otherwise than by default."""
    defaults = {"type": DEFAULT_TYPE.encode(), "mime_type": guess_mime(file_name).encode()}
    fields = [PREFIX + key for key, value in _fields(now, file_name).items() if defaults.get(key) != value]
    return fields + custom_names(now.custom or {})


def with_value(now: Given, file_name: str, name: str, value: bytes, flags: int) -> Given:
    """Return what setting the attribute *name* gives a file called *file_name* that has the metadata *now*."""
    field = field_of(name)
    if field is not None:
        if field not in _ARTIFACT_FIELDS:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        check_flags(PREFIX + field in list_of_artifact(now, file_name), flags)
        return _given_field(field, value)
    key, custom = key_of(name), dict(now.custom or {})
    check_flags(key in custom, flags)
    custom[key] = decode(value)
    return Given(custom=check_metadata(custom))


def _given_field(field: str, value: bytes) -> Given:
    if field == "tags":
        return Given(tags=decode_tags(value))
    text = decode_text(value, field)
    if field == "type":
        return Given(artifact_type=check_type(text))
    return Given(mime_type=text) if field == "mime_type" else Given(description=text)


def without(now: Given, file_name: str, name: str) -> Given:
    """Return what removing the attribute *name* gives the file; raise ENODATA."""
    field = field_of(name)
    if field is not None:
        if PREFIX + field not in list_of_artifact(now, file_name):
            raise missing()
        return _default_of(field, file_name)
    custom = dict(now.custom or {})
    if custom.pop(key_of(name), missing) is missing:
        raise missing()
    return Given(custom=custom)


def _default_of(field: str, file_name: str) -> Given:
    defaults = {
        "type": Given(artifact_type=DEFAULT_TYPE),
        "mime_type": Given(mime_type=guess_mime(file_name)),
        "description": Given(description=""),
        "tags": Given(tags=()),
    }
    return defaults[field]


def with_key(metadata: dict[str, Any], name: str, value: bytes, flags: int) -> dict[str, Any]:
    """Return a session's *metadata* with the attribute *name* set."""
    key = key_of(name)
    check_flags(key in metadata, flags)
    return {**metadata, key: decode(value)}


def get_of_session(session: Session, name: str) -> bytes:
    """Return the attribute *name* of a session; raise ENODATA."""
    field = field_of(name)
    if field is None:
        key = name.removeprefix("user.")
        if not name.startswith("user.") or key not in session.metadata:
            raise missing()
        return encode(session.metadata[key])
    value = _session_fields(session).get(field)
    if value is not None:
        return value
    if field not in SESSION_READABLE or SESSION_READABLE[field](session) is None:
        raise missing()
    return str(SESSION_READABLE[field](session)).encode("utf-8", "surrogateescape")


def _session_fields(session: Session) -> dict[str, bytes]:
    found = {"name": session.name.encode("utf-8", "surrogateescape")}
    if session.description:
        found["description"] = session.description.encode("utf-8", "surrogateescape")
    if session.tags:
        found["tags"] = encode_tags(session.tags)
    if session.parent_session_id:
        found["parent"] = session.parent_session_id.encode()
    return found


def list_of_session(session: Session) -> list[str]:
    """Return the names that are set; the name itself, which the directory shows, is not listed."""
    fields = [PREFIX + key for key in _session_fields(session) if key != "name"]
    return fields + custom_names(session.metadata)
