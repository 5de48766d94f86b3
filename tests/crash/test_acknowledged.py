"""What was acknowledged is committed, whatever else opens, reads, copies, forks and closes beside the writer.

SQLite's locks belong to a process and a file: closing any descriptor of the file drops them all, and a fork has none.
Without them the next command to end believes to be the last, folds the WAL and deletes it under those that live,
whose later commits are then nowhere. So each of the things below is done again and again beside one that writes without
pause; the WAL must be the same file all along; the process is killed, and a new one looks for every commit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from tests.crash.acknowledging import JOBS, SESSION
from tests.crash.recorder import ROOT
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted, store_locked, wait_for

Figures = Callable[[str], None]
MODULE = [sys.executable, "-m", "tests.crash.acknowledging"]
BESIDE = {
    "opening_again": 20,
    "backup": 5,
    "fsck": 4,
    "upkeep": 4,
    "hash_in_a_child": 25,
    "fork": 50,
    "fork_that_stores": 25,
    "fork_that_opens": 15,
    "fork_that_reads_files": 25,
    "multiprocessing": 12,
    "inheriting": 25,
}
"""What the writing process itself does, and how often in a short test."""
COMING = {
    "look": 15,
    "store": 15,
    "die": 12,
    "backup": 4,
    "fsck": 5,
    "read as file": 50,
    "cp and sha256sum": 8,
    "sqlite3": 25,
}
"""What processes do that come and go, and how often in a short test."""
THOUSANDS = 2000
"""How often each is done in a soak, at least."""
LONGER = 20
"""How many times a short test's number is done to one store of a soak: what looks at all of it stays quick."""


class Bench:
    """A store at *path* with a session, and the file of what was acknowledged."""

    def __init__(self, base: Path) -> None:
        self.path, self.acks = base / "store", base / "acks"
        self.acks.touch()
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with open_store(self.path, config=Config()) as store:
            store.sessions.create(SESSION)

    def writer(self, beside: str = "nothing", count: int = 1) -> subprocess.Popen[str]:
        words = [*MODULE, str(self.path), str(self.acks), beside, str(count)]
        writer = subprocess.Popen(words, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        wait_for(self.acks.read_bytes, seconds=60)
        return writer

    def come(self, job: str, count: int) -> None:
        words = [*MODULE, "--come", str(self.path), str(self.acks), job, str(count)]
        subprocess.run(words, env=self.environment, cwd=ROOT, check=True, timeout=7200)

    def wal(self) -> tuple[int, int]:
        """Return what tells the WAL and the index from others that have taken their place."""
        return (self.path / "index.db-wal").stat().st_ino, (self.path / "index.db").stat().st_ino

    def more(self, number: int = 20) -> None:
        """Wait until *number* more were acknowledged: with the locks gone, these are the ones that are lost."""
        before = self.acks.read_bytes().count(b"\n")
        wait_for(lambda: self.acks.read_bytes().count(b"\n") > before + number, seconds=60)

    def kill(self, writer: subprocess.Popen[str]) -> None:
        writer.kill()
        writer.wait(30)
        assert writer.stdout is not None
        writer.stdout.close()

    def check(self) -> int:
        """Find every commit that was acknowledged; return how many."""
        names = self.acks.read_text().split("\n")[:-1]
        with open_store(self.path, config=Config()) as store:
            there = {artifact.name: artifact for artifact in store.artifacts.list(SESSION)}
            assert set(names) - set(there) == set()
            for name in names:
                with store.artifacts.open(there[name]) as reader:
                    assert b"".join(reader.blocks()) == name.encode()
            assert store.upkeep.fsck().problems == ()
        return len(names)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def beside(bench: Bench, name: str, count: int) -> int:
    """Have the writer do *name* so often; return how many commits were found again."""
    writer = bench.writer(name, count)
    first = bench.wal()
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "done\n", f"{name} has failed"
        bench.come("look", 2)
        bench.more()
        assert bench.wal() == first
    finally:
        bench.kill(writer)
    return bench.check()


def coming(bench: Bench, job: str, count: int) -> int:
    """Have so many processes do *job* beside a writer; return how many commits were found again."""
    writer = bench.writer()
    first = bench.wal()
    try:
        bench.come(job, count)
        bench.more()
        assert bench.wal() == first
    finally:
        bench.kill(writer)
    return bench.check()


def thousands(base: Path, do: Callable[[Bench, str, int], int], name: str, count: int) -> str:
    """Do *name* thousands of times, in one store after another."""
    each, verified = count * LONGER, 0
    rounds = -(-max(count * 80, THOUSANDS) // each)
    for number in range(rounds):
        folder = base / str(number)
        folder.mkdir()
        verified += do(Bench(folder), name, each)
        shutil.rmtree(folder)
    return f"{name} {rounds * each} times, {verified} commits verified"


@pytest.mark.parametrize(("name", "count"), BESIDE.items())
def test_what_the_writing_process_does_itself_takes_no_commit_with_it(
    bench: Bench, figures: Figures, name: str, count: int
) -> None:
    figures(f"{name} {count} times, {beside(bench, name, count)} commits verified")


@pytest.mark.parametrize(("job", "count"), COMING.items())
def test_processes_that_come_and_go_take_no_commit_with_them(
    bench: Bench, figures: Figures, job: str, count: int
) -> None:
    figures(f"{job} {count} times, {coming(bench, job, count)} commits verified")


def test_a_process_that_drops_its_locks_would_be_noticed(bench: Bench) -> None:
    with pytest.raises((AssertionError, FileNotFoundError)):
        beside(bench, "dropping_its_locks", 1)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("name", "count"), BESIDE.items())
def test_thousands_of_times_the_writing_process_takes_no_commit_with_it(
    tmp_path: Path, figures: Figures, name: str, count: int
) -> None:
    figures(thousands(tmp_path, beside, name, count))


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("job", "count"), COMING.items())
def test_thousands_of_processes_that_come_and_go_take_no_commit_with_them(
    tmp_path: Path, figures: Figures, job: str, count: int
) -> None:
    figures(thousands(tmp_path, coming, job, count))


def test_the_last_to_close_and_the_first_to_open_lose_nothing_to_each_other(bench: Bench, figures: Figures) -> None:
    """Each of three closes last again and again, and deletes the WAL, while another opens."""
    words = [*MODULE, "--come", str(bench.path), str(bench.acks), "store", "25"]
    processes = [subprocess.Popen(words, env=bench.environment, cwd=ROOT) for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    count = bench.check()
    assert count == 75
    figures(f"{count} commits verified")


def test_a_child_goes_on_safely_once_the_process_that_forked_it_is_gone(bench: Bench) -> None:
    """The child has stored before; its parent is killed; others come and go; the child stores again, and is killed."""
    code = """
import os, sys, time
from tests.crash.acknowledging import Acks, opened
path, acks = sys.argv[1], Acks(sys.argv[2])
store = opened(path)
acks.store(store, "parent")
reading, writing = os.pipe()
if os.fork() == 0:
    acks.store(store, "child 1")
    os.write(writing, b"1")
    sys.stdin.readline()
    acks.store(store, "child 2")
    os.write(1, b"stored")
    os.kill(os.getpid(), 9)
os.read(reading, 1)
os.write(1, b"forked\\n")
os.kill(os.getpid(), 9)
"""
    words = [sys.executable, "-c", code, str(bench.path), str(bench.acks)]
    with subprocess.Popen(
        words, env=bench.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"forked\n"
        parent.wait(30)
        first = bench.wal()
        bench.come("store", 3)
        assert bench.wal() == first
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.read() == b"stored"
    assert bench.check() == 6


def test_a_wal_that_cannot_be_folded_and_grows_long_loses_nothing(bench: Bench, figures: Figures) -> None:
    """Somebody reads an old state all along, so that the WAL passes the length at which commits would fold it."""
    from llmspellfs.storage.index import _CHECKPOINT_PAGES

    pages = 400
    code = f"""
import os, sys
from llmspellfs.storage import index
index._CHECKPOINT_PAGES, index._PRAGMAS = {pages}, tuple(
    text.replace("{_CHECKPOINT_PAGES}", "{pages}") for text in index._PRAGMAS)
from tests.crash.acknowledging import Acks, SESSION, opened
store, acks = opened(sys.argv[1]), Acks(sys.argv[2])
with store.engine.index.snapshot() as db:
    db.execute("SELECT count(*) FROM entry").fetchone()
    for number in range(150):
        name = f"long-{{number}}"
        store.artifacts.put(SESSION, f"{{name}}.bytes", os.urandom(40000))
        acks.store(store, name)
    os.write(1, b"done\\n")
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""
    words = [sys.executable, "-c", code, str(bench.path), str(bench.acks)]
    with subprocess.Popen(
        words, env=bench.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        bench.come("look", 10)
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"done\n"
        first, size = bench.wal(), (bench.path / "index.db-wal").stat().st_size
        assert size > 2 * pages * 4096
        bench.come("look", 1)
        assert bench.wal() == first
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    assert bench.check() == 150
    figures(f"150 commits verified from a WAL of {size >> 20} MiB")


_WATCH = """
import os, sys
_log = os.open(os.environ["OPENED_LOG"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def _hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = os.path.basename(os.fsdecode(arguments[0]))
        if name in {"index.db", "index.db-wal", "index.db-shm"} and not (arguments[2] or 0) & os.O_EXCL:
            links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
            is_held = any(os.readlink(link).endswith("/index.db") for link in links if os.path.islink(link))
            os.write(_log, f"{os.getpid()} {'held' if is_held else 'free'} {name} {arguments}\\n".encode())
sys.addaudithook(_hook)
"""
"""A `sitecustomize` that notes whenever Python opens a file of the index that may be there already.

And whether SQLite has the index open in that process, which would lose its locks with the descriptor.
"""


@pytest.fixture
def opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every process that is started note which of the index's files it opens; the file of these notes."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(_WATCH)
    log = tmp_path / "opens"
    monkeypatch.setenv("OPENED_LOG", str(log))
    return log


def test_no_process_opens_the_index_but_through_sqlite(tmp_path: Path, opens: Path) -> None:
    bench = Bench(tmp_path)
    bench.environment["PYTHONPATH"] = f"{tmp_path / 'watch'}:{ROOT}"
    for name in ("opening_again", "backup", "fsck", "upkeep"):
        bench.kill(bench.writer(name, 1))
        writer = bench.writer(name, 4)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "done\n"
        bench.kill(writer)
    assert opens.exists(), "the watch has not begun"
    noted = [line.split()[1:3] for line in opens.read_text().splitlines()]
    assert [which for which in noted if which not in (["free", "index.db-wal"], ["free", "index.db-shm"])] == []
    bench.come("read as file", 1)
    assert "free index.db " in opens.read_text(), "the watch sees nothing"


def stop(mounted: Mounted) -> None:
    """Stop the daemon between two transactions: in the middle of one it would keep all other writers waiting."""

    def is_stopped(thread: Path) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return thread.read_text().rpartition(") ")[2].startswith("T")
        return True  # it has ended

    process = mounted.pid
    with store_locked(mounted):
        os.kill(process, signal.SIGSTOP)
        wait_for(lambda: all(map(is_stopped, Path(f"/proc/{process}/task").glob("*/stat"))), seconds=60)


@pytest.mark.mount
@needs_fuse
class TestMount:
    """The same beside a live daemon."""

    @pytest.fixture
    def mounted(self, tmp_path: Path, opens: Path) -> Mounted:
        mounted = Mounted(tmp_path)
        mounted.environment["PYTHONPATH"] = f"{tmp_path / 'watch'}:{ROOT}"
        mounted.mount()
        mounted.session(SESSION)
        return mounted

    def test_a_daemon_loses_nothing_to_those_that_come_and_go(
        self, mounted: Mounted, tmp_path: Path, opens: Path, figures: Figures
    ) -> None:
        self._come_and_go(mounted, tmp_path, opens, figures, 1)

    @pytest.mark.soak
    @pytest.mark.timeout(0)
    def test_a_daemon_loses_nothing_to_thousands(
        self, mounted: Mounted, tmp_path: Path, opens: Path, figures: Figures
    ) -> None:
        self._come_and_go(mounted, tmp_path, opens, figures, THOUSANDS // 8)

    def _come_and_go(self, mounted: Mounted, tmp_path: Path, opens: Path, figures: Figures, rounds: int) -> None:
        bench = Bench.__new__(Bench)
        bench.path, bench.acks, bench.environment = mounted.store, tmp_path / "acks", mounted.environment
        folder, written, daemon = mounted.sessions / SESSION, 0, mounted.pid
        first = bench.wal()
        try:
            for job in [*JOBS] * min(rounds, 10):
                bench.come(job, 2 * rounds // min(rounds, 10))
                written = self._write(folder, bench, written, 10)
                assert bench.wal() == first, job
            stop(mounted)
            for job in ("look", "store", "die", "sqlite3"):
                bench.come(job, 5)
            os.kill(mounted.pid, signal.SIGCONT)
            written = self._write(folder, bench, written, 10)
            assert bench.wal() == first
            mounted.kill()
        finally:
            mounted.end()
        assert [line for line in opens.read_text().splitlines() if line.startswith(f"{daemon} ")] == []
        figures(f"{rounds} rounds of {len(JOBS)} jobs, {bench.check()} commits verified")
        mounted.check(is_whole=True)

    @staticmethod
    def _write(folder: Path, bench: Bench, start: int, count: int) -> int:
        for number in range(start, start + count):
            name = f"mount-{number}"
            (folder / name).write_bytes(name.encode())
            with open(bench.acks, "a") as acks:
                acks.write(f"{name}\n")
        return start + count
