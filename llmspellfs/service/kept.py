"""Why content stays where no row refers to it: the index may have lost the row that did. And rows, for a WAL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmspellfs.model.shown import count
from llmspellfs.storage import collecting, hidden
from llmspellfs.storage.index import Connection


@dataclass(frozen=True, slots=True)
class Kept:
    """Why garbage collection takes no content, in words; *is_lost* where it is for events that are lost."""

    why: str
    is_lost: bool = False


IMPORTING = Kept("an import is under way")
_LACKING = Kept(
    "the index lacks content that it names, or a file names none: `llmspellfs fsck --repair` brings back what is there"
)
_HIDDEN = Kept(
    "a harmed WAL hid commits when the store was opened, and what no row refers to may be theirs: `llmspellfs fsck"
    " --repair` puts them back, or tells that they are lost; until then history stays too"
)
UNCHANGED = "hidden commits are put back only where the index is as it was: `llmspellfs fsck --repair` comes first"
"""Why the index is not written anew while commits that a WAL hid wait."""


def waiting(root: Path | None) -> list[str]:
    """Return the WALs that openings of the store at *root* have kept, and whose commits a repair may put back.

    It does where no row has gone that no event tells of, and no trail has gone on: so nothing is pruned until then,
    and nothing is done of the store's own accord.
    """
    return [] if root is None else [path for path in hidden.kept(root) if hidden.is_explained(path)]


def why_kept(db: Connection, root: Path | None, *, gives_up: bool = False) -> Kept | None:
    """Return why the index *db* of the store at *root* is no ground to collect content on, None where it is one.

    Content that no row refers to may be of rows that are gone. Lost events tell of such rows, also where a repair has
    made the best of it; that is so until what they told of is given up. A WAL that was kept may have such rows.
    """
    if collecting.lacks_content(db):
        return _LACKING
    if not gives_up and waiting(root):
        return _HIDDEN
    lost = collecting.lost_events(db)
    if gives_up or lost <= collecting.given_up(db):
        return None
    why = (
        f"the index has lost {count(lost, 'event')}, and what no row refers to may be all that is left of what"
        f" {'it' if lost == 1 else 'they'} told of: `llmspellfs restore-store BACKUP --to DIR` makes a whole store of a"
        " backup; `llmspellfs gc --give-up` has it collected, now and from then on"
    )
    return Kept(why, is_lost=True)
