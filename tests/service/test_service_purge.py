"""Purging: nothing of what was stored stays anywhere, and what others need does."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, LimitExceeded, NotFound, SessionNotActive, StoreBusy, Vanished
from llmspellfs.service import clearing, erasure, pacing, unlinking
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.collecting import Collection
from llmspellfs.service.paths import Place
from llmspellfs.storage import disk, erasing, turns
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.journal import Journal
from llmspellfs.storage.lost import LostFound
from llmspellfs.storage.spool import Spool
from llmspellfs.tree.api import Handle
from tests.tree.trees import Walker, close

THREE_CHUNKS = Random(1).randbytes(3 << 20)

WORDS = {"description": "marmalade", "tags": ["zeppelin"], "custom": {"quicksilver": "xylophone"}}
SECRETS = (b"marmalade", b"zeppelin", b"quicksilver", b"xylophone")


def traces(store: Store, words: tuple[bytes, ...]) -> list[tuple[str, bytes]]:
    """Return in which of the store's files which of *words* stands, the index looked at through a copy."""
    assert store.path is not None
    found = []
    for folder, _, names in os.walk(store.path):
        for name in names:
            if not name.startswith("index.db"):
                data = Path(folder, name).read_bytes()
                found += [(name, word) for word in words if word in data]
    # In a child: opening and closing the index here as a plain file would drop SQLite's locks.
    for name in ("index.db", "index.db-wal"):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            data = (store.path / name).read_bytes() if (store.path / name).exists() else b""
            os.write(writer, b"\n".join(word for word in words if word in data))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            found += [(name, word) for word in pipe.read().split(b"\n") if word]
        os.waitpid(child, 0)
    return found


def fill(store: Store) -> tuple[bytes, bytes]:
    """Store two versions, a small and a large one, of s:doc; have them indexed; return their contents' beginnings."""
    small, large = b"smallcontent" + os.urandom(8).hex().encode(), b"largecontent" + os.urandom(64)
    store.artifacts.put("s", "doc", small + b"!" * 900, **WORDS)  # type: ignore[arg-type]
    store.artifacts.put("s", "doc", large + os.urandom(3 << 20))
    store.artifacts.put("s", "kept", b"kept", description="keeper")
    assert [a.name for a in store.search.artifacts("marmalade")] == ["doc"]
    assert [a.name for a in store.search.artifacts("keeper")] == ["kept"]
    return small, large


@pytest.mark.parametrize("deleted_before", [False, True])
def test_nothing_of_a_purged_artifact_is_left(sqlite_store: Store, deleted_before: bool) -> None:
    store = sqlite_store
    store.sessions.create("s")
    contents = fill(store)
    words = SECRETS + contents
    assert {word for _, word in traces(store, words)} == set(words)
    before = store.upkeep.stats()
    if deleted_before:
        store.artifacts.delete("s", "doc")
    report = store.artifacts.purge("s", "doc")
    assert traces(store, words) == []
    assert len(report.unlinked) >= 1
    assert report.freed >= 3 << 20
    assert store.upkeep.stats().stored_bytes == before.stored_bytes - report.freed
    for call in (store.artifacts.get, store.artifacts.history, store.artifacts.restore, store.artifacts.purge):
        with pytest.raises(NotFound):
            call("s", "doc")
    assert [a.name for a in store.search.artifacts("keeper")] == ["kept"]
    assert store.artifacts.list("s") == [store.artifacts.get("s", "kept")]
    after = store.sessions.get("s")
    assert (after.artifact_count, after.total_artifact_size) == (1, 4)


@pytest.mark.parametrize("deleted_before", [False, True])
def test_nothing_of_a_purged_session_is_left(sqlite_store: Store, deleted_before: bool) -> None:
    store = sqlite_store
    session = store.sessions.create("s", description="marzipan", tags=["pumpernickel"], metadata={"sauer": "kraut99"})
    words = (b"marzipan", b"pumpernickel", b"sauer", b"kraut99", *SECRETS, *fill(store))
    store.sessions.update("s", description="other")
    store.sessions.save("s")
    assert {word for _, word in traces(store, words)} == set(words)
    if deleted_before:
        store.sessions.delete("s")
    store.sessions.purge("s")
    assert traces(store, words) == []
    assert store.upkeep.stats().stored_bytes == 0
    assert list((store.path or Path()).glob("blobs/*/*")) == []
    assert [report.problem for report in store.upkeep.verify(session.id)] == [None]


def test_a_file_that_came_into_use_again_is_not_told_as_unlinked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(3 << 20)
    for ref in "st":
        store.sessions.create(ref)
    store.artifacts.put("s", "a", content)
    unlink = unlinking.doomed

    def meanwhile(engine: Any) -> list[str]:
        store.artifacts.put("t", "a", content)
        return unlink(engine)

    monkeypatch.setattr(unlinking, "doomed", meanwhile)
    assert store.artifacts.purge("s", "a").unlinked == ()
    assert store.artifacts.read(store.artifacts.get("t", "a")) == content


def test_a_purge_leaves_what_others_refer_to(store: Store) -> None:
    content = os.urandom(3 << 20)
    for ref in "st":
        store.sessions.create(ref)
        store.artifacts.put(ref, "a", content)
        store.artifacts.put(ref, "b", b"small")
    report = store.artifacts.purge("s", "a")
    assert (report.unlinked, report.freed) == ((), 0)
    report = store.sessions.purge("s")
    assert (report.unlinked, report.freed) == ((), 0)
    assert store.artifacts.read(store.artifacts.get("t", "a")) == content
    assert store.artifacts.read(store.artifacts.get("t", "b")) == b"small"


def test_a_purged_content_can_be_stored_again(store: Store) -> None:
    store.sessions.create("s")
    content = os.urandom(3 << 20)
    store.artifacts.put("s", "a", content)
    store.artifacts.purge("s", "a")
    again = store.artifacts.put("s", "a", content)
    assert (again.sequence, again.version) == (2, 1)
    assert store.artifacts.read(again) == content


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_an_artifact_from_before_its_purge_never_reads_what_came_after(store: Store, size: int) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    art = store.artifacts.put("s", "secret", b"S" * size)
    store.artifacts.purge("s", "secret")
    store.artifacts.put("t", "other", b"O" * size)
    with pytest.raises(Corrupt):
        store.artifacts.read(art)


class Pipe(io.BytesIO):
    """Bytes that can be read once."""

    def seekable(self) -> bool:
        return False


def purge_once_staged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have s:one purged once the next content is staged."""
    stage = type(store.intake).stage

    def slow(intake: Any, *args: Any, **options: Any) -> object:
        staged = stage(intake, *args, **options)
        monkeypatch.undo()
        store.artifacts.purge("s", "one")
        return staged

    monkeypatch.setattr(type(store.intake), "stage", slow)


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, Pipe])
def test_content_whose_chunks_are_purged_while_it_is_stored_is_stored_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: Callable[[bytes], Any]
) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    store.artifacts.put("s", "one", content)
    purge_once_staged(store, monkeypatch)
    if kind is Pipe:
        with pytest.raises(Vanished, match="store it once more"):
            store.artifacts.put("s", "two", kind(content))
        assert store.artifacts.list("s") == []
    assert store.artifacts.read(store.artifacts.put("s", "two", kind(content))) == content


def test_content_read_from_where_a_file_stands_is_stored_anew_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    file = io.BytesIO(b"header" + content)
    file.seek(6)
    store.artifacts.put("s", "one", content)
    purge_once_staged(store, monkeypatch)
    assert store.artifacts.read(store.artifacts.put("s", "two", file)) == content


def test_what_is_read_while_it_is_purged_is_right_or_refused(store: Store) -> None:
    store.sessions.create("s")
    content = os.urandom(9 << 20)
    with store.artifacts.open(store.artifacts.put("s", "a", content)) as reader:
        assert reader.read_at(0, 10) == content[:10]
        store.artifacts.purge("s", "a")
        with pytest.raises(Corrupt):
            reader.read_at(8 << 20, 1 << 20)


def everywhere(store: Store, session: str, words: list[str]) -> None:
    """Have each of *words* stand wherever something of the artifact s:doc, or of the session s, can stand."""
    content, old, name, described, tag, key, value, draft, said, lost, published, kept, session_word = words
    store.sessions.create(
        session, description=f"about {session_word}", tags=[session_word], metadata={"m": session_word}
    )
    store.artifacts.put(session, name, old.encode() * 50, description=described, tags=[tag], custom={key: value})
    store.artifacts.put(session, name, os.urandom(300_000) + content.encode() + os.urandom(300_000))
    store.artifacts.update(session, name, description=f"{described} again")
    assert store.search.artifacts(described)
    assert store.search.artifacts(tag)
    walker = Walker(store)
    close(walker.create(f"/sessions/{session}/draft", draft.encode() * 20))
    walker.tree.destroy()
    store.state.set(said, said, scope=f"session:{store.sessions.get(session).id}")
    store.intake.lose(lost.encode(), Destination(store.sessions.get(session).id, name), "a test")
    store.messages.publish("said", {"artifact": f"{store.artifacts.get(session, name).id}", "text": published})
    store.artifacts.put(session, "gone", kept.encode())
    store.artifacts.delete(session, "gone")
    store.sessions.save(session, f"label {session_word}")
    store.sessions.fail(session, f"because of {session_word}")


def test_no_word_of_a_purged_session_stands_in_any_file_of_the_store(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("kept")
    for number in range(300):  # other words beside them in the pages and in the full text
        store.artifacts.put("kept", f"n{number}", f"other {number}".encode(), description=f"word{number} otherwise")
    words = [f"secret{os.urandom(6).hex()}" for _ in range(13)]
    everywhere(store, "s", words)
    wanted = tuple(word.encode() for word in words)
    assert {word for _, word in traces(store, wanted)} == set(wanted)
    report = store.sessions.purge("s")
    # Names stand in the trail's lines, which stay as they were, so that it verifies.
    assert {word for _, word in traces(store, wanted)} == {wanted[2]}
    assert report.is_ended
    assert report.messages == 1
    assert len(report.lost) == 1
    assert report.rows >= 5
    assert report.labels == 4
    assert report.words >= 1
    assert not any((store.path or Path()).glob("blobs/*/*"))
    assert [r.problem for r in store.upkeep.verify()] == [None, None]
    assert len(store.search.artifacts("otherwise")) == 300


def test_no_word_of_a_purged_artifact_stands_in_any_file_of_the_store(sqlite_store: Store) -> None:
    store = sqlite_store
    words = [f"secret{os.urandom(6).hex()}" for _ in range(13)]
    everywhere(store, "s", words)
    store.artifacts.purge("s", words[2])
    left = {word.decode() for _, word in traces(store, tuple(word.encode() for word in words))}
    assert left == {words[2], words[7], words[8], words[11], words[12]}  # its name; and what is the session's
    store.artifacts.purge("s", "gone")
    assert words[11].encode() not in {word for _, word in traces(store, (words[11].encode(),))}


def test_words_of_rows_that_were_pruned_before_go_too(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"oldcontent", description="marmalade")
    assert store.search.artifacts("marmalade")
    store.artifacts.put("s", "doc", b"new", description="other")
    clock[0] += 31 * 86400 * 10**9
    report = store.upkeep.gc()
    assert (report.pruned, report.condemned, report.removed) == (1, 1, 0)
    purged = store.artifacts.purge("s", "doc")
    assert len(purged.contents) == 2
    assert traces(store, (b"marmalade", b"oldcontent")) == []


def test_chunks_shared_with_content_that_nothing_refers_to_go(sqlite_store: Store, clock: list[int]) -> None:
    store, common = sqlite_store, THREE_CHUNKS
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("t", "a", common + b"other")
    store.artifacts.delete("t", "a")
    store.artifacts.put("s", "a", common)
    clock[0] += 31 * 86400 * 10**9
    assert store.upkeep.gc().condemned == 1
    report = store.artifacts.purge("s", "a")
    assert len(report.contents) == 2
    assert not any((store.path or Path()).glob("blobs/*/*"))


def test_what_others_have_is_said(store: Store) -> None:
    for ref in "st":
        store.sessions.create(ref)
        store.artifacts.put(ref, "a", b"both")
    assert store.artifacts.purge("s", "a").shared == 1
    assert (store.artifacts.purge("t", "a").shared, store.upkeep.stats().stored_bytes) == (0, 0)


@pytest.mark.parametrize("is_session", [True, False])
def test_many_rows_go_in_small_transactions(store: Store, monkeypatch: pytest.MonkeyPatch, is_session: bool) -> None:
    monkeypatch.setattr(pacing, "_ROWS", 7)
    store.sessions.create("s")
    store.artifacts.put("s", "kept", b"kept")
    for number in range(30):
        store.artifacts.put("s", "a", str(number).encode())
    report = store.sessions.purge("s") if is_session else store.artifacts.purge("s", "a")
    assert (report.rows, len(report.contents)) == (31, 31) if is_session else (30, 30)
    with store.engine.index.read() as db:
        assert erasing.unfinished(db) == []
        assert db.execute("SELECT count(*) FROM entry").fetchone() == (0 if is_session else 1,)


@pytest.mark.parametrize("cut", ["_erase_rest", "unlinking.doomed", "drop_words", "_merge_words"])
@pytest.mark.parametrize("is_session", [True, False])
def test_a_purge_that_was_cut_is_finished_by_the_next_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, is_session: bool
) -> None:
    words = (b"marmalade", b"zeppelin", b"secretcontent")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with open_store(tmp_path / "made") as store:
        store.sessions.create("s")
        for number in range(10):
            store.artifacts.put(
                "s", "doc", b"secretcontent" * number, description=f"marmalade{number}", tags=["zeppelin"]
            )
        store.artifacts.put("s", "doc", os.urandom(3 << 20))
        assert store.search.artifacts("zeppelin")
        monkeypatch.setattr(pacing, "_ROWS", 3)
        monkeypatch.setattr(f"llmspellfs.service.erasure.{cut}", dies)
        with pytest.raises(KeyboardInterrupt):
            store.sessions.purge("s") if is_session else store.artifacts.purge("s", "doc")
        monkeypatch.undo()
        assert store.upkeep.fsck().problems == ()
        assert traces(store, words) or any((tmp_path / "made").glob("blobs/*/*"))
    with open_store(tmp_path / "made") as store:
        assert traces(store, words) == []
        assert list((tmp_path / "made").glob("blobs/*/*")) == []
        assert store.upkeep.fsck().problems == ()
        assert [report.problem for report in store.upkeep.verify()] == [None]


@contextmanager
def purged_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Store what says "secretcontent", and purge it; a reader keeps the WAL as it is for the length of the block."""
    monkeypatch.setattr(clearing, "WAL_PATIENCE", 0.05)
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"secretcontent")
    with store.engine.index.snapshot() as db:
        db.execute("SELECT * FROM entry").fetchall()
        assert not store.artifacts.purge("s", "doc").is_ended
        yield


def test_readers_that_hold_the_wal_are_told_of_and_the_next_run_empties_it(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    with purged_while_it_is_read(store, monkeypatch):
        assert traces(store, (b"secretcontent",)) == [("index.db-wal", b"secretcontent")]
    store.upkeep.gc()
    assert traces(store, (b"secretcontent",)) == []
    with store.engine.index.read() as db:
        assert erasing.unfinished(db) == []


def test_a_session_is_purged_once(store: Store) -> None:
    session = store.sessions.create("s")
    store.sessions.purge("s")
    with pytest.raises(NotFound):
        erasure.purge_session(store.engine, session, None)
    assert [event.kind for event in store.sessions.events(session.id)] == ["session.created", "session.purged"]


def test_bytes_that_a_living_process_has_open_are_told_of(sqlite_store: Store) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"content")
    file = store.intake.spool_file(Destination(session.id, "doc"))
    file.write(b"more", 0)
    report = store.artifacts.purge("s", "doc")
    assert [Path(path).parts[0] for path in report.open_files] == ["spool"]
    file.discard()
    store.artifacts.put("s", "doc", b"content")
    assert store.artifacts.purge("s", "doc").open_files == ()


def flushed(store: Store, path: str, *contents: bytes) -> tuple[Walker, Handle]:
    """Write *contents* one over the other through one open handle, flushed each time; return it and its mount."""
    walker = Walker(store)
    handle = walker.create(path)
    for content in contents:
        handle.write(memoryview(content), 0)
        handle.flush()
    return walker, handle


@pytest.mark.parametrize("is_session", [True, False])
@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("size", [1, 200_000])
def test_what_a_file_had_at_its_earlier_flushes_goes_too(
    sqlite_store: Store, is_session: bool, is_sealed: bool, size: int
) -> None:
    store, filling = sqlite_store, os.urandom(size)
    words = (b"firstflush", b"nextflush!", b"lastflush!")
    store.sessions.create("s")
    walker, handle = flushed(store, "/sessions/s/doc", *(word + filling for word in words))
    if is_sealed:
        handle.release()
        walker.tree.destroy()
    report = store.sessions.purge("s") if is_session else store.artifacts.purge("s", "doc")
    assert (len(report.contents), report.shared, report.is_ended) == (3, 0, True)
    assert traces(store, words) == []
    assert not any((store.path or Path()).glob("blobs/*/*"))
    assert store.upkeep.stats().stored_bytes == 0
    if not is_sealed:
        handle.release()


def test_what_another_artifact_has_now_outlives_the_purge_of_who_had_it_at_an_earlier_flush(store: Store) -> None:
    store.sessions.create("s")
    walker, handle = flushed(store, "/sessions/s/doc", b"both have it", b"other")
    store.artifacts.put("s", "also", b"both have it")
    close(handle)
    walker.tree.destroy()
    assert len(store.artifacts.purge("s", "doc").contents) == 1
    assert store.artifacts.read(store.artifacts.get("s", "also")) == b"both have it"
    assert len(store.artifacts.purge("s", "also").contents) == 1
    assert store.upkeep.stats().stored_bytes == 0


def test_content_of_rows_that_were_pruned_and_never_marked_goes_too(
    sqlite_store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"oldcontent")
    store.artifacts.put("s", "doc", b"new")
    clock[0] += 31 * 86400 * 10**9

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Collection, "_condemn", dies)
    with pytest.raises(KeyboardInterrupt):
        store.upkeep.gc()
    with store.engine.index.write() as db:  # as where they were pruned before it was noted
        db.execute("DELETE FROM former WHERE sid = (SELECT sid FROM session WHERE id = ?)", (session.id,))
    assert traces(store, (b"oldcontent",))
    store.artifacts.purge("s", "doc")
    assert traces(store, (b"oldcontent",)) == []


def test_content_that_only_a_fork_had_in_pruned_rows_goes_with_the_fork(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"oldcontent")
    store.past.fork("s", "t")
    store.artifacts.put("t", "doc", b"newer")
    store.artifacts.purge("s", "doc")
    assert traces(store, (b"oldcontent",))
    clock[0] += 31 * 86400 * 10**9
    assert store.upkeep.gc().pruned == 1
    store.artifacts.purge("t", "doc")
    assert traces(store, (b"oldcontent",)) == []


def test_a_chunk_that_only_an_earlier_flush_of_another_file_has_too_goes(sqlite_store: Store) -> None:
    store, common = sqlite_store, THREE_CHUNKS
    store.sessions.create("s")
    store.artifacts.put("s", "doc", common)
    walker, handle = flushed(store, "/sessions/s/other", common + b"tail")
    walker.tree.truncate("/sessions/s/other", 5, walker.caller)
    close(handle)
    walker.tree.destroy()
    store.artifacts.purge("s", "doc")
    assert not any((store.path or Path()).glob("blobs/*/*"))


def test_notes_of_former_contents_go_with_the_contents(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    walker, handle = flushed(store, "/sessions/s/doc", b"first", b"second")
    close(handle)
    walker.tree.destroy()
    for _ in range(2):
        with store.engine.index.read() as db:
            assert db.execute("SELECT count(*) FROM former").fetchone() == (1,)
        store.upkeep.gc()
        clock[0] += 2 * 3600 * 10**9
    with store.engine.index.read() as db:
        assert db.execute("SELECT count(*) FROM former").fetchone() == (0,)


def places(store: Store) -> tuple[int, int]:
    """Return the number and the top (an inode) of the one session."""
    with store.engine.index.read() as db:
        sid, top = db.execute("SELECT sid, ino FROM session").fetchone()
    return sid, top


@pytest.mark.parametrize("name", ["d/doc", "e/doc", "f/e/doc"])
def test_lost_bytes_of_an_artifact_whose_folders_were_renamed_go(sqlite_store: Store, name: str) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "d/doc", b"content")
    store.artifacts.put("s", "f/other", b"other")
    sid, top = places(store)
    folder = store.entries.lookup(top, "f")
    assert folder is not None
    store.entries.rename(Place(sid, top, "d"), Place(sid, top, "e"))
    store.entries.rename(Place(sid, top, "e"), Place(sid, folder.ino, "e"))
    store.intake.lose(b"lost words", Destination(session.id, name), "a test")
    store.intake.lose(b"other's", Destination(session.id, "f/other"), "a test")
    file = store.intake.spool_file(Destination(session.id, name))
    report = store.artifacts.purge("s", "f/e/doc")
    assert len(report.lost) == len(report.open_files) == 1
    assert traces(store, (b"lost words",)) == []
    assert [item.name for item in store.upkeep.lost()] == ["f/other"]
    file.discard()


def test_lost_bytes_are_an_artifacts_own_by_inode_or_sequence_whatever_it_was_called(sqlite_store: Store) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    doc, other = (store.artifacts.put("s", name, name.encode()) for name in ("doc", "other"))
    mine = [
        store.intake.lose(b"1", Destination(session.id, "elsewhere", sequence=doc.sequence), "a test"),
        store.intake.lose(b"2", Destination("another session", "doc", doc.ino, 7), "a test"),
        store.intake.lose(b"3", Destination(session.id, "doc", 12345678), "a test"),
    ]
    theirs = store.intake.lose(b"4", Destination(session.id, "doc", other.ino, other.sequence), "a test")
    assert sorted(store.artifacts.purge("s", "doc").lost) == sorted(one for one in mine if one is not None)
    assert [item.id for item in store.upkeep.lost()] == [theirs]


def test_what_a_mount_loses_is_known_by_inode_and_sequence(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker = Walker(store)
    draft, spooled = walker.create("/sessions/s/doc", b"first"), walker.create("/sessions/s/large", b"!" * 300_000)
    draft.flush()
    entry = store.artifacts.get("s", "doc")
    draft.write(memoryview(b"lost words"), 0)
    monkeypatch.setattr(type(store.entries), "commit", refuses)
    for handle in (draft, spooled):
        with pytest.raises(LimitExceeded):
            handle.flush()
    monkeypatch.undo()
    folder = (store.path or Path()) / "lost+found"
    told = sorted((json.loads(path.read_bytes()) for path in folder.glob("*.json")), key=lambda one: str(one["name"]))
    assert [(one["name"], one["sequence"]) for one in told] == [("doc", entry.sequence), ("large", None)]
    assert told[0]["ino"] == entry.ino
    assert isinstance(told[1]["ino"], int)
    assert len(store.artifacts.purge("s", "doc").lost) == 1
    assert traces(store, (b"lost words",)) == []
    for handle in (draft, spooled):
        handle.release()


def refuses(*_: object, **__: object) -> None:
    raise LimitExceeded("max_artifacts_per_session", 1)


def test_lost_bytes_that_were_not_wholly_written_go_too(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"content")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LostFound, "_move", dies)
    monkeypatch.setattr(disk, "undo", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        store.intake.lose(b"lost words", Destination(session.id, "doc"), "a test")
    monkeypatch.undo()
    assert traces(store, (b"lost words",))
    store.artifacts.purge("s", "doc")
    assert list(((store.path or Path()) / "lost+found").iterdir()) == []


def test_what_a_dead_process_has_left_in_the_spool_goes_too(sqlite_store: Store) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"content")
    assert store.path is not None
    spool = Spool(store.path)
    file = spool.new()
    file.describe(Destination(session.id, "doc"))
    file.write(b"lost words", 0)
    os.close(file.fd)
    spool.close()
    report = store.artifacts.purge("s", "doc")
    assert (len(report.lost), report.open_files) == (1, ())
    assert traces(store, (b"lost words",)) == []


def blobs(store: Store) -> list[str]:
    return [name for name, _ in store.engine.rooms.blobs.iterate()]


@pytest.mark.parametrize("is_open_before", [True, False])
def test_what_the_writer_of_a_purged_file_has_stored_ahead_goes_when_it_dies(
    tmp_path: Path, is_open_before: bool
) -> None:
    content = os.urandom(3 << 20)
    with open_store(tmp_path / "store", config=Config()) as store:
        session = store.sessions.create("s")
        writer = Spool(tmp_path / "store")
        if not is_open_before:
            store.sessions.purge("s")
        file = writer.new()
        file.describe(Destination(session.id, "doc"))
        file.write(content, 0)
        if is_open_before:
            assert len(store.sessions.purge("s").open_files) == 1
        store.intake.stage(content)
        assert blobs(store) != []
    os.close(file.fd)
    os.close(writer._lock)  # as its process does in dying
    with open_store(tmp_path / "store", config=Config()) as store:
        assert blobs(store) == []
        assert store.upkeep.lost() == []
        assert store.upkeep.fsck().found == ()


def test_what_a_refused_commit_has_staged_goes_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    monkeypatch.setattr(Journal, "finish", refuses)
    for put in (
        lambda: store.artifacts.put("s", "doc", content),
        lambda: store.artifacts.put("s", "doc", io.BytesIO(content)),
        lambda: store.artifacts.put_many("s", [NewArtifact("a", b"small"), NewArtifact("b", content)]),
    ):
        with pytest.raises(LimitExceeded):
            put()
        assert blobs(store) == []
    monkeypatch.undo()
    art = store.artifacts.put("s", "kept", content)
    before = blobs(store)
    store.sessions.suspend("s")
    with pytest.raises(SessionNotActive):
        store.artifacts.put_many("s", [NewArtifact("doc", content)])
    assert blobs(store) == before
    assert store.artifacts.read(art) == content


def test_a_refused_close_leaves_its_bytes_in_lost_and_found_alone(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    store.sessions.create("s")
    walker, handle = flushed(store, "/sessions/s/doc", b"first")
    handle.write(memoryview(os.urandom(3 << 20)), 0)
    monkeypatch.setattr(Journal, "finish", refuses)
    with pytest.raises(LimitExceeded):
        handle.flush()
    monkeypatch.undo()
    handle.release()
    walker.tree.destroy()
    assert blobs(store) == []
    assert len(store.artifacts.purge("s", "doc").lost) == 1
    assert store.upkeep.lost() == []


def test_what_a_refused_commit_takes_away_is_stored_anew_by_who_relied_on_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 << 20)
    store.sessions.create("s")
    stage = type(store.intake).stage

    def slow(intake: Any, *args: Any, **options: Any) -> object:
        staged = stage(intake, *args, **options)
        monkeypatch.undo()
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "finish", refuses)
            with pytest.raises(LimitExceeded):
                store.artifacts.put("s", "refused", content)
        return staged

    monkeypatch.setattr(type(store.intake), "stage", slow)
    assert store.artifacts.read(store.artifacts.put("s", "doc", content)) == content


def test_who_erases_waits_for_the_end_of_another_purge_no_longer_than_for_a_writer(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config(), busy_seconds=0.1) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "f", b"x")
        store.sessions.create("gone")
        with turns.alone(store.path, turns.ERASING) as is_held:
            assert is_held
            for erase in (
                lambda: store.artifacts.purge("s", "f"),
                lambda: store.sessions.purge("gone"),
                store.upkeep.gc,
            ):
                with pytest.raises(StoreBusy):
                    erase()
        assert store.artifacts.purge("s", "f").is_ended
        assert store.sessions.purge("gone").is_ended
