"""Nothing blocks another: while closes, searches, transactions or another process's lock take long, the rest goes on.

What takes long here is many at once, more than the mount has threads. Delays are put into a daemon of the test's own
by a `sitecustomize` module in front of its path.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.mount.live import ROOT, Mounted, refused, store_locked, wait_for

MANY = 20
LIMIT_SECONDS = 10
"""What is quick: less than the 15 seconds for which the store's lock is waited for."""
DELAYS = """
import os, time
from llmspellfs.service.intake import Intake
from llmspellfs.service.search import Search
from llmspellfs.storage.index import Index

def wait_at_gate():
    give_up = time.monotonic() + 60
    while os.path.exists(GATE) and time.monotonic() < give_up:
        time.sleep(0.01)

def slow_to_stage(self, content, *rest, _plain=Intake.stage, **more):
    if bytes(content[:4]) == b"SLOW":
        wait_at_gate()
    return _plain(self, content, *rest, **more)

def slow_to_parse_and_read(self, query, *rest, _plain=Search._asked, **more):
    if query and "slow" in query:
        with self._engine.index.read():
            wait_at_gate()
    return _plain(self, query, *rest, **more)

def slow_to_commit(self, *, _plain=Index.end, **more):
    if self.path is not None and os.path.exists(self.path.with_name("slow-commit")):
        os.unlink(self.path.with_name("slow-commit"))
        wait_at_gate()
    _plain(self, **more)

Intake.stage, Search._asked, Index.end = slow_to_stage, slow_to_parse_and_read, slow_to_commit
"""


@pytest.fixture(scope="module")
def delayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount where content that begins with SLOW, searches for "slow", and one commit when asked, wait at a gate."""
    mounted = Mounted(tmp_path_factory.mktemp("delayed"))
    put_in_front(mounted, DELAYS.replace("GATE", repr(str(gate_of(mounted)))))
    mounted.mount()
    yield mounted
    mounted.end()
    mounted.check(is_whole=True)


def gate_of(mounted: Mounted) -> Path:
    return mounted.config.with_name("gate")


@contextmanager
def gate_shut(mounted: Mounted) -> Iterator[None]:
    """Have what takes long take as long as the block."""
    gate_of(mounted).touch()
    try:
        yield
    finally:
        gate_of(mounted).unlink()


def put_in_front(mounted: Mounted, module: str) -> None:
    """Have the daemon of *mounted*, which is not mounted yet, run *module* before it begins."""
    folder = mounted.config.with_name("delays")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(module)
    mounted.environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"


def prepare(mounted: Mounted, name: str) -> Path:
    """Make a session with what `work_that_reads` and `work_that_writes` use."""
    session = mounted.session(name)
    (session / "folder").mkdir()
    (session / "folder/small").write_text("small")
    (session / "big").write_bytes(os.urandom(1 << 20))
    (session / "link").symlink_to("folder/small")
    return session


def work_that_reads(mounted: Mounted, session: Path) -> None:
    """Do everything that needs no turn to write."""
    with (session / "big").open("rb") as big:
        os.posix_fadvise(big.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert len(big.read()) == 1 << 20
    assert (session / "link").read_text() == "small"
    assert sorted(os.listdir(session)) == ["big", "folder", "link"]
    assert not (session / "folder/missing").exists()
    assert session.name in os.listdir(mounted.sessions)
    assert os.getxattr(session / "big", "user.llmspell.type") == b"user_input"
    assert (session / ".session/status").read_text() == "active\n"
    assert (session / ".session/events.jsonl").read_text().count("\n") >= 4
    assert session.name in os.listdir(mounted.path / "by-status/active")
    assert os.listdir(mounted.path / f"search/session:{session.name} name:small") == [session.name]
    assert os.statvfs(session).f_namemax == 255


def work_that_writes(session: Path) -> None:
    """Make and change things, and leave the session as it was."""
    (session / "new").mkdir()
    (session / "new/file").write_text("content")
    (session / "new/file").rename(session / "new/renamed")
    (session / "new/renamed").unlink()
    (session / "new").rmdir()


def work_of_all_kinds(mounted: Mounted, session: Path) -> None:
    work_that_reads(mounted, session)
    work_that_writes(session)


def is_quick(work: Callable[[], object]) -> bool:
    start = time.monotonic()
    work()
    return time.monotonic() - start < LIMIT_SECONDS


def at_once(pool: ThreadPoolExecutor, call: Callable[[int], object]) -> list[Future[object]]:
    """Begin MANY calls, and give them the time to reach the mount."""
    begun = [pool.submit(call, number) for number in range(MANY)]
    time.sleep(0.3)
    return begun


def test_a_locked_store_holds_up_nobody_who_only_reads(live: Mounted, s: Path) -> None:
    elsewhere = prepare(live, f"{s.name}-elsewhere")
    with ThreadPoolExecutor(MANY) as pool:
        with store_locked(live):
            writers = at_once(pool, lambda number: (s / f"f{number}").write_text("written"))
            assert is_quick(lambda: work_that_reads(live, elsewhere))
            assert not any(writer.done() for writer in writers)
        assert {writer.result(60) for writer in writers} == {7}
    assert {(s / name).read_text() for name in os.listdir(s)} == {"written"}
    assert len(os.listdir(s)) == MANY


def test_files_are_made_and_written_in_a_locked_store_up_to_their_close(live: Mounted, s: Path) -> None:
    with store_locked(live):
        start = time.monotonic()
        files = [(s / f"f{number}").open("wb", buffering=0) for number in range(MANY)]
        for file in files:
            assert file.write(bytes(500_000)) == 500_000
        assert len(os.listdir(s)) == MANY
        assert (s / "f0").stat().st_size == 500_000
        assert time.monotonic() - start < LIMIT_SECONDS
    for file in files:
        file.close()
    assert (s / "f7").read_bytes() == bytes(500_000)


def test_the_first_file_of_a_mount_does_not_wait_for_a_locked_store(own: Mounted) -> None:
    own.mount()
    session = prepare(own, "s")
    own.umount()
    before = next_ino(own)
    own.mount()
    wait_for(lambda: next_ino(own) > before)
    with store_locked(own):
        start = time.monotonic()
        first = (session / "first").open("wb", buffering=0)
        first.write(b"first")
        assert "first" in os.listdir(session)
        assert time.monotonic() - start < LIMIT_SECONDS
    first.close()
    assert (session / "first").read_bytes() == b"first"


def next_ino(mounted: Mounted) -> int:
    with closing(sqlite3.connect(mounted.store / "index.db")) as db:
        return int(db.execute("SELECT value FROM store WHERE key = 'next_ino'").fetchone()[0])


def test_closes_that_nobody_waits_for_do_not_stand_in_the_way_of_reads(live: Mounted, s: Path) -> None:
    elsewhere = prepare(live, f"{s.name}-elsewhere")
    with store_locked(live):
        for number in range(3 * MANY):
            os.close(os.open(s / f"empty{number}", os.O_CREAT | os.O_WRONLY))
        time.sleep(0.3)
        assert is_quick(lambda: work_that_reads(live, elsewhere))
    names = {f"empty{number}" for number in range(3 * MANY)}
    assert set(os.listdir(s)) == names
    with live.open() as store:
        wait_for(lambda: {artifact.name for artifact in store.artifacts.list(s.name)} == names)


def test_who_waits_for_a_locked_store_gets_what_they_asked_for(live: Mounted, s: Path) -> None:
    elsewhere = prepare(live, f"{s.name}-elsewhere")
    with ThreadPoolExecutor(MANY) as pool:
        with store_locked(live):
            makers = at_once(pool, lambda number: (s / f"d{number}").mkdir())
            assert is_quick(lambda: work_that_reads(live, elsewhere))
        for maker in makers:
            maker.result(60)
    assert len(os.listdir(s)) == MANY
    work_that_writes(elsewhere)


def test_a_store_locked_for_too_long_is_ebusy_and_loses_no_byte(own: Mounted) -> None:
    put_in_front(own, "import llmspellfs.service.store as s; s.open_store.__kwdefaults__['busy_seconds'] = 1")
    own.mount()
    session = prepare(own, "s")
    file = (session / "kept").open("wb", buffering=0)
    file.write(b"kept")
    with store_locked(own):
        with refused(errno.EBUSY):
            (session / "new").mkdir()
        with refused(errno.EBUSY):
            file.close()
        work_that_reads(own, session)
    own.may_fail = True  # the log says where the bytes went
    work_that_writes(session)
    with own.open() as store:
        assert [(item.name, item.size) for item in store.upkeep.lost()] == [("kept", 4)]


def test_slow_closes_delay_only_their_callers(delayed: Mounted) -> None:
    session, elsewhere = delayed.session("closing"), prepare(delayed, "elsewhere-closing")
    with ThreadPoolExecutor(MANY) as pool:
        with gate_shut(delayed):
            slow = at_once(pool, lambda number: (session / f"f{number}").write_bytes(b"SLOW%d" % number))
            assert is_quick(lambda: work_of_all_kinds(delayed, elsewhere))
            assert is_quick(lambda: session.rename(delayed.sessions / "renamed"))
            assert not any(close.done() for close in slow)
        for close in slow:
            close.result(60)
    assert (delayed.sessions / "renamed/f7").read_bytes() == b"SLOW7"
    delayed.check()


def test_slow_searches_delay_only_their_callers(delayed: Mounted) -> None:
    elsewhere = prepare(delayed, "elsewhere-search")
    search = delayed.path / "search"
    with ThreadPoolExecutor(MANY) as pool:
        with gate_shut(delayed):
            slow = at_once(pool, lambda number: os.listdir(search / f"name:slow{number}"))
            assert is_quick(lambda: work_of_all_kinds(delayed, elsewhere))
            assert is_quick(lambda: os.stat(search / "name:slow0"))
            assert not any(listing.done() for listing in slow)
        assert all(listing.result(60) == [] for listing in slow)


def test_a_slow_transaction_of_the_mount_delays_nobody_who_only_reads(delayed: Mounted) -> None:
    session, elsewhere = delayed.session("committing"), prepare(delayed, "elsewhere-commit")
    with ThreadPoolExecutor(MANY) as pool:
        with gate_shut(delayed):
            (delayed.store / "slow-commit").touch()
            writers = at_once(pool, lambda number: (session / f"f{number}").write_text("written"))
            assert is_quick(lambda: work_that_reads(delayed, elsewhere))
            assert not any(writer.done() for writer in writers)
        assert {writer.result(60) for writer in writers} == {7}
