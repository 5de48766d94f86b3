"""Drafts: what an open handle has committed, until its end puts it into history with one event."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import llmspellfs
from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound, SessionNotActive
from llmspellfs.model.artifact import Attributes, Entry
from llmspellfs.model.session import Session
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer

ROOT = Path(llmspellfs.__file__).parents[1]


@dataclass
class Handle:
    """Commits to one file as an open handle does."""

    store: Store
    session: Session
    name: str
    entry: Entry | None = None
    draft: int | None = None

    def commit(self, content: bytes, **given: object) -> Entry:
        known = self.entry
        ino = known.ino if known else self.store.entries.reserve_ino()
        inode = (ino, Attributes(0o600, 1, 1, 5, 5))
        self.entry = self.store.entries.commit(
            Place(self.session.sid, self.session.ino, self.name),
            self.store.intake.stage(content),
            Given(**given),  # type: ignore[arg-type]
            inode,
            Writer(self.store.intake.owner, self.draft),
            known=known,
        )
        self.draft = self.entry.eid
        return self.entry

    def close(self) -> list[Entry]:
        assert self.entry is not None
        return self.store.entries.seal([(self.entry, self.store.origin)])


@pytest.fixture
def handle(store: Store) -> Handle:
    return Handle(store, store.sessions.create("s"), "f")


def stored(store: Store) -> list[int]:
    """Return the version that each `artifact.stored` event tells."""
    return [event.fields["version"] for event in store.sessions.events("s", kinds=["artifact.stored"])]


def test_all_commits_of_a_handle_are_one_version_and_one_event(store: Store, handle: Handle) -> None:
    for content in (b"a", b"ab", b"abc"):
        entry = handle.commit(content)
        assert entry.seq_from is None
        assert store.artifacts.read(store.artifacts.get("s", "f")) == content
        assert store.sessions.get("s").total_artifact_size == len(content)
    assert store.sessions.get("s").seq == 1
    sealed = handle.close()
    assert [row.seq_from for row in sealed] == [2]
    assert stored(store) == [1]
    assert handle.close() == []
    assert [(a.version, a.size) for a in store.artifacts.history("s", "f")] == [(1, 3)]
    assert store.artifacts.get("s", "f").ino == entry.ino


def test_what_is_sealed_is_the_draft_as_it_is_now_whatever_row_is_brought(store: Store, handle: Handle) -> None:
    early = handle.commit(b"1")
    handle.commit(b"22", description="walrus")
    sealed = store.entries.seal([(early, store.origin)])
    assert [(row.facts.size, row.facts.description) for row in sealed] == [(2, "walrus")]
    assert store.upkeep.fsck().problems == ()


def test_a_purged_draft_is_not_sealed_nor_is_what_came_after_it(store: Store, handle: Handle) -> None:
    gone = handle.commit(b"xx")
    store.artifacts.purge("s", "f")
    other = Handle(store, handle.session, "y")
    other.commit(b"yyy")
    assert store.entries.seal([(gone, store.origin)]) == []
    other.commit(b"yyyzz")
    assert [(row.name, row.facts.size) for row in other.close()] == [("y", 5)]
    assert store.upkeep.fsck().problems == ()


def test_a_draft_is_followed_into_another_session(store: Store, handle: Handle) -> None:
    handle.commit(b"one")
    there = store.sessions.create("t")
    store.entries.rename(Place(handle.session.sid, handle.session.ino, "f"), Place(there.sid, there.ino, "g"))
    handle.draft = None
    handle.commit(b"two")
    handle.close()
    assert store.artifacts.list("s") == []
    assert store.artifacts.read(store.artifacts.get("t", "g")) == b"two"


def test_a_draft_over_a_version_is_the_next_and_the_old_one_stays(store: Store, handle: Handle) -> None:
    first = store.artifacts.put("s", "f", b"first", tags=["t"])
    handle.entry = store.entries.lookup(handle.session.ino, "f")
    handle.commit(b"second")
    handle.commit(b"second!")
    assert store.artifacts.read(store.artifacts.get("s", first.id)) == b"first"
    assert store.artifacts.query("tag:t")[0].version == 2
    handle.close()
    assert stored(store) == [1, 2]
    assert [a.size for a in store.artifacts.history("s", "f")] == [5, 7]
    assert store.upkeep.fsck().ok


def test_committing_what_is_there_already_changes_nothing(store: Store, handle: Handle) -> None:
    store.artifacts.put("s", "f", b"same")
    handle.entry = store.entries.lookup(handle.session.ino, "f")
    assert handle.commit(b"same").seq_from == 2
    assert handle.close() == []
    assert stored(store) == [1]


def test_whoever_touches_a_draft_puts_it_into_history_first(store: Store, handle: Handle) -> None:
    touches: list[Callable[[], object]] = [
        lambda: store.artifacts.put("s", "f", b"other"),
        lambda: store.artifacts.update("s", "f", tags=["x"]),
        lambda: store.artifacts.update("s", "f", name="g"),
        lambda: store.artifacts.delete("s", "f"),
        lambda: store.sessions.save("s"),
        lambda: store.sessions.suspend("s"),
        lambda: store.sessions.delete("s"),
    ]
    for number, touch in enumerate(touches):
        store.sessions.create("s") if number else None
        handle = Handle(store, store.sessions.get("s"), "f")
        handle.commit(b"draft")
        touch()
        assert handle.close() == []
        kinds = [event.kind for event in store.sessions.events(handle.session.id)]
        assert kinds[:2] == ["session.created", "artifact.stored"]
        assert len(kinds) == 3
        assert store.upkeep.fsck().problems == ()
        store.sessions.purge(handle.session.id)


def test_a_handle_whose_draft_was_sealed_makes_the_next_version(store: Store, handle: Handle) -> None:
    first = handle.commit(b"one")
    checkpoint = store.sessions.save("s")
    handle.commit(b"two")
    handle.close()
    assert stored(store) == [1, 2]
    assert [(a.version, a.content_hash == first.facts.content_hash) for a in store.artifacts.history("s", "f")] == [
        (1, True), (2, False),
    ]  # fmt: skip
    assert checkpoint.seq == 3


def test_a_commit_follows_its_file_to_its_new_name_and_session(store: Store, handle: Handle) -> None:
    handle.commit(b"one")
    store.artifacts.update("s", "f", name="d/g")
    handle.commit(b"two")
    handle.close()
    assert store.artifacts.read(store.artifacts.get("s", "d/g")) == b"two"
    assert [a.name for a in store.artifacts.list("s")] == ["d/g"]


def test_a_commit_to_a_file_deleted_meanwhile_is_refused(store: Store, handle: Handle) -> None:
    handle.commit(b"one")
    store.artifacts.delete("s", "f")
    with pytest.raises(NotFound):
        handle.commit(b"two")
    assert store.artifacts.list("s") == []


def test_a_commit_to_a_frozen_session_is_refused(store: Store, handle: Handle) -> None:
    handle.commit(b"one")
    store.sessions.suspend("s")
    with pytest.raises(SessionNotActive):
        handle.commit(b"two")
    assert store.artifacts.read(store.artifacts.get("s", "f")) == b"one"


def test_two_handles_on_one_file_make_two_versions(store: Store, handle: Handle) -> None:
    handle.commit(b"one")
    other = Handle(store, handle.session, "f", handle.entry)
    other.commit(b"two")
    handle.commit(b"three")
    handle.close()
    other.close()
    assert stored(store) == [1, 2, 3]
    assert store.artifacts.read(store.artifacts.get("s", "f")) == b"three"


def test_metadata_given_with_a_commit_is_the_drafts(store: Store, handle: Handle) -> None:
    handle.commit(b"one", artifact_type="tool_result", tags=("t",))
    handle.commit(b"two", description="later", custom={"k": 1})
    handle.close()
    artifact = store.artifacts.get("s", "f")
    assert (artifact.artifact_type, artifact.tags) == ("tool_result", ("t",))
    assert (artifact.description, artifact.custom) == ("later", {"k": 1})
    assert store.artifacts.query("meta.k:1") == [artifact]


def test_a_drafts_words_are_found_as_it_is_now(store: Store, handle: Handle) -> None:
    handle.commit(b"one", description="walrus")
    assert len(store.search.artifacts("walrus")) == 1
    handle.close()
    assert len(store.search.artifacts("walrus")) == 1
    store.artifacts.delete("s", "f")
    assert store.search.artifacts("walrus") == []


CHILD = """
import os, sys
from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.model.artifact import Attributes
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage.destination import Destination
store = open_store(sys.argv[1], config=Config())
session = store.sessions.get("s")
for name in ("new", "old"):
    known = store.entries.lookup(session.ino, name)
    inode = (known.ino if known else store.entries.reserve_ino(), Attributes(0o600, 1, 1, 5, 5))
    staged = store.intake.stage(b"by the child " + name.encode())
    place = Place(session.sid, session.ino, name)
    store.entries.commit(place, staged, Given(), inode, Writer(store.intake.owner), known=known)
file = store.intake.spool_file(Destination(session.id, "lost.txt"))
os.write(file.fd, b"not committed")
print("ready", flush=True)
sys.stdin.read()
"""


def test_drafts_of_a_killed_process_are_put_into_history_by_the_next(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "old", b"before")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            with open_store(tmp_path, config=Config()) as meanwhile:
                assert len(stored(meanwhile)) == 1
                assert meanwhile.upkeep.lost() == []
            child.kill()
        assert store.artifacts.read(store.artifacts.get("s", "new")) == b"by the child new"
        assert len(stored(store)) == 1
    with open_store(tmp_path, config=Config()) as store:
        assert sorted(stored(store)) == [1, 1, 2]
        assert [store.artifacts.read(a) for a in store.artifacts.history("s", "old")] == [
            b"before", b"by the child old",
        ]  # fmt: skip
        lost = store.upkeep.lost()
        assert [(item.name, item.size) for item in lost] == [("lost.txt", 13)]
        assert b"".join(store.upkeep.read_lost(lost[0].id)) == b"not committed"
        assert store.upkeep.recover(lost[0].id).name == "lost.txt"
        assert store.upkeep.lost() == []
        assert store.upkeep.fsck().problems == ()
        assert len(os.listdir(tmp_path / "spool")) == 1
