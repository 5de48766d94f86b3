"""What subscribers are told: names and patterns of messages, and the one form of what the store and scripts say."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from llmspellfs.errors import InvalidValue
from llmspellfs.model.event import KINDS
from llmspellfs.model.values import Json, canonical, check_metadata, is_text

MAX_NAME = 255
"""Bytes of a name or a pattern."""
MAX_PAYLOAD = 1 << 16
"""Bytes of one payload as JSON."""
_WILD = frozenset("*?[]")

Place = tuple[int, int, int]
"""Orders all messages of a store: the id of the last event before it or its own, and 1 and its id if published."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that happened: a change of the store (*source* `store`), or what somebody published (`published`)."""

    name: str
    """The event's kind, or the name that it was published under."""
    payload: Json
    """Of a change: what its line in the trail says, and `session_id`."""
    at_ns: int
    actor: str
    door: str
    source: str
    place: Place
    missed: int = 0
    """How many published messages, of whatever name, were pruned before the subscriber came to read them."""


def check_message_name(name: str, where: str) -> str:
    """Return *name* if it can be published under; raise InvalidValue, naming *where*.

    It is 1 to 255 bytes of printable text without `*`, `?`, `[` and `]`, and no kind of the store's own events.
    """
    _check_text(name, where)
    if not _WILD.isdisjoint(name):
        raise InvalidValue(where, f"expected a name without *, ?, [ and ], not {name!r}")
    if name in KINDS:
        raise InvalidValue(where, f"{name} is the store's own; nobody else says it")
    return name


def check_pattern(pattern: str, where: str) -> str:
    """Return *pattern* if it is one: text in which `*` stands for any characters and `?` for one."""
    _check_text(pattern, where)
    if "[" in pattern or "]" in pattern:
        raise InvalidValue(where, f"expected a pattern of text, * and ?, not {pattern!r}")
    return pattern


def matches(pattern: str, name: str) -> bool:
    """Tell whether the checked *pattern* fits *name*, as SQLite's GLOB would."""
    return fnmatchcase(name, pattern)


def check_payload(payload: object, where: str) -> str:
    """Return *payload* as JSON text; raise InvalidValue where it cannot be said so, or in more than 64 KiB."""
    text = canonical(check_metadata({"value": payload}, where)["value"])
    if len(text) > MAX_PAYLOAD:
        raise InvalidValue(where, f"more than {MAX_PAYLOAD} bytes of JSON")
    return text


def _check_text(text: str, where: str) -> None:
    if not isinstance(text, str) or not is_text(text) or not text.isprintable() or not text:
        raise InvalidValue(where, f"expected printable text, not {text!r}")
    if len(text.encode("utf-8")) > MAX_NAME:
        raise InvalidValue(where, f"more than {MAX_NAME} bytes")
