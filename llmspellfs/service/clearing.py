"""Writing the index anew after purges, so that no word of what was purged stays in unused bytes of its pages."""

from __future__ import annotations

from collections.abc import Collection

from llmspellfs.errors import SpellError
from llmspellfs.service.engine import Engine
from llmspellfs.storage import erasing, spool, stale

WAL_PATIENCE = 5.0
"""Seconds to wait for readers to let go of the WAL."""
HELD = "readers hold its WAL"


def rewrite(engine: Engine, own: Collection[int] = (), *, is_patient: bool = False) -> tuple[int, str | None]:
    """Write the index anew where it is due; return the note of that, and why it could not be done, or None.

    *own* are the purges that the caller is about to end; the WAL is to be emptied then, and the note forgotten.
    *is_patient*: however long it takes, where no other process has the store open.
    """
    with engine.index.read() as db:
        noted = stale.mark(db)
    if noted <= 0 or engine.rooms.path is None:
        return noted, None
    why = stale.rewrite(engine.index, is_alone=is_patient and _is_alone(engine))
    if why is None:
        with engine.index.write(frees=True) as db:
            stale.note_rewritten(db, noted, own)
    return noted, why


def clear(engine: Engine, *, is_patient: bool = False) -> str | None:
    """Write the index anew where purges that have ended made it due, as `rewrite` does, and empty the WAL.

    Return why that could not be done, or None.
    """
    try:
        noted, why = rewrite(engine, is_patient=is_patient)
        if not noted or why is not None:
            return why
        with engine.index.read() as db:
            if not erasing.empty_wal(db, WAL_PATIENCE):
                return HELD
        with engine.write(durable=True, frees=True) as tx:
            stale.forget(tx.db, noted)
    except SpellError as error:
        return error.message
    return None


def _is_alone(engine: Engine) -> bool:
    path, own = engine.rooms.path, engine.rooms.spool
    return path is not None and own is not None and spool.live_owners(path) == [own.name]
