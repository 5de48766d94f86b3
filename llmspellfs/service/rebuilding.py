"""A session's tree as its events make it, one by one, without a store: what a replay holds against what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.climb import climb
from llmspellfs.storage.entries import NewEntry

Key: TypeAlias = "tuple[Kind, int]"
"""What an entry is through renames: a file its sequence, a folder or a symlink its inode."""
KINDS = {"artifact": Kind.FILE, "folder": Kind.FOLDER, "symlink": Kind.SYMLINK}
_GONE = frozenset({"deleted", "moved_out", "purged"})


@dataclass(frozen=True, slots=True)
class Applied:
    """What one event did to the tree: the row that it made, if any, and the entries that left their places."""

    made: NewEntry | None
    left: tuple[NewEntry, ...]

    @property
    def places(self) -> set[tuple[int, str]]:
        """The places (folder's ino, name) that are other than before."""
        return {(one.folder, one.name) for one in (*self.left, *([self.made] if self.made else []))}


class Tree:
    """The entries of one session below *top*, its ino, at one moment; it begins empty."""

    def __init__(self, top: int) -> None:
        """Begin without entries."""
        self.top = top
        self._entries: dict[Key, NewEntry] = {}
        self._places: dict[tuple[int, str], Key] = {}
        self._last_place: dict[int, tuple[int, str]] = {}
        """Of each folder, gone ones too: what was in it may leave after it."""
        self._gone_paths: dict[str, int] = {}

    def put(self, entry: Entry) -> NewEntry:
        """Take *entry* in as it is and return its row."""
        return self._put(NewEntry.of(entry))

    def at(self, folder: int, name: str) -> NewEntry | None:
        """Return what is *name* in *folder* (an ino), or None."""
        key = self._places.get((folder, name))
        return None if key is None else self._entries[key]

    def path(self, entry: NewEntry) -> str:
        """Return the path of *entry*, whose folders are or were there; raise Corrupt where they go in a circle."""
        way = climb((entry.folder, entry.name), self._above, f"folder of {entry.name!r}")
        return "/".join(reversed([name for _, name in way]))

    def _above(self, place: tuple[int, str]) -> tuple[int, str] | None:
        return None if place[0] == self.top else self._last_place.get(place[0])

    def folder_of(self, path: str) -> tuple[int | None, str]:
        """Return the ino of the folder that *path* is in, gone ones last, None where it never was, and the name."""
        above, _, name = path.rpartition("/")
        folder: int | None = self.top
        for part in above.split("/") if above else ():
            found = None if folder is None else self.at(folder, part)
            folder = found.ino if found is not None and found.kind is Kind.FOLDER else None
        return (self._gone_paths.get(above) if folder is None else folder), name

    def items(self) -> Iterator[tuple[str, NewEntry]]:
        """Yield the path and the row of every entry, in the order of paths."""
        return iter(sorted(((self.path(entry), entry) for entry in self._entries.values()), key=lambda item: item[0]))

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def apply(self, kind: str, told: Mapping[str, Any], row: Entry | None) -> Applied:
        """Do what the event of *kind*, whose line tells *told*, did; *row* is the row that it made, if any."""
        noun, verb = kind.split(".")
        if noun not in KINDS:
            return Applied(None, ())
        if verb in _GONE:
            return Applied(None, self._remove(KINDS[noun], told))
        if row is None:
            return Applied(None, ())
        left = self._leaving(NewEntry.of(row), told)
        for entry in left:
            self._take_out(entry)
        return Applied(self.put(row), left)

    def _leaving(self, new: NewEntry, told: Mapping[str, Any]) -> tuple[NewEntry, ...]:
        """Return what makes room for *new*: its older row, the artifact that was renamed, what had the place."""
        source = told.get("from_sequence")
        keys = [_key(new), self._places.get((new.folder, new.name))]
        keys += [(Kind.FILE, source)] if source is not None else []
        return tuple(self._entries[key] for key in dict.fromkeys(keys) if key is not None and key in self._entries)

    def _remove(self, kind: Kind, told: Mapping[str, Any]) -> tuple[NewEntry, ...]:
        entry = self._entries.get((kind, told["sequence"])) if kind is Kind.FILE else self._named(kind, told["name"])
        if entry is None:
            return ()
        self._take_out(entry)
        return (entry,)

    def _named(self, kind: Kind, path: str) -> NewEntry | None:
        folder, name = self.folder_of(path)
        found = None if folder is None else self.at(folder, name)
        return found if found is not None and found.kind is kind else None

    def _put(self, new: NewEntry) -> NewEntry:
        key = _key(new)
        self._entries[key] = new
        self._places[new.folder, new.name] = key
        if new.kind is Kind.FOLDER:
            self._last_place[new.ino] = new.folder, new.name
        return new

    def _take_out(self, entry: NewEntry) -> None:
        if entry.kind is Kind.FOLDER:
            self._gone_paths[self.path(entry)] = entry.ino
        del self._entries[_key(entry)]
        self._places.pop((entry.folder, entry.name), None)


def _key(entry: NewEntry) -> Key:
    return entry.kind, entry.ino if entry.sequence is None else entry.sequence
