"""Views: directories of symlinks into `sessions/`, by id, status, tag, type, or any query.

A lookup never waits and never runs a query: what a name leads to is found by its place, and whether it fits is read
from the entry itself (under `search/`, from the query's syntax alone). Listing asks the store. Views belong to the
mount's owner and to nobody else, so that names do not leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import NotFound
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.names import check_component, from_view_name, is_component, view_name
from llmspellfs.model.session import Session, Status, parse_status
from llmspellfs.model.values import TYPE_PATTERN
from llmspellfs.tree.api import Attr
from llmspellfs.tree.listings import by_folder
from llmspellfs.tree.node import Context, Folder, Link, Node

FOLDER = 0o040700


class View(Folder):
    """A folder of a view, at *path* below the mount's root."""

    def __init__(self, ctx: Context, path: str) -> None:
        """Be the folder at *path*."""
        super().__init__(ctx, path)
        self.path = path

    def attr(self) -> Attr:
        """Return what stat shows."""
        return self.ctx.fixed(FOLDER, f"/{self.path}/")

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be remembered: never, it is cheap to make."""
        return False

    def link(self, name: str, target: str) -> Link:
        """Return a symlink *name* here to *target* below `sessions/`."""
        up = "../" * len(self.path.split("/"))
        return Link(self.ctx, name, f"/{self.path}/{name}", f"{up}sessions/{target}")

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the name and the attributes of each child, without looking for each: folders, mostly."""
        return [(name, self.ctx.fixed(FOLDER, f"/{self.path}/{name}/")) for name in self.names()]

    def names(self) -> Iterable[str]:
        """Return the children's names."""
        return ()

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

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return every symlink, from one query."""
        listed = self.ctx.store.search.session_ids()
        return [(session_id, self.link(session_id, dirname).attr()) for session_id, dirname in listed]


class ByStatus(View):
    """`by-status/`: a folder for each of the four states."""

    def child(self, name: str) -> Node:
        """Return the folder of the sessions that are *name*."""
        if name not in set(Status):
            raise NotFound("status", name)
        return SessionLinks(
            self.ctx,
            f"{self.path}/{name}",
            lambda: self.ctx.store.search.sessions_in(name),
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
        listing: Callable[[], list[str]],
        fits: Callable[[Session], bool],
    ) -> None:
        """Show the directory names of *listing*; *fits* tells of one session whether it is among them."""
        super().__init__(ctx, path)
        self._listing, self._fits = listing, fits

    def child(self, name: str) -> Node:
        """Return the symlink to the session called *name*, if it belongs here."""
        session = self.session(name)
        if not self._fits(session):
            raise NotFound("session", name)
        return self.link(name, name)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return every symlink, from one query."""
        return [(name, self.link(name, name).attr()) for name in self._listing()]


class ByTag(View):
    """`by-tag/`: a folder for each tag, with the sessions and the artifacts that have it."""

    def child(self, name: str) -> Node:
        """Return the folder of a tag; one that nobody has is empty."""
        return OneTag(self.ctx, f"{self.path}/{name}", from_view_name(check_component(name)))

    def names(self) -> Iterable[str]:
        """Return every tag, slashes as %2F, but those that are too long for a name then."""
        return [name for name in map(view_name, self.ctx.store.search.tags()) if is_component(name)]


class OneTag(View):
    """`by-tag/TAG/`."""

    def __init__(self, ctx: Context, path: str, tag: str) -> None:
        """Be the folder of *tag*."""
        super().__init__(ctx, path)
        self._tag = tag

    def child(self, name: str) -> Node:
        """Return `sessions` or `artifacts`."""
        tag, search = self._tag, self.ctx.store.search
        if name == "sessions":
            path = f"{self.path}/{name}"
            return SessionLinks(self.ctx, path, lambda: search.sessions_with_tag(tag), lambda s: tag in s.tags)
        if name != "artifacts":
            raise NotFound("entry", name)
        source = Source(None, {"tags": [tag]}, lambda entry: tag in entry.facts.tags)
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
        source = Source(None, {"artifact_type": name}, lambda entry: entry.facts.artifact_type == name)
        return ArtifactSessions(self.ctx, f"{self.path}/{name}", source)

    def names(self) -> Iterable[str]:
        """Return the types."""
        return self.ctx.store.search.types()


class SearchFolder(View):
    """`search/`: any query is a folder; none is listed. What does not parse is InvalidValue."""

    def child(self, name: str) -> Node:
        """Return the folder of the query *name*, which is only parsed here."""
        query = from_view_name(check_component(name))
        self.ctx.store.search.parse(query)
        return ArtifactSessions(self.ctx, f"{self.path}/{name}", Source(query, {}, lambda _: True))


@dataclass(frozen=True, slots=True)
class Source:
    """The artifacts of a view: those that fit *query* and the filters *wanted*; whether one looked up *fits*."""

    query: str | None
    wanted: dict[str, Any]
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
        """Return the directory names of the sessions; no artifact is read."""
        return self.ctx.store.search.directories(self._source.query, self._source.wanted)


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
        search, source = self.ctx.store.search, self._source
        make = lambda: by_folder(search.names(source.query, source.wanted, self._session.id))  # noqa: E731
        return self.ctx.listings.get(top, make).get(inside, {})

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the children, without looking for each."""
        listed = []
        for name, is_folder in self._listing().items():
            if is_folder:
                listed.append((name, self.ctx.fixed(FOLDER, f"/{self.path}/{name}/")))
            else:
                listed.append((name, self.link(name, "/".join((self._session.dirname, *self._parts, name))).attr()))
        return listed
