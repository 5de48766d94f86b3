"""Telling and being told, across processes: changes of the store, and what anybody publishes; `store.messages`.

A subscription is told what happens after it was made, everything once and in the order of commits. Changes are the
events of the trails, so that none is lost however late they are read. Published messages are kept for a day, and at
most 10,000; a subscriber that comes too late for some is told how many.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from llmspellfs.model.event import Origin
from llmspellfs.model.message import Message, check_message_name, check_pattern, check_payload
from llmspellfs.model.times import NS
from llmspellfs.model.values import Json
from llmspellfs.service.engine import Engine
from llmspellfs.storage import messages
from llmspellfs.storage.index import Connection

KEPT, KEPT_NS = 10_000, 86_400 * NS
"""How many published messages are kept, and for how long."""
_BATCH = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02
"""Seconds between looks at `PRAGMA data_version`: waiting takes about a hundredth of a processor."""


class Messages:
    """What happens in a store, to be told and heard; any thread may call."""

    def __init__(self, engine: Engine) -> None:
        """Work on *engine*'s store."""
        self._engine = engine

    def publish(self, name: str, payload: Json = None, *, by: Origin | None = None) -> None:
        """Tell every subscriber whose pattern fits *name*, of any process, *payload*: at most 64 KiB of JSON.

        Raises InvalidValue, also where *name* is the kind of an event of the store's own.
        """
        check_message_name(name, "name")
        text, now = check_payload(payload, "payload"), self._engine.now()
        with self._engine.index.write() as db:
            last = messages.publish(db, name, text, now, by or self._engine.origin)
            messages.prune(db, last - KEPT, now - KEPT_NS)

    def subscribe(self, pattern: str) -> Subscription:
        """Return a subscription to what happens from now on under names that fit *pattern* (`*` and `?`)."""
        return Subscription(self._engine, check_pattern(pattern, "pattern"))


class Subscription:
    """What one subscriber has still to be told; it belongs to one thread."""

    def __init__(self, engine: Engine, pattern: str) -> None:
        """Begin after all that *engine*'s store has committed."""
        self._engine, self.pattern = engine, pattern
        self._version = -1
        self._missed = 0
        self._waiting: deque[Message] = deque()
        with engine.index.snapshot() as db:
            self._event, self._message = messages.tips(db)

    def peek(self) -> Message | None:
        """Return the next message without taking it, or None where there is none yet; 2 µs while nothing changes."""
        if not self._waiting and (version := self._engine.index.data_version()) != self._version:
            with self._engine.index.snapshot() as db:
                is_all = self._fetch(db)
            self._version = version if is_all else -1
        return self._waiting[0] if self._waiting else None

    def receive(self, seconds: float = 0) -> Message | None:
        """Return the next message, waiting for it at most *seconds*, or None."""
        heard = receive([self], seconds)
        return None if heard is None else heard[1]

    def take(self) -> Message:
        """Return the message that `peek` showed, and be told it no more."""
        return self._waiting.popleft()

    def _fetch(self, db: Connection) -> bool:
        """Take over what is new, at most a batch; tell whether that was all."""
        self._count_missed(messages.pruned_to(db))
        tips = messages.tips(db)
        events = messages.events_after(db, self._event, self.pattern, _BATCH)
        published = messages.messages_after(db, self._message, self.pattern, _BATCH)
        new = sorted(events + published, key=lambda one: one.place)[:_BATCH]
        is_all = len(new) == len(events) + len(published) < _BATCH
        if new and self._missed:
            new[0], self._missed = replace(new[0], missed=self._missed), 0
        if is_all:
            self._event, self._message = tips
        else:
            self._follow(new)
        self._waiting.extend(new)
        return is_all

    def _count_missed(self, first: int) -> None:
        if first > self._message + 1:
            self._missed += first - 1 - self._message
            self._message = first - 1

    def _follow(self, taken: list[Message]) -> None:
        self._event = max([self._event, *(one.place[0] for one in taken if one.source == "store")])
        self._message = max([self._message, *(one.place[2] for one in taken if one.source == "published")])


def receive(subscriptions: Iterable[Subscription], seconds: float = 0) -> tuple[Subscription, Message] | None:
    """Return the earliest message that any of *subscriptions* has, and which, waiting at most *seconds*; else None."""
    listening, deadline, pause = list(subscriptions), time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        heard = [(message.place, place) for place, one in enumerate(listening) if (message := one.peek()) is not None]
        if heard:
            first = listening[min(heard)[1]]
            return first, first.take()
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
