"""Purging what was saved by rename, or moved: its past under other names goes too, or the report names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.model.artifact import Artifact
from llmspellfs.service import pacing
from llmspellfs.service.paths import Place
from llmspellfs.service.purged import PurgeReport
from llmspellfs.storage.destination import Destination
from tests.service.test_service_purge import traces
from tests.tree.trees import Walker, close


def rename(store: Store, source: str, target: str, to: str = "s", of: str = "s") -> None:
    """Rename *source* of the session *of* over *target* of *to*, as the API of places does."""
    here, there = store.sessions.get(of), store.sessions.get(to)
    store.entries.rename(Place(here.sid, here.ino, source), Place(there.sid, there.ino, target))


def save(store: Store, name: str, content: bytes) -> None:
    """Store *content* as s:*name* as editors do: under another name, which is renamed over it."""
    store.artifacts.put("s", f".{name}.tmp", content, description=f"about {content[:11].decode()}")
    rename(store, f".{name}.tmp", name)


def purged(store: Store, session: str = "s") -> list[int]:
    events = store.sessions.events(session, kinds=["artifact.purged"])
    return sorted(event.told(int, "sequence") for event in events)


@pytest.mark.parametrize("size", [10, 300_000])
def test_what_an_editor_saved_by_rename_goes_with_the_file(sqlite_store: Store, size: int) -> None:
    store, filling = sqlite_store, os.urandom(size)
    words = tuple(f"secretword{number}".encode() for number in range(6))
    store.sessions.create("s")
    walker = Walker(store)
    walker.write("/sessions/s/doc", words[0] + filling)
    for number in (1, 3):
        handle = walker.create("/sessions/s/.doc.tmp", words[number] + filling)
        handle.flush()  # a draft, which the next flush amends
        handle.write(memoryview(words[number + 1] + filling), 0)
        handle.flush()
        walker.tree.rename("/sessions/s/.doc.tmp", "/sessions/s/doc", walker.caller)
        close(handle)
    handle = walker.create("/sessions/s/.doc.tmp")
    walker.tree.rename("/sessions/s/.doc.tmp", "/sessions/s/doc", walker.caller)
    handle.write(memoryview(words[5] + filling), 0)
    close(handle)
    last = store.sessions.get("s").seq
    assert {word for _, word in traces(store, words)} == set(words)
    report = store.artifacts.purge("s", "doc")
    assert (report.renamed, report.shared, report.pasts, report.is_ended) == (3, 0, (), True)
    assert traces(store, words) == []
    assert not any((store.path or Path()).glob("blobs/*/*"))
    assert purged(store) == [1, 2, 3, 4]
    assert [walker.names(f"/sessions/s/.session/at/{seq}") for seq in range(1, last + 1)] == [[]] * last
    assert [one.problem for one in store.upkeep.verify()] == [None]
    for name in ("doc", ".doc.tmp"):
        with pytest.raises(NotFound):
            store.artifacts.history("s", name)
    walker.tree.destroy()


@pytest.mark.parametrize("size", [10, 300_000])
def test_what_is_still_open_since_before_it_was_renamed_over_the_file_keeps_nothing(
    sqlite_store: Store, size: int
) -> None:
    store, filling = sqlite_store, os.urandom(size)
    store.sessions.create("s")
    walker = Walker(store)
    walker.write("/sessions/s/doc", b"oldcontent")
    handle = walker.create("/sessions/s/tmp", b"secretword" + filling)
    handle.flush()
    walker.tree.rename("/sessions/s/tmp", "/sessions/s/doc", walker.caller)
    handle.write(memoryview(b"otherword!" + filling), 0)
    assert store.artifacts.purge("s", "doc").renamed == 1
    with suppress(SpellError):
        handle.flush()
    handle.release()
    walker.tree.destroy()
    store.upkeep.gc()
    assert store.upkeep.lost() == []
    assert traces(store, (b"secretword", b"otherword!", b"oldcontent")) == []


def test_what_was_renamed_over_what_was_renamed_over_it_goes_too(store: Store) -> None:
    store.sessions.create("s")
    for name in ("a", "b", "c", "other"):
        store.artifacts.put("s", name, name.encode())
    rename(store, "a", "b")
    rename(store, "b", "c")
    store.artifacts.put("s", "a", b"another that has the name now")
    assert store.artifacts.purge("s", "c").renamed == 2
    assert purged(store) == [1, 2, 3]
    assert [art.name for art in store.artifacts.list("s")] == ["other", "a"]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_what_was_brought_back_after_it_was_renamed_over_another_is_left(store: Store, is_deleted: bool) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"old")
    temporary = store.artifacts.put("s", "tmp", b"new")
    rename(store, "tmp", "doc")
    store.artifacts.restore("s", temporary.id)
    if is_deleted:
        store.artifacts.delete("s", "tmp")
    report = store.artifacts.purge("s", "doc")
    assert (report.renamed, report.shared) == (0, 1)
    back = store.artifacts.restore("s", "tmp") if is_deleted else store.artifacts.get("s", "tmp")
    assert store.artifacts.read(back) == b"new"


def test_words_messages_and_lost_bytes_of_what_was_renamed_over_it_go_too(sqlite_store: Store) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"first")
    art = store.artifacts.put("s", "tmp", b"secretcontent", description="marmalade", tags=["zeppelin"])
    assert store.search.artifacts("marmalade")
    store.intake.lose(b"lost words", Destination(session.id, "tmp", sequence=art.sequence), "a test")
    store.messages.publish("said", {"artifact": f"{art.id}", "text": "quicksilver"})
    rename(store, "tmp", "doc")
    store.artifacts.update("s", "doc", description="other", tags=[])
    report = store.artifacts.purge("s", "doc")
    assert (len(report.lost), report.messages) == (1, 1)
    assert traces(store, (b"secretcontent", b"marmalade", b"zeppelin", b"lost words", b"quicksilver")) == []


def test_many_saves_go_in_small_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_ROWS", 3)
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"first")
    for number in range(8):
        save(store, "doc", f"secretword{number}".encode())
    report = store.artifacts.purge("s", "doc")
    assert (report.renamed, len(report.contents), report.shared) == (8, 9, 0)
    assert store.upkeep.stats().stored_bytes == 0


@pytest.mark.parametrize("cut", ["_erase_rest", "_take_forerunners", "_forget_lost", "unlinking.doomed"])
def test_a_purge_of_what_was_saved_by_rename_goes_on_after_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with open_store(tmp_path / "made") as store:
        store.sessions.create("s")
        store.artifacts.put("s", "doc", b"first")
        for number in range(8):
            save(store, "doc", f"secretword{number}".encode() * 30_000)
        monkeypatch.setattr(pacing, "_ROWS", 3)
        monkeypatch.setattr(f"llmspellfs.service.erasure.{cut}", dies)
        with pytest.raises(KeyboardInterrupt):
            store.artifacts.purge("s", "doc")
        monkeypatch.undo()
        assert store.upkeep.fsck().problems == ()
    with open_store(tmp_path / "made") as store:
        assert traces(store, (b"secretword",)) == []
        assert not any((tmp_path / "made").glob("blobs/*/*"))
        assert purged(store) == list(range(1, 10))
        assert store.upkeep.fsck().problems == ()


def moved_on(store: Store) -> tuple[Artifact, Artifact]:
    """Have s:f move to t:g and on to u:h; return it as it was in both."""
    for ref in "stu":
        store.sessions.create(ref)
    first = store.artifacts.put("s", "f", b"secretcontent")
    rename(store, "f", "g", "t")
    second = store.artifacts.get("t", "g")
    rename(store, "g", "h", "u", "t")
    return first, second


def by_name(session: str, name: str, _: str) -> tuple[str, str]:
    return session, name


def by_id(session: str, _: str, ref: str) -> tuple[str, str]:
    return session, ref


@pytest.mark.parametrize("way", [by_name, by_id])
def test_the_pasts_of_what_moved_in_are_named_and_go_by_name_and_by_id(
    sqlite_store: Store, way: Callable[[str, str, str], tuple[str, str]]
) -> None:
    store = sqlite_store
    first, second = moved_on(store)
    report = store.artifacts.purge("u", "h")
    assert (report.shared, [past.id for past in report.pasts]) == (0, [second.id, first.id])
    assert [(past.session, past.name) for past in report.pasts] == [("t", "g"), ("s", "f")]
    assert [art.version for art in store.artifacts.history("s", "f")] == [1]
    assert [past.id for past in store.artifacts.purge(*way("t", "g", second.id)).pasts] == [first.id]
    assert traces(store, (b"secretcontent",))
    assert store.artifacts.purge(*way("s", "f", first.id)).pasts == ()
    assert traces(store, (b"secretcontent",)) == []


def test_what_went_into_it_where_it_moved_from_goes_with_it_there(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.sessions.create("t")
    store.artifacts.put("s", "f", b"oldcontent")
    save(store, "f", b"secretcontent")
    rename(store, "f", "f", "t")
    assert [(past.name, past.session) for past in store.artifacts.purge("t", "f").pasts] == [("f", "s")]
    assert store.artifacts.purge("s", "f").renamed == 1
    assert traces(store, (b"secretcontent", b"oldcontent")) == []


def test_a_deleted_session_that_it_moved_out_of_is_named_as_such(store: Store) -> None:
    first, second = moved_on(store)
    store.sessions.delete("s")
    store.artifacts.put("t", "copy", b"secretcontent")
    report: PurgeReport = store.artifacts.purge("u", "h")
    assert report.shared == 1
    assert [(past.id, past.is_deleted) for past in report.pasts] == [(second.id, False), (first.id, True)]


def test_what_has_come_back_where_it_moved_from_is_anothers_and_no_past(store: Store) -> None:
    for ref in "st":
        store.sessions.create(ref)
    first = store.artifacts.put("s", "f", b"shared content")
    rename(store, "f", "g", "t")
    store.artifacts.restore("s", first.id)
    report = store.artifacts.purge("t", "g")
    assert (report.shared, report.pasts) == (1, ())
    assert store.artifacts.read(store.artifacts.get("s", "f")) == b"shared content"


def test_what_was_pruned_and_not_yet_collected_goes_with_what_it_was_renamed_over(
    sqlite_store: Store, clock: list[int]
) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"oldcontent")
    for number in (1, 2):
        save(store, "doc", f"secretword{number}".encode() * 1000)
        store.artifacts.put("s", "doc", b"other content %d" % number)
    clock[0] += 31 * 24 * 3600 * 10**9
    assert store.upkeep.gc().pruned > 0
    assert traces(store, (b"secretword1", b"secretword2"))
    assert store.artifacts.purge("s", "doc").renamed == 2
    assert traces(store, (b"secretword1", b"secretword2", b"oldcontent")) == []


def test_a_purged_session_names_the_pasts_of_what_moved_into_it(store: Store) -> None:
    first, second = moved_on(store)
    report = store.sessions.purge("u")
    assert (report.shared, [past.id for past in report.pasts]) == (0, [second.id, first.id])


def test_a_name_that_was_left_is_of_the_last_that_left_it_and_has_a_past(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "doc", b"0")
    for number in (1, 2):
        store.artifacts.put("s", "tmp", str(number).encode())
        rename(store, "tmp", "doc")
    for number in (2, 1):
        assert [store.artifacts.read(art) for art in store.artifacts.history("s", "tmp")] == [str(number).encode()]
        store.artifacts.purge("s", "tmp")
    with pytest.raises(NotFound):
        store.artifacts.purge("s", "tmp")
    assert store.artifacts.read(store.artifacts.get("s", "doc")) == b"2"


def test_an_artifact_that_is_there_is_not_purged_by_a_name_that_it_had_before(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "old", b"kept")
    store.artifacts.update("s", "old", name="new")
    assert [art.name for art in store.artifacts.history("s", "old")][-1] in {"old", "new"}
    with pytest.raises(InvalidValue, match="s:new"):
        store.artifacts.purge("s", "old")
    assert store.artifacts.read(store.artifacts.get("s", "new")) == b"kept"
