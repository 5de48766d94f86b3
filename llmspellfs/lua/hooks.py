"""`Hook.*`: functions of a script that are called before and after what its own calls change.

`register(point, function[, priority])` gives the hook's number, `unregister(number)` tells whether it was there,
`list()` gives them in the order in which they are called: higher priority first, then first registered. A point is
`before:KIND` or `after:KIND`, the kinds being those of events, or a pattern of such (`*` and `?`). Hooks belong to the
script: they see what its own calls of `Session.*` and `Artifact.*` make, and go with it.

`MAKES` says for each of those functions what it makes and which argument is what. A hook is called with a table:
`kind`, `phase`, `call`, and of `session` (its id), `session_name`, `artifact`, `name`, `type`, `size`, `metadata`,
`tags` and so on what is known; they are copies. A batch calls it once for each `item` (1, 2, …). What follows from a
call by itself (folders above an artifact, what a rollback takes back) calls no hook. A before-hook refuses by raising
an error; then nothing has happened, and the caller gets it. An after-hook also sees `result`; its error is reported on
standard error. `callbacks.lua` calls them.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from llmspellfs.errors import InvalidValue, SpellError
from llmspellfs.lua.values import encode
from llmspellfs.model.event import KINDS
from llmspellfs.model.message import check_pattern, matches
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw

DEPTH: Final = 8
"""How deep hooks of one kind may lead to calls that make the same kind."""
PHASES: Final = ("before", "after")
POINTS: Final = tuple(sorted(f"{phase}:{kind}" for phase in PHASES for kind in KINDS))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Makes:
    """The *kinds* of events that a function makes, and what each of its arguments is (see `HookFunctions._tell`)."""

    kinds: tuple[str, ...]
    takes: tuple[str, ...]


def _session(verb: str, *takes: str) -> Makes:
    return Makes((f"session.{verb}",), takes)


def _artifact(verb: str, *takes: str) -> Makes:
    return Makes((f"artifact.{verb}",), ("session", *takes))


MAKES: Final[dict[str, Makes]] = {
    "Session.create": _session("created", "fields"),
    "Session.create_many": _session("created", "items"),
    "Session.update": _session("updated", "session", "changes"),
    "Session.set_tags": _session("updated", "session", "tags"),
    "Session.add_tag": _session("updated", "session", "tags"),
    "Session.remove_tag": _session("updated", "session", "tags"),
    "Session.suspend": _session("suspended", "session"),
    "Session.resume": _session("resumed", "session"),
    "Session.complete": _session("completed", "session"),
    "Session.fail": _session("failed", "session", "reason"),
    "Session.save": _session("saved", "session", "label"),
    "Session.load": _session("loaded", "session"),
    "Session.delete": _session("deleted", "session"),
    "Session.restore": _session("restored", "session"),
    "Session.fork": Makes(("session.created", "session.forked"), ("session", "name")),
    "Session.rollback": _session("rolled_back", "session", "to"),
    "Session.replay": Makes(("replay.started", "replay.finished"), ("session", "options")),
    "Artifact.store": _artifact("stored", "type", "name", "content", "metadata"),
    "Artifact.store_file": _artifact("stored", "path", "type", "metadata"),
    "Artifact.store_many": _artifact("stored", "items"),
    "Artifact.update": Makes(("artifact.updated", "artifact.renamed"), ("session", "artifact", "changes")),
    "Artifact.delete": _artifact("deleted", "artifact"),
    "Artifact.restore": _artifact("restored", "artifact", "options"),
}
"""By the names of the functions; a test holds that every other one of the two globals only reads."""

_PLAIN = frozenset({"name", "type", "reason", "label", "to", "metadata", "tags", "changes", "options"})
"""Arguments that a hook sees as they are."""
_COLUMNS: Final = ("type", "name", "content", "metadata")
"""Of an item of a batch of artifacts; without names they stand in this order."""


class HookFunctions:
    """What `callbacks.lua` asks of this side: which points a pattern fits, and what a call is about."""

    def __init__(self, context: Context) -> None:
        """Look things up in the store of *context*."""
        self._context, self._values = context, context.values

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return the functions that hooks are made of; no script sees them."""
        return {"points": self._points, "describe": self._describe, "report": self._report}

    def makes(self) -> Raw:
        """Return the kinds that each function makes, as a Lua table."""
        return self._values.to_lua({name: makes.kinds for name, makes in MAKES.items()})

    def _points(self, pattern: Raw = None, priority: Raw = None) -> tuple[Raw, ...]:
        where = "Hook.register: argument 1 (point)"
        text = check_pattern(self._values.text(pattern, where), where)
        found = [point for point in POINTS if matches(text, point)]
        if not found:
            expected = (
                "expected before: or after: and the kind of an event, such as before:artifact.stored, or a pattern"
            )
            raise InvalidValue(where, f"{expected}, not {text!r}")
        return self._values.to_lua(found), self._priority(priority)

    def _priority(self, value: Raw) -> float:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124  not NaN
            kind = self._values.kind(value)
            raise InvalidValue("Hook.register: argument 3 (priority)", f"expected a number, got {kind}")
        return value

    def _report(self, point: Raw, message: Raw) -> None:
        text = f"hook {point.decode()}: {visible(bytes(message).decode('utf-8', 'backslashreplace'))}"
        sys.stderr.write(f"llmspellfs: {text}\n")
        sys.stderr.flush()
        _log.info("%s", text)

    def _describe(self, function: Raw, *given: Raw) -> Raw:
        """Return what the call of *function* with the arguments *given* is about: a table for each event."""
        call = function.decode()
        makes = MAKES[call]
        about: dict[str, Raw] = {"call": call}
        items: list[tuple[int, Raw] | None] = [None]
        for role, value in zip_longest(makes.takes, given[: len(makes.takes)]):
            if role == "items":
                items = self._items(value)
            elif role == "tags" and not self._values.is_table(value):
                about["tags"] = self._values.array(one for one in given[1:] if isinstance(one, bytes))
            elif value is not None or role in {"session", "artifact"}:
                about |= self._tell(role, value, about)
        kinds = self._kinds(makes, about.get("changes"))
        told = ({**about, **self._of_item(call, item), "kind": kind} for item in items for kind in kinds)
        return self._values.array(self._values.record(one) for one in told)

    def _tell(self, role: str, value: Raw, about: Mapping[str, Raw]) -> dict[str, Raw]:
        if role in _PLAIN:
            return {role: self._copied(value)}
        tell: dict[str, Callable[[], dict[str, Raw]]] = {
            "session": lambda: self._of_session(value, about),
            "artifact": lambda: self._of_artifact(value, about),
            "fields": lambda: self._of_fields(value),
            "content": lambda: {"size": len(value)} if isinstance(value, bytes) else {},
            "path": lambda: self._of_path(value),
        }
        return tell[role]()

    def _of_session(self, value: Raw, about: Mapping[str, Raw]) -> dict[str, Raw]:
        try:
            is_deleted = about["call"] == "Session.restore"
            session = self._context.store.sessions.get(self._context.session(value), deleted=is_deleted)
        except SpellError:
            return {"session": value if isinstance(value, bytes) else None}
        return {"session": session.id, "session_name": session.name}

    def _of_artifact(self, value: Raw, about: Mapping[str, Raw]) -> dict[str, Raw]:
        try:
            ref, session = self._context.artifact(value), about["session"]
        except SpellError:
            return {}
        try:
            found = self._context.store.artifacts.get(session if isinstance(session, str) else "", ref)
        except SpellError:
            return {"artifact": ref}
        return {"artifact": found.id, "name": found.name, "type": found.artifact_type, "size": found.size}

    def _of_fields(self, value: Raw) -> dict[str, Raw]:
        if not self._values.is_table(value):
            return {}
        found = dict(value.items())
        names = ("name", "description", "tags", "metadata", "parent_session_id", "parent", "created_by")
        return {name: self._copied(found.get(name.encode())) for name in names}

    def _of_path(self, value: Raw) -> dict[str, Raw]:
        if not isinstance(value, bytes):
            return {}
        try:
            size = os.path.getsize(os.fsdecode(value))
        except (OSError, ValueError):
            size = None
        return {"path": value, "name": os.path.basename(value), "size": size}

    def _items(self, value: Raw) -> list[tuple[int, Raw] | None]:
        try:
            return [*enumerate(self._values.sequence(value, "items"), 1)]
        except SpellError:
            return []

    def _of_item(self, call: str, numbered: tuple[int, Raw] | None) -> dict[str, Raw]:
        if numbered is None:
            return {}
        place, item = numbered
        if not self._values.is_table(item):
            return {"item": place}
        if call == "Session.create_many":
            return {"item": place, **self._of_fields(item)}
        found = dict(item.items())
        kind, name, content, metadata = (found.get(key.encode(), found.get(at)) for at, key in enumerate(_COLUMNS, 1))
        size = len(content) if isinstance(content, bytes) else None
        copied = {"type": self._copied(kind), "name": self._copied(name), "metadata": self._copied(metadata)}
        return {"item": place, **copied, "size": size}

    def _copied(self, value: Raw) -> Raw:
        """Return *value* so that a hook that changes it changes nothing; what is no data is left out."""
        try:
            said = self._values.from_lua(value, "hook")
        except SpellError:
            return None
        return encode(said) if isinstance(said, str) else self._values.to_lua(said)

    def _kinds(self, makes: Makes, changes: Raw) -> Iterable[str]:
        """Return which events the call makes: an update renames, or changes metadata, or both."""
        if makes is not MAKES["Artifact.update"] or not self._values.is_table(changes):
            return makes.kinds if makes is not MAKES["Artifact.update"] else makes.kinds[:1]
        given, (updated, renamed) = set(changes.keys()), makes.kinds
        return [*([] if given == {b"name"} else [updated]), *([renamed] if b"name" in given else [])]
