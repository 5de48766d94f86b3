"""Many processes on one store: none lost, nobody refused, and what bounds the waiting."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import llmspellfs
from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import ConfigError, NotEmpty, NotFound, StoreBusy, StoreUnusable
from llmspellfs.model.artifact import Ownership
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given
from llmspellfs.storage import disk
from tests.steady import steady_clock

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(llmspellfs.__file__).parents[1])}

WRITER = """
import sys
from llmspellfs import open_store
from llmspellfs.config import Config
path, number, opens = sys.argv[1], sys.argv[2], int(sys.argv[3])
for part in range(opens):
    with open_store(path, config=Config()) as store:
        for count in range(part * 200 // opens, (part + 1) * 200 // opens):
            name = f"{number}/{count}"
            artifact = store.artifacts.put("all" if count % 2 else f"own{number}", name, name.encode() * (count + 1))
            assert store.artifacts.read(artifact) == name.encode() * (count + 1)
"""


def test_four_processes_store_and_none_is_lost(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store:
        for name in ("all", "own0", "own1", "own2", "own3"):
            store.sessions.create(name)
        # One process opens the store once, one ten times, two in between: the last to close folds the WAL.
        commands = [
            [sys.executable, "-c", WRITER, str(tmp_path), str(number), str(opens)]
            for number, opens in enumerate((1, 10, 4, 4))
        ]
        children = [subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) for command in commands]
        for child in children:
            _, said = child.communicate(timeout=120)
            assert (child.returncode, said) == (0, b"")
        assert len(store.artifacts.list("all")) == 400
        assert [len(store.artifacts.list(f"own{number}")) for number in range(4)] == [100] * 4
        names = {a.name: a.size for a in store.artifacts.query()}
        assert names == {f"{n}/{c}": len(f"{n}/{c}") * (c + 1) for n in range(4) for c in range(200)}
        assert store.upkeep.fsck().problems == ()


def test_short_lived_processes_come_and_go_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    code = (
        "import sys; from llmspellfs import open_store; from llmspellfs.config import Config\n"
        "with open_store(sys.argv[1], config=Config()) as store: store.artifacts.put('s', sys.argv[2], b'x')"
    )
    with open_store(tmp_path, config=Config()) as store:
        store.sessions.create("s")
        for number in range(6):
            store.artifacts.put("s", f"own{number}", b"x")
            subprocess.run([sys.executable, "-c", code, str(tmp_path), str(number)], env=ENVIRONMENT, check=True)
            assert len(store.artifacts.list("s")) == 2 * number + 2
    with open_store(tmp_path, config=Config()) as store:
        assert len(store.artifacts.list("s")) == 12


LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
"""


def locked(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that holds the write lock of the index until a line is sent to it."""
    command = [sys.executable, "-c", LOCKER, str(path / "index.db")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"locked\n"
    return child


def test_a_writer_waits_its_bound_and_no_reader_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, config=Config(), busy_seconds=0.4) as store:
        store.sessions.create("s")
        artifact = store.artifacts.put("s", "a", b"x")
        with locked(tmp_path) as child:
            for write in (
                lambda: store.artifacts.put("s", "b", b"x"),
                lambda: store.sessions.tag("s", add=["t"]),
                lambda: store.sessions.save("s"),
                store.sync,
            ):
                began = time.monotonic()
                with steady_clock() as clock:
                    with pytest.raises(StoreBusy, match=r"locked for 0\.4 s"):
                        write()
                    assert clock() < 10
                assert time.monotonic() - began > 0.3
            steps = list[str]()
            monkeypatch.setattr(disk, "hook", steps.append)
            with steady_clock() as clock:
                assert store.artifacts.list("s") == [artifact]
                assert store.artifacts.read(artifact) == b"x"
                assert store.artifacts.query("name:a") == [artifact]
                with open_store(tmp_path, config=Config()) as other:
                    assert other.sessions.get("s").artifact_count == 1
                assert clock() < 10
            monkeypatch.undo()
            assert "index.begin" not in steps, "no reader asks for the lock"
            child.communicate(b"\n")
        assert store.artifacts.put("s", "b", b"x").sequence == 2


def test_free_words_are_answered_while_another_process_writes(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config(), busy_seconds=60) as store:
        store.sessions.create("s", description="walrus")
        store.artifacts.put("s", "a", b"x", description="walrus")
        assert [a.name for a in store.search.artifacts("walrus")] == ["a"]
        store.artifacts.put("s", "b", b"x", description="walrus")
        with locked(tmp_path) as child:
            began = time.monotonic()
            assert [a.name for a in store.search.artifacts("walrus")] == ["a"]
            assert time.monotonic() - began < 20
            assert [a.name for a in store.artifacts.query("walrus name:a")] == ["a"]
            assert time.monotonic() - began < 40
            child.communicate(b"\n")
        assert [a.name for a in store.search.artifacts("walrus")] == ["a", "b"]


def test_a_writer_goes_on_once_the_lock_is_free(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config(), busy_seconds=20) as store:
        store.sessions.create("s")
        with locked(tmp_path) as child:
            assert child.stdin is not None
            threading.Timer(0.3, child.stdin.close).start()
            assert store.artifacts.put("s", "a", b"x").sequence == 1


def test_a_reader_sees_one_state_beside_a_long_write(sqlite_store: Store) -> None:
    store = sqlite_store
    session = store.sessions.create("s")
    with store.engine.write() as tx:
        tx.db.execute("UPDATE session_row SET description = 'half' WHERE sid = ?", (session.sid,))
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(store.sessions.get("s").description))
        thread.start()
        thread.join(60)
        assert seen == [""]
        tx.db.execute("UPDATE session_row SET description = '' WHERE sid = ?", (session.sid,))


def test_a_failed_transaction_leaves_nothing_and_frees_the_lock(store: Store) -> None:
    store.sessions.create("s")

    def fail() -> None:
        with store.engine.write() as tx:
            tx.journal.append(1, "session.saved", None)
            tx.db.execute("UPDATE session SET artifact_count = 99")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (store.sessions.get("s").seq, store.sessions.get("s").artifact_count) == (1, 0)
    assert store.sessions.save("s").seq == 2


def in_child(work: Callable[[], object]) -> int:
    """Run *work* in a forked child; return its exit code, 0 where nothing was raised."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the exit code tells
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_store_works_on_both_sides_of_a_fork(sqlite_store: Store) -> None:
    store = sqlite_store
    store.sessions.create("s")
    store.artifacts.put("s", "before", b"x")

    def work() -> None:
        for number in range(5):
            store.artifacts.put("s", f"child{number}", b"c%d" % number)
        assert len(store.artifacts.list("s")) == 6

    assert in_child(work) == 0
    for number in range(5):
        store.artifacts.put("s", f"parent{number}", b"p%d" % number)
    artifacts = store.artifacts.list("s")
    assert len(artifacts) == 11
    assert len({artifact.ino for artifact in artifacts}) == 11


def test_inode_numbers_never_run_out_within_a_transaction(store: Store) -> None:
    session = store.sessions.create("s")
    own = Ownership(0o755, 1, 1)
    engine = store.engine
    engine.stock(41)
    while len(engine._spare) > 40:
        engine._take_ino()
    store.artifacts.put("s", "/".join("d" * 60), b"x")
    store.entries.make_folder(Place(session.sid, session.ino, "after"), own)
    assert store.upkeep.fsck().ok


def changed(store: Store) -> frozenset[int]:
    dropped: list[int] = []
    store.drop_changed(dropped.append)
    return frozenset(dropped)


def test_changes_of_others_are_told_and_own_ones_are_not(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store, open_store(tmp_path, config=Config()) as other:
        s, t = store.sessions.create("s"), store.sessions.create("t")
        assert changed(store) == frozenset()
        assert changed(other) == {s.sid, t.sid}
        assert changed(other) == frozenset()
        artifact = other.artifacts.put("t", "a", b"x")
        assert changed(store) == {t.sid}
        other.entries.set_attributes(t.sid, artifact.ino, lambda old, _now: old)
        store.artifacts.put("s", "b", b"x")
        assert changed(store) == {t.sid}
        assert changed(store) == frozenset()
        other.artifacts.put("s", "c", b"x")
        store.artifacts.put("s", "d", b"x")
        assert changed(store) == {s.sid}
        child = "from llmspellfs import open_store; import sys; open_store(sys.argv[1]).sessions.tag('s', add=['x'])"
        subprocess.run([sys.executable, "-c", child, str(tmp_path)], env=ENVIRONMENT, check=True)
        assert changed(store) == {s.sid}


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("nowhere/at/all/x")])
def test_a_path_that_cannot_be_a_store_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    for path in (tmp_path / "x", tmp_path / "x" / "below"):
        with pytest.raises(StoreUnusable, match="cannot use the store"):
            open_store(path, config=Config())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", config=Config()):
        pass
    os.chmod(tmp_path, 0o755)

    def refused(path: Path) -> Callable[[], None]:
        def work() -> None:
            os.setgid(65534)
            os.setuid(65534)
            with pytest.raises(StoreUnusable):
                open_store(path, config=Config())

        return work

    for folder in tmp_path.parents:
        if folder.owner() == "root" and folder != Path("/"):
            os.chmod(folder, folder.stat().st_mode | 0o011)
    assert in_child(refused(tmp_path / "store")) == 0
    assert in_child(refused(tmp_path / "new")) == 0
    with pytest.raises(StoreUnusable):
        open_store("/proc/nothing/here", config=Config())
    with pytest.raises(StoreUnusable):
        open_store("/proc/1", config=Config())


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"this is not a database at all" * 1000)
    with pytest.raises(StoreUnusable, match="not an index"):
        open_store(tmp_path, config=Config())


def test_a_store_of_a_newer_version_is_refused_and_not_harmed(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store:
        store.sessions.create("s")
    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        known = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version = {known + 1}")
    with pytest.raises(StoreUnusable, match="made by a newer version"):
        open_store(tmp_path, config=Config())
    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        db.execute(f"PRAGMA user_version = {known}")
    with open_store(tmp_path, config=Config()) as store:
        assert store.sessions.get("s").seq == 1


def test_a_store_is_private_and_its_files_too(sqlite_store: Store) -> None:
    assert sqlite_store.path is not None
    sqlite_store.sessions.create("s")
    sqlite_store.artifacts.put("s", "a", os.urandom(1 << 20))
    assert sqlite_store.path.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in sqlite_store.path.glob("blobs/*/*"))


def test_the_backend_is_one_that_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backend"):
        open_store(tmp_path, config=Config(), backend="floppy")
    with open_store(tmp_path, config=Config(storage_backend="memory"), backend="sled") as store:
        assert store.path == tmp_path


def test_a_store_in_memory_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store(tmp_path / "store", config=Config(), backend="memory") as store:
        store.sessions.create("s")
        store.sync()
        assert store.path is None
    assert os.listdir(tmp_path) == []


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    store = open_store(tmp_path, config=Config())
    store.sessions.create("s")
    store.close()
    store.close()
    assert os.listdir(tmp_path / "spool") == []
    assert not (tmp_path / "index.db-wal").exists()


def test_a_change_of_metadata_is_made_of_what_there_is_then(tmp_path: Path) -> None:
    with open_store(tmp_path, config=Config()) as store, open_store(tmp_path, config=Config()) as other:
        session = store.sessions.create("s", metadata={"a": 1})
        entry = store.entries.lookup(session.ino, store.artifacts.put("s", "f", b"x", custom={"a": 1}).name)
        assert entry is not None
        other.sessions.update("s", metadata={"a": 2})
        other.artifacts.update("s", "f", custom={"a": 2}, tags=["t"])
        assert store.sessions.update("s", metadata=lambda now: {**now, "b": 1}).metadata == {"a": 2, "b": 1}
        row = store.entries.describe(
            session.sid, entry.facts.sequence, lambda now: Given(custom={**(now.custom or {}), "b": 1})
        )
        assert (row.facts.custom, row.facts.tags) == ({"a": 2, "b": 1}, ("t",))


def test_a_session_is_deleted_empty_or_not_at_all(store: Store) -> None:
    for name in ("s", "t"):
        store.sessions.create(name)
        store.artifacts.put(name, "f", b"x")
    store.sessions.create("empty")
    with pytest.raises(NotEmpty):
        store.sessions.delete("s", full=False)
    store.sessions.complete("t")
    store.sessions.delete("t", full=False)
    store.sessions.delete("empty", full=False)
    assert [session.name for session in store.sessions.list()] == ["s"]


def test_no_row_of_one_session_is_made_in_a_folder_of_another(store: Store) -> None:
    s, t = store.sessions.create("s"), store.sessions.create("t")
    own = Ownership(0o755, 1, 1)
    folder = store.entries.make_folder(Place(t.sid, t.ino, "d"), own)
    store.artifacts.put("s", "f", b"x")
    file = store.entries.lookup(s.ino, "f")
    for place in (Place(s.sid, folder.ino, "intruder"), Place(s.sid, t.ino, "intruder")):
        calls: list[Callable[[], object]] = [
            lambda place=place: store.entries.make_folder(place, own),  # type: ignore[misc]
            lambda place=place: store.entries.make_symlink(place, "f", own),  # type: ignore[misc]
            lambda place=place: store.entries.rename(Place(s.sid, s.ino, "f"), place),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(NotFound):
                call()
    assert store.entries.lookup(s.ino, "f") == file
    assert store.upkeep.fsck().problems == ()
