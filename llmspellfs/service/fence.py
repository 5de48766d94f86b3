"""What code that is not trusted may touch of a store, and the ground of the services that hold each call against it.

See `confined`. It belongs to one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from llmspellfs.errors import LimitExceeded, NotAllowed, NotFound

if TYPE_CHECKING:
    from llmspellfs.service.store import Store

_CREATING = "a session cannot be made here: only {} may be touched"


@dataclass(slots=True)
class Fence:
    """What may be touched: *session* (an id) alone, or with None the sessions that are made meanwhile.

    *others_readable* says that every other session may be read; *max_artifacts*, where it is not None, how many
    artifacts may be stored in all, each new version counted; *max_read* how many bytes may be read at once.
    """

    session: str | None = None
    others_readable: bool = False
    max_artifacts: int | None = None
    max_read: int | None = None
    stored: int = 0
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with the one session, if one is given."""
        if self.session is not None:
            self.ids.add(self.session)

    def shows(self, session_id: str | None) -> bool:
        """Tell whether the session may be read."""
        return self.others_readable or session_id in self.ids

    def check_create(self) -> None:
        """Raise NotAllowed where no session can be made."""
        if self.session is not None:
            raise NotAllowed(_CREATING.format(self.session))

    def check_uncounted(self, what: str) -> None:
        """Raise NotAllowed for *what* stores artifacts by itself, where their number is bounded."""
        if self.max_artifacts is not None:
            raise NotAllowed(f"{what} is not allowed in a sandbox with max_artifacts")

    def count(self, more: int = 1) -> None:
        """Take note that *more* artifacts are about to be stored; raise LimitExceeded."""
        if self.max_artifacts is not None and self.stored + more > self.max_artifacts:
            raise LimitExceeded("max_artifacts", self.max_artifacts)
        self.stored += more


class Confined:
    """One service behind the fence; what is not listed is refused."""

    def __init__(self, store: Store, fence: Fence) -> None:
        """Call the services of *store* within *fence*."""
        self._store, self._fence = store, fence

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not listed."""
        # NotAllowed, not AttributeError: a function of the API reached for what is not here.
        raise NotAllowed(f"{name.replace('_', ' ')} is not allowed in a sandbox")

    def _readable(self, ref: str, *, deleted: bool = True) -> str:
        """Return the id of the session *ref*; raise NotFound where it is not there for this caller."""
        session = self._store.sessions.get(ref, deleted=deleted)
        if not self._fence.shows(session.id):
            raise NotFound("session", ref)
        return session.id

    def _own(self, ref: str) -> str:
        """Return the id of the session *ref*, which may be changed; raise NotFound, NotAllowed."""
        found = self._readable(ref)
        if found not in self._fence.ids:
            raise NotAllowed(f"session {ref} can only be read in this sandbox")
        return found
