"""The store held against plain dicts, whatever is done to it in whatever order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    InvalidTransition,
    IsAFolder,
    NotAFolder,
    NotEmpty,
    NotFound,
    SessionNotActive,
    SpellError,
)
from llmspellfs.model.artifact import Kind, Ownership
from llmspellfs.service.paths import Place

OWN = Ownership(0o755, 1, 1)
SESSIONS = st.sampled_from(["s", "t"])
PATHS = st.sampled_from(["a", "b", "d/a", "d/e/a", "f"])
FOLDERS = st.sampled_from(["d", "d/e", "f"])
CONTENTS = st.sampled_from([b"", b"one", b"two", b"x" * 70_000])
PICKS = st.integers(0, 1000)


@dataclass
class File:
    """What the model knows of an artifact: its sequence, its contents by version, and how many versions it has."""

    sequence: int
    versions: list[bytes]

    @property
    def content(self) -> bytes:
        return self.versions[-1]


@dataclass
class Model:
    """A session: a dict from path to a file or, for a folder, None."""

    status: str = "active"
    tree: dict[str, File | None] = field(default_factory=dict)
    next_sequence: int = 1
    deleted: dict[str, File] = field(default_factory=dict)
    checkpoints: int = 0

    def above(self, path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[:depth]) for depth in range(1, len(parts))]

    def below(self, path: str) -> list[str]:
        return [name for name in self.tree if name.startswith(path + "/")]

    def files(self) -> dict[str, File]:
        return {path: file for path, file in self.tree.items() if file is not None}

    def new(self, content: bytes) -> File:
        self.next_sequence += 1
        return File(self.next_sequence - 1, [content])


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to dicts, and compares what both show."""

    backend = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(Path(self.folder.name), config=Config(), backend=self.backend, now=self.tick)
        self.time = 10**18
        self.models = {"s": Model(), "t": Model()}

    def tick(self) -> int:
        self.time += 1000
        return self.time

    @initialize()
    def begin(self) -> None:
        for name in self.models:
            self.store.sessions.create(name)

    def teardown(self) -> None:
        report = self.store.upkeep.fsck()
        self.store.close()
        self.folder.cleanup()
        assert report.problems == ()

    def expect(self, error: type[SpellError] | None, call: Callable[[], object]) -> bool:
        """Call, which must raise *error*, or succeed where that is None; tell whether it did."""
        if error is None:
            call()
            return True
        with pytest.raises(error):
            call()
        return False

    def place(self, ref: str, path: str) -> Place | None:
        session = self.store.sessions.get(ref)
        *folders, name = path.split("/")
        folder = session.ino
        for part in folders:
            entry = self.store.entries.lookup(folder, part)
            if entry is None or entry.kind is not Kind.FOLDER:
                return None
            folder = entry.ino
        return Place(session.sid, folder, name)

    @rule(ref=SESSIONS, path=PATHS, content=CONTENTS)
    def put(self, ref: str, path: str, content: bytes) -> None:
        model = self.models[ref]
        error: type[SpellError] | None = None
        if model.status != "active":
            error = SessionNotActive
        elif any(model.tree.get(above, None) for above in model.above(path)):
            error = NotAFolder
        elif path in model.tree and model.tree[path] is None:
            error = IsAFolder
        if not self.expect(error, lambda: self.store.artifacts.put(ref, path, content)):
            return
        for above in model.above(path):
            model.tree.setdefault(above, None)
        file = model.tree.get(path)
        if file is None:
            model.tree[path] = model.new(content)
        elif file.content != content:
            file.versions.append(content)

    def picked(self, pick: int) -> tuple[str, str] | None:
        """Return the session and the path of the *pick*-th of all entries, or None where there is none."""
        there = [(ref, path) for ref, model in self.models.items() for path in sorted(model.tree)]
        return there[pick % len(there)] if there else None

    @rule(pick=PICKS)
    def delete_what_is_there(self, pick: int) -> None:
        if (picked := self.picked(pick)) is not None:
            self.delete(*picked)

    @rule(ref=SESSIONS, path=PATHS)
    def delete_anything(self, ref: str, path: str) -> None:
        self.delete(ref, path)

    def delete(self, ref: str, path: str) -> None:
        model = self.models[ref]
        error: type[SpellError] | None = None
        if any(model.tree.get(above) for above in model.above(path)):
            error = NotAFolder
        elif path not in model.tree:
            error = NotFound
        elif model.tree[path] is None:
            error = IsAFolder
        if self.expect(error, lambda: self.store.artifacts.delete(ref, path)):
            file = model.tree.pop(path)
            assert file is not None
            model.deleted[path] = file

    @rule(ref=SESSIONS, path=PATHS)
    def restore_anything(self, ref: str, path: str) -> None:
        self.restore(ref, path)

    @rule(ref=SESSIONS, pick=PICKS)
    def restore_what_was_deleted(self, ref: str, pick: int) -> None:
        if deleted := sorted(self.models[ref].deleted):
            self.restore(ref, deleted[pick % len(deleted)])

    def restore(self, ref: str, path: str) -> None:
        model = self.models[ref]
        file = model.deleted.get(path)
        error: type[SpellError] | None = None
        if model.status != "active":
            error = SessionNotActive
        elif file is None:
            error = SpellError
        elif any(file is other for other in model.tree.values()):
            error = AlreadyExists
        elif any(model.tree.get(above) for above in model.above(path)):
            error = NotAFolder
        elif path in model.tree:
            error = AlreadyExists
        if self.expect(error, lambda: self.store.artifacts.restore(ref, path)):
            assert file is not None
            for above in model.above(path):
                model.tree.setdefault(above, None)
            model.tree[path] = file

    @rule(ref=SESSIONS, path=FOLDERS)
    def make_folder(self, ref: str, path: str) -> None:
        place, model = self.place(ref, path), self.models[ref]
        if place is None:
            return
        error: type[SpellError] | None = None
        if model.status != "active":
            error = SessionNotActive
        elif path in model.tree:
            error = AlreadyExists
        if self.expect(error, lambda: self.store.entries.make_folder(place, OWN)):
            model.tree[path] = None

    @rule(ref=SESSIONS, path=FOLDERS)
    def remove_folder(self, ref: str, path: str) -> None:
        place, model = self.place(ref, path), self.models[ref]
        if place is None:
            return
        error: type[SpellError] | None = None
        if model.status != "active":
            error = SessionNotActive
        elif path not in model.tree:
            error = NotFound
        elif model.tree[path] is not None:
            error = NotAFolder
        elif model.below(path):
            error = NotEmpty
        if self.expect(error, lambda: self.store.entries.remove(place, folder=True)):
            del model.tree[path]

    @rule(pick=PICKS, ref=SESSIONS, path=st.one_of(PATHS, FOLDERS))
    def rename_to_anything(self, pick: int, ref: str, path: str) -> None:
        if (picked := self.picked(pick)) is not None:
            self.rename(*picked, ref, path)

    @rule(old=PICKS, new=PICKS)
    def rename_over_what_is_there(self, old: int, new: int) -> None:
        source, target = self.picked(old), self.picked(new)
        if source is not None and target is not None:
            self.rename(*source, *target)

    @rule(ref=SESSIONS, old=PATHS, new=PATHS)
    def rename_anything(self, ref: str, old: str, new: str) -> None:
        self.rename(ref, old, ref, new)

    def rename(self, old_ref: str, old: str, new_ref: str, new: str) -> None:
        source, target = self.place(old_ref, old), self.place(new_ref, new)
        if source is None or target is None:
            return
        error = self.rename_error(old_ref, old, new_ref, new)
        if not self.expect(error, lambda: self.store.entries.rename(source, target)) or (old_ref, old) == (
            new_ref,
            new,
        ):
            return
        here, there = self.models[old_ref], self.models[new_ref]
        moved = {old: here.tree.pop(old)} | {name: here.tree.pop(name) for name in here.below(old)}
        over = there.tree.get(new)
        for name, file in moved.items():
            if file is not None and over is not None:
                if over.content != file.content:
                    over.versions.append(file.content)
                there.tree[new] = over
            elif file is not None and here is not there:
                there.tree[new + name[len(old) :]] = there.new(file.content)
            else:
                there.tree[new + name[len(old) :]] = file

    def rename_error(self, old_ref: str, old: str, new_ref: str, new: str) -> type[SpellError] | None:
        here, there = self.models[old_ref], self.models[new_ref]
        if here.status != "active" or there.status != "active":
            return SessionNotActive
        if old not in here.tree:
            return NotFound
        if (old_ref, old) == (new_ref, new):
            return None
        if here.tree[old] is None and old_ref == new_ref and new.startswith(old + "/"):
            return SpellError
        if new in there.tree and here.tree[old] is None:
            return NotAFolder if there.tree[new] is not None else NotEmpty if there.below(new) else None
        return IsAFolder if new in there.tree and there.tree[new] is None else None

    @rule(ref=SESSIONS, action=st.sampled_from(["suspend", "resume", "load", "load"]))
    def change_state(self, ref: str, action: str) -> None:
        model = self.models[ref]
        after = {("suspend", "active"): "suspended", ("resume", "suspended"): "active"}.get((action, model.status))
        after = "active" if action == "load" else after
        if self.expect(None if after else InvalidTransition, lambda: getattr(self.store.sessions, action)(ref)):
            assert after is not None
            model.status = after

    @rule(ref=SESSIONS)
    def save(self, ref: str) -> None:
        self.models[ref].checkpoints += 1
        assert self.store.sessions.save(ref).number == self.models[ref].checkpoints

    @rule(ref=SESSIONS)
    def delete_and_restore_whole(self, ref: str) -> None:
        model = self.models[ref]
        last = self.store.sessions.events(ref)[-1].kind
        self.store.sessions.delete(ref)
        if not last.endswith(".deleted"):
            assert self.store.sessions.restore(ref).status == model.status
            return
        self.store.sessions.purge(ref)
        self.store.sessions.create(ref)
        self.models[ref] = Model()

    @precondition(lambda self: self.backend == "sqlite")
    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = open_store(Path(self.folder.name), config=Config(), now=self.tick)

    @rule()
    def collect(self) -> None:
        self.store.upkeep.gc(grace_seconds=0)

    @invariant()
    def both_show_the_same(self) -> None:
        for ref, model in self.models.items():
            if (session := next((s for s in self.store.sessions.list() if s.name == ref), None)) is None:
                continue
            files = model.files()
            assert session.status == model.status
            assert session.artifact_count == len(files)
            assert session.total_artifact_size == sum(len(file.content) for file in files.values())
            shown = {a.name: (a.sequence, a.version, a.size) for a in self.store.artifacts.list(ref)}
            assert shown == {p: (f.sequence, len(f.versions), len(f.content)) for p, f in files.items()}
            assert self.listing(session.ino, "") == {p: f is None for p, f in model.tree.items()}

    def listing(self, folder: int, prefix: str) -> dict[str, bool]:
        found = {}
        for entry in self.store.entries.listing(folder):
            found[prefix + entry.name] = entry.kind is Kind.FOLDER
            if entry.kind is Kind.FOLDER:
                found |= self.listing(entry.ino, f"{prefix}{entry.name}/")
        return found

    @rule(ref=SESSIONS)
    def every_version_reads_back(self, ref: str) -> None:
        for path, file in self.models[ref].files().items():
            versions = self.store.artifacts.history(ref, path)
            assert [self.store.artifacts.read(a) for a in versions] == file.versions


class SqliteMachine(StoreMachine):
    """The same on disk."""

    backend = "sqlite"


@pytest.mark.parametrize(("machine", "examples"), [(StoreMachine, 60), (SqliteMachine, 30)])
def test_the_store_is_as_dicts_say(machine: type[StoreMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
