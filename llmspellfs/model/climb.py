"""Going up from one thing to those above it: folders, parents; damage can have set them in a circle."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from llmspellfs.errors import Corrupt

Step = TypeVar("Step", bound=Hashable)


def climb(start: Step, above: Callable[[Step], Step | None], what: str) -> Iterator[Step]:
    """Yield *start* and what is *above* it, one by one; raise Corrupt, calling it *what*, where that is a circle."""
    seen: set[Step] = set()
    here: Step | None = start
    while here is not None:
        if here in seen:
            raise Corrupt(f"{what}: it is inside itself, or inside one that is")
        seen.add(here)
        yield here
        here = above(here)
