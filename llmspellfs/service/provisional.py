"""Content that is staged for a transaction: where that is refused, it is nobody's, and its files go at once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from llmspellfs.errors import SpellError, StoreBusy, Vanished
from llmspellfs.service import unlinking
from llmspellfs.service.engine import Engine
from llmspellfs.storage.ingest import Staged, written


class Provisional:
    """Takes the chunks of *staged* away again where the block that is to name them is refused, for good.

    A class, since every commit enters one. Who relies on a chunk of the same bytes meanwhile finds that it is gone, and
    stores it anew; what cannot be taken away is left to garbage collection.
    """

    __slots__ = ("_engine", "_staged", "_tries_again")

    def __init__(self, engine: Engine, staged: Iterable[Staged], tries_again: type[SpellError] = Vanished) -> None:
        """Hold *staged*, which is in *engine*'s store; after Vanished and *tries_again* its caller tries once more."""
        self._engine, self._staged, self._tries_again = engine, staged, tries_again

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Take away what was brought, unless the block has succeeded or will be tried again."""
        if error is None or isinstance(error, (Vanished, self._tries_again)):
            return
        patience = 0 if isinstance(error, StoreBusy) else None  # it has been waited for already
        with suppress(SpellError):
            unlinking.take_back(self._engine, written(self._staged), patience=patience)
