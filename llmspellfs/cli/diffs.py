"""How differences are shown: as unified diffs that patch(1) takes, as a table of names and sizes, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmspellfs.cli.views import Column, View, human_size
from llmspellfs.model.artifact import Kind
from llmspellfs.model.shown import count
from llmspellfs.model.values import is_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from llmspellfs.model.artifact import Entry
    from llmspellfs.model.diff import Change, FieldChange

    TextDiff = Callable[[Change, str, str], Iterator[str] | None]

_NOUNS = {Kind.FILE: "", Kind.FOLDER: "folder ", Kind.SYMLINK: "symlink "}
_MARKS = {"added": "A", "removed": "D", "renamed": "R", "changed": "M", "described": "m"}
_WORDS = {"A": "added", "D": "removed", "R": "renamed", "M": "changed", "m": "of metadata", "T": "of another kind"}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def quoted(path: str) -> str:
    """Return *path* as git and GNU diff write it: between double quotes where a character in it needs an escape."""
    if not any(char in _ESCAPES or ord(char) < 0x20 or char == "\x7f" for char in path):
        return path
    return '"' + "".join(_ESCAPES.get(char) or _octal(char) for char in path) + '"'


def _octal(char: str) -> str:
    return f"\\{ord(char):03o}" if ord(char) < 0x20 or char == "\x7f" else char


def _side(prefix: str, path: str | None) -> str:
    """Return the path that a `---` or `+++` line names; after one with a space comes a tab, so that it ends there."""
    if path is None:
        return "/dev/null"
    text = quoted(f"{prefix}/{path}")
    return f"{text}\t" if " " in text else text


def session_lines(fields: Iterable[FieldChange]) -> Iterator[str]:
    """Yield a line for each of a session's *fields*, and for each key of its metadata, that is another."""
    for line in _field_lines(fields):
        yield f"session {line}"


def change_lines(change: Change, text_diff: TextDiff) -> Iterator[str]:
    """Yield what is to be said of *change*: a line that names it, its metadata, and the diff that *text_diff* makes.

    Contents that are the same are not read.
    """
    old_path = change.path if change.old_path is None else change.old_path
    labels = _side("a", old_path if change.old else None), _side("b", change.path if change.new else None)
    yield _title(change)
    yield from _body(change, text_diff, labels)


def artifact_lines(change: Change, labels: tuple[str, str], text_diff: TextDiff) -> Iterator[str]:
    """Yield how two artifacts, called by *labels*, differ, as `change_lines` does."""
    word = "changed" if change.has_other_content else "metadata"
    yield f"{word} {quoted(labels[0])} -> {quoted(labels[1])}"
    yield from _body(change, text_diff, (quoted(labels[0]), quoted(labels[1])))


def _title(change: Change) -> str:
    word = "metadata" if change.kind == "described" else change.kind
    name = quoted(change.path)
    if change.old_path is not None:
        name = f"{quoted(change.old_path)} -> {name}"
    return f"{word} {_NOUNS[_entry(change).kind]}{name}"


def _body(change: Change, text_diff: TextDiff, labels: tuple[str, str]) -> Iterator[str]:
    for line in _field_lines(change.fields):
        yield f"  {line}"
    if not change.has_other_content or _entry(change).kind is Kind.FOLDER:
        return
    lines = text_diff(change, *labels)
    if lines is None:
        sizes = [human_size(_size_of(entry) or 0) for entry in (change.old, change.new)]
        yield f"Binary artifacts differ ({sizes[0]} -> {sizes[1]})"
    else:
        yield from lines


def _field_lines(fields: Iterable[FieldChange]) -> Iterator[str]:
    for name, (old, new) in _flat(fields).items():
        yield f"{name}: {_value(old)} -> {_value(new)}"


_UNSET = object()


def _flat(fields: Iterable[FieldChange]) -> dict[str, tuple[object, object]]:
    """Return the old and the new value of each field, of an object those of each key that is another."""
    found: dict[str, tuple[object, object]] = {}
    for field in fields:
        if isinstance(field.old, dict) and isinstance(field.new, dict):
            for key in sorted(field.old.keys() | field.new.keys()):
                values = field.old.get(key, _UNSET), field.new.get(key, _UNSET)
                if _UNSET in values or not is_same(*values):
                    found[f"{field.name}.{quoted(key)}"] = values
        else:
            found[field.name] = field.old, field.new
    return found


def _value(value: object) -> str:
    return "unset" if value is _UNSET or value is None else json.dumps(value, ensure_ascii=False)


def _entry(change: Change) -> Entry:
    entry = change.new or change.old
    assert entry is not None
    return entry


def _size_of(entry: Entry | None) -> int | None:
    return None if entry is None or entry.file is None else entry.file.size


@dataclass(frozen=True, slots=True)
class Line:
    """A line of `--stat`: the mark of what became of *path*, and its sizes in bytes, None where it is no file."""

    mark: str
    path: str
    old: int | None
    new: int | None

    @property
    def delta(self) -> int:
        """How many bytes it has gained."""
        return (self.new or 0) - (self.old or 0)


def stat_of(changes: Sequence[Change]) -> list[Line]:
    """Return a line for each path in *changes*; what was removed and added under one path is of another kind there."""
    removed = {change.path: _size_of(change.old) for change in changes if change.kind == "removed"}
    added = {change.path for change in changes if change.kind == "added"}
    lines = []
    for change in changes:
        if change.path not in removed or change.kind not in {"removed", "added"} or change.path not in added:
            lines.append(_stat(change))
        elif change.kind == "added":
            lines.append(replace(_stat(change), mark="T", old=removed[change.path]))
    return lines


def _stat(change: Change) -> Line:
    slash = "/" if _entry(change).kind is Kind.FOLDER else ""
    path = f"{change.path}{slash}"
    if change.old_path is not None:
        path = f"{change.old_path}{slash} -> {path}"
    return Line(_MARKS[change.kind], path, _size_of(change.old), _size_of(change.new))


def total(lines: Sequence[Line]) -> str:
    """Return what *lines* come to: `3 changes: 1 added, 2 changed; 12 B more`."""
    marks = Counter(line.mark for line in lines)
    kinds = ", ".join(f"{marks[mark]} {word}" for mark, word in _WORDS.items() if marks[mark])
    delta = sum(line.delta for line in lines)
    more = f"; {human_size(abs(delta))} {'more' if delta > 0 else 'less'}" if delta else ""
    return f"{count(len(lines), 'change')}: {kinds}{more}"


def _size_cell(size: int | None) -> str:
    return "" if size is None else human_size(size)


def _delta_cell(line: Line) -> str:
    if line.old is None and line.new is None:
        return ""
    return f"{'-' if line.delta < 0 else '+' if line.delta else ''}{human_size(abs(line.delta))}"


STAT: View[Line] = View(
    (
        Column("", lambda line: line.mark),
        Column("NAME", lambda line: line.path),
        Column("OLD", lambda line: _size_cell(line.old), is_number=True),
        Column("NEW", lambda line: _size_cell(line.new), is_number=True),
        Column("DELTA", _delta_cell, is_number=True),
    ),
    lambda line: {"mark": line.mark, "path": line.path, "old": line.old, "new": line.new},
)


def fields_json(fields: Iterable[FieldChange]) -> dict[str, Any]:
    """Return each field that is another, with what it was and what it is."""
    return {field.name: {"old": field.old, "new": field.new} for field in fields}


def change_json(change: Change) -> dict[str, Any]:
    """Return everything of *change* that a program may want."""
    return {
        "kind": change.kind,
        "path": change.path,
        "old_path": change.old_path,
        "old": _entry_json(change.old),
        "new": _entry_json(change.new),
        "fields": fields_json(change.fields),
    }


def _entry_json(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    if entry.file is None:
        return {"type": entry.kind.name.lower(), **({} if entry.target is None else {"target": entry.target})}
    f = entry.file
    return {
        "type": "file", "hash": f.content_hash, "size": f.size, "version": f.version, "sequence": f.sequence,
        "artifact_type": f.artifact_type, "mime_type": f.mime_type,
    }  # fmt: skip
