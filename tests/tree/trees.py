"""A tree driven as an adapter drives it, in the fewest words."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from llmspellfs.tree import Tree
from llmspellfs.tree.api import Caller

if TYPE_CHECKING:
    from llmspellfs import Store
    from llmspellfs.tree.api import Handle


class Walker:
    """Calls on `tree`, as a caller of uid 1000."""

    caller = Caller(1000, 100, 1)

    def __init__(self, store: Store, options: dict[str, str] | None = None) -> None:
        self.store, self.tree = store, Tree(store, options)

    def create(self, path: str, content: bytes | None = None, flags: int = 0) -> Handle:
        handle = self.tree.create(path, os.O_CREAT | os.O_RDWR | flags, 0o644, self.caller)
        if content is not None:
            handle.write(memoryview(content), 0)
        return handle

    def open(self, path: str, flags: int = os.O_RDWR) -> Handle:
        return self.tree.open(path, flags, self.caller)

    def write(self, path: str, content: bytes) -> None:
        """Do what `cat > PATH` does."""
        handle = self.tree.create(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644, self.caller)
        handle.write(memoryview(content), 0)
        close(handle)

    def read(self, path: str) -> bytes:
        handle = self.open(path, os.O_RDONLY)
        try:
            return content_of(handle)
        finally:
            close(handle)

    def names(self, path: str) -> list[str]:
        return sorted(name for name, _ in self.tree.listdir(path))

    def size(self, path: str) -> int:
        return self.tree.attr(path).size

    def events(self, session: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(f"{session}/.session/events.jsonl").splitlines()]

    def kinds(self, session: str) -> list[str]:
        return [event["kind"] for event in self.events(session)]


def close(handle: Handle) -> None:
    """Do what the last close(2) does."""
    try:
        handle.flush()
    finally:
        handle.release()


def write(handle: Handle, content: bytes, offset: int) -> None:
    handle.write(memoryview(content), offset)


def content_of(handle: Handle) -> bytes:
    pieces: list[bytes] = []
    offset = 0
    while True:
        buffer = bytearray(65_536)
        count = handle.read_into(memoryview(buffer), offset)
        if not count:
            return b"".join(pieces)
        pieces.append(bytes(buffer[:count]))
        offset += count
