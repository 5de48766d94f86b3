"""Much work in many short transactions: how much goes into each, and the pause in which other writers have a turn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from llmspellfs.storage.index import Index

T = TypeVar("T")

_ROWS, _BYTES, _SMALL = 200, 1 << 20, 4
"""Of one transaction; where the disk is full its pages, erased, have to fit into what is kept free."""
_PAUSE = 0.01
"""Seconds: longer than SQLite lets a waiting writer sleep between its first tries."""


def paced(index: Index, items: Sequence[tuple[T, int]]) -> Iterator[list[T]]:
    """Yield *items*, each given with the bytes of the *index* that are written for it, as many as belong together."""
    start = 0
    while start < len(items):
        give_way(start > 0)
        most, size, batch = _SMALL if index.is_short() else _ROWS, 0, list[T]()
        while start < len(items) and len(batch) < most and size < _BYTES:
            batch.append(items[start][0])
            size += items[start][1]
            start += 1
        yield batch


def give_way(is_between: bool) -> None:
    """Let other writers have a turn where this *is_between* two transactions, and not after the last."""
    if is_between:
        time.sleep(_PAUSE)
