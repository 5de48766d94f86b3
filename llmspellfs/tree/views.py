"""Views: directories of symlinks into `sessions/`, by id, status, tag, type, or any query.

A lookup never waits and never runs a query: what a name leads to is found by its place, and whether it fits is read
from the entry itself (under `search/`, from the query's syntax alone). Listing asks the store. Views belong to the
mount's owner and to nobody else, so that names do not leak.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Artifact, Entry, Kind
from llmspellfs.model.names import from_view_name, view_name
from llmspellfs.model.session import Session, Status, parse_status
from llmspellfs.model.values import TYPE_PATTERN
from llmspellfs.tree.api import Attr
from llmspellfs.tree.listings import by_folder
from llmspellfs.tree.node import Context, Folder, Link, Node


class View(Folder):
    """A folder of a view, at *path* below the mount's root."""

    def __init__(self, ctx: Context, path: str) -> None:
        """Be the folder at *path*."""
        super().__init__(ctx, path)
        self.path = path

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self.ctx.fixed(0o040700, f"/{self.path}/")

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be remembered: never, it is cheap to make."""
        return False

    def link(self, name: str, target: str) -> Link:
        """Return a symlink *name* here to *target* below `sessions/`."""
        up = "../" * len(self.path.split("/"))
        return Link(self.ctx, name, f"/{self.path}/{name}", f"{up}sessions/{target}")

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the name and the attributes of each child."""
        return [(name, self.child_attr(name)) for name in self.names()]

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Yield the children's names."""

    def session(self, dirname: str) -> Session:
        """Return the session called *dirname*; raise NotFound."""
        cache = self.ctx.cache.by_dirname(dirname)
        if cache is None:
            raise NotFound("session", dirname)
        return cache.session


class ById(View):
    """`by-id/`: a symlink for each session's id."""

    def child(self, name: str) -> Node:
        """Return the symlink to the session with the id *name*."""
        session = self.ctx.store.sessions.by_id(name)
        if session is None:
            raise NotFound("session", name)
        return self.link(name, session.dirname)

    def names(self) -> Iterable[str]:
        """Return every session's id."""
        return [session.id for session in self.ctx.store.sessions.list()]

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return every symlink, from one query."""
        return [(s.id, self.link(s.id, s.dirname).attr()) for s in self.ctx.store.sessions.list()]


class ByStatus(View):
    """`by-status/`: a folder for each of the four states."""

    def child(self, name: str) -> Node:
        """Return the folder of the sessions that are *name*."""
        if name not in set(Status):
            raise NotFound("status", name)
        return SessionLinks(
            self.ctx,
            f"{self.path}/{name}",
            lambda: self.ctx.store.sessions.list(status=name),
            lambda session: session.status is parse_status(name),
        )

    def names(self) -> Iterable[str]:
        """Return the four states."""
        return [str(status) for status in Status]


class SessionLinks(View):
    """A folder of symlinks to the sessions that *listing* gives and *fits* accepts."""

    def __init__(
        self,
        ctx: Context,
        path: str,
        listing: Callable[[], Sequence[Session]],
        fits: Callable[[Session], bool],
    ) -> None:
        """Show what *listing* gives; *fits* tells of one session whether it is among them."""
        super().__init__(ctx, path)
        self._listing, self._fits = listing, fits

    def child(self, name: str) -> Node:
        """Return the symlink to the session called *name*, if it belongs here."""
        session = self.session(name)
        if not self._fits(session):
            raise NotFound("session", name)
        return self.link(name, name)

    def names(self) -> Iterable[str]:
        """Return the sessions' directory names."""
        return [session.dirname for session in self._listing()]


class ByTag(View):
    """`by-tag/`: a folder for each tag, with the sessions and the artifacts that have it."""

    def child(self, name: str) -> Node:
        """Return the folder of a tag; one that nobody has is empty."""
        return OneTag(self.ctx, f"{self.path}/{name}", from_view_name(name))

    def names(self) -> Iterable[str]:
        """Return every tag, slashes as %2F."""
        return [view_name(tag) for tag in self.ctx.store.search.tags()]


class OneTag(View):
    """`by-tag/TAG/`."""

    def __init__(self, ctx: Context, path: str, tag: str) -> None:
        """Be the folder of *tag*."""
        super().__init__(ctx, path)
        self._tag = tag

    def child(self, name: str) -> Node:
        """Return `sessions` or `artifacts`."""
        store, tag = self.ctx.store, self._tag
        if name == "sessions":
            return SessionLinks(
                self.ctx, f"{self.path}/{name}",
                lambda: store.sessions.list(tags=[tag]), lambda session: tag in session.tags,
            )  # fmt: skip
        if name != "artifacts":
            raise NotFound("entry", name)
        source = Source(
            lambda session: store.artifacts.query(tags=[tag], session=session), lambda entry: tag in entry.facts.tags
        )
        return ArtifactSessions(self.ctx, f"{self.path}/{name}", source)

    def names(self) -> Iterable[str]:
        """Return the two."""
        return ("sessions", "artifacts")


class ByType(View):
    """`by-type/`: a folder for each type that artifacts have."""

    def child(self, name: str) -> Node:
        """Return the folder of a type; raise NotFound for what can be none."""
        if not TYPE_PATTERN.fullmatch(name):
            raise NotFound("type", name)
        store = self.ctx.store
        source = Source(
            lambda session: store.artifacts.query(artifact_type=name, session=session),
            lambda entry: entry.facts.artifact_type == name,
        )
        return ArtifactSessions(self.ctx, f"{self.path}/{name}", source)

    def names(self) -> Iterable[str]:
        """Return the types."""
        return self.ctx.store.search.types()


class SearchFolder(View):
    """`search/`: any query is a folder; none is listed. What does not parse is InvalidValue."""

    def child(self, name: str) -> Node:
        """Return the folder of the query *name*, which is only parsed here."""
        query = from_view_name(name)
        self.ctx.store.search.parse(query)
        search = self.ctx.store.search
        source = Source(lambda session: search.artifacts(query, session=session), lambda _: True)
        return ArtifactSessions(self.ctx, f"{self.path}/{name}", source)

    def names(self) -> Iterable[str]:
        """Return nothing: there are as many queries as one can think of."""
        return ()


@dataclass(frozen=True, slots=True)
class Source:
    """Artifacts of a view: all, or a session's (by its id), that are listed, and whether one looked up *fits*."""

    listing: Callable[[str | None], Sequence[Artifact]]
    fits: Callable[[Entry], bool]


class ArtifactSessions(View):
    """A folder for each session that has artifacts of *source*."""

    def __init__(self, ctx: Context, path: str, source: Source) -> None:
        """Show the sessions of *source*."""
        super().__init__(ctx, path)
        self._source = source

    def child(self, name: str) -> Node:
        """Return the folder of the session called *name*."""
        session = self.session(name)
        return ArtifactLinks(self.ctx, f"{self.path}/{name}", self._source, session, session.ino, ())

    def names(self) -> Iterable[str]:
        """Return the directory names of the sessions, each once."""
        ids = dict.fromkeys(artifact.session_id for artifact in self._source.listing(None))
        found = (self.ctx.store.sessions.by_id(session_id) for session_id in ids)
        return [session.dirname for session in found if session is not None]


class ArtifactLinks(View):
    """A folder of a session with artifacts of *source*: the same folders, symlinks for the artifacts."""

    def __init__(
        self, ctx: Context, path: str, source: Source, session: Session, folder: int, parts: tuple[str, ...]
    ) -> None:
        """Mirror the folder *folder* (an ino), which is at *parts* below the top of *session*."""
        super().__init__(ctx, path)
        self._source, self._session, self._folder, self._parts = source, session, folder, parts

    def child(self, name: str) -> Node:
        """Return the symlink to an artifact that fits, or the mirror of a folder."""
        entry = self.ctx.store.entries.lookup(self._folder, name)
        if entry is None or (entry.kind is Kind.FILE and not self._source.fits(entry)):
            raise NotFound("artifact", name)
        parts = (*self._parts, name)
        if entry.kind is Kind.FOLDER:
            return ArtifactLinks(self.ctx, f"{self.path}/{name}", self._source, self._session, entry.ino, parts)
        return self.link(name, "/".join((self._session.dirname, *parts)))

    def _listing(self) -> dict[str, bool]:
        """Return the names here, and which are folders, of what the source lists in the session."""
        inside = "".join(f"{part}/" for part in self._parts)
        top = self.path.removesuffix("/" + inside.removesuffix("/")) if inside else self.path
        session = self._session.id
        make = lambda: by_folder(artifact.name for artifact in self._source.listing(session))  # noqa: E731
        return self.ctx.listings.get(top, make).get(inside, {})

    def names(self) -> Iterable[str]:
        """Return what of the listing is in this folder."""
        return self._listing()

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the children, without looking for each."""
        listed = []
        for name, is_folder in self._listing().items():
            if is_folder:
                listed.append((name, self.ctx.fixed(0o040700, f"/{self.path}/{name}/")))
            else:
                listed.append((name, self.link(name, "/".join((self._session.dirname, *self._parts, name))).attr()))
        return listed
