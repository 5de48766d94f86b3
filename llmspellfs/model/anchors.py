"""Anchors: the heads of all chains at one moment, as text to be kept elsewhere and held against the store later.

The first line says of which store and when, each further one is a session's id, the seq of its last event and the hash
of that event's line, in the order in which the sessions were made. So two files differ only where trails have grown:

    llmspellfs-anchors 1 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed 2026-11-21T19:26:43.120394Z
    9a1c0de5-7f0b-4a4e-8f9e-6c0d9e1b2f3a 29 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262

As JSON it is one object a line with the same in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.times import iso, parse_iso

FORMAT, VERSION = "llmspellfs-anchors", 1
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEAD = re.compile(r"[0-9a-f]{64}")
_SEQ = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A chain's *head* after event *seq* of the session with that id."""

    session_id: str
    seq: int
    head: str


@dataclass(frozen=True, slots=True)
class Anchors:
    """The heads of all chains of the *store* (its UUID), as they were at *at_ns*."""

    store: str
    at_ns: int
    heads: tuple[Anchor, ...]

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text."""
        yield f"{FORMAT} {VERSION} {self.store} {iso(self.at_ns)}"
        for head in self.heads:
            yield f"{head.session_id} {head.seq} {head.head}"

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of the JSON, one a line."""
        yield {"format": FORMAT, "version": VERSION, "store": self.store, "at": iso(self.at_ns)}
        for head in self.heads:
            yield {"session_id": head.session_id, "seq": head.seq, "head": head.head}


def parse_anchors(lines: Iterable[str], where: str) -> Anchors:
    """Return the anchors that *lines*, text or JSON, say; InvalidValue names the line of *where* that does not fit."""
    store, at_ns, heads = "", 0, dict[str, Anchor]()
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            words = _words(line.rstrip("\r\n"))
            if number == 1:
                store, at_ns = _first(words)
            else:
                _add(heads, _anchor(words))
        except (ValueError, InvalidValue) as error:
            raise InvalidValue(f"{where}, line {number}", str(error)) from None
    if not number:
        raise InvalidValue(where, "expected anchors, as `verify --anchor` prints them, and found nothing")
    return Anchors(store, at_ns, tuple(heads.values()))


def _add(heads: dict[str, Anchor], anchor: Anchor) -> None:
    if heads.setdefault(anchor.session_id, anchor) is not anchor:
        raise ValueError("this session has a line already")


def _words(line: str) -> list[str]:
    if not line.startswith("{"):
        return line.split(" ")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    keys = ("format", "version", "store", "at") if "format" in told else ("session_id", "seq", "head")
    if set(told) != set(keys) or not all(type(told[key]) in {str, int} for key in keys):
        raise ValueError(f"expected an object with {', '.join(keys)}")
    return [str(told[key]) for key in keys]


def _first(words: list[str]) -> tuple[str, int]:
    if len(words) != 4 or words[0] != FORMAT:
        raise ValueError(f"expected `{FORMAT} {VERSION} STORE TIME`")
    if words[1] != str(VERSION):
        raise ValueError(f"expected version {VERSION} of the format, not {words[1]}")
    if not _UUID.fullmatch(words[2]):
        raise ValueError("expected the store's UUID as the third word")
    return words[2], parse_iso(words[3])


def _anchor(words: list[str]) -> Anchor:
    fits = len(words) == 3 and _UUID.fullmatch(words[0]) and _SEQ.fullmatch(words[1]) and _HEAD.fullmatch(words[2])
    if not fits:
        raise ValueError("expected a session's id, a seq and a head of 64 hex digits")
    return Anchor(words[0], int(words[1]), words[2])
