"""Content that takes as long as its source does: nobody takes away what is there since it began to come in.

Where a source cannot be read twice, nothing could be stored anew. So the process notes in the spool, for as long as it
stages and commits, since when it does so. Garbage collection goes by that, and so does who takes back what a failure
has left: what was there before may be the other's. A purge does not. What goes out for as long as somebody takes it is
noted too, for garbage collection alone: rows that refer to it may be pruned meanwhile.

Threading: any thread may note; what one has noted does not keep it from taking back its own, through the same store.
"""

from __future__ import annotations

import threading
from itertools import count
from types import TracebackType

from llmspellfs.model.times import NS
from llmspellfs.service.engine import Engine
from llmspellfs.storage.spool import held

_INCOMING, _OUTGOING = "incoming", "outgoing"
_COARSE_NS = NS
"""By how much times of files may lag behind the clock: a few milliseconds on Linux."""
_serials = count(1)


class _Own(threading.local):
    """The words that the running thread has noted, of all stores: each has its spool's name in it."""

    def __init__(self) -> None:
        """Begin with none."""
        self.words: list[str] = []


_own = _Own()


class Incoming:
    """Has what is staged within the block, and what it relies on, kept until it ends; raise NoSpace."""

    _KIND = _INCOMING
    __slots__ = ("_spool", "_word")

    def __init__(self, engine: Engine) -> None:
        """Note nothing yet in *engine*'s store."""
        self._spool = engine.rooms.spool
        name = "" if self._spool is None else self._spool.name
        self._word = f"{self._KIND}.{engine.now() - _COARSE_NS}.{name}-{next(_serials)}"

    def __enter__(self) -> None:
        """Note it."""
        if self._spool is not None:
            self._spool.hold(self._word)
            _own.words.append(self._word)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the note back."""
        if self._spool is not None:
            _own.words.remove(self._word)
            self._spool.free(self._word)


class Outgoing(Incoming):
    """Has what is read within the block kept from garbage collection until it ends; raise NoSpace."""

    _KIND = _OUTGOING
    __slots__ = ()


def earlier(engine: Engine, ns: int) -> int:
    """Return *ns*, or the time since when content has been coming into *engine*'s store, or going out, if earlier."""
    return _earliest(ns, _words(engine), (_INCOMING, _OUTGOING))


def others_since(engine: Engine, ns: int) -> int:
    """Return *ns*, or the time since when others than this thread have been taking content in, which is earlier."""
    spool = engine.rooms.spool
    own = set() if spool is None else {word for word in _own.words if spool.name in word}
    return _earliest(ns, _words(engine) - own, (_INCOMING,))


def _words(engine: Engine) -> set[str]:
    return set() if engine.rooms.path is None else held(engine.rooms.path)


def _earliest(ns: int, words: set[str], kinds: tuple[str, ...]) -> int:
    notes = (word.split(".") for word in words)
    return min([ns, *(int(note[1]) for note in notes if note[0] in kinds and note[1].isdecimal())])
