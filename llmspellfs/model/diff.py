"""What is different between two states: of a session, or of an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.session import Session
from llmspellfs.model.values import is_same

SESSION_FIELDS = ("name", "status", "description", "tags", "metadata", "parent_session_id", "failure_reason")
ARTIFACT_FIELDS = ("artifact_type", "mime_type", "description", "tags", "custom")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that was *old* and is *new*."""

    name: str
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class Change:
    """One entry's difference: *old* None where it was added, *new* None where it was removed.

    *path* is its name in the session, the new one where it was renamed from *old_path*.
    """

    path: str
    old: Entry | None
    new: Entry | None
    old_path: str | None = None

    @property
    def kind(self) -> str:
        """`added`, `removed`, `renamed`, `changed` (its content or target), or `described` (metadata alone)."""
        if self.old is None or self.new is None:
            return "added" if self.old is None else "removed"
        if self.old_path is not None:
            return "renamed"
        return "changed" if self.has_other_content else "described"

    @property
    def has_other_content(self) -> bool:
        """Whether the bytes, or where a symlink leads, are not the same."""
        return self.old is None or self.new is None or content_of(self.old) != content_of(self.new)

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """The metadata that changed, of a file that was there before and after."""
        if self.old is None or self.new is None or self.old.file is None or self.new.file is None:
            return ()
        return changed_fields(self.old.file, self.new.file, ARTIFACT_FIELDS)


def changed_fields(old: object, new: object, names: tuple[str, ...]) -> tuple[FieldChange, ...]:
    """Return those of the fields *names* that *old* and *new* have otherwise."""
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    return tuple(FieldChange(name, before, after) for name, before, after in pairs if not is_same(before, after))


@dataclass(frozen=True, slots=True)
class SessionDiff:
    """From the session *old* to the session *new*, each as it was: fields, and entries by path."""

    old: Session
    new: Session
    fields: tuple[FieldChange, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class ArtifactDiff:
    """From one artifact to another, each named as the caller wrote it."""

    old_label: str
    new_label: str
    change: Change


def content_of(entry: Entry) -> object:
    """Return what tells two entries' contents apart: the hash of a file, the target of a symlink."""
    return (entry.kind, entry.facts.content_hash if entry.file is not None else entry.target)


def changes_between(old: Mapping[str, Entry], new: Mapping[str, Entry], *, same_session: bool) -> tuple[Change, ...]:
    """Return the differences between two trees by path, sorted by it; a rename is one difference.

    Within a session a file is the same by its sequence, a folder or symlink by its inode; across sessions, where
    exactly one removed and one added file have the same content.
    """
    removed = {path: entry for path, entry in old.items() if path not in new or new[path].kind is not entry.kind}
    added = {path: entry for path, entry in new.items() if path not in old or old[path].kind is not entry.kind}
    found = [_both(path, old[path], new[path]) for path in old if path in new and path not in removed]
    identify = _identity if same_session else _by_content
    sources, targets = _unique(removed, identify), _unique(added, identify)
    for key in sources.keys() & targets.keys():
        before, after = sources[key], targets[key]
        found.append(Change(after, removed.pop(before), added.pop(after), before))
    found += [Change(path, entry, None) for path, entry in removed.items()]
    found += [Change(path, None, entry) for path, entry in added.items()]
    return tuple(sorted((change for change in found if change is not None), key=lambda c: (c.path, c.new is not None)))


def _both(path: str, old: Entry, new: Entry) -> Change | None:
    change = Change(path, old, new)
    return change if change.has_other_content or change.fields else None


def _identity(entry: Entry) -> object:
    return (entry.kind, entry.ino if entry.file is None else entry.file.sequence)


def _by_content(entry: Entry) -> object:
    return content_of(entry) if entry.kind is Kind.FILE and entry.facts.size else None


def _unique(side: Mapping[str, Entry], identify: Callable[[Entry], object]) -> dict[object, str]:
    """Return the path of each identity that exactly one entry of *side* has."""
    paths: dict[object, list[str]] = {}
    for path, entry in side.items():
        key = identify(entry)
        if key is not None:
            paths.setdefault(key, []).append(path)
    return {key: found[0] for key, found in paths.items() if len(found) == 1}
