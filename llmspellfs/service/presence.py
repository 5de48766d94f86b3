"""Which sessions are being worked in, told from process to process: by open files with bytes, and by running scripts.

A process notes such a session in its folder of the spool, which is locked as long as it lives; whoever suspends idle
sessions, or applies retention, leaves those that a living process has noted. A note is made under the index's write
lock, as the look at the notes is, so that neither can slip by the other. Nothing is noted where the configuration sets
no time after which sessions are suspended, and no rules of retention. Threading: any thread may call.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from llmspellfs.errors import SessionNotActive
from llmspellfs.storage import inherited, sessions
from llmspellfs.storage.spool import held

if TYPE_CHECKING:
    from llmspellfs.service.engine import Engine


_serials = count(1)


class Presence:
    """The notes of a mount, or of a script, about the sessions in one store."""

    def __init__(self, engine: Engine) -> None:
        """Note nothing yet in *engine*'s store."""
        config = engine.config
        self._engine = engine
        self.is_on = bool(config.session_timeout_seconds or config.retention) and engine.rooms.spool is not None
        """Whether anything is noted at all."""
        self._turn = inherited.lock()
        self._serial = next(_serials)
        self._held: dict[int, bool] = {}
        """By sid, whether it was asked for since the last sweep."""

    def hold(self, sid: int) -> None:
        """Note that session *sid* is worked in; raise SessionNotActive where it has been suspended already."""
        if not self.is_on:
            return
        with self._turn:
            if sid not in self._held:
                self._note(sid)
            self._held[sid] = True

    def _note(self, sid: int) -> None:
        spool = self._engine.rooms.spool
        assert spool is not None
        with self._engine.index.write(frees=True) as db:
            session = sessions.load(db, sid)
            if session is not None and not session.is_active:
                raise SessionNotActive(session.dirname, session.status)
            spool.hold(f"{sid}.{self._serial}")

    def free_all(self) -> None:
        """Note that no session is worked in any longer."""
        with self._turn:
            for sid in list(self._held):
                self._free(sid)

    def sweep(self, is_busy: Callable[[int], bool]) -> None:
        """Free the sessions that are not *is_busy*(sid), and were not asked for since the last sweep."""
        with self._turn:
            for sid, was_asked_for in list(self._held.items()):
                if was_asked_for or is_busy(sid):
                    self._held[sid] = False
                else:
                    self._free(sid)

    def _free(self, sid: int) -> None:
        spool = self._engine.rooms.spool
        if self._held.pop(sid, None) is not None and spool is not None:
            spool.free(f"{sid}.{self._serial}")


def present(engine: Engine) -> set[int]:
    """Return the sids of the sessions that living processes note, this one's among them."""
    root = engine.rooms.path
    words = set() if root is None else {word.partition(".")[0] for word in held(root)}
    return {int(word) for word in words if word.isdecimal()}
