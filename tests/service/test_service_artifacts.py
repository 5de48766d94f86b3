"""Artifacts by name: versions, ids, isolation, metadata, limits, restore, history, streams."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    InvalidName,
    InvalidValue,
    IsAFolder,
    LimitExceeded,
    NotAFolder,
    NotAllowed,
    NotFound,
    SpellError,
    StoreBusy,
    TooLarge,
)
from llmspellfs.model.artifact import ArtifactId, Ownership
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.paths import Place

OWN = Ownership(0o644, 1000, 1000)


def kinds(store: Store, ref: str) -> list[str]:
    return [event.kind for event in store.sessions.events(ref)]


def test_what_is_stored_is_read_back_and_described(store: Store, clock: list[int]) -> None:
    session = store.sessions.create("s")
    artifact = store.artifacts.put(
        "s", "results/a.csv", b"x,y\n", artifact_type="tool_result", description="d", tags=["t"], custom={"k": [1]}
    )
    assert artifact == store.artifacts.get("s", "results/a.csv") == store.artifacts.get(session.id, artifact.id)
    assert artifact.content_hash == blake3(b"x,y\n").hexdigest()
    assert artifact.id == f"{session.id}/1/{artifact.content_hash}"
    assert (artifact.sequence, artifact.version, artifact.size, artifact.live) == (1, 1, 4, True)
    assert (artifact.artifact_type, artifact.mime_type, artifact.description) == ("tool_result", "text/csv", "d")
    assert (artifact.tags, artifact.custom, artifact.created_ns) == (("t",), {"k": [1]}, clock[0])
    assert store.artifacts.read(artifact) == b"x,y\n"
    after = store.sessions.get("s")
    assert (after.artifact_count, after.total_artifact_size) == (1, 4)


def test_other_content_is_the_next_version_and_the_same_is_none(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    first = store.artifacts.put("s", "a", b"one", tags=["t"], custom={"k": 1})
    clock[0] += 1
    again = store.artifacts.put("s", "a", b"one")
    assert again.version == 1
    assert kinds(store, "s") == ["session.created", "artifact.stored"]
    second = store.artifacts.put("s", "a", b"three")
    assert (second.sequence, second.version, second.ino) == (1, 2, first.ino)
    assert (second.tags, second.custom) == (("t",), {"k": 1})
    assert (second.created_ns, second.updated_ns) == (first.created_ns, clock[0])
    described = store.artifacts.put("s", "a", b"three", tags=["u"])
    assert (described.version, described.tags) == (2, ("u",))
    assert kinds(store, "s")[-2:] == ["artifact.stored", "artifact.updated"]
    third = store.artifacts.put("s", "a", b"one", custom={})
    assert (third.version, third.content_hash, third.custom) == (3, first.content_hash, {})
    assert [(a.version, a.size) for a in store.artifacts.history("s", "a")] == [(1, 3), (2, 5), (3, 3)]
    assert store.sessions.get("s").total_artifact_size == 3


def test_an_id_with_an_older_hash_names_that_version_and_the_newest_where_content_came_back(store: Store) -> None:
    store.sessions.create("s")
    first = store.artifacts.put("s", "a", b"one")
    second = store.artifacts.put("s", "a", b"two")
    assert store.artifacts.get("s", first.id).version == 1
    assert not store.artifacts.get("s", first.id).live
    assert store.artifacts.read(store.artifacts.get("s", first.id)) == b"one"
    store.artifacts.put("s", "a", b"one")
    assert store.artifacts.get("s", first.id).version == 3
    assert store.artifacts.resolve(second.id).version == 2
    store.artifacts.update("s", second.id, name="b")
    assert [a.name for a in store.artifacts.history("s", "b")] == ["a", "a", "b"]
    assert store.artifacts.get("s", second.id).name == "a"
    with pytest.raises(NotFound):
        store.artifacts.get("s", str(ArtifactId(first.session_id, 1, "0" * 64)))
    with pytest.raises(NotFound):
        store.artifacts.delete("s", str(ArtifactId(first.session_id, 1, "0" * 64)))
    store.artifacts.delete("s", first.id)
    for ref in (first.id, "b"):
        with pytest.raises(NotFound):
            store.artifacts.get("s", ref)


def test_anothers_artifact_is_not_allowed(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    theirs = store.artifacts.put("t", "a", b"one").id
    for call in (
        lambda: store.artifacts.get("s", theirs),
        lambda: store.artifacts.delete("s", theirs),
        lambda: store.artifacts.update("s", theirs, tags=["x"]),
        lambda: store.artifacts.restore("s", theirs),
        lambda: store.artifacts.purge("s", theirs),
        lambda: store.artifacts.history("s", theirs),
    ):
        with pytest.raises(NotAllowed):
            call()
    assert store.artifacts.resolve(theirs).name == store.artifacts.resolve("t:a").name == "a"


@pytest.mark.parametrize("ref", ["", "a", ":a", "s:", "nobody:a", "s:nothing", "s:../a", "0" * 36])
def test_what_does_not_resolve(store: Store, ref: str) -> None:
    store.sessions.create("s")
    with pytest.raises(SpellError):
        store.artifacts.resolve(ref)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b", ".session", ".session/x", "\udcff", "x" * 256,
             "/".join(["d" * 200] * 21), 7],
)  # fmt: skip
def test_names_that_cannot_be_change_nothing(store: Store, name: str) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a", b"a")
    calls: list[Callable[[], object]] = [
        lambda: store.artifacts.put("s", name, b"x"),
        lambda: store.artifacts.update("s", "a", name=name),
        lambda: store.artifacts.get("s", name),
    ]
    for call in calls:
        with pytest.raises((InvalidName, InvalidValue, NotFound)):
            call()
    assert kinds(store, "s") == ["session.created", "artifact.stored"]


def test_names_that_can_be(store: Store) -> None:
    store.sessions.create("s")
    for name in ("a/.session", "x" * 255, "new\nline", "'\"", " ", "ü/日本", "-", "~", "a b/c d"):
        assert store.artifacts.get("s", store.artifacts.put("s", name, b"x").id).name == name
        assert store.artifacts.get("s", name).name == name


def test_very_deep_names_are_stored(store: Store) -> None:
    store.sessions.create("s")
    for top in "ab":
        name = "/".join([top] * 2000)
        store.artifacts.put("s", name, b"x")
        assert store.artifacts.read(store.artifacts.get("s", name)) == b"x"


def test_files_and_folders_do_not_replace_each_other(store: Store) -> None:
    session = store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"x")
    store.entries.make_symlink(Place(session.sid, session.ino, "link"), "d/a", OWN)
    with pytest.raises(IsAFolder):
        store.artifacts.put("s", "d", b"x")
    with pytest.raises(IsAFolder):
        store.artifacts.get("s", "d")
    for replace in (True, False):
        with pytest.raises(NotAFolder):
            store.artifacts.put("s", "d/a/b", b"x", replace=replace)
        with pytest.raises(NotAFolder):
            store.artifacts.put("s", "link/b", b"x", replace=replace)
    with pytest.raises(AlreadyExists):
        store.artifacts.put("s", "link", b"x")
    with pytest.raises(NotFound):
        store.artifacts.get("s", "link")
    assert [a.name for a in store.artifacts.list("s")] == ["d/a"]


def test_put_without_replace_refuses_a_name_that_is_taken(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"x", replace=False)
    with pytest.raises(AlreadyExists, match="s:d/a"):
        store.artifacts.put("s", "d/a", b"y", replace=False)
    assert store.artifacts.get("s", "d/a").version == 1


@pytest.mark.parametrize(
    "given",
    [{"artifact_type": "Upper"}, {"artifact_type": "x" * 65}, {"artifact_type": ""}, {"tags": ["", "a"]},
     {"custom": {"a": float("inf")}}, {"custom": []}, {"mime_type": 7}, {"description": b"x"}, {"tags": "ab"}],
)  # fmt: skip
def test_bad_metadata_changes_nothing(store: Store, given: dict[str, object]) -> None:
    store.sessions.create("s")
    before = store.artifacts.put("s", "a", b"one")
    calls: list[Callable[[], object]] = [
        lambda: store.artifacts.put("s", "a", b"two", **given),  # type: ignore[arg-type]
        lambda: store.artifacts.update("s", "a", **given),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(InvalidValue):
            call()
    assert store.artifacts.get("s", "a") == before


def test_content_that_is_not_bytes_is_a_bad_value(store: Store) -> None:
    store.sessions.create("s")
    for content in ("text", 7, None, io.StringIO("text")):
        with pytest.raises(InvalidValue, match="bytes"):
            store.artifacts.put("s", "a", content)  # type: ignore[arg-type]
    assert store.artifacts.list("s") == []


def test_updating_metadata_is_an_event_and_no_version(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "a.txt", b"one", tags=["x"], custom={"a": 1})
    clock[0] += 9
    after = store.artifacts.update("s", "a.txt", artifact_type="my.type", mime_type="text/x", tags=[], custom={"b": 2})
    assert (after.version, after.artifact_type, after.mime_type) == (1, "my.type", "text/x")
    assert (after.tags, after.custom, after.updated_ns) == ((), {"b": 2}, clock[0])
    assert store.artifacts.update("s", "a.txt", custom={"b": 2}) == after
    assert kinds(store, "s")[1:] == ["artifact.stored", "artifact.updated"]
    assert store.artifacts.query("tag:x") == store.artifacts.query("meta.a:1") == []
    assert store.artifacts.query("meta.b:2 type:my.type") == [after]


def test_renaming_by_name_keeps_the_artifact_and_never_takes_a_name(store: Store) -> None:
    store.sessions.create("s")
    first = store.artifacts.put("s", "a.txt", b"one")
    store.artifacts.put("s", "b", b"two")
    moved = store.artifacts.update("s", "a.txt", name="new/folder/c.json")
    assert (moved.sequence, moved.version, moved.ino, moved.name) == (1, 1, first.ino, "new/folder/c.json")
    assert moved.mime_type == "application/json"
    assert kinds(store, "s")[-1] == "artifact.renamed"
    with pytest.raises(AlreadyExists):
        store.artifacts.update("s", "b", name="new/folder/c.json")
    with pytest.raises(NotAFolder):
        store.artifacts.update("s", "b", name="b/c")
    assert store.artifacts.get("s", first.id).name == "new/folder/c.json"


def test_limits_name_their_keys(tmp_path: Path) -> None:
    config = Config(max_artifacts_per_session=2, max_artifact_size=100_000)
    with open_store(tmp_path, config=config) as store:
        session = store.sessions.create("s")
        other = store.sessions.create("t")
        for content in (b"x" * 100_001, io.BytesIO(b"x" * 100_001)):
            with pytest.raises(TooLarge, match="max_artifact_size = 100000 bytes"):
                store.artifacts.put("s", "a", content)
        store.artifacts.put("s", "a", b"x" * 100_000)
        store.artifacts.put("s", "b", io.BytesIO(b"x" * 100_000))
        for _ in range(2):
            with pytest.raises(LimitExceeded, match="max_artifacts_per_session = 2"):
                store.artifacts.put("s", "d/c", b"c")
        assert [entry.name for entry in store.entries.listing(session.ino)] == ["a", "b"]
        assert store.artifacts.put("s", "a", b"new version").version == 2
        moving = store.artifacts.put("t", "c", b"c")
        with pytest.raises(LimitExceeded):
            store.entries.rename(Place(other.sid, other.ino, "c"), Place(session.sid, session.ino, "c"))
        store.entries.rename(Place(other.sid, other.ino, "c"), Place(session.sid, session.ino, "b"))
        store.artifacts.delete("s", "b")
        store.artifacts.put("s", "c", b"c")
        with pytest.raises(LimitExceeded):
            store.artifacts.restore("s", "b")
        assert store.artifacts.get("s", "c").content_hash == moving.content_hash
        assert store.upkeep.fsck().ok


def test_restore_brings_the_last_version_back(store: Store) -> None:
    store.sessions.create("s")
    first = store.artifacts.put("s", "d/a", b"one", tags=["t"])
    second = store.artifacts.put("s", "d/a", b"two")
    gone = store.artifacts.delete("s", "d/a")
    assert gone.id == second.id
    assert store.artifacts.list("s") == store.artifacts.query("tag:t") == []
    assert [a.version for a in store.artifacts.history("s", "d/a")] == [1, 2]
    back = store.artifacts.restore("s", "d/a")
    assert (back.id, back.version, back.tags, back.ino) == (second.id, 2, ("t",), first.ino)
    assert store.artifacts.query("tag:t") == [back]
    with pytest.raises(AlreadyExists):
        store.artifacts.restore("s", "d/a")
    for ref in ("never", str(ArtifactId(first.session_id, 9, first.content_hash))):
        with pytest.raises(NotFound):
            store.artifacts.restore("s", ref)


def test_restore_onto_a_taken_name_needs_another(store: Store) -> None:
    store.sessions.create("s")
    first = store.artifacts.put("s", "a", b"first")
    store.artifacts.delete("s", "a")
    second = store.artifacts.put("s", "a", b"second")
    assert second.sequence == 2
    for ref in ("a", first.id):
        with pytest.raises(AlreadyExists):
            store.artifacts.restore("s", ref)
    back = store.artifacts.restore("s", "a", name="back/a")
    assert (back.sequence, back.name) == (1, "back/a")
    assert store.artifacts.read(store.artifacts.get("s", "back/a")) == b"first"
    store.artifacts.delete("s", "back/a")
    for name, error in (("../x", InvalidName), ("a/b", NotAFolder), ("a", AlreadyExists)):
        with pytest.raises(error):
            store.artifacts.restore("s", "back/a", name=name)


def test_restore_makes_folders_that_are_gone_anew(store: Store) -> None:
    session = store.sessions.create("s")
    artifact = store.artifacts.put("s", "d/e/a", b"x")
    store.artifacts.delete("s", "d/e/a")
    folder = store.entries.lookup(session.ino, "d")
    assert folder is not None
    store.entries.remove(Place(session.sid, folder.ino, "e"), folder=True)
    store.entries.remove(Place(session.sid, session.ino, "d"), folder=True)
    assert store.artifacts.restore("s", artifact.id).name == "d/e/a"


def test_restoring_what_was_renamed_over_another_gives_a_file_object_of_its_own(store: Store) -> None:
    session = store.sessions.create("s")
    source = store.artifacts.put("s", "new", b"new")
    store.artifacts.put("s", "old", b"old")
    store.entries.rename(Place(session.sid, session.ino, "new"), Place(session.sid, session.ino, "old"))
    back = store.artifacts.restore("s", source.id)
    live = store.artifacts.get("s", "old")
    assert (back.name, back.sequence, live.sequence) == ("new", 1, 2)
    assert back.ino != live.ino
    assert store.artifacts.read(back) == store.artifacts.read(live) == b"new"


def test_restoring_what_moved_to_another_session_gives_a_file_object_of_its_own(store: Store) -> None:
    here, there = store.sessions.create("here"), store.sessions.create("there")
    artifact = store.artifacts.put("here", "a", b"x")
    store.entries.rename(Place(here.sid, here.ino, "a"), Place(there.sid, there.ino, "b"))
    back = store.artifacts.restore("here", artifact.id)
    assert back.name == "a"
    assert back.ino != store.artifacts.get("there", "b").ino


SIZES = (0, 1, 65_536, 65_537, 300_000, 5_000_000)


@pytest.mark.parametrize("size", SIZES)
def test_any_range_of_any_size_reads_back(store: Store, size: int) -> None:
    store.sessions.create("s")
    content = os.urandom(size // 2) + bytes(size - size // 2)
    artifact = store.artifacts.put("s", "a", io.BytesIO(content))
    assert (artifact.size, artifact.content_hash) == (size, blake3(content).hexdigest())
    for offset, length in ((0, size), (0, 1), (size // 3, size // 3), (max(0, size - 5), 50), (size, 1), (size + 9, 9)):
        assert store.artifacts.read(artifact, offset, length) == content[offset : offset + length]
    with store.artifacts.open(artifact) as reader:
        assert b"".join(reader.blocks()) == content
        assert reader.read_at(0, size + 1) == content
    for bad in ((-1, 1), (0, -1)):
        with pytest.raises(InvalidValue):
            store.artifacts.read(artifact, *bad)


class Endless(io.RawIOBase):
    """A stream of *size* random bytes that exist only while they are read."""

    def __init__(self, size: int) -> None:
        self.left, self.hash = size, blake3()

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 4 << 20, "the stream was asked for all of itself"
        data = os.urandom(min(size, self.left))
        self.left -= len(data)
        self.hash.update(data)
        return data


def test_a_stream_is_never_held_whole(sqlite_store: Store) -> None:
    sqlite_store.sessions.create("s")
    stream, seen = Endless(200 << 20), list[int]()
    tracemalloc.start()
    try:
        artifact = sqlite_store.artifacts.put("s", "a", stream, progress=seen.append)  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (artifact.size, artifact.content_hash) == (200 << 20, stream.hash.hexdigest())
    assert peak < 48 << 20
    assert seen == sorted(seen)
    assert seen[-1] == artifact.size
    sqlite_store.artifacts.purge("s", "a")


def test_a_file_from_disk_is_called_after_itself(store: Store, tmp_path: Path) -> None:
    store.sessions.create("s")
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 100_000)
    artifact = store.artifacts.put_file("s", path, artifact_type="tool_result", tags=["t"])
    assert (artifact.name, artifact.mime_type, artifact.size) == ("a.csv", "text/csv", 100_000)
    assert store.artifacts.put_file("s", str(path), "b/c").name == "b/c"


def test_files_that_cannot_be_read_are_errors_with_their_name(store: Store, tmp_path: Path) -> None:
    store.sessions.create("s")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name, error in (
        ("missing", NotFound), (".", IsAFolder), ("file/x", NotFound), ("loop", NotAllowed), ("x" * 300, NotAllowed),
    ):  # fmt: skip
        with pytest.raises(error, match=name):
            store.artifacts.put_file("s", tmp_path / name)
    with pytest.raises(SpellError):
        store.artifacts.put_file("s", "nul\0")
    with pytest.raises(NotAllowed):
        store.artifacts.put_file("s", "/proc/self/mem")
    assert store.artifacts.list("s") == []


def test_a_file_that_grows_is_stored_as_far_as_it_was_read(store: Store, tmp_path: Path) -> None:
    store.sessions.create("s")
    path = tmp_path / "log"
    path.write_bytes(os.urandom(3 << 20))
    more = [os.urandom(1 << 20) for _ in range(4)]

    def grow(_taken: int) -> None:
        if more:
            with path.open("ab") as file:
                file.write(more.pop())

    artifact = store.artifacts.put_file("s", path, progress=grow)
    assert store.artifacts.read(artifact) == path.read_bytes()[: artifact.size]
    assert artifact.size >= 3 << 20


def test_a_file_that_vanishes_or_shrinks_meanwhile_does_no_harm(store: Store, tmp_path: Path) -> None:
    store.sessions.create("s")
    path = tmp_path / "vanishing"
    content = os.urandom(3 << 20)
    path.write_bytes(content)
    artifact = store.artifacts.put_file("s", path, progress=lambda _: path.unlink(missing_ok=True))
    assert store.artifacts.read(artifact) == content
    path.write_bytes(content)
    shrunk = store.artifacts.put_file("s", path, progress=lambda _: os.truncate(path, 0))
    assert store.artifacts.read(shrunk) == content[: shrunk.size]


def test_a_stream_that_breaks_leaves_nothing(store: Store) -> None:
    class Broken(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            if self.given > 3 << 20:
                raise ConnectionResetError
            return os.urandom(size)

    store.sessions.create("s")
    with pytest.raises(ConnectionResetError):
        store.artifacts.put("s", "a", Broken())  # type: ignore[arg-type]
    assert store.artifacts.list("s") == []


def test_a_session_frozen_while_its_content_comes_in_does_not_get_it(store: Store) -> None:
    class Freezing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if store.sessions.get("s").is_active:
                store.sessions.suspend("s")
            return super().read(size)

    store.sessions.create("s")
    with pytest.raises(SpellError, match="session s is suspended: resume it first"):
        store.artifacts.put("s", "a", Freezing(b"x"))
    assert store.artifacts.list("s") == []


def test_equal_content_is_kept_once(store: Store) -> None:
    store.sessions.create("s")
    content = os.urandom(3 << 20)
    store.artifacts.put("s", "a", content)
    before = store.upkeep.stats()
    store.artifacts.put("s", "b", io.BytesIO(content))
    after = store.upkeep.stats()
    assert (after.unique_bytes, after.stored_bytes) == (before.unique_bytes, before.stored_bytes)
    assert (after.artifacts, after.logical_bytes) == (2, 6 << 20)


def test_threads_store_side_by_side(store: Store) -> None:
    store.sessions.create("s")
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(30):
                store.artifacts.put("s", f"{number}/{count}/" + "d/" * 20 + "f", b"%d" % count)
                assert store.artifacts.get("s", f"{number}/{count}/" + "d/" * 20 + "f").size
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(store.artifacts.list("s")) == 180


def test_lists_are_by_sequence_and_paged(store: Store) -> None:
    store.sessions.create("s")
    for name in "cab":
        store.artifacts.put("s", f"d/{name}", name.encode())
    store.artifacts.update("s", "d/c", name="z")
    assert [a.name for a in store.artifacts.list("s")] == ["z", "d/a", "d/b"]
    assert [a.name for a in store.artifacts.list("s", limit=1, offset=1)] == ["d/a"]


@pytest.mark.parametrize(
    "given", [{"custom": {"\ud800": 1}}, {"custom": {"k": "\ud900"}}, {"tags": ["\ud800"]}, {"description": "\udbff"}]
)
def test_unpaired_surrogates_are_refused(store: Store, given: dict[str, Any]) -> None:
    store.sessions.create("s")
    before = store.artifacts.put("s", "x", b"1", custom={"ok": 1})
    for call in (store.artifacts.update, lambda s, x, **given: store.artifacts.put(s, x, b"2", **given)):
        with pytest.raises(InvalidValue):
            call("s", "x", **given)
    assert store.artifacts.get("s", "x") == before


def test_an_id_brings_back_the_version_that_it_names(store: Store) -> None:
    session = store.sessions.create("s").id
    first, second = (store.artifacts.put(session, "a", data) for data in (b"one", b"two"))
    copy = store.artifacts.restore(session, first.id, name="old")
    assert (copy.sequence, copy.version, store.artifacts.read(copy)) == (2, 1, b"one")
    assert store.artifacts.read(store.artifacts.get(session, "a")) == b"two"
    with pytest.raises(AlreadyExists):
        store.artifacts.restore(session, first.id)
    with pytest.raises(InvalidValue, match="older version"):
        store.artifacts.delete(session, first.id)
    store.artifacts.delete(session, second.id)
    back = store.artifacts.restore(session, first.id)
    assert (back.name, back.sequence, back.version, store.artifacts.read(back)) == ("a", 1, 3, b"one")
    assert [version.version for version in store.artifacts.history(session, "a")] == [1, 2, 3]


def test_what_is_restored_has_the_name_it_had_even_where_its_folder_was_renamed(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"x")
    session = store.sessions.get("s")
    store.artifacts.delete("s", "d/a")
    store.entries.rename(Place(session.sid, session.ino, "d"), Place(session.sid, session.ino, "e"))
    assert store.artifacts.restore("s", "d/a").name == "d/a"
    assert store.upkeep.fsck().ok


@pytest.mark.parametrize("error", [StoreBusy(1), KeyboardInterrupt()])
@pytest.mark.parametrize("is_batch", [True, False])
def test_what_was_staged_goes_when_the_commit_is_given_up(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException, is_batch: bool
) -> None:
    store, content = sqlite_store, os.urandom(400_000)
    store.sessions.create("s")

    def given_up(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(store.engine, "write", given_up)
    items = [NewArtifact("a", content)]
    with pytest.raises(type(error)):
        store.artifacts.put_many("s", items) if is_batch else store.artifacts.put("s", "a", content)
    monkeypatch.undo()
    assert list((store.path or Path()).glob("blobs/*/*")) == []
