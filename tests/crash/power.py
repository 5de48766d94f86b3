"""What a power cut may leave of a folder: a model at the level of files, fed with recorded system calls.

The idea is ALICE's (Pillai et al., OSDI 2014: an abstract persistence model, applied to a program's system calls),
with CrashMonkey's rule for what to check (Mohan et al., OSDI 2018: what an fsync promised must be there) and
dm-log-writes' way of replaying a log up to any point. Nothing here looks at a file system: the calls are the only
source.

A cut comes after some call of the log. What an fsync before it covers is on the disk; the rest is as the reading says:

`posix`, the harshest that the standard's words allow:
- a file's bytes not covered by an fsync of the file are dropped, or kept as a prefix of the writes, or as any of their
  pieces of 512 or 4096 bytes, aligned; its size may have gone ahead of them, and the gap reads as zeros;
- a cut of its length (ftruncate, O_TRUNC) and a change of mode count as writes do;
- a name made, taken away, linked or renamed and not covered by an fsync of its folder is kept or not, whatever happened
  before or after it, in the same folder or another. An fsync of a file says nothing of its name;
- a rename is one step: where it replaces a name, there is the old file or the new one. Between folders of which one
  was synced, that one's half is there, and the other's may be; a half that takes the old name away alone does not
  exist.

`ordered`, as ext4 with data=ordered does it: names, lengths and modes go through one journal and survive as a
prefix of it; an fsync of a file or folder brings the journal up to the last change of it; appended bytes survive as a
prefix of 4096-byte pages, pages that are overwritten in place each on its own.

`kept` is no loss of power but of the process alone: everything is there.

States are drawn by seed; the same seed gives the same state.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

from tests.crash.recorder import Op

Reading = Literal["posix", "ordered", "kept"]
_PAGE = 4096
_IGNORED = "-shm"
"""SQLite's shared memory is mapped, not written, and made anew after a crash."""


@dataclass(slots=True, eq=False)
class File:
    """A file, or a symlink to *target*; *pending* are writes ("W"), lengths ("T") and modes ("A") since its fsync."""

    data: bytearray = field(default_factory=bytearray)
    mode: int = 0o600
    target: str | None = None
    pending: list[tuple[int, str, int, bytes]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Folder:
    """A folder as it is *now*, and as it was when the recording began."""

    now: dict[str, Node] = field(default_factory=dict)
    first: dict[str, Node] = field(default_factory=dict)
    mode: int = 0o700


Node = File | Folder


@dataclass(slots=True, eq=False)
class Step:
    """A change of names: what *sets* and what *unsets* a name in a folder, done as one."""

    number: int
    node: Node
    sets: tuple[Folder, str] | None
    unsets: tuple[Folder, str] | None
    durable: set[int] = field(default_factory=set)
    """The ids of the folders that were synced since."""


class Disk:
    """The disk under a recorded folder, as the calls so far leave it."""

    def __init__(self, root: Path) -> None:
        """Begin with what is at *root*, all of it durable."""
        self._nodes: dict[int, Node] = {}
        self.root = self._loaded(root)
        self._steps: list[Step] = []
        self._number = 0
        self._journal = 0
        """In the ordered reading everything up to this number is on the disk."""
        self._last: dict[int, int] = {}
        """By the id of a node, the number of its last change that the journal has."""

    def _loaded(self, path: Path) -> Folder:
        folder = Folder(mode=path.stat().st_mode & 0o7777)
        self._nodes[path.stat().st_ino] = folder
        for entry in os.scandir(path):
            status = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                node: Node = self._loaded(Path(entry.path))
            elif entry.is_symlink():
                node = File(target=os.readlink(entry.path))
            else:
                node = File(bytearray(Path(entry.path).read_bytes()), status.st_mode & 0o7777)
            self._nodes[status.st_ino] = node
            folder.now[entry.name] = node
        folder.first = dict(folder.now)
        return folder

    def replay(self, op: Op) -> None:
        """Take the next call."""
        self._number += 1
        match op.kind:
            case "C":
                self._make(op, File(mode=op.offset))
            case "D":
                self._make(op, Folder(mode=op.offset))
            case "Y":
                self._make(op, File(target=os.fsdecode(op.b)))
            case "L":
                self._change(Step(self._number, self._at(op.a), self._place(op.b), None))
            case "R":
                assert op.offset == 0, "an exchange of names is not modelled"
                self._change(Step(self._number, self._at(op.a), self._place(op.b), self._place(op.a)))
            case "U":
                self._change(Step(self._number, self._at(op.a), None, self._place(op.a)))
            case "W" | "T" | "A":
                self._written(op)
            case "S":
                self._synced(self._nodes[op.inode])

    def _make(self, op: Op, node: Node) -> None:
        self._nodes[op.inode] = node
        self._change(Step(self._number, node, self._place(op.a), None))

    def _written(self, op: Op) -> None:
        node = self._at(op.a) if op.a else self._nodes[op.inode]
        if isinstance(node, Folder):
            node.mode = op.offset
            return
        node.pending.append((self._number, op.kind, op.offset, op.b))
        self._last[id(node)] = self._number

    def _change(self, step: Step) -> None:
        if step.unsets is not None:
            step.unsets[0].now.pop(step.unsets[1])
            self._last[id(step.unsets[0])] = step.number
        if step.sets is not None:
            step.sets[0].now[step.sets[1]] = step.node
            self._last[id(step.sets[0])] = step.number
        self._last[id(step.node)] = step.number
        self._steps.append(step)

    def _synced(self, node: Node) -> None:
        self._journal = max(self._journal, self._last.get(id(node), 0))
        if isinstance(node, Folder):
            for step in self._steps:
                step.durable.add(id(node))
            return
        for _, kind, offset, data in node.pending:
            node.mode = _applied(node.data, node.mode, kind, offset, data)
        node.pending.clear()

    def _place(self, path: bytes) -> tuple[Folder, str]:
        *folders, name = os.fsdecode(path).split("/")
        here = self.root
        for folder in folders:
            below = here.now[folder]
            assert isinstance(below, Folder)
            here = below
        return here, name

    def _at(self, path: bytes) -> Node:
        folder, name = self._place(path)
        return folder.now[name]

    def materialise(self, target: Path, reading: Reading, seed: object) -> None:
        """Make at *target* a state that a power cut now may leave."""
        random = Random(f"{seed}")
        names = {id(folder): dict(folder.first) for folder in self._folders()}
        upto = random.randint(self._journal, self._number) if self._number > self._journal else self._number
        share = random.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        for step in self._steps:
            sets, unsets = _kept(step, reading, upto, random.random() < share, random)
            if unsets and step.unsets is not None and names[id(step.unsets[0])].get(step.unsets[1]) is step.node:
                del names[id(step.unsets[0])][step.unsets[1]]
            if sets and step.sets is not None:
                names[id(step.sets[0])][step.sets[1]] = step.node
        self._write(target, self.root, names, reading, upto, random)

    def _folders(self) -> list[Folder]:
        found = {id(node): node for node in self._nodes.values() if isinstance(node, Folder)}
        for step in self._steps:
            if isinstance(step.node, Folder):
                found[id(step.node)] = step.node
        return list(found.values())

    def _write(
        self,
        target: Path,
        folder: Folder,
        names: dict[int, dict[str, Node]],
        reading: Reading,
        upto: int,
        random: Random,
    ) -> None:
        target.mkdir()
        target.chmod(folder.mode)
        for name, node in sorted(names[id(folder)].items()):
            path = target / name
            if isinstance(node, Folder):
                self._write(path, node, names, reading, upto, random)
            elif node.target is not None:
                path.symlink_to(node.target)
            elif not name.endswith(_IGNORED):
                data, mode = _survives(node, reading, upto, random)
                path.write_bytes(data)
                path.chmod(mode)


def _kept(step: Step, reading: Reading, upto: int, luck: bool, random: Random) -> tuple[bool, bool]:
    """Return whether the half of *step* that sets a name is there, and the one that takes one away."""
    if reading != "posix":
        kept = reading == "kept" or step.number <= upto
        return kept, kept
    sets = step.sets is not None and id(step.sets[0]) in step.durable
    unsets = step.unsets is not None and id(step.unsets[0]) in step.durable
    if not (sets or unsets):
        return luck, luck
    if step.sets is None or step.unsets is None or unsets:
        return True, True
    return True, random.random() < 0.5


def _survives(file: File, reading: Reading, upto: int, random: Random) -> tuple[bytearray, int]:
    """Return the bytes and the mode that are left of *file*."""
    data, mode = bytearray(file.data), file.mode
    how = "all" if reading == "kept" else "ordered" if reading == "ordered" else random.choice(_WAYS)
    pending, durable = file.pending, len(data)
    if how == "none" or not pending:
        return data, mode
    if how == "prefix":
        pending = pending[: random.randint(0, len(pending))]
    if how == "ordered":
        pending = [write for write in pending if write[0] <= upto]
    appends = random.randint(0, len(pending)) if how == "ordered" else len(pending)
    piece = 512 if how in {"torn", "zeros"} else _PAGE
    share = random.choice((0.1, 0.5, 0.9))
    full = len(data)
    for number, (_, kind, offset, content) in enumerate(pending):
        full = offset if kind == "T" else max(full, offset + len(content)) if kind == "W" else full
        if kind != "W" or how in {"all", "prefix"}:
            if how in {"all", "prefix", "ordered"} or random.random() < share:
                mode = _applied(data, mode, kind, offset, content)
            continue
        for start, part in _pieces(offset, content, piece):
            is_append = how == "ordered" and start + len(part) > durable
            if number < appends if is_append else random.random() < share:
                _applied(data, mode, kind, start, part)
    if how == "zeros" and full > len(data):
        data.extend(bytes(full - len(data)))
    return data, mode


_WAYS: Sequence[str] = ("none", "all", "prefix", "torn", "pages", "zeros")


def _pieces(offset: int, content: bytes, size: int) -> list[tuple[int, bytes]]:
    """Cut *content* at multiples of *size* in its file."""
    first = size - offset % size
    cuts = [0, *range(first, len(content), size), len(content)]
    return [(offset + begin, content[begin:end]) for begin, end in pairwise(cuts) if end > begin]


def _applied(data: bytearray, mode: int, kind: str, offset: int, content: bytes) -> int:
    """Do to *data* what a call did, and return the mode behind it."""
    if kind == "A":
        return offset
    if kind == "T":
        del data[offset:]
        data.extend(bytes(offset - len(data)))
        return mode
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(content)] = content
    return mode
