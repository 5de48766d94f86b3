"""Questions: the query language and the filters of the API, answered from indexes; `store.search`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from llmspellfs.errors import InvalidValue, NoSpace, StoreBusy
from llmspellfs.model import numbers
from llmspellfs.model.artifact import Artifact
from llmspellfs.model.query import Query, filters, parse_query
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Engine
from llmspellfs.service.paths import to_artifacts, to_paths
from llmspellfs.storage import entries, search, sessions

_CATCH_UP = 2000
_PATIENCE_SECONDS = 0.3


class Search:
    """Queries over a store's live sessions and artifacts."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine

    def artifacts(
        self, query: str, *, session: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Artifact]:
        """Return the artifacts that fit *query*, of *session* (an id) where given; raise InvalidValue."""
        return self.list_artifacts(query, {}, session=session, limit=limit, offset=offset)

    def sessions(self, query: str, *, limit: int | None = None, offset: int = 0) -> list[Session]:
        """Return the sessions that fit *query*; raise InvalidValue."""
        return self.list_sessions(query, {}, limit=limit, offset=offset)

    def list_artifacts(
        self,
        query: str | None,
        wanted: dict[str, Any],
        *,
        session: str | None = None,
        sort_by: str | None = None,
        order: str = "asc",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Artifact]:
        """Return the artifacts that fit *query* and the filters *wanted* (see `model.query.filters`)."""
        asked = self._asked(query, wanted, limit, offset, order)
        with self._engine.index.snapshot() as db:
            sid = None
            if session is not None:
                within = sessions.by_id(db, session)
                if within is None:
                    return []
                sid = within.sid
            eids = search.find_entries(db, asked, sid=sid, sort_by=sort_by, order=order, limit=limit, offset=offset)
            return self._load(db, eids)

    def _load(self, db: Any, eids: list[int]) -> list[Artifact]:
        rows = entries.load_many(db, eids)
        by_sid: dict[int, list[Any]] = {}
        for row in rows:
            by_sid.setdefault(row.sid, []).append(row)
        found: dict[int, Artifact] = {}
        for session in sessions.load_many(db, list(by_sid)):
            found |= {artifact.eid: artifact for artifact in to_artifacts(db, session, by_sid[session.sid])}
        return [found[row.eid] for row in rows if row.eid in found]

    def list_sessions(
        self,
        query: str | None,
        wanted: dict[str, Any],
        *,
        sort_by: str = "created_at",
        order: str = "asc",
        limit: int | None = None,
        offset: int = 0,
        deleted: bool = False,
    ) -> list[Session]:
        """Return the sessions that fit *query* and the filters *wanted* (see `model.query.filters`)."""
        asked = self._asked(query, wanted, limit, offset, order)
        with self._engine.index.snapshot() as db:
            sids = search.find_sessions(
                db, asked, deleted=deleted, sort_by=sort_by, order=order, limit=limit, offset=offset
            )
            return sessions.load_many(db, sids, deleted=deleted)

    def parse(self, text: str) -> Query:
        """Return what the query *text* asks for, without asking it; raise InvalidValue."""
        return parse_query(text, self._engine.now())

    def directories(self, query: str | None, wanted: dict[str, Any]) -> list[str]:
        """Return the directory names of the sessions with artifacts that fit *query* and the filters *wanted*.

        The artifacts are not read; raises InvalidValue.
        """
        asked = self._asked(query, wanted, None, 0, "asc")
        with self._engine.index.snapshot() as db:
            return search.dirnames(db, search.find_entry_sessions(db, asked))

    def names(self, query: str | None, wanted: dict[str, Any], session: str) -> list[str]:
        """Return the names of the artifacts of *session* (an id) that fit *query* and the filters *wanted*.

        Raises InvalidValue.
        """
        asked = self._asked(query, wanted, None, 0, "asc")
        with self._engine.index.snapshot() as db:
            within = sessions.by_id(db, session)
            if within is None:
                return []
            return to_paths(db, within, search.places(db, search.find_entries(db, asked, sid=within.sid)))

    def sessions_with_tag(self, tag: str) -> list[str]:
        """Return the directory names of the sessions that have *tag*."""
        with self._engine.index.read() as db:
            return search.sessions_with_tag(db, tag)

    def sessions_in(self, status: str) -> list[str]:
        """Return the directory names of the sessions that are *status*."""
        with self._engine.index.read() as db:
            return search.sessions_in(db, status)

    def session_ids(self) -> list[tuple[str, str]]:
        """Return each session's id and directory name."""
        with self._engine.index.read() as db:
            return search.session_ids(db)

    def sessions_from(self, start: str, limit: int, *, ids: bool = False) -> list[Session]:
        """Return the sessions, at most *limit*, whose directory names (with *ids*, whose ids) begin with *start*."""
        with self._engine.index.read() as db:
            return (sessions.by_id_start if ids else sessions.by_start)(db, start, limit)

    def types(self) -> list[str]:
        """Return the artifact types that live artifacts have."""
        with self._engine.index.read() as db:
            return search.list_types(db)

    def tags(self) -> list[str]:
        """Return the tags that live sessions and artifacts have."""
        with self._engine.index.read() as db:
            return search.list_tags(db)

    def _asked(self, query: str | None, wanted: dict[str, Any], limit: int | None, offset: int, order: str) -> Query:
        numbers.page(limit, offset)
        if order not in {"asc", "desc"}:
            raise InvalidValue("order", f"expected asc or desc, not {order!r}")
        asked = filters(**wanted)
        if query:
            asked = asked & self.parse(query)
        if asked.has_words:
            self._catch_up()
        return asked

    def _catch_up(self) -> None:
        """Bring the full-text index up to date, a batch a transaction.

        A question does not wait for writers, nor for room: where it would, what is indexed so far has to answer.
        """
        with self._engine.index.read() as db:
            behind = search.is_behind(db)
        with suppress(StoreBusy, NoSpace):
            while behind:
                with self._engine.index.write_derived(_PATIENCE_SECONDS) as db:
                    behind = search.catch_up(db, _CATCH_UP)
