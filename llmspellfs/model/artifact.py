"""Entries of a session's tree and, among them, artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from llmspellfs.errors import InvalidValue

_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(\d{1,18})/([0-9a-f]{64})")


class Kind(IntEnum):
    """What an entry is."""

    FILE = 0
    FOLDER = 1
    SYMLINK = 2


@dataclass(frozen=True, slots=True)
class ArtifactId:
    """The parts of an artifact's id, which as text is `SESSION_ID/SEQUENCE/CONTENT_HASH`."""

    session_id: str
    sequence: int
    content_hash: str

    def __str__(self) -> str:
        """Return the id as text."""
        return f"{self.session_id}/{self.sequence}/{self.content_hash}"

    @staticmethod
    def is_id(text: str) -> bool:
        """Tell whether *text* has the shape of an artifact's id."""
        return isinstance(text, str) and _ID.fullmatch(text) is not None

    @staticmethod
    def parse(text: str) -> ArtifactId:
        """Return the parts of the id *text*; raise InvalidValue where it is none."""
        match = _ID.fullmatch(text)
        if match is None:
            raise InvalidValue("artifact id", f"expected SESSION_ID/SEQUENCE/CONTENT_HASH, not {text!r}")
        return ArtifactId(match[1], int(match[2]), match[3])


@dataclass(frozen=True, slots=True)
class Attributes:
    """What POSIX knows of an inode and history does not keep. Times are nanoseconds since the epoch."""

    mode: int
    """Permission bits only (0o7777)."""
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int | None = None
    """As set by utimens; None follows mtime, since reads do not write."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a new inode begins with: permission bits (0o7777), user and group."""

    mode: int
    uid: int
    gid: int

    def at(self, now_ns: int) -> Attributes:
        """Return the attributes of an inode made at *now_ns*."""
        return Attributes(self.mode, self.uid, self.gid, now_ns, now_ns)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What an entry that is a file has beyond its place in the tree."""

    sequence: int
    version: int
    content: int
    """The index's number of the content."""
    content_hash: str
    size: int
    stored_size: int
    artifact_type: str
    mime_type: str
    description: str
    tags: tuple[str, ...]
    custom: dict[str, Any]
    created_ns: int
    updated_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the tree: *name* in *folder* (an ino), valid from `seq_from` to before `seq_to` (None: live).

    `seq_from` is None for a draft: committed and seen by every door, but not yet in the history, because the
    handle that writes it is still open.
    """

    eid: int
    sid: int
    folder: int
    name: str
    ino: int
    kind: Kind
    seq_from: int | None
    seq_to: int | None
    attributes: Attributes
    file: FileFacts | None = None
    target: str | None = None
    subfolders: int = 0
    """How many live folders are in it, where it is a folder and that was asked for."""

    @property
    def facts(self) -> FileFacts:
        """What the entry has as a file; only files are asked."""
        assert self.file is not None
        return self.file


@dataclass(frozen=True, slots=True)
class Dirent:
    """What listing a folder needs of an entry, and no more."""

    name: str
    ino: int
    kind: Kind
    attributes: Attributes
    size: int
    stored_size: int
    subfolders: int = 0
    """How many live folders are in it, where it is a folder."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file entry with its whole name: one version of an artifact. Times are nanoseconds since the epoch."""

    session_id: str
    sequence: int
    version: int
    name: str
    """Its path in the session, or the last path it had."""
    content: int
    content_hash: str
    """BLAKE3 of the whole content, 64 hex digits."""
    size: int
    stored_size: int
    artifact_type: str
    mime_type: str
    description: str
    tags: tuple[str, ...]
    custom: dict[str, Any]
    created_ns: int
    updated_ns: int
    eid: int
    ino: int
    folder: int
    live: bool
    """Whether it is in the session now, in this version."""

    @property
    def id(self) -> str:
        """`SESSION_ID/SEQUENCE/CONTENT_HASH`."""
        return f"{self.session_id}/{self.sequence}/{self.content_hash}"
