"""The SQL of saying where harm is: which files of which sessions, live or past, a row, a content or a folder is of.

Every function takes a connection and reads only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.storage import entries
from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a file's row is: the directory name of its session, its path there, its version, and whether it lives."""

    dirname: str
    path: str
    version: int
    is_live: bool

    def __str__(self) -> str:
        """Return the artifact as `SESSION:NAME`, with its version where that is one of the past."""
        return f"{self.dirname}:{self.path}" + ("" if self.is_live else f" (version {self.version})")


def spots(db: Connection, where: str, key: object) -> Iterator[Spot]:
    """Yield where the files are whose row's column *where* (a word of the program) is *key*."""
    for row in db.execute(f"SELECT {_SPOT} WHERE e.kind = 0 AND e.{where} = ? ORDER BY e.eid", (key,)).fetchall():
        yield _spot(db, row)


def spots_below(db: Connection, ino: int) -> Iterator[Spot]:
    """Yield where the live files are that are in the folder *ino*, at any depth."""
    query = f"{_BELOW} SELECT {_SPOT} WHERE e.kind = 0 AND e.seq_to IS NULL AND e.folder IN (SELECT ino FROM below)"  # noqa: S608 - constants
    for row in db.execute(query, (ino,)).fetchall():
        yield _spot(db, row)


def spots_of_session(db: Connection, sid: int) -> Iterator[Spot]:
    """Yield where the live files of session *sid* are."""
    query = f"SELECT {_SPOT} WHERE e.kind = 0 AND e.seq_to IS NULL AND e.sid = ?"
    for row in db.execute(query, (sid,)).fetchall():
        yield _spot(db, row)


_BELOW = """
    WITH RECURSIVE below(ino) AS (SELECT ? UNION
        SELECT f.ino FROM entry f JOIN below b ON f.folder = b.ino WHERE f.kind = 1 AND f.seq_to IS NULL)
"""
_SPOT = """
    coalesce((SELECT dirname FROM session_row WHERE sid = e.sid ORDER BY seq_from DESC LIMIT 1), 'session ' || e.sid),
    s.ino, e.folder, e.name, e.version, e.seq_to IS NULL FROM entry e LEFT JOIN session s ON s.sid = e.sid
"""


def _spot(db: Connection, row: tuple[Any, ...]) -> Spot:
    dirname, top, folder, name, version, is_live = row
    return Spot(str(dirname), _path(db, top, folder, str(name)), version or 0, bool(is_live))


def _path(db: Connection, top: int | None, folder: int, name: str) -> str:
    """Return the path of *name* in *folder*, as far as the folders above lead up, which may be in a circle."""
    parts = []
    with suppress(Corrupt):
        for _, part in entries.way_up(db, top, folder, name):
            parts.append(str(part))
    return "/".join(reversed(parts))
