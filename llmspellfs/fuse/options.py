"""What `-o` may say: the mount's own settings, parsed and checked; the rest is the tree's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

TREE_OPTIONS = frozenset({"type"})
"""Words that the tree understands: `type`, the artifact type of files that are copied in."""

_MOST_THREADS = 64


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How one mount behaves towards the kernel."""

    allow_other: bool = False
    """Other users than the mount's owner may use it, as far as modes permit."""
    attr_timeout: float = 1.0
    """Seconds for which the kernel keeps attributes."""
    entry_timeout: float = 1.0
    """Seconds for which the kernel keeps names."""
    threads: int = 8
    """How many requests are served at the same time."""


def parse_options(words: Mapping[str, str]) -> tuple[MountOptions, dict[str, str]]:
    """Return what *words* say to the mount, and the words that are for the tree.

    A word without a value has the empty text. Raises InvalidValue naming the option and what it takes.
    """
    kinds = {field.name: type(field.default) for field in fields(MountOptions)}
    for key in words.keys() - kinds.keys() - TREE_OPTIONS:
        known = ", ".join([*kinds, *sorted(TREE_OPTIONS)])
        raise InvalidValue(f"-o {key}", f"unknown option; expected one of {known}")
    ours: dict[str, Any] = {key: _value(key, words[key], kinds[key]) for key in words.keys() & kinds.keys()}
    return MountOptions(**ours), {key: words[key] for key in words.keys() & TREE_OPTIONS}


def _value(key: str, text: str, kind: type[object]) -> bool | int | float:
    where = f"-o {key}"
    if kind is bool:
        if text:
            raise InvalidValue(where, "takes no value")
        return True
    return _threads(where, text) if kind is int else _seconds(where, text)


def _threads(where: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_THREADS:
        raise InvalidValue(where, f"expected 1 to {_MOST_THREADS}, not {text!r}")
    return int(text)


def _seconds(where: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise InvalidValue(where, f"expected seconds, not {text!r}")
    return seconds
