"""`Event.*`: what happens in the store and what scripts publish, told to scripts in any process.

`publish(name[, payload])`; `subscribe(pattern[, function])` gives a subscription, which is told what happens after it;
`receive([subscription,] [seconds])` gives its next event, or the earliest of all subscriptions' with the subscription,
waiting that long (by default not at all), or nil; `unsubscribe(subscription)`. Functions given to `subscribe` are
called by `receive` and at no other time; `callbacks.lua` does that.

An event is a table: `name`, `payload`, `at`, `actor`, `door`, `source` (`store` or `published`), and `missed` where
published events before it were pruned unread. The payload of a change is what its line in the audit trail says, and
`session_id`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.model.times import iso
from llmspellfs.service.messages import receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.message import Message
    from llmspellfs.service.messages import Subscription

LONGEST: Final = 10.0**9
"""Seconds that a wait lasts at most; `math.huge` is allowed, and as long."""


class EventFunctions:
    """The functions of the global `Event`, over one script's *context*, and its subscriptions."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        """Work on the store of *context*, with no subscription."""
        self._context, self._values = context, context.values
        self._messages = context.store.messages
        self._subscriptions: dict[bytes, Subscription] = {}
        self._made = 0

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions by name that call none of the script's."""
        return {"publish": self._publish}

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what the others are made of; no script sees it."""
        return {"subscribe": self._subscribe, "receive": self._receive, "unsubscribe": self._unsubscribe}

    def _publish(self, name: Raw = None, payload: Raw = None) -> bool:
        said = self._values.from_lua(payload, "Event.publish: argument 2 (payload)")
        self._messages.publish(
            self._values.text(name, "Event.publish: argument 1 (name)"), said, by=self._context.origin
        )
        return True

    def _subscribe(self, pattern: Raw = None) -> bytes:
        where = "Event.subscribe: argument 1 (pattern)"
        subscription = self._messages.subscribe(self._values.text(pattern, where))
        self._made += 1
        name = b"subscription:%d" % self._made
        self._subscriptions[name] = subscription
        return name

    def _receive(self, which: Raw = None, seconds: Raw = None) -> tuple[Raw, ...]:
        if isinstance(which, int | float) and not isinstance(which, bool):
            which, seconds = None, which
        listening = self._subscriptions if which is None else {which: self._named(which)}
        heard = receive(listening.values(), self._seconds(seconds))
        if heard is None:
            return (None,)
        name = next(name for name, subscription in listening.items() if subscription is heard[0])
        return self._shown(heard[1]), name

    def _unsubscribe(self, which: Raw = None) -> bool:
        return isinstance(which, bytes) and self._subscriptions.pop(which, None) is not None

    def _named(self, which: Raw) -> Subscription:
        if not isinstance(which, bytes):
            kind = self._values.kind(which)
            raise InvalidValue("Event.receive: argument 1 (subscription)", f"expected a subscription, got {kind}")
        if which not in self._subscriptions:
            raise NotFound("subscription", which.decode("utf-8", "backslashreplace"))
        return self._subscriptions[which]

    def _seconds(self, value: Raw) -> float:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or math.isnan(value):
            shown = value if isinstance(value, int | float) else self._values.kind(value)
            raise InvalidValue("Event.receive: timeout", f"expected seconds, 0 or more, got {shown}")
        return min(value, LONGEST)

    def _shown(self, message: Message) -> Raw:
        payload = None if message.payload is None else self._values.to_lua(message.payload)
        return self._values.record({
            "name": message.name, "payload": payload, "at": iso(message.at_ns), "actor": message.actor,
            "door": message.door, "source": message.source, "missed": message.missed or None,
        })  # fmt: skip
