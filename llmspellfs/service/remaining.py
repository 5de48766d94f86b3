"""What stays of contents that were purged: with others, and in the pasts that artifacts have where they moved from."""

from __future__ import annotations

from collections.abc import Collection

from llmspellfs.model.artifact import ArtifactId
from llmspellfs.service.paths import path_of
from llmspellfs.service.purged import Past
from llmspellfs.storage import entries, forerunners, sessions
from llmspellfs.storage.forerunners import Origin
from llmspellfs.storage.index import Connection


def tell(
    db: Connection, sid: int, sequences: Collection[int] | None, cids: Collection[int]
) -> tuple[int, tuple[Past, ...]]:
    """Return how many of *cids* others have, and from where *sequences* of session *sid* moved in that has any.

    These were purged, all of the session where *sequences* is None, and had the contents *cids*.
    """
    left = forerunners.in_rows(db, cids)
    if not left:
        return 0, ()
    origins = forerunners.origins(db, sid, sequences)
    pasts = tuple(past for origin in origins for past in _pasts(db, origin, left))
    return forerunners.count_elsewhere(db, left, origins), pasts


def _pasts(db: Connection, origin: Origin, cids: Collection[int]) -> list[Past]:
    """Return what is to be purged for none of *cids* to stay in *origin*: itself, or else what went into it."""
    found = dict(forerunners.held(db, origin, cids))
    if origin.sequence in found:
        found = {origin.sequence: found[origin.sequence]}
    session = sessions.load_any(db, origin.sid)
    pasts = []
    for sequence, eid in found.items():
        row = entries.load(db, eid)
        if row is not None and session is not None:
            name = path_of(db, session.ino, row.folder, row.name)
            one = ArtifactId(session.id, sequence, row.facts.content_hash)
            pasts.append(Past(str(one), session.dirname, name, session.deleted_ns is not None))
    return pasts
