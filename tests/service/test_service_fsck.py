"""Checking and repairing: what is found has a kind and names what it harms, what is mended stays so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import StoreUnusable
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.storage.destination import Destination
from tests.crash import damage as harm


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with something of everything, closed."""
    harm.make_store(tmp_path / "s")
    return tmp_path / "s"


FOLDER = "(SELECT ino FROM entry WHERE kind = 1 AND name = 'd')"
MENDED = {
    "counter": ["UPDATE session SET artifact_count = 70, total_size = 1, next_sequence = 1 WHERE sid = 1",
                "UPDATE session SET trail_size = 3, last_ns = 5 WHERE sid = 2",
                "UPDATE store SET value = 1025 WHERE key = 'next_ino'", "UPDATE sqlite_sequence SET seq = 1"],
    "label": ["DELETE FROM entry_label", "UPDATE session_label SET value = value || 'x'"],
    "text": ["DELETE FROM entry_text_content WHERE id = (SELECT max(id) FROM entry_text_content)"],
    "size": ["UPDATE content SET size = size + 1 WHERE data IS NULL",
             "UPDATE entry SET size = 1 WHERE name = 'big.bin'"],
    "stored-size": ["UPDATE content SET stored_size = 1", "UPDATE chunk SET stored_size = 1"],
    "inode": ["DELETE FROM inode WHERE ino IN (SELECT ino FROM entry)"],
    "folder": [f"UPDATE entry SET seq_to = 9 WHERE ino = {FOLDER}"],
    "cycle": [f"UPDATE entry SET folder = (SELECT ino FROM entry WHERE name = 'e') WHERE ino = {FOLDER}"],
    "parent": ["UPDATE session_row SET parent = '00000000-0000-4000-8000-000000000000' WHERE parent IS NOT NULL"],
    "row": ["UPDATE entry SET description = 'some vords' WHERE version = 2 AND name = 'small.txt'",
            "UPDATE session_row SET description = 'day ooe' WHERE dirname = 'work'"],
    "validity": ["UPDATE entry SET seq_to = seq_from WHERE version = 1 AND name = 'small.txt'"],
    "overlap": ["UPDATE entry SET seq_to = 9 WHERE version = 1 AND name = 'small.txt'"],
    "checkpoint": ["UPDATE checkpoint SET seq = 999"],
    "state": ["INSERT INTO state VALUES ('session:none', 'k', '1', 1)"],
    "chain": ["UPDATE session SET seq = 3 WHERE sid = 1"],
    "bytes": ["UPDATE content_chunk SET start = start + 7", "UPDATE content SET codec = 57 WHERE codec = 0"],
}  # fmt: skip


@pytest.mark.parametrize("kind", MENDED)
def test_what_can_be_mended_is_found_mended_and_stays_so(path: Path, kind: str) -> None:
    expected = harm.readable(path)
    harm.sql(path, *MENDED[kind])
    found = harm.checked(path)
    assert kind in {problem.kind for problem in found.found}, found.problems
    report = harm.mended(path)
    left = [problem for problem in report.found if not problem.is_note and not problem.repaired]
    told_wrong = {"cycle": {"row"}, "parent": {"row"}, "folder": {"validity", "row"}}
    assert {problem.kind for problem in left} <= told_wrong.get(kind, set()), left
    assert report.done
    assert harm.readable(path) >= expected
    again = harm.mended(path)
    assert (again.repaired, again.done) == ((), ())


def test_a_repair_stands_in_the_trail_and_the_chain_verifies(path: Path) -> None:
    harm.sql(path, "UPDATE session SET artifact_count = 70 WHERE sid = 1")
    report = harm.mended(path)
    with open_store(path, config=Config()) as store:
        last = store.sessions.events("work")[-1]
        assert (last.kind, last.fields["mended"]) == ("session.repaired", {"counter": 1})
        assert report.quarantine is not None
        assert last.fields["kept"] == os.path.basename(report.quarantine)
        assert all(chain.problem is None for chain in store.upkeep.verify())


def test_a_broken_chain_is_told_once_and_never_rewritten(path: Path) -> None:
    harm.sql(path, "UPDATE event SET line = replace(line, 'uid:', 'uid;') WHERE sid = 1 AND seq = 2")
    for _ in range(3):
        report = harm.mended(path)
        assert [problem.kind for problem in report.found] == ["chain"]
        assert not report.ok
    with open_store(path, config=Config()) as store:
        assert [e.kind for e in store.sessions.events("work")].count("session.repaired") == 1


def test_versions_of_the_past_that_are_harmed_are_named(path: Path) -> None:
    harm.sql(
        path, "UPDATE content SET data = CAST('inline c0ntent' AS BLOB) WHERE data = CAST('inline content' AS BLOB)"
    )
    report = harm.checked(path)
    (problem,) = report.found
    assert problem.document()["harmed"] == ["work:small.txt (version 1)"]
    assert report.harmed == ("work:small.txt",)


def test_bytes_that_are_in_lost_and_found_are_put_back(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        artifact = store.artifacts.get("work", "d/one.bin")
        store.intake.lose(store.artifacts.read(artifact), Destination(artifact.session_id, "d/one.bin"), "a copy")
    (blob,) = [file for file in harm.blobs(path) if file.name == artifact.content_hash]
    blob.unlink()
    report = harm.mended(path)
    assert report.ok
    assert report.harmed == ()
    assert blob.exists()


def test_a_harmed_blob_is_kept_and_its_artifact_stays_listed(path: Path) -> None:
    blob = max(harm.blobs(path), key=lambda file: file.stat().st_size)
    harm.flip(blob, 1000, 1)
    harmed = blob.read_bytes()
    report = harm.mended(path)
    assert report.harmed == ("work:big.bin",)
    assert report.quarantine is not None
    kept = Path(report.quarantine) / "blobs" / blob.name[:2] / blob.name
    assert kept.read_bytes() == harmed
    harm.flip(kept, 1000, 1)  # somebody finds a sound copy, and puts it there
    assert harm.mended(path).ok
    assert harm.checked(path).ok


def test_rights_of_others_are_found_and_taken(path: Path) -> None:
    (path / "index.db").chmod(0o644)
    (path / "blobs").chmod(0o755)
    assert {(p.kind, p.where) for p in harm.checked(path).found} >= {("mode", "index.db"), ("mode", "blobs")}
    assert harm.mended(path).ok
    assert (path / "index.db").stat().st_mode & 0o777 == 0o600


def test_leftovers_are_notes(path: Path) -> None:
    (path / "blobs" / "00").mkdir(mode=0o700, exist_ok=True)
    for name in (".part-1-2-3", "00" + "a" * 62, "odd"):
        (path / "blobs" / "00" / name).write_bytes(b"x")
        (path / "blobs" / "00" / name).chmod(0o600)
    report = harm.checked(path)
    assert report.ok
    assert {p.kind for p in report.found} == {"temporary", "orphan", "stray"}


def test_a_quick_check_reads_no_content_and_misses_no_file(path: Path) -> None:
    blob = harm.blobs(path)[0]
    data = blob.read_bytes()
    harm.flip(blob, 5, 1)
    assert harm.checked(path, quick=True).ok
    blob.write_bytes(data[:-1])
    assert not harm.checked(path, quick=True).ok


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE entry_text_data SET block = zeroblob(length(block)) WHERE id > 10",
        "DELETE FROM entry_text_docsize WHERE id = (SELECT max(id) FROM entry_text_docsize)",
    ],
)
def test_what_is_wrong_within_the_full_text_is_found_and_mended(path: Path, query: str) -> None:
    with open_store(path, config=Config()) as store:
        assert len(store.search.artifacts("words")) == 1
    assert harm.checked(path).found == ()
    harm.sql(path, query)
    assert [problem.where for problem in harm.checked(path).found] == ["full text"]
    assert harm.mended(path).repaired
    assert harm.checked(path).problems == ()


def test_a_check_waits_for_no_writer_and_has_none_wait(path: Path) -> None:
    with open_store(path, config=Config()) as store, open_store(path, config=Config()) as other:
        assert len(store.search.artifacts("words")) == 1
        with other.engine.index.write() as db:
            db.execute("UPDATE store SET value = value WHERE key = 'uuid'")
            assert store.upkeep.fsck().found == ()


def test_a_full_text_that_there_is_no_room_to_check_is_told_as_a_note(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path, config=Config()) as store:
        assert len(store.search.artifacts("words")) == 1
    monkeypatch.setattr("llmspellfs.storage.audit_text._PRAGMAS", ["max_page_count = 3"])
    (problem,) = harm.checked(path).found
    assert (problem.where, problem.is_note) == ("full text", True)


def test_an_index_that_is_gone_is_said_to_be(path: Path) -> None:
    (path / "index.db").unlink()
    with pytest.raises(StoreUnusable, match="only a backup"):
        harm.mended(path)


def test_a_report_is_one_json_object() -> None:
    assert json.loads(json.dumps(FsckReport((), 1, 2, 3, 4).document()))["ok"] is True


def test_storing_a_harmed_content_again_heals_it(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", content)
        (blob,) = (path for path in (tmp_path / "s" / "blobs").rglob("*") if path.is_file())
        blob.unlink()
        store.engine.rooms.cache.clear()
        store.artifacts.put("s", "b", content)
        assert store.artifacts.read(store.artifacts.get("s", "b")) == content
        assert store.artifacts.read(store.artifacts.get("s", "a")) == content
        assert store.upkeep.fsck().ok


def test_storing_a_harmed_small_content_again_heals_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", b"as it was")
        with store.engine.index.write() as db:
            db.execute("UPDATE content SET data = x'00'")
        store.artifacts.put("s", "b", b"as it was")
        assert store.artifacts.read(store.artifacts.get("s", "b")) == b"as it was"
        assert store.upkeep.fsck().ok


def test_a_batch_heals_harmed_contents_that_are_in_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", b"as it was")
        with store.engine.index.write() as db:
            db.execute("UPDATE content SET data = x'00'")
        store.artifacts.put_many("s", [NewArtifact("b", b"as it was"), NewArtifact("c", b"new")])
        assert store.artifacts.read(store.artifacts.get("s", "b")) == b"as it was"
        assert store.upkeep.fsck().ok


def test_what_a_dead_process_left_in_the_spool_is_noted_and_what_a_live_one_has_is_not(path: Path) -> None:
    """Opening salvages before anybody can look, so that only who has the store open already finds it."""
    with open_store(path, config=Config()) as store:
        mine = store.intake.spool_file(Destination(store.sessions.get("work").id, "mine"))
        mine.write(b"x" * 100, 0)
        assert store.upkeep.fsck().notes == ()
        left = path / "spool" / "1-1-left"
        left.mkdir(0o700)
        (left / "1").write_bytes(b"left")
        (left / "1").chmod(0o600)
        report = store.upkeep.fsck(quick=True)
        assert report.ok
        assert report.notes == ("spool/1-1-left: its process is gone: the next to open salvages it",)
        mine.discard()
