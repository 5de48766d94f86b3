"""Files being written, and what remains of them when their process is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import llmspellfs.storage
from llmspellfs.errors import NotSupported, StoreUnusable
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.lost import LostFound
from llmspellfs.storage.spool import Spool, held, is_alive, live_owners, salvage

PACKAGE = Path(llmspellfs.storage.__file__).parents[1]

WRITER = """
import os, sys, time, types
package = types.ModuleType("llmspellfs")
package.__path__ = [sys.argv[2]]
sys.modules["llmspellfs"] = package
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.spool import Spool
spool = Spool(sys.argv[1])
described, bare, committed, rewritten, empty = (spool.new() for _ in range(5))
described.describe(Destination("session-1", "results/a.csv"))
for file in (described, bare, committed, rewritten):
    os.write(file.fd, b"bytes of " + os.path.basename(file.path).encode())
committed.mark_committed()
rewritten.mark_committed()
rewritten.mark_dirty()
print(spool.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(PACKAGE)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert name
        yield process, name
        process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def contents(lost: LostFound) -> dict[tuple[str | None, str | None], set[bytes]]:
    found: dict[tuple[str | None, str | None], set[bytes]] = {}
    for item in lost.list():
        with lost.open(item.id) as file:
            found.setdefault((item.session, item.name), set()).add(file.read())
    return found


def test_spool_files_are_private_and_go_with_discard_and_close(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    folder = tmp_path / "spool" / spool.name
    assert spool.name.startswith(f"{os.getpid()}-")
    assert folder.stat().st_mode & 0o777 == 0o700
    first, second = spool.new(), spool.new()
    assert first.path != second.path
    assert os.fstat(first.fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(first.fd)
    first.describe(Destination("s", "n"))
    first.discard()
    first.discard()
    assert {path.name for path in folder.iterdir()} == {"lock", os.path.basename(second.path)}
    os.close(second.fd)
    spool.close()
    spool.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_close_leaves_bytes_that_were_not_committed_for_salvage(tmp_path: Path) -> None:
    spool, lost = Spool(tmp_path), LostFound(tmp_path)
    dirty, committed, empty = (spool.new() for _ in range(3))
    dirty.describe(Destination("session-1", "a"))
    os.write(dirty.fd, b"not committed")
    os.write(committed.fd, b"committed")
    committed.mark_committed()
    for file in (dirty, committed, empty):
        os.close(file.fd)
    spool.close()
    assert not is_alive(tmp_path, spool.name)
    assert len(salvage(tmp_path, lost)) == 1
    assert contents(lost) == {("session-1", "a"): {b"not committed"}}
    assert list((tmp_path / "spool").iterdir()) == []


def test_own_folder_is_alive_and_not_salvaged(tmp_path: Path) -> None:
    spool, lost = Spool(tmp_path), LostFound(tmp_path)
    file = spool.new()
    os.write(file.fd, b"being written")
    assert is_alive(tmp_path, spool.name)
    assert salvage(tmp_path, lost) == ()
    assert os.path.exists(file.path)
    file.discard()
    spool.close()
    assert not is_alive(tmp_path, spool.name)


@pytest.mark.parametrize("name", ["", "..", "../spool", "1-zz", "/etc", "1-ab/../..", "123-abcdef"])
def test_what_is_no_folder_is_not_alive(tmp_path: Path, name: str) -> None:
    assert not is_alive(tmp_path, name)


def test_nothing_to_salvage(tmp_path: Path) -> None:
    assert salvage(tmp_path, LostFound(tmp_path)) == ()
    assert list(tmp_path.iterdir()) == []


def test_live_process_is_left_alone_and_a_killed_one_salvaged(
    tmp_path: Path, child: tuple[subprocess.Popen[str], str]
) -> None:
    process, name = child
    lost = LostFound(tmp_path)
    assert is_alive(tmp_path, name)
    assert salvage(tmp_path, lost) == ()
    kill(process)
    assert not is_alive(tmp_path, name)
    ids = salvage(tmp_path, lost)
    assert sorted(ids) == sorted(item.id for item in lost.list())
    assert contents(lost) == {
        ("session-1", "results/a.csv"): {b"bytes of 1"},
        (None, None): {b"bytes of 2", b"bytes of 4"},
    }
    assert list((tmp_path / "spool").iterdir()) == []
    assert salvage(tmp_path, lost) == ()


def test_many_salvagers_at_once_lose_and_double_nothing(
    tmp_path: Path, child: tuple[subprocess.Popen[str], str]
) -> None:
    kill(child[0])
    lost = LostFound(tmp_path)
    ids: list[str] = []
    failures: list[Exception] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        try:
            ids.extend(salvage(tmp_path, lost))
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    salvage(tmp_path, lost)
    assert failures == []
    assert len(ids) == len(set(ids)) == len(lost.list()) == 3
    assert list((tmp_path / "spool").iterdir()) == []


def test_folders_that_come_while_others_salvage_are_never_touched(tmp_path: Path) -> None:
    lost, stop = LostFound(tmp_path), threading.Event()
    failures: list[Exception] = []

    def salvage_on() -> None:
        while not stop.is_set():
            try:
                salvage(tmp_path, lost)
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

    salvagers = [threading.Thread(target=salvage_on) for _ in range(2)]
    for thread in salvagers:
        thread.start()
    for _ in range(60):
        spool = Spool(tmp_path)
        file = spool.new()
        os.write(file.fd, b"x")
        assert os.path.samestat(os.stat(file.path), os.fstat(file.fd))
        file.discard()
        spool.close()
    stop.set()
    for thread in salvagers:
        thread.join()
    assert failures == []
    assert lost.list() == []


def test_folder_whose_salvager_died_half_way_is_finished(
    tmp_path: Path, child: tuple[subprocess.Popen[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, name = child
    kill(process)
    lost = LostFound(tmp_path)

    def die(*arguments: object, **options: object) -> str:
        raise NotSupported("died")

    monkeypatch.setattr(lost, "add", die)
    with pytest.raises(NotSupported):
        salvage(tmp_path, lost)
    monkeypatch.undo()
    (tmp_path / "spool" / name / "lock").unlink()
    assert len(salvage(tmp_path, lost)) == 3
    assert not (tmp_path / "spool" / name).exists()


def test_folder_that_was_never_named_goes_when_old(tmp_path: Path) -> None:
    young, old = (tmp_path / "spool" / f".new-{number}-ab" for number in (1, 2))
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    os.utime(old, (1, 1))
    salvage(tmp_path, LostFound(tmp_path))
    assert young.exists()
    assert not old.exists()


def test_what_is_not_the_spools_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "spool" / "stranger").mkdir(parents=True)
    (tmp_path / "spool" / "12-ab").write_bytes(b"a file where a folder should be")
    assert salvage(tmp_path, LostFound(tmp_path)) == ()
    assert (tmp_path / "spool" / "stranger").exists()
    assert not is_alive(tmp_path, "12-ab")


def test_what_others_hold_cannot_be_told_without_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    spool = Spool(tmp_path)
    spool.hold("7.1")
    for name in ("listdir", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(StoreUnusable):
                held(tmp_path)
    spool.close()


def in_fork(task: Callable[[], object]) -> None:
    """Do *task* in a forked child, which must not fail."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            task()
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_that_closes_leaves_its_parents_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    file = spool.new()
    spool.hold("7.1")

    def end() -> None:
        file.discard()
        spool.free("7.1")
        spool.close()

    in_fork(end)
    assert live_owners(tmp_path) == [spool.name]
    assert held(tmp_path) == {"7.1"}
    assert os.path.exists(file.path)
    file.discard()
    spool.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_folder_stays_for_the_forked_child_that_its_parent_leaves_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            os.close(theirs)
            os.read(ours, 1)
            spool.new().discard()
            spool.close()
            status = 0
        os._exit(status)
    spool.close()
    assert live_owners(tmp_path) == [spool.name]
    os.close(theirs)
    assert os.waitpid(child, 0)[1] == 0
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_forked_child_holds_is_held_until_it_ends(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.hold("7.1")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            for word in ("7.1", "8.1", "8.1", "9.1"):
                spool.hold(word)
            spool.free("9.1")
            os.write(theirs, b"x")
            signal.pause()
        os._exit(1)
    assert os.read(ours, 1) == b"x"
    assert held(tmp_path) == {"7.1", "8.1"}
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert held(tmp_path) == {"7.1"}
    for descriptor in (ours, theirs):
        os.close(descriptor)
    spool.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_fork_counts_past_the_files_that_its_parent_makes(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.new()

    def make() -> None:
        assert [os.path.basename(spool.new().path) for _ in range(2)] == ["2", "3"]

    in_fork(make)
    assert os.path.basename(spool.new().path) == "4"
    spool.close()
