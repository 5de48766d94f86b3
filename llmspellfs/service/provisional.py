"""Content that is staged for a transaction: where that is refused, it is nobody's, and its files go at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from llmspellfs.errors import SpellError, StoreBusy, Vanished
from llmspellfs.service import erasure
from llmspellfs.service.engine import Engine
from llmspellfs.storage.ingest import KNOWN, Staged


class Provisional:
    """Takes the chunks of *staged* away again where the block that is to name them is refused, for good.

    A class, since every commit enters one. Who relies on a chunk of the same bytes meanwhile finds that it is gone, and
    stores it anew; what cannot be taken away is left to garbage collection.
    """

    __slots__ = ("_engine", "_since_ns", "_staged")

    def __init__(self, engine: Engine, staged: Iterable[Staged]) -> None:
        """Hold *staged*, which is in *engine*'s store."""
        self._engine, self._staged = engine, staged

    def __enter__(self) -> None:
        """Begin: what is put from now on is somebody else's."""
        self._since_ns = time.time_ns()  # not the store's clock: files have the system's

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Take away what was brought, unless the block has succeeded or will be tried again."""
        if isinstance(error, Exception) and not isinstance(error, Vanished | StoreBusy):
            files = {c.hash.hex() for one in self._staged for c in one.chunks if c.data is None and c.codec != KNOWN}
            with suppress(SpellError):
                erasure.unlink_chunks(self._engine, sorted(files), put_before_ns=self._since_ns)
