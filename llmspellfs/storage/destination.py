"""What bytes on their way in are meant for, as a file beside them says it to whoever finds them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llmspellfs.storage import disk
from llmspellfs.storage.disk import StrPath

_LIMIT = 1 << 63
"""Above the numbers that the index can hold."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The *name* in the *session* (its id), if known; by whatever name, the inode *ino* and the artifact *sequence*."""

    session: str | None = None
    name: str | None = None
    ino: int | None = None
    sequence: int | None = None

    def told(self, **more: object) -> bytes:
        """Return it, and *more*, as it is written down: JSON in ASCII, so that names whose bytes were no UTF-8 last."""
        return json.dumps({**asdict(self), **more}).encode("ascii")


def read(path: StrPath) -> tuple[Destination, dict[str, Any]]:
    """Return what the file *path* says, and all that stands there; empty where there is nothing that can be read."""
    try:
        with os.fdopen(disk.open_file(path), "rb") as file:
            known = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    return of(known), known


def of(known: Mapping[str, Any]) -> Destination:
    """Return what *known* says of it, as far as that can be."""
    texts = (_text(known.get("session")), _text(known.get("name")))
    return Destination(*texts, _number(known.get("ino")), _number(known.get("sequence")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LIMIT else None
