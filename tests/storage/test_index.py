"""Connections and transactions of the index."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs.errors import Corrupt, NoSpace, StoreBusy, StoreUnusable
from llmspellfs.storage.index import _KEPT, _MOST, BUSY_SECONDS, Index


@pytest.fixture(params=["memory", "file"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    opened = Index(None if request.param == "memory" else tmp_path / "index.db", busy_seconds=0.3)
    yield opened
    opened.close()


def put(index: Index, key: str, value: object) -> None:
    with index.write() as db:
        db.execute("INSERT OR REPLACE INTO store VALUES (?, ?)", (key, value))


def get(index: Index, key: str) -> object:
    with index.read() as db:
        row = db.execute("SELECT value FROM store WHERE key = ?", (key,)).fetchone()
        return row and row[0]


def test_what_is_written_is_read(index: Index) -> None:
    put(index, "a", 1)
    assert get(index, "a") == 1


def test_what_raises_is_rolled_back_and_the_turn_is_free(index: Index) -> None:
    put(index, "a", 1)
    with pytest.raises(KeyError), index.write() as db:
        raise KeyError(db.execute("UPDATE store SET value = 2 WHERE key = 'a'"))
    assert get(index, "a") == 1
    put(index, "a", 3)
    assert get(index, "a") == 3


def test_two_writers_of_a_process_take_turns(index: Index) -> None:
    put(index, "n", 0)
    index.busy_seconds = 60

    def count() -> None:
        for _ in range(50):
            with index.write() as db:
                value = db.execute("SELECT value FROM store WHERE key = 'n'").fetchone()[0]
                db.execute("UPDATE store SET value = ? WHERE key = 'n'", (value + 1,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(index, "n") == 200


def test_a_writer_in_line_behind_a_thread_gives_up_after_the_bound(index: Index) -> None:
    refused: list[BaseException] = []

    def write() -> None:
        try:
            put(index, "b", 1)
        except StoreBusy as error:
            refused.append(error)

    with index.write():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(60)
    assert [type(error) for error in refused] == [StoreBusy]
    put(index, "b", 2)


def test_a_writer_behind_another_process_gives_up_after_the_bound(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", busy_seconds=0.3)
    # A second Index of this process is to SQLite what another process is.
    other = Index(tmp_path / "index.db", busy_seconds=0.3)
    with other.write():
        began = time.monotonic()
        with pytest.raises(StoreBusy), index.write():
            pass
        assert 0.2 < time.monotonic() - began < BUSY_SECONDS - 1
        assert get(index, "a") is None
    put(index, "a", 1)
    for each in (index, other):
        each.close()


def test_a_snapshot_sees_one_state(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    put(index, "a", 1)
    query = "SELECT value FROM store WHERE key = 'a'"
    with index.snapshot() as db:
        assert db.execute(query).fetchone() == (1,)
        put(index, "a", 2)
        assert db.execute(query).fetchone() == (1,)
    assert get(index, "a") == 2
    index.close()


def test_readers_beyond_the_bound_wait_their_turn(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", busy_seconds=0.2)
    lent = [index.lend() for _ in range(_MOST)]
    with pytest.raises(StoreBusy), index.read():
        pass
    for connection in lent:
        index.take_back(connection)
    assert get(index, "a") is None
    index.close()


def test_only_a_few_connections_are_kept(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    lent = [index.lend() for _ in range(3 * _KEPT)]
    for connection in lent:
        index.take_back(connection)
    kept = set(index._idle)
    assert len(kept) == _KEPT
    for connection in lent:
        if connection not in kept:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
    index.close()


def test_the_version_changes_with_others_commits(tmp_path: Path) -> None:
    index, other = Index(tmp_path / "index.db"), Index(tmp_path / "index.db")
    before = index.data_version()
    assert index.data_version() == before
    put(other, "a", 1)
    assert index.data_version() != before
    for each in (index, other):
        each.close()


def test_a_child_after_a_fork_has_connections_of_its_own(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    put(index, "a", 1)
    writer = index._writer
    if (child := os.fork()) == 0:
        try:
            put(index, "b", get(index, "a"))
            index.data_version()
            os._exit(0 if index._writer is not writer else 2)
        except BaseException:  # noqa: BLE001 - the exit code tells
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    put(index, "c", 3)
    assert (get(index, "b"), get(index, "c")) == (1, 3)
    index.close()


def test_a_durable_transaction_is_synced_and_the_next_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path / "index.db")
    modes = []
    for durable in (True, False):
        with index.write(durable=durable) as db:
            db.execute("INSERT OR REPLACE INTO store VALUES ('a', 1)")
            modes.append(db.execute("PRAGMA synchronous").fetchone()[0])
    with pytest.raises(KeyError), index.write(durable=True):
        raise KeyError
    with index.write() as db:
        modes.append(db.execute("PRAGMA synchronous").fetchone()[0])
    assert modes == [2, 1, 1]
    index.close()


@pytest.mark.parametrize("pragma", [("journal_mode", "wal"), ("secure_delete", 1), ("foreign_keys", 0)])
def test_every_connection_is_set_up_alike(tmp_path: Path, pragma: tuple[str, object]) -> None:
    index = Index(tmp_path / "index.db")
    name, value = pragma
    with index.write() as writer, index.read() as reader:
        assert [db.execute(f"PRAGMA {name}").fetchone()[0] for db in (writer, reader)] == [value, value]
    index.close()


def test_no_error_of_sqlite_leaves_the_room(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    for code, error in (
        (sqlite3.SQLITE_BUSY, StoreBusy), (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreBusy), (sqlite3.SQLITE_FULL, NoSpace),
        (sqlite3.SQLITE_IOERR_READ, Corrupt), (sqlite3.SQLITE_CORRUPT, Corrupt), (sqlite3.SQLITE_NOTADB, Corrupt),
        (sqlite3.SQLITE_READONLY, StoreUnusable), (sqlite3.SQLITE_CANTOPEN, StoreUnusable),
    ):  # fmt: skip
        raised = sqlite3.OperationalError("x")
        raised.sqlite_errorcode = code
        for block in (index.read, index.write):
            with pytest.raises(error), block():
                raise raised
    index.close()


def test_a_full_disk_is_no_space_and_nothing_is_half_written(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    with index.write() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(NoSpace), index.write() as db:
        db.executemany("INSERT INTO store VALUES (?, ?)", [(f"k{number}", bytes(2000)) for number in range(100)])
    assert get(index, "k0") is None
    index.close()


def test_a_folder_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        Index(tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    from llmspellfs import open_store

    foreign = tmp_path / "home"
    foreign.mkdir(mode=0o755)
    (foreign / "letter").write_text("dear")
    with pytest.raises(StoreUnusable, match="not empty, and no store: it has 'letter'"):
        open_store(foreign)
    assert (foreign.stat().st_mode & 0o777, [path.name for path in foreign.iterdir()]) == (0o755, ["letter"])
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    open_store(empty).close()
    assert (empty.stat().st_mode & 0o777, (empty / "index.db").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_question_that_somebody_holds_on_to_keeps_no_later_borrower_in_the_past(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    put(index, "a", 1)
    put(index, "b", 1)
    with index.read() as db:
        held = db.execute("SELECT value FROM store ORDER BY key")
        held.fetchone()
        lent = db
    other = Index(tmp_path / "index.db")
    put(other, "a", 2)
    other.close()
    with index.read() as db:
        assert db is lent
        assert db.execute("SELECT value FROM store WHERE key = 'a'").fetchone() == (2,)
    with pytest.raises(sqlite3.ProgrammingError):
        held.fetchone()
    index.close()


@pytest.mark.parametrize("is_read", [True, False])
def test_a_wal_that_another_program_reads_is_not_cut_off_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_read: bool
) -> None:
    index = Index(tmp_path / "index.db")
    with closing(index), closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        put(index, "key", 1)
        if is_read:
            other.execute("BEGIN")
            other.execute("SELECT * FROM store").fetchall()
        index.empty_wal()
        assert ("cannot be cut off" in caplog.text) is is_read
        assert ((tmp_path / "index.db-wal").stat().st_size > 0) is is_read


def test_a_question_left_open_by_a_writer_is_ended_with_its_transaction(tmp_path: Path) -> None:
    index, other = Index(tmp_path / "index.db", busy_seconds=0.3), Index(tmp_path / "index.db")
    put(index, "a", 1)
    with index.write() as db:
        held = db.execute("SELECT value FROM store")
        held.fetchone()
    put(other, "a", 2)
    put(index, "b", held is not None)
    assert get(index, "a") == 2
    index.close()
    other.close()
