"""What a purge took away, while it goes on and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmspellfs.storage.erasing import ErasedContents, ErasedRows


@dataclass(frozen=True, slots=True)
class Past:
    """An artifact that has moved on from its session, *name* there, and has in its past what was purged elsewhere."""

    id: str
    """By which it can be purged."""
    session: str
    """Its session's directory name, and below whether that session is deleted."""
    name: str
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge took away."""

    unlinked: tuple[str, ...]
    """Hashes of chunks whose files are gone."""
    freed: int
    """Stored bytes."""
    contents: tuple[str, ...] = ()
    """Hashes of the contents that are gone, those within the index too."""
    shared: int = 0
    """Contents that stay, since something else has them than the *pasts*."""
    rows: int = 0
    labels: int = 0
    words: int = 0
    """Entries of the full text."""
    messages: int = 0
    """Published messages that named it."""
    lost: tuple[str, ...] = ()
    """Items of lost+found that were meant for it, and are gone."""
    open_files: tuple[str, ...] = ()
    """Files of the spool in which living processes have bytes for it: they go when these close them."""
    copies: tuple[str, ...] = ()
    """Folders of quarantine, in which it may still be: nothing goes from there by itself."""
    is_ended: bool = True
    """False: readers kept the WAL from being emptied, or the disk failed; the next gc or opening goes on."""
    stale: str | None = None
    """Why the index was not written anew, which the next gc does: words may stand in unused bytes of its pages."""
    renamed: int = 0
    """Artifacts that had been renamed over it, and went with it."""
    pasts: tuple[Past, ...] = ()
    """Where it moved in from, as far as contents of it stay there."""


@dataclass(slots=True)
class Gone:
    """What a purge has taken away so far."""

    rows: int = 0
    labels: int = 0
    words: int = 0
    messages: int = 0
    freed: int = 0
    renamed: int = 0
    files: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    cids: set[int] = field(default_factory=set)
    """Of all contents that its rows had."""

    def add_rows(self, erased: ErasedRows) -> None:
        """Count what went with rows."""
        self.rows += erased.rows
        self.labels += erased.labels
        self.words += erased.words
        self.cids.update(erased.cids)

    def add_contents(self, erased: ErasedContents) -> None:
        """Take note of what went with contents."""
        self.files += erased.files
        self.contents += erased.contents
        self.freed += erased.freed
