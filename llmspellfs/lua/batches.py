"""`Artifact.storeMany` and `Session.createMany`: what a script gives is read whole, then the service is called once.

So no code of a script runs while the store is locked. An error names the item, counted from 1 as Lua does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.arguments import Arguments
from llmspellfs.lua.artifacts import lifted
from llmspellfs.lua.signatures import SIGNATURES
from llmspellfs.lua.values import number_text
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.creation import NewSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw

_ROWS = 200
"""Items that cross at once; Lua's stack holds many more."""
_STORE, _CREATE = "Artifact.storeMany", "Session.createMany"
_ABOUT, _FIELDS = SIGNATURES["Artifact.store"][-1], SIGNATURES["Session.create"][0]
"""What may be said of an artifact, and of a session: the same as where each is made alone."""


class ArtifactBatch:
    """The function of the global `Artifact` that stores many, over one script's *context*."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context, count: Raw, rows: Raw) -> None:
        """Work on the store of *context*; *count* and *rows* are those of `batches.lua`."""
        self._context, self._values, self._arguments = context, context.values, Arguments(context)
        self._count, self._rows = count, rows
        self._words: dict[bytes, str] = {}

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the function by its name as words with underscores."""
        return Arguments(self._context).bound("Artifact", {"store_many": self._store_many})

    def _store_many(self, session: str, raw: Raw) -> Raw:
        self._words.clear()
        items = list(self._items(raw))
        ids = self._context.store.artifacts.put_many(session, items, by=self._context.origin)
        return self._values.array([one.encode() for one in ids])

    def _items(self, raw: Raw) -> Iterator[NewArtifact]:
        total = self._count(raw)
        if total is None:
            raise InvalidValue(f"{_STORE}: argument 2 (items)", "expected a list, with the keys 1, 2, 3…")
        for first in range(1, total + 1, _ROWS):
            going, *values = self._rows(raw, first, min(total, first + _ROWS - 1))
            if not going:
                raise InvalidValue(f"{_STORE}: item {values[0]}", values[1].decode("utf-8", "backslashreplace"))
            each = iter(values)
            for place, row in enumerate(zip(each, each, each, each, strict=True), first):
                yield self._item(place, *row)

    def _item(self, place: int, kind: Raw, name: Raw, content: Raw, metadata: Raw) -> NewArtifact:
        called = self._text(name, place, "name")
        if type(content) is not bytes:
            content = self._number(content, place)
        type_name = None if kind is None else self._words.get(kind) or self._word(kind, place)
        if metadata is None:
            return NewArtifact(called, content, type_name)
        about = self._arguments.read(metadata, f"{_STORE}: item {place} (metadata)", _ABOUT)
        return NewArtifact(called, content, type_name, **lifted(about))

    def _word(self, kind: Raw, place: int) -> str:
        word = self._text(kind, place, "type")
        if type(kind) is bytes:
            self._words[kind] = word  # the types of a batch are few, and looked up rather than decoded
        return word

    def _text(self, value: Raw, place: int, what: str) -> str:
        if type(value) is bytes and value.isascii():
            return value.decode("ascii")  # the usual case, and fast
        return self._values.text(value, f"{_STORE}: item {place} ({what})")

    def _number(self, content: Raw, place: int) -> bytes:
        if isinstance(content, int | float) and not isinstance(content, bool):
            return number_text(content).encode()
        expected = f"expected a string, got {self._values.kind(content)}"
        raise InvalidValue(f"{_STORE}: item {place} (content)", expected)


class SessionBatch:
    """The function of the global `Session` that creates many, over one script's *context*."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        """Work on the store of *context*."""
        self._context, self._values, self._arguments = context, context.values, Arguments(context)

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the function by its name as words with underscores."""
        return self._arguments.bound("Session", {"create_many": self._create_many})

    def _create_many(self, raw: Raw) -> Raw:
        found = self._values.sequence(raw, f"{_CREATE}: argument 1 (items)")
        items = [self._item(place, item) for place, item in enumerate(found, 1)]
        made = self._context.store.sessions.create_many(items, by=self._context.origin)
        return self._values.array([session.id.encode() for session in made])

    def _item(self, place: int, raw: Raw) -> NewSession:
        told = self._arguments.read(raw, f"{_CREATE}: item {place}", _FIELDS)
        return NewSession(
            told["name"], told["description"] or "", told["tags"] or (), told["metadata"],
            told["parent_session_id"] or None, told["created_by"],
        )  # fmt: skip
