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
from llmspellfs.lua.arguments import Arguments
from llmspellfs.lua.places import argument_place
from llmspellfs.lua.signatures import EVENT
from llmspellfs.model.times import iso
from llmspellfs.service.messages import receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.message import Message
    from llmspellfs.model.values import Json
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
        return {"publish": self._bound("publish", self._publish)}

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what the others are made of; no script sees it."""
        subscribe = self._bound("subscribe", self._subscribe)
        return {"subscribe": subscribe, "receive": self._receive, "unsubscribe": self._unsubscribe}

    def _bound(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        return Arguments(self._context).bind(f"Event.{name}", EVENT[name], function)

    def _publish(self, name: str, payload: Json) -> bool:
        self._messages.publish(name, payload, by=self._context.origin)
        return True

    def _subscribe(self, pattern: str) -> bytes:
        subscription = self._messages.subscribe(pattern)
        self._made += 1
        name = b"subscription:%d" % self._made
        self._subscriptions[name] = subscription
        return name

    def _receive(self, which: Raw = None, seconds: Raw = None) -> tuple[Raw, ...]:
        place = 2
        if isinstance(which, int | float) and not isinstance(which, bool):
            which, seconds, place = None, which, 1
        listening = self._subscriptions if which is None else {which: self._named(which)}
        heard = receive(listening.values(), self._seconds(seconds, argument_place("Event.receive", place, "seconds")))
        if heard is None:
            return (None,)
        name = next(name for name, subscription in listening.items() if subscription is heard[0])
        return self._shown(heard[1]), name

    def _unsubscribe(self, which: Raw = None) -> bool:
        return which is not None and self._subscriptions.pop(self._name(which, "unsubscribe"), None) is not None

    def _named(self, which: Raw) -> Subscription:
        name = self._name(which, "receive")
        if name not in self._subscriptions:
            raise NotFound("subscription", name.decode("utf-8", "backslashreplace"))
        return self._subscriptions[name]

    def _name(self, which: Raw, function: str) -> bytes:
        if isinstance(which, bytes):
            return which
        where = argument_place(f"Event.{function}", 1, "subscription")
        raise InvalidValue(where, f"expected a subscription, got {self._values.described(which)}")

    def _seconds(self, value: Raw, where: str) -> float:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or math.isnan(value):
            raise InvalidValue(where, f"expected seconds, 0 or more, got {self._values.described(value)}")
        return min(value, LONGEST)

    def _shown(self, message: Message) -> Raw:
        payload = None if message.payload is None else self._values.to_lua(message.payload)
        return self._values.record({
            "name": message.name, "payload": payload, "at": iso(message.at_ns), "actor": message.actor,
            "door": message.door, "source": message.source, "missed": message.missed or None,
        })  # fmt: skip
