"""Sessions out of a store and into another, as files that need nothing else; `store.archive`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from llmspellfs.model.archive import Limits
from llmspellfs.model.event import Origin
from llmspellfs.service.engine import Engine
from llmspellfs.service.exporting import ExportReport, export
from llmspellfs.service.importing import ImportReport, Wanted, import_archive
from llmspellfs.service.intake import Intake

Progress = Callable[[int, int], None]


class Archive:
    """Exports and imports of one store."""

    def __init__(self, engine: Engine, intake: Intake) -> None:
        """Work on *engine*'s store; content comes in through *intake*."""
        self._engine, self._intake = engine, intake

    def export(
        self,
        sessions: Sequence[str],
        file: BinaryIO,
        *,
        history: bool = True,
        metadata: bool = True,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write *sessions*, as they are at one moment, into the open *file* as a `.tar.zst`.

        With *history* all that they ever were, as far as history goes back, and their trails as written; else what they
        are. Without *metadata*, and then without history, no descriptions, tags and custom metadata. The same sessions
        give the same bytes. Raises NotFound, InvalidValue; Corrupt where content does not read back, and, before
        anything is written, where rows and trails do not agree, so that no import would take them.
        """
        return export(self._engine, sessions, file, history=history, metadata=metadata, progress=progress)

    def import_(
        self,
        file: BinaryIO,
        *,
        name: str | None = None,
        dry_run: bool = False,
        limits: Limits | None = None,
        by: Origin | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Make the sessions in the archive that is read from the open *file*, once all of it is verified.

        With history sessions come as they were, with their ids, trails and all; without, or under another *name*, as
        new sessions whose trails begin by saying what they come from. A directory name that is taken becomes `~2`.
        *dry_run* verifies and makes nothing; *limits* bound what the archive may hold. Raises Corrupt naming what is
        wrong, with nothing imported; AlreadyExists where the store has the session; TooLarge, LimitExceeded,
        InvalidValue.
        """
        return import_archive(self._engine, self._intake, file, Wanted(name, dry_run, limits or Limits()), by, progress)
