"""How far a check is: rows of the index and bytes of content as one sum, told while it grows.

Threading: none; a check is one thread's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

ROW = 4096
"""What a row counts for, in bytes of content: holding it against its event takes about as long as reading so many."""
_TOLD_EACH = 256
"""After how many rows it is told how far the check is: telling costs more than a row."""

Progress = Callable[[int, int], None]
R = TypeVar("R")


class Course:
    """What is done of a check, and what there is to do; *progress* is called with both."""

    def __init__(self, progress: Progress | None) -> None:
        """Begin, with nothing known to be done."""
        self._progress = progress
        self._done = self._total = 0

    def expect(self, *, rows: int = 0, size: int = 0) -> None:
        """Know of so many *rows*, and *size* bytes of content, that are to be checked."""
        self._total += rows * ROW + size

    def through(self, rows: Iterator[R]) -> Iterator[R]:
        """Yield *rows*, each of which is done when the next is asked for."""
        count = 0
        for row in rows:
            yield row
            count += 1
            if count == _TOLD_EACH:
                self.advance(count * ROW)
                count = 0
        self.advance(count * ROW)

    def advance(self, size: int) -> None:
        """Have done *size* bytes more, and tell so; of a damaged store there may be more than was counted."""
        self._done += size
        self._total = max(self._total, self._done)
        if self._progress is not None and size:
            self._progress(self._done, self._total)

    def end(self) -> None:
        """Tell that all is done, whatever could not be read."""
        self.advance(self._total - self._done)
