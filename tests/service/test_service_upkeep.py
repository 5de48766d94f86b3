"""Garbage collection, pruning, checking, figures, lost and found."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, InvalidValue, NotFound, StoreUnusable
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.check_progress import ROW
from llmspellfs.storage.destination import Destination

DAY = 86400 * 10**9
BIG = 3 << 20


def blob_files(store: Store) -> list[Path]:
    return sorted((store.path or Path()).glob("blobs/*/*"))


def test_content_goes_in_the_second_pass_past_the_grace(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    content = os.urandom(BIG)
    store.artifacts.put("s", "a", content)
    store.artifacts.put("s", "b", b"inline")
    store.artifacts.delete("s", "a")
    store.artifacts.delete("s", "b")
    clock[0] += 31 * DAY
    first = store.upkeep.gc()
    assert (first.pruned, first.condemned, first.removed) == (2, 2, 0)
    assert blob_files(store)
    assert store.upkeep.gc().removed == 0
    clock[0] += 3601 * 10**9
    before = store.upkeep.gc(dry_run=True)
    assert (before.removed, before.freed) == (2, store.upkeep.stats().stored_bytes)
    second = store.upkeep.gc()
    assert (second.removed, second.freed) == (before.removed, before.freed)
    assert blob_files(store) == []
    assert store.upkeep.stats().stored_bytes == 0
    assert [event.kind for event in store.sessions.events("s")][-1] == "artifact.deleted"


def test_what_is_in_use_or_in_history_stays(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    for content in (os.urandom(BIG), os.urandom(BIG)):
        store.artifacts.put("s", "a", content)
    for _ in range(3):
        clock[0] += DAY
        report = store.upkeep.gc(grace_seconds=0)
        assert (report.pruned, report.condemned, report.removed) == (0, 0, 0)
    assert [len(store.artifacts.read(a)) for a in store.artifacts.history("s", "a")] == [BIG, BIG]


def test_condemned_content_that_is_stored_again_is_pardoned(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    content = os.urandom(BIG)
    for data in (content, b"inline"):
        store.artifacts.put("s", "a", data)
        store.artifacts.delete("s", "a")
    clock[0] += 31 * DAY
    assert store.upkeep.gc().condemned == 2
    for name, data in (("b", content), ("c", b"inline")):
        store.artifacts.put("s", name, data)
    clock[0] += DAY
    assert store.upkeep.gc().removed == 0
    assert store.artifacts.read(store.artifacts.get("s", "b")) == content
    assert store.artifacts.read(store.artifacts.get("s", "c")) == b"inline"


def test_chunks_shared_with_condemned_content_stay(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    common = os.urandom(4 * BIG)
    store.artifacts.put("s", "a", common)
    store.artifacts.delete("s", "a")
    clock[0] += 31 * DAY
    store.upkeep.gc()
    store.artifacts.put("s", "b", common + b"tail")
    clock[0] += DAY
    assert store.upkeep.gc().removed == 1
    assert store.artifacts.read(store.artifacts.get("s", "b")) == common + b"tail"


def test_checkpoints_pin_their_history(store: Store, clock: list[int]) -> None:
    store.sessions.create("s", description="first")
    kept = store.artifacts.put("s", "a", b"kept")
    store.sessions.save("s")
    dropped = store.artifacts.put("s", "a", b"dropped")
    store.artifacts.put("s", "a", b"now")
    store.sessions.update("s", description="second")
    store.sessions.update("s", description="third")
    clock[0] += 31 * DAY
    assert store.upkeep.gc(grace_seconds=0).pruned == 1
    clock[0] += 1
    assert store.upkeep.gc(grace_seconds=0).removed == 1
    assert [(a.version, a.size) for a in store.artifacts.history("s", "a")] == [(1, 4), (3, 3)]
    assert store.artifacts.read(store.artifacts.get("s", kept.id)) == b"kept"
    with pytest.raises(NotFound):
        store.artifacts.get("s", dropped.id)
    assert store.upkeep.fsck().problems == ()


def test_history_is_kept_for_its_days(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    for content in (b"1", b"22", b"333"):
        store.artifacts.put("s", "a", content)
        clock[0] += 10 * DAY
    clock[0] += 5 * DAY
    store.upkeep.gc()
    assert [a.size for a in store.artifacts.history("s", "a")] == [1, 2, 3]
    clock[0] += 6 * DAY
    store.upkeep.gc()
    assert [a.size for a in store.artifacts.history("s", "a")] == [2, 3]
    assert len(store.sessions.events("s")) == 4


def test_no_inode_is_left_without_a_row(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    store.sessions.create("gone")
    for ref, name in (("s", "d/deleted"), ("s", "kept"), ("gone", "d/e/f")):
        store.artifacts.put(ref, name, b"x")
    store.artifacts.delete("s", "d/deleted")
    store.sessions.delete("gone")
    clock[0] += 31 * DAY
    for _ in range(2):
        clock[0] += 10**9
        store.upkeep.gc(grace_seconds=0)
    loose = "SELECT count(*) FROM inode WHERE ino NOT IN (SELECT ino FROM entry UNION SELECT ino FROM session)"
    with store.engine.index.read() as db:
        assert db.execute(loose).fetchone() == (0,)
    assert [a.name for a in store.artifacts.list("s")] == ["kept"]


def test_a_deleted_session_comes_back_until_its_days_have_passed(store: Store, clock: list[int]) -> None:
    for ref in ("early", "late", "saved"):
        store.sessions.create(ref)
        store.artifacts.put(ref, "a", ref.encode())
    store.sessions.save("saved")
    store.sessions.delete("early")
    store.sessions.delete("saved")
    clock[0] += 20 * DAY
    store.sessions.delete("late")
    clock[0] += 11 * DAY
    assert store.upkeep.gc(grace_seconds=0).condemned == 2
    clock[0] += 1
    assert store.upkeep.gc(grace_seconds=0).removed == 2
    assert [s.name for s in store.sessions.list(deleted=True)] == ["late"]
    assert store.artifacts.read(store.artifacts.get(store.sessions.restore("late").id, "a")) == b"late"
    with pytest.raises(NotFound):
        store.sessions.restore("early")
    assert store.upkeep.stats().versions == 1
    assert all(report.problem is None for report in store.upkeep.verify())


def test_orphans_of_a_crash_go_and_fresh_ones_stay(sqlite_store: Store, clock: list[int]) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "kept", os.urandom(BIG))
    kept = blob_files(store)
    store.intake.stage(os.urandom(BIG))
    orphans = [path for path in blob_files(store) if path not in kept]
    assert orphans
    for path in orphans:
        os.utime(path, ns=(clock[0], clock[0]))
    size = sum(path.stat().st_size for path in orphans)
    for dry_run in (True, False):
        fresh = store.upkeep.gc(dry_run=dry_run)
        assert (fresh.orphans, fresh.freed, fresh.young, fresh.young_bytes) == (0, 0, len(orphans), size)
    clock[0] += 59 * 10**9
    assert store.upkeep.gc(grace_seconds=0).young == len(orphans)
    clock[0] += 3700 * 10**9
    for dry_run in (True, False):
        old = store.upkeep.gc(dry_run=dry_run)
        assert (old.orphans, old.freed, old.young, old.young_bytes) == (len(orphans), size, 0, 0)
    assert blob_files(store) == kept


def test_figures(store: Store) -> None:
    store.sessions.create("s")
    store.sessions.create("t")
    store.sessions.suspend("t")
    store.artifacts.put("s", "a", bytes(1 << 20))
    store.artifacts.put("s", "b", b"small")
    store.artifacts.put("s", "b", b"other")
    store.artifacts.put("s", "c", b"other")
    stats = store.upkeep.stats()
    assert stats.sessions == {"active": 1, "suspended": 1}
    assert (stats.artifacts, stats.versions, stats.events, stats.lost) == (3, 4, 7, 0)
    assert (stats.logical_bytes, stats.unique_bytes) == ((1 << 20) + 10, (1 << 20) + 10)
    assert 0 < stats.stored_bytes < 10_000
    assert stats.index_bytes > 0
    assert stats.path == (str(store.path) if store.path else None)
    space = store.space()
    assert space.artifacts == 3
    assert 0 < space.available <= space.free < space.total


def test_what_was_lost_is_found_and_recovered(store: Store) -> None:
    session = store.sessions.create("s")
    item = store.intake.lose(b"bytes", Destination(session.id, "d/a"), "frozen")
    if store.path is None:
        assert (item, store.upkeep.lost()) == (None, [])
        with pytest.raises(NotFound):
            store.upkeep.recover("0" * 16)
        return
    assert item is not None
    assert [(i.id, i.session, i.name, i.size, i.why) for i in store.upkeep.lost()] == [
        (item, session.id, "d/a", 5, "frozen")
    ]
    assert store.upkeep.stats().lost == 1
    store.sessions.suspend("s")
    with pytest.raises(Exception, match="resume it first"):
        store.upkeep.recover(item)
    store.sessions.resume("s")
    assert store.artifacts.read(store.upkeep.recover(item, name="b")) == b"bytes"
    unknown = store.intake.lose(b"x", Destination("", ""), "who knows")
    assert unknown is not None
    with pytest.raises(InvalidValue):
        store.upkeep.recover(unknown)
    assert store.upkeep.recover(unknown, "s", "c").name == "c"
    for bad in (item, "../../etc", "zz"):
        with pytest.raises(NotFound):
            list(store.upkeep.read_lost(bad))


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, Callable[..., FsckReport]]:
    """A store with content of each kind, closed, and what checks it after SQL has been let loose on it."""
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s", metadata={"k": 1})
        store.artifacts.put("s", "d/big", Random(1).randbytes(BIG))  # three chunks
        store.artifacts.put("s", "small", b"inline content", custom={"k": 1})
        store.artifacts.put("s", "small", b"inline content, changed")
        store.sessions.save("s")
        assert store.upkeep.fsck().ok

    def check(*statements: str) -> FsckReport:
        with closing(sqlite3.connect(tmp_path / "s" / "index.db")) as db, db:
            for statement in statements:
                assert db.execute(statement).rowcount != 0
        with open_store(tmp_path / "s", config=Config()) as store:
            return store.upkeep.fsck()

    return tmp_path / "s", check


def a_blob(path: Path) -> Path:
    return max(path.glob("blobs/*/*"), key=lambda blob: blob.stat().st_size)


def test_a_flipped_byte_in_a_blob_is_found_and_never_served(broken: tuple[Path, Callable[..., FsckReport]]) -> None:
    path, check = broken
    blob = a_blob(path)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    report = check()
    assert report.harmed == ("s:d/big",)
    assert blob.name in report.problems[0]
    with open_store(path, config=Config()) as store, pytest.raises(Corrupt, match=blob.name):
        store.artifacts.read(store.artifacts.get("s", "d/big"))


@pytest.mark.parametrize("change", [lambda blob: blob.unlink(), lambda blob: os.truncate(blob, 1000)])
def test_a_missing_or_short_blob_is_found(
    broken: tuple[Path, Callable[..., FsckReport]], change: Callable[[Path], None]
) -> None:
    path, check = broken
    change(a_blob(path))
    assert check().harmed == ("s:d/big",)


INLINE = "(SELECT cid FROM content WHERE data = CAST('inline content' AS BLOB))"


@pytest.mark.parametrize(
    ("statement", "says", "harmed"),
    [
        (
            f"UPDATE content SET data = CAST('inline c0ntent' AS BLOB) WHERE cid = {INLINE}",
            "not those that",
            ("s:small",),
        ),
        (f"DELETE FROM content WHERE cid = {INLINE}", "content is not in the index", None),
        ("UPDATE event SET line = replace(line, 'uid:', 'uid;') WHERE seq = 2", "event 3: does not follow", ()),
        ("UPDATE event SET line = replace(line, 'uid:', 'uid;') WHERE seq = 6", "is not the session's head", ()),
        ("UPDATE event SET line = 'x' WHERE seq = 3", "event 3: altered", None),
        ("DELETE FROM event WHERE seq = 4", "event 4: missing", None),
        ("DELETE FROM event WHERE seq = 6", "event 6: missing", ()),
        ("UPDATE event SET kind = 'artifact.deleted' WHERE seq = 4", "index disagrees", ()),
        ("UPDATE event SET ends = ends + 1 WHERE seq = 4", "index disagrees", ()),
        ("UPDATE event SET at_ns = at_ns + 1000 WHERE seq = 4", "index disagrees", ()),
        ("UPDATE entry SET description = 'x' WHERE version = 2", "differs from event 5", ("s:small",)),
        ("UPDATE entry SET name = 'x' WHERE version = 2", "differs from event 5", ("s:x",)),
        ("UPDATE entry SET seq_from = seq_from + 1 WHERE version = 2", "no event covers its row of seq 6", None),
        ("UPDATE entry SET seq_to = NULL, name = 'y' WHERE version = 1 AND name = 'small'", "differs from", None),
        ("DELETE FROM entry WHERE version = 2", "s:small: version 2, as of event 5", ("s:small",)),
        ("DELETE FROM entry WHERE kind = 1", "its folder is not there", None),
        ("UPDATE session_row SET metadata = '{}'", "differs from event 1", ()),
        ("UPDATE session SET artifact_count = 7", "counts 7 artifacts and has 2", ()),
        ("UPDATE session SET total_size = 7", "counts 7 bytes", ()),
        ("UPDATE entry SET size = 1 WHERE version = 2", "its size is not its content's", None),
        ("DELETE FROM content_chunk WHERE start > 0", "lacks chunks", ("s:d/big",)),
        ("DELETE FROM inode WHERE ino IN (SELECT ino FROM entry)", "its inode is not there", None),
        ("UPDATE entry SET content = (SELECT min(cid) FROM content) WHERE version = 2", "small", None),
    ],
)
def test_what_sql_did_behind_the_stores_back_is_found(
    broken: tuple[Path, Callable[..., FsckReport]], statement: str, says: str, harmed: tuple[str, ...] | None
) -> None:
    report = broken[1](statement)
    assert not report.ok
    assert any(says in problem for problem in report.problems), report.problems
    if harmed is not None:
        assert report.harmed == harmed


def test_a_row_in_a_folder_of_another_session_is_found(broken: tuple[Path, Callable[..., FsckReport]]) -> None:
    path, check = broken
    with open_store(path, config=Config()) as store:
        other = store.sessions.create("t")
        store.artifacts.put("t", "e/deep", b"x")
    for place in (
        "(SELECT ino FROM entry WHERE kind = 1 AND name = 'd')",
        "(SELECT ino FROM session WHERE id != '{0}')",
    ):
        report = check(f"UPDATE entry SET folder = {place.format(other.id)} WHERE name = 'deep'")
        assert any("deep: its folder is another session's" in problem for problem in report.problems), report.problems


def test_an_inode_without_a_row_is_found(broken: tuple[Path, Callable[..., FsckReport]]) -> None:
    columns = "mode, uid, gid, mtime_ns, ctime_ns"
    report = broken[1](f"INSERT INTO inode (ino, {columns}) SELECT 4000, {columns} FROM inode LIMIT 1")
    assert report.problems == ("inode 4000: no row has it",)


def test_an_index_with_broken_pages_is_told_in_one_line(broken: tuple[Path, Callable[..., FsckReport]]) -> None:
    path, _ = broken
    data = bytearray((path / "index.db").read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    (path / "index.db").write_bytes(data)
    with pytest.raises((Corrupt, StoreUnusable)), open_store(path, config=Config()) as store:
        store.artifacts.read(store.artifacts.get("s", "small"))


def test_checking_tells_how_far_it_is(store: Store) -> None:
    store.sessions.create("s")
    for number in range(5):
        store.artifacts.put("s", str(number), os.urandom(100))
    told: list[tuple[int, int]] = []
    report = store.upkeep.fsck(progress=lambda done, total: told.append((done, total)))
    rows = 6 + 5 + 1
    total = 500 + rows * ROW
    assert [done for done, _ in told[:3]] == [6 * ROW, 11 * ROW, 12 * ROW]
    assert told[3:] == [(total - left, total) for left in range(400, -1, -100)]
    assert {known for _, known in told} == {total}
    assert (report.sessions, report.events, report.contents, report.chunks) == (1, 6, 5, 0)


def test_a_quick_check_tells_how_far_it_is_too_in_the_midst_of_a_trail(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put_many("s", [NewArtifact(str(number), b"x") for number in range(600)])
    told: list[tuple[int, int]] = []
    store.upkeep.fsck(quick=True, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {(601 + 600 + 1) * ROW}
    assert [done // ROW for done, _ in told] == [256, 512, 601, 857, 1113, 1201, 1202]
