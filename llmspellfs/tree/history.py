"""`.session/checkpoints/`, `.session/at/` and `.session/versions/`: a session's past, as directories."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.artifact import Attributes, Entry
from llmspellfs.model.permissions import Permissions, stricter
from llmspellfs.model.point import Point, parse_point
from llmspellfs.model.session import Session
from llmspellfs.model.stay import Stay
from llmspellfs.service.moments import Moment, present
from llmspellfs.service.past import Version
from llmspellfs.tree.api import Attr
from llmspellfs.tree.control_files import control_folder_attr
from llmspellfs.tree.node import Context, Folder, Node, fixed_ino
from llmspellfs.tree.past import PastFile, PastTop, View, past_attr, past_folder_ino, uncounted

_SETTLED_NS = 60 * 10**9
"""How long ago a time must be for no event to be under way any more that still counts as before it."""


_BELIEVED_SECONDS = 1.0
"""For how long the versions of a name are remembered, at most."""


class _Moments(Folder):
    """A folder of the moments of one session."""

    def __init__(self, ctx: Context, session: Session, path: str) -> None:
        """Be the folder *path* of *session*'s control directory."""
        super().__init__(ctx, path)
        self._session = session

    is_current = False

    def attr(self) -> Attr:
        """Return what stat shows."""
        return control_folder_attr(self.ctx, self._session, self.name)

    def top(self, name: str, moment: Moment, *, is_fixed: bool = True) -> PastTop:
        """Return the session at *moment*, called *name* here."""
        return PastTop(self.ctx, View(self._session, moment, is_fixed), f"{self.name}/{name}")

    def listed(self, moments: Iterable[tuple[str, Moment]]) -> Iterable[tuple[str, Attr]]:
        """Return the attributes of *moments*, each with its name, without looking for each."""
        own = self.ctx.store.entries.attributes(self._session.ino)
        for name, moment in moments:
            view = View(self._session, moment, is_fixed=True)
            ino, at_ns = past_folder_ino(view, self._session.ino), moment.at_ns
            yield name, uncounted(ino, replace(own, mtime_ns=at_ns, ctime_ns=at_ns, atime_ns=None))


class Checkpoints(_Moments):
    """`checkpoints/`: the session as at each `Session.save`, by number."""

    def child(self, name: str) -> Node:
        """Return the session as at checkpoint *name*; raise NotFound."""
        found = dict(self._moments()).get(name)
        if found is None:
            raise NotFound("checkpoint", name)
        return self.top(name, found)

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return every checkpoint."""
        return self.listed(self._moments())

    def _moments(self) -> Iterable[tuple[str, Moment]]:
        made = self.ctx.store.sessions.checkpoints(self._session.id)
        return [(str(point.number), Moment(self._session.sid, point.seq, point.at_ns)) for point in made]


class At(_Moments):
    """`at/`: the session at a seq, an ISO time, or an age; seqs at which something changed are listed."""

    def child(self, name: str) -> Node:
        """Return the session as it was at *name*; raise NotFound where that is none, or is not kept."""
        try:
            point = parse_point(name)
        except InvalidValue:
            raise NotFound("point in time", name) from None
        is_fixed = self._is_fixed(point)
        if not is_fixed:
            self.ctx.opened.sealer.settle()
        return self.top(name, self.ctx.store.past.moment(self._session.sid, point), is_fixed=is_fixed)

    def _is_fixed(self, point: Point) -> bool:
        if point.moment_ns is not None:
            return point.moment_ns < self.ctx.opened.now() - _SETTLED_NS
        return point.seq is not None

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return each seq at which something changed."""
        self.ctx.opened.sealer.settle()
        return self.listed((str(each.seq), each) for each in self.ctx.store.past.moments(self._session.sid))


class Versions(Folder):
    """`versions/NAME/N`: each retained content that a name has had, oldest 1; folders' names lead on to theirs."""

    def __init__(
        self,
        ctx: Context,
        session: Session,
        path: str,
        stays: tuple[Stay, ...],
        own: Attributes,
        files: tuple[Version, ...] = (),
    ) -> None:
        """Be a name at *path* that folders had during *stays*, and *files*; *own* are the attributes to show."""
        super().__init__(ctx, path)
        self._session, self._stays, self._own, self._files = session, stays, own, files
        # A number may mean another content once the oldest are pruned.
        self._view = View(session, present(session), is_fixed=False)
        self._cache = ctx.cache.peek(session.sid)
        self._generation = None if self._cache is None else self._cache.generation
        self._until = time.monotonic() + _BELIEVED_SECONDS
        self._numbers = {str(number): number for number in range(1, len(files) + 1)}

    @property
    def is_current(self) -> bool:  # type: ignore[override]
        """Whether it may be used again: nothing in the session has changed since, nor was pruned for long."""
        cache = self._cache
        is_same = cache is not None and cache.is_alive and cache.generation == self._generation
        return is_same and time.monotonic() < self._until

    def attr(self) -> Attr:
        """Return what stat shows."""
        return uncounted(fixed_ino(f"{self._session.id}/{self.name}/"), self._own)

    def child(self, name: str) -> Node:
        """Return the content with the number *name*, or the versions of a file or folder that was here."""
        if name in self._numbers:
            return PastFile(self.ctx, self._view, self._made(int(name)))
        files, folders = self.ctx.store.past.named(self._session.sid, self._stays, name)
        if not files and not folders:
            raise NotFound("versions", name)
        own = _strictest([folder.attributes for folder, _ in folders]) if folders else self._own
        stays = tuple(stay for _, stay in folders)
        return Versions(self.ctx, self._session, f"{self.name}/{name}", stays, own, tuple(files))

    def _made(self, number: int) -> Entry:
        """Return the row of content *number*, whose mtime is when it was made."""
        version = self._files[number - 1]
        a = version.entry.attributes
        return replace(version.entry, attributes=replace(a, mtime_ns=version.made_ns, ctime_ns=version.made_ns))

    def children(self) -> Iterable[tuple[str, Attr]]:
        """Return the contents, and the names of what was here."""
        listed = {name: past_attr(self._view, self._made(number)) for name, number in self._numbers.items()}
        for name in self.ctx.store.past.names(self._session.sid, self._stays):
            path = f"{self._session.id}/{self.name}/{name}/"
            listed.setdefault(name, uncounted(fixed_ino(path), self._own))
        return listed.items()


def _strictest(folders: list[Attributes]) -> Attributes:
    """Return the attributes of the last of *folders*, which had one name in turn, with what all of them grant."""
    last = folders[-1]
    own = Permissions(last.mode, last.uid, last.gid)
    for each in folders:
        own = stricter(own, Permissions(each.mode, each.uid, each.gid))
    return replace(last, mode=own.mode)
