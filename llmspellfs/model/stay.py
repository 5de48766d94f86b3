"""How long a folder had a name: contents of names below it count for that time only."""

from __future__ import annotations

from dataclasses import dataclass

from llmspellfs.model.artifact import Entry

_ENDLESS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Stay:
    """A folder (an ino) for as long as it had a name: from the seq *first* to before the seq *last*."""

    folder: int
    first: int = 0
    last: int = _ENDLESS

    def meets(self, entry: Entry) -> bool:
        """Tell whether the row *entry* was valid during it."""
        return (entry.seq_from or 0) < self.last and (entry.seq_to is None or entry.seq_to > self.first)

    def within(self, entry: Entry) -> Stay:
        """Return the stay of the folder *entry* at its name, as far as it falls into this one."""
        last = _ENDLESS if entry.seq_to is None else entry.seq_to
        return Stay(entry.ino, max(self.first, entry.seq_from or 0), min(self.last, last))
