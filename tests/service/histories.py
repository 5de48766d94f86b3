"""What a session shows, live and in its past, and a machine that does anything to two sessions and remembers it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound, SpellError
from llmspellfs.model.artifact import Attributes, Entry, Kind, Ownership
from llmspellfs.model.point import Point
from llmspellfs.model.session import Session
from llmspellfs.service.moments import Moment
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer

OWN = Ownership(0o755, 1, 1)
FIELDS = ("name", "description", "tags", "metadata", "parent_session_id")


@dataclass(frozen=True)
class State:
    """Everything that a session shows: its fields, and what is at each path."""

    status: str
    fields: dict[str, Any]
    tree: dict[str, tuple[object, ...]]
    """A file's sequence, hash and metadata; a symlink's target; a folder."""
    versions: dict[str, int]

    @property
    def content(self) -> tuple[object, ...]:
        """What a rollback brings back."""
        return self.fields, self.tree

    @property
    def size(self) -> tuple[int, int]:
        """How many artifacts there are, and their bytes."""
        sizes = [row[2] for row in self.tree.values() if row[0] is Kind.FILE]
        return len(sizes), sum(size for size in sizes if isinstance(size, int))


def shown(entry: Entry) -> tuple[object, ...]:
    """Return what *entry* shows of itself, its name and its numbers but the sequence left out."""
    if entry.file is None:
        return (entry.kind, entry.target)
    f = entry.file
    return entry.kind, f.sequence, f.size, f.content_hash, f.artifact_type, f.mime_type, f.description, f.tags, f.custom


def _state(session: Session, listing: Callable[[int], list[Entry]]) -> State:
    tree, versions, waiting = {}, {}, [(session.ino, "")]
    while waiting:
        folder, prefix = waiting.pop()
        for entry in listing(folder):
            path = prefix + entry.name
            assert path not in tree
            tree[path] = shown(entry)
            if entry.file is not None:
                versions[path] = entry.file.version
            if entry.kind is Kind.FOLDER:
                waiting.append((entry.ino, f"{path}/"))
    return State(str(session.status), {name: getattr(session, name) for name in FIELDS}, tree, versions)


def live(store: Store, ref: str) -> State:
    """Return what session *ref* shows now; its counters must agree."""
    session = store.sessions.get(ref)
    state = _state(session, store.entries.rows)
    assert (session.artifact_count, session.total_artifact_size) == state.size
    return state


def past(store: Store, moment: Moment) -> State:
    """Return what the session of *moment* showed then; its counters must agree."""
    session = store.past.session(moment)
    state = _state(session, lambda folder: store.past.listing(moment, folder))
    assert (session.artifact_count, session.total_artifact_size) == state.size
    return state


def at(store: Store, ref: str, seq: int) -> State:
    """Return what session *ref* showed at *seq*."""
    return past(store, store.past.moment(store.sessions.get(ref).sid, Point(seq=seq)))


def place(store: Store, ref: str, path: str) -> Place:
    """Return the place of *path* in session *ref*, whose folders are there."""
    session = store.sessions.get(ref)
    *folders, name = path.split("/")
    folder = session.ino
    for part in folders:
        entry = store.entries.lookup(folder, part)
        assert entry is not None
        folder = entry.ino
    return Place(session.sid, folder, name)


def draft(store: Store, ref: str, path: str, content: bytes) -> tuple[Entry, Callable[[], object]]:
    """Commit *content* at *path* as an open handle does; return its row, and what ends the handle."""
    where = place(store, ref, path)
    there = store.entries.lookup(where.folder, where.name)
    ino = store.entries.reserve_ino() if there is None else there.ino
    inode = (ino, Attributes(0o644, 1, 1, 5, 5))
    entry = store.entries.commit(where, store.intake.stage(content), Given(), inode, Writer("p1"), known=there)
    return entry, lambda: store.entries.seal([(entry, store.origin)])


REFS = st.sampled_from(["s", "t"])
FILES = st.sampled_from(["a", "b", "d/a", "d/e/a", "d", "d/e"])
ALL = st.sampled_from(["a", "b", "c", "d", "d/a", "d/e", "d/e/a", "d/e/f", "f"])
CONTENTS = st.sampled_from([b"", b"one", b"two", b"three\n"])
TAGS = st.sampled_from([(), ("x",), ("x", "y")])
PICKS = st.integers(0, 1000)


class Histories(RuleBasedStateMachine):
    """Does anything to two sessions, refused or not, and remembers what each showed at each seq."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 10**18
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(Path(self.folder.name), config=Config(), backend="memory", now=self.tick)
        self.ids: dict[str, str] = {}
        self.seen: dict[str, dict[int, State]] = {"s": {}, "t": {}}
        self.highest: dict[tuple[str, object], int] = {}

    def tick(self) -> int:
        self.time += 1000
        return self.time

    @initialize()
    def begin(self) -> None:
        for name in self.seen:
            self.ids[name] = self.store.sessions.create(name).id
        self.note()

    def note(self) -> None:
        """Remember what is there now."""
        for name, ref in self.ids.items():
            if self.is_there(name):
                state = self.seen[name][self.store.sessions.get(ref).seq] = live(self.store, ref)
                self.count_versions(name, state)

    def count_versions(self, name: str, state: State) -> None:
        """See that no artifact's version has gone back."""
        for path, version in state.versions.items():
            key = name, state.tree[path][1]
            assert version >= self.highest.get(key, 1), (name, path)
            self.highest[key] = version

    def is_there(self, name: str) -> bool:
        """Tell whether the session is not deleted."""
        return self.ids[name] in {session.id for session in self.store.sessions.list()}

    def teardown(self) -> None:
        for name, ref in self.ids.items():
            if not self.is_there(name):
                self.store.sessions.restore(ref)
            for seq, state in self.seen[name].items():
                assert at(self.store, ref, seq) == state, (name, seq)
        assert self.store.upkeep.fsck().problems == ()
        assert all(report.problem is None for report in self.store.upkeep.verify())
        self.store.close()
        self.folder.cleanup()

    def attempt(self, call: Callable[[], object]) -> None:
        with suppress(SpellError):
            call()
        self.note()

    def picked(self, ref: str, pick: int) -> str | None:
        there = sorted(live(self.store, self.ids[ref]).tree) if self.is_there(ref) else []
        return there[pick % len(there)] if there else None

    def where(self, ref: str, path: str) -> Place | None:
        with suppress(AssertionError, NotFound):
            return place(self.store, self.ids[ref], path)
        return None

    @rule(ref=REFS, path=FILES, content=CONTENTS, tags=st.none() | TAGS)
    def put(self, ref: str, path: str, content: bytes, tags: tuple[str, ...] | None) -> None:
        self.attempt(lambda: self.store.artifacts.put(self.ids[ref], path, content, tags=tags))

    @rule(ref=REFS, path=FILES, content=CONTENTS)
    def commit_a_draft(self, ref: str, path: str, content: bytes) -> None:
        where = self.where(ref, path)
        if where is None:
            return
        session, entry = self.store.sessions.get(self.ids[ref]), self.store.entries.lookup(where.folder, where.name)
        if not session.is_active or (entry is not None and entry.file is None):
            return
        with suppress(SpellError):
            _, end = draft(self.store, self.ids[ref], path, content)
            assert at(self.store, self.ids[ref], session.seq) == self.seen[ref][session.seq]
            end()
        self.note()

    @rule(ref=REFS, path=ALL, kind=st.sampled_from(["folder", "link"]), leads=CONTENTS)
    def make(self, ref: str, path: str, kind: str, leads: bytes) -> None:
        where = self.where(ref, path)
        if where is None:
            return
        if kind == "folder":
            self.attempt(lambda: self.store.entries.make_folder(where, OWN))
        else:
            self.attempt(lambda: self.store.entries.make_symlink(where, f"to {leads!r}", OWN))

    @rule(ref=REFS, pick=PICKS, folder=st.booleans())
    def remove(self, ref: str, pick: int, folder: bool) -> None:
        path = self.picked(ref, pick)
        where = None if path is None else self.where(ref, path)
        if where is not None:
            self.attempt(lambda: self.store.entries.remove(where, folder=folder))

    @rule(ref=REFS, pick=PICKS, to=REFS, path=ALL)
    def rename(self, ref: str, pick: int, to: str, path: str) -> None:
        old = self.picked(ref, pick)
        source, target = None if old is None else self.where(ref, old), self.where(to, path)
        if source is not None and target is not None:
            self.attempt(lambda: self.store.entries.rename(source, target))

    @rule(ref=REFS, one=PICKS, other=PICKS)
    def swap(self, ref: str, one: int, other: int) -> None:
        """Change two entries' places by way of a third."""
        first, second = self.picked(ref, one), self.picked(ref, other)
        if first is None or second is None or first.startswith(second) or second.startswith(first):
            return
        places = [self.where(ref, path) for path in (first, "swap", second)]
        for old, new in ((0, 1), (2, 0), (1, 2)):
            source, target = places[old], places[new]
            assert source is not None
            assert target is not None
            self.attempt(lambda source=source, target=target: self.store.entries.rename(source, target))  # type: ignore[misc]

    @rule(ref=REFS, path=FILES, tags=TAGS, value=st.sampled_from([1, "1", None, True]))
    def describe(self, ref: str, path: str, tags: tuple[str, ...], value: object) -> None:
        self.attempt(lambda: self.store.artifacts.update(self.ids[ref], path, tags=tags, custom={"k": value}))

    @rule(ref=REFS, path=FILES)
    def restore(self, ref: str, path: str) -> None:
        self.attempt(lambda: self.store.artifacts.restore(self.ids[ref], path))

    @rule(ref=REFS, name=st.sampled_from(["s", "t", "u"]), tags=TAGS, parent=st.none() | REFS)
    def update(self, ref: str, name: str, tags: tuple[str, ...], parent: str | None) -> None:
        parent = None if parent is None else self.ids[parent]
        self.attempt(lambda: self.store.sessions.update(self.ids[ref], name=name, tags=tags, parent=parent))

    @rule(ref=REFS)
    def load(self, ref: str) -> None:
        self.attempt(lambda: self.store.sessions.load(self.ids[ref]))

    @rule(ref=REFS, action=st.sampled_from(["suspend", "resume", "save", "load"]))
    def change_state(self, ref: str, action: str) -> None:
        self.attempt(lambda: getattr(self.store.sessions, action)(self.ids[ref]))

    @rule(ref=REFS)
    def delete_whole(self, ref: str) -> None:
        self.attempt(lambda: self.store.sessions.delete(self.ids[ref]))

    @rule(ref=REFS)
    def restore_whole(self, ref: str) -> None:
        self.attempt(lambda: self.store.sessions.restore(self.ids[ref]))
