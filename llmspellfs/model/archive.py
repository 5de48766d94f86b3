"""The format of archives: what `export` writes and `import` takes, and what each record in it may say.

An archive is a tar in one zstd frame. Its members come in one order: `manifest.json`; for each session, by id, the
parts that PAST or LIVE names, as `sessions/<id>/<part>`; then whole contents by their BLAKE3, as `contents/ab/<hash>`.
Parts that end in `.jsonl` are one record a line. Inodes have numbers of the archive's own: those that the first events
hashed.
Nothing here is trusted to be what it says: each check raises Corrupt, naming the place. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from llmspellfs.errors import Corrupt, InvalidName, InvalidValue
from llmspellfs.model.names import check_component
from llmspellfs.model.session import Status
from llmspellfs.model.values import canonical, check_metadata, check_tags, check_text, check_type, is_text, parse_json

FORMAT, VERSION = "llmspellfs-archive", 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 16 << 20
"""Bytes of the manifest: some 15,000 sessions."""
MAX_LINE = 8 << 20
"""Bytes of one record: metadata of 1 MiB may take six times that where it is escaped."""
PAST = ("session.json", "events.jsonl", "rows.jsonl", "inodes.jsonl", "entries.jsonl", "checkpoints.jsonl")
LIVE = ("session.json", "rows.jsonl", "inodes.jsonl", "entries.jsonl")
"""The parts of a session in an archive with history, and in one without."""
MOST = (1 << 63) - 1
MAX_SPAN, MAX_SPANS = 1 << 40, 1 << 48
"""How far the inode numbers of one session may lie apart, and those of all sessions of an archive together."""
MAX_INO = 1 << 61
"""Inode numbers, and shifts between them: those of a store that has taken whatever it could are still in 63 bits."""
MAX_LEAD = 1 << 53
"""By how much versions and sequences may be ahead of the events that count them, as they are in a replay's session."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 1 << 20
"""Bytes of texts that have no bound of their own: who created a session, why it failed, a checkpoint's label."""

Check: TypeAlias = Callable[[object, str], object]
Shape: TypeAlias = Mapping[str, Check]


def refuse(where: str, why: str) -> Corrupt:
    """Return the error for what stands at *where* in an archive."""
    return Corrupt(f"archive: {where}: {why}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold: members, records and contents together, and plain bytes in all.

    One transaction makes all of it. A million entries take some ten seconds there, and other writers give up after 15.
    """

    entries: int = 1_000_000
    size: int = 64 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a session: its name, its bytes, and their BLAKE3."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the manifest says of a session."""

    id: str
    dirname: str
    seq: int
    head: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself: with history or without, with metadata or without, and how much there is."""

    history: bool
    metadata: bool
    sessions: tuple[Plan, ...]
    contents: int
    content_bytes: int

    @property
    def size(self) -> int:
        """The plain bytes of all members beside the manifest."""
        return self.content_bytes + sum(part.size for plan in self.sessions for part in plan.parts)

    def document(self) -> dict[str, Any]:
        """Return it as `manifest.json` says it."""
        sessions = [
            {
                "id": plan.id, "dirname": plan.dirname, "seq": plan.seq, "head": plan.head,
                "parts": [{"name": part.name, "size": part.size, "blake3": part.hash} for part in plan.parts],
            }
            for plan in self.sessions
        ]  # fmt: skip
        return {
            "format": FORMAT, "version": VERSION, "history": self.history, "metadata": self.metadata,
            "sessions": sessions, "contents": {"count": self.contents, "bytes": self.content_bytes},
        }  # fmt: skip


def read_manifest(data: bytes) -> Manifest:
    """Return what the manifest *data* says; raise Corrupt."""
    said = record(data, MANIFEST, _MANIFEST)
    contents = shaped(said["contents"], f"{MANIFEST}: contents", _CONTENTS)
    sessions = tuple(_plan(plan, number, history=said["history"]) for number, plan in enumerate(said["sessions"]))
    ids = [plan.id for plan in sessions]
    if not ids or ids != sorted(set(ids)):
        raise refuse(MANIFEST, "expected sessions by id, each once")
    return Manifest(said["history"], said["metadata"], sessions, contents["count"], contents["bytes"])


def _plan(said: object, number: int, *, history: bool) -> Plan:
    where = f"{MANIFEST}: session {number + 1}"
    plan = shaped(said, where, _PLAN)
    parts = tuple(Part(*shaped(part, where, _PART).values()) for part in plan["parts"])
    if tuple(part.name for part in parts) != (PAST if history else LIVE):
        raise refuse(where, f"expected the parts {', '.join(PAST if history else LIVE)}")
    return Plan(plan["id"], plan["dirname"], plan["seq"], plan["head"], parts)


def content_name(digest: str) -> str:
    """Return the member's name of the content with the BLAKE3 *digest* (hex)."""
    return f"contents/{digest[:2]}/{digest}"


def content_hash(name: str) -> str:
    """Return the hash (hex) that the member *name* is to have; raise Corrupt where it is no content."""
    digest = name.rpartition("/")[2]
    if not _HASH.fullmatch(digest) or name != content_name(digest):
        raise refuse(repr(name[:200]), "no member of an archive is called so")
    return digest


def record(data: bytes, where: str, shape: Shape) -> dict[str, Any]:
    """Return the JSON object in *data*, which has the fields of *shape* and no others; raise Corrupt."""
    try:
        said = parse_json(data, where)
    except InvalidValue as error:
        raise Corrupt(f"archive: {error.message}") from None
    return shaped(said, where, shape)


def shaped(said: object, where: str, shape: Shape) -> dict[str, Any]:
    """Return the object *said* with its fields in the order of *shape*, each checked; raise Corrupt."""
    if not isinstance(said, dict) or said.keys() != shape.keys():
        raise refuse(where, f"expected an object with {', '.join(shape)}")
    try:
        return {key: check(said[key], key) for key, check in shape.items()}
    except (InvalidValue, InvalidName) as error:
        raise refuse(where, error.message) from None


def _integer(low: int, high: int) -> Check:
    def check(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidValue(where, f"expected a whole number from {low} to {high}")
        return value

    return check


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidValue(where, f"expected {what}")
        return value

    return check


def _optional(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _constant(wanted: object) -> Check:
    def check(value: object, where: str) -> object:
        if value != wanted or type(value) is not type(wanted):
            raise InvalidValue(where, f"expected {wanted!r}, which is all that this program knows")
        return value

    return check


def _of(kind: type) -> Check:
    def check(value: object, where: str) -> object:
        if type(value) is not kind:
            raise InvalidValue(where, f"expected {'true or false' if kind is bool else 'a list'}")
        return value

    return check


def _long_text(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_text(value) or len(value.encode("utf-8")) > _LONGEST:
        raise InvalidValue(where, f"expected text of at most {_LONGEST} bytes")
    return value


def _component(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(where, "expected text")
    return check_component(value)


def _status(value: object, where: str) -> str:
    if value not in set(Status):
        raise InvalidValue(where, f"expected one of {', '.join(Status)}")
    return cast("str", value)


def _target(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_text(value) or "\0" in value or not 0 < len(value.encode("utf-8")) < 4096:
        raise InvalidValue(where, "expected a path of at most 4095 bytes")
    return value


def _json_text(check: Callable[[Any, str], object], of: Callable[[Any], object]) -> Check:
    """Return the check of a text that is the canonical JSON of something that *check* takes."""

    def checked(value: object, where: str) -> str:
        if not isinstance(value, str):
            raise InvalidValue(where, "expected JSON within text")
        if canonical(of(check(parse_json(value, where), where))) != value:
            raise InvalidValue(where, "expected canonical JSON")
        return value

    return checked


_count, _ns, _ino = _integer(0, MOST - 1), _integer(-MOST, MOST), _integer(-MAX_INO, MAX_INO)
_seq = _integer(1, MOST - 1)
_hash, _id = _matching(_HASH, "64 hex digits"), _matching(_UUID, "a UUID of version 4")
_tags, _object = _json_text(check_tags, lambda tags: list(cast("tuple[str]", tags))), _json_text(check_metadata, dict)

_MANIFEST: Shape = {
    "format": _constant(FORMAT), "version": _constant(VERSION), "history": _of(bool), "metadata": _of(bool),
    "sessions": _of(list), "contents": lambda value, _: value,
}  # fmt: skip
_CONTENTS: Shape = {"count": _count, "bytes": _count}
_PLAN: Shape = {"id": _id, "dirname": _component, "seq": _seq, "head": _hash, "parts": _of(list)}
_PART: Shape = {"name": _long_text, "size": _count, "blake3": _hash}
SESSION: Shape = {
    "id": _id, "ino": _ino, "created_ns": _ns, "created_by": _optional(_long_text), "seq": _seq, "head": _hash,
    "last_ns": _ns, "horizon_seq": _count, "next_sequence": _seq, "numbering": _of(list),
}  # fmt: skip
NUMBERING: Shape = {"until": _optional(_seq), "shift": _ino}
ROW: Shape = {
    "seq_from": _seq, "seq_to": _optional(_seq), "name": check_text, "dirname": _component, "description": check_text,
    "status": _status, "tags": _tags, "metadata": _object, "parent": _optional(_id), "ended_ns": _optional(_ns),
    "failure_reason": _optional(_long_text),
}  # fmt: skip
INODE: Shape = {
    "ino": _ino, "mode": _integer(0, 0o7777), "uid": _integer(0, (1 << 32) - 2), "gid": _integer(0, (1 << 32) - 2),
    "mtime_ns": _ns, "ctime_ns": _ns, "atime_ns": _optional(_ns),
}  # fmt: skip
_ENTRY: Shape = {
    "kind": _integer(0, 2), "folder": _ino, "name": _component, "ino": _ino, "seq_from": _seq, "seq_to": _optional(_seq)
}  # fmt: skip
FOLDER: Shape = _ENTRY
SYMLINK: Shape = {**_ENTRY, "target": _target}
FILE: Shape = {
    **_ENTRY, "sequence": _seq, "version": _seq, "hash": _hash, "size": _count,
    "type": lambda value, _: check_type(value), "mime_type": check_text, "description": check_text, "tags": _tags,
    "custom": _object, "created_ns": _ns, "updated_ns": _ns,
}  # fmt: skip
CHECKPOINT: Shape = {"number": _seq, "seq": _seq, "label": _optional(_long_text), "at_ns": _ns}


def entry(data: bytes, where: str) -> dict[str, Any]:
    """Return the record of a file, a folder or a symlink; raise Corrupt."""
    try:
        said = parse_json(data, where)
    except InvalidValue as error:
        raise Corrupt(f"archive: {error.message}") from None
    kind = said.get("kind") if isinstance(said, dict) else None
    if not isinstance(kind, int) or isinstance(kind, bool) or kind not in _SHAPES:
        raise refuse(where, "expected a record of kind 0 (file), 1 (folder) or 2 (symlink)")
    return shaped(said, where, _SHAPES[kind])


_SHAPES = {0: FILE, 1: FOLDER, 2: SYMLINK}
