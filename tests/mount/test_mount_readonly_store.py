"""A store whose folder cannot be written to: the mount is read-only, commands that read work, others say why not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import ReadOnly
from tests.mount.live import ROOT, Calls, Mounted, as_user, new_folder_of_everybodys, refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a medium read-only and be somebody else")
NOBODY = 65534
LARGE = bytes(range(256)) * 1200
"""More than one row of the index takes: a chunk, in a file of its own."""
DIES = """
import os, signal, sys
from llmspellfs import open_store
store = open_store(sys.argv[1])
for number in range(200):
    store.artifacts.put("desk", "a.txt", f"commit {number}".encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that everybody can reach, on a file system that is its own."""
    path = Path(new_folder_of_everybodys())
    path.chmod(0o755)
    run("mount", "-t", "tmpfs", "-o", "mode=755,size=64m", "tmpfs", str(path))
    try:
        yield path
    finally:
        run("umount", "-l", str(path))
        path.rmdir()


@pytest.fixture
def medium(base: Path) -> Iterator[Mounted]:
    """A store with a past on a file system of its own; not mounted yet, and not yet read-only."""
    mounted = Mounted(Path(new_folder_of_everybodys()))
    mounted.store = base / "store"
    mounted.log = mounted.store / "mount.log"
    fill(mounted.store)
    yield mounted
    mounted.end()
    shutil.rmtree(mounted.path.parent)


def fill(path: Path) -> None:
    with open_store(path, config=Config()) as store:
        session = store.sessions.create("desk", tags=["red"])
        store.artifacts.put(session.id, "a.txt", b"first", description="something quaint")
        store.artifacts.put(session.id, "dir/large", LARGE)
        store.sessions.save(session.id)
        store.artifacts.put(session.id, "a.txt", b"second")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def read_only(path: Path) -> None:
    run("mount", "-o", "remount,ro", str(path))


def test_a_store_on_a_read_only_medium_mounts_read_only_and_says_so(medium: Mounted) -> None:
    read_only(medium.store.parent)
    temporary = medium.path.with_name("temporary")
    temporary.mkdir()
    medium.environment["TMPDIR"] = str(temporary)
    said = medium.command("mount", str(medium.path))
    assert said.stdout == ""
    lines = said.stderr.splitlines()
    assert len(lines) == 1
    assert f"{medium.path} is read-only" in lines[0]
    assert "file system is read-only" in lines[0]
    s = medium.sessions / "desk"
    assert sorted(os.listdir(s)) == ["a.txt", "dir"]
    assert (s / "a.txt").read_bytes() == b"second"
    assert (s / "dir/large").read_bytes() == LARGE
    assert (s / ".session/checkpoints/1/a.txt").read_bytes() == b"first"
    assert (s / ".session/versions/a.txt/1").read_bytes() == b"first"
    assert (s / ".session/at/1").is_dir()
    assert json.loads((s / ".session/artifacts/a.txt.json").read_text())["version"] == 2
    assert (s / ".session/events.jsonl").read_text().count("\n") >= 4
    assert os.getxattr(s / "a.txt", "user.llmspell.version") == b"2"
    for query in ("quaint", "name:a.txt"):
        assert os.listdir(medium.path / "search" / query / "desk") == ["a.txt"], query
    assert os.listdir(medium.path / "by-tag/red/sessions") == ["desk"]
    shown = medium.shell("find . -type f | sort && grep -rc second . && du -s . && df . >/dev/null", s).stdout
    assert "./a.txt\n./dir/large\n" in shown
    with open(s / "a.txt", "rb") as file:
        os.fsync(file.fileno())
    medium.umount()
    assert list(temporary.iterdir()) == []


def test_every_write_to_such_a_mount_is_erofs(medium: Mounted) -> None:
    read_only(medium.store.parent)
    medium.mount()
    s = medium.sessions / "desk"
    writes: Calls = (
        lambda: (s / "new").write_bytes(b""),
        lambda: (s / "a.txt").write_bytes(b"x"),
        lambda: os.open(s / "a.txt", os.O_RDWR),
        lambda: os.truncate(s / "a.txt", 0),
        (s / "a.txt").unlink,
        lambda: (s / "a.txt").rename(s / "b"),
        (s / "folder").mkdir,
        (s / "dir").rmdir,
        s.rmdir,
        (medium.sessions / "new").mkdir,
        lambda: (s / "link").symlink_to("x"),
        lambda: (s / "a.txt").chmod(0o600),
        lambda: os.chown(s / "a.txt", 1, 1),
        lambda: os.utime(s / "a.txt"),
        lambda: os.setxattr(s / "a.txt", "user.k", b"v"),
        lambda: os.removexattr(s / "a.txt", "user.llmspell.description"),
        lambda: (s / ".session/status").write_text("completed"),
        lambda: (s / ".session/tags").write_text("blue"),
        lambda: (s / ".session/session.json").write_text("{}"),
    )
    for number, write in enumerate(writes):
        with refused(errno.EROFS, what=number):
            write()
    assert (s / "a.txt").read_bytes() == b"second"


def test_commands_that_read_work_and_those_that_write_say_why_not(medium: Mounted, tmp_path: Path) -> None:
    before = snapshot(medium.store)
    read_only(medium.store.parent)
    reading = (
        "session list", "session show desk", "session events desk", "artifact list desk", "artifact show desk:a.txt",
        "artifact history desk:a.txt", "find quaint", "find name:a*", "stats", "verify", "fsck --quick", "fsck --full",
        "gc --dry-run", f"export desk {tmp_path}/desk.tar.zst", f"backup {tmp_path}/copy", "config",
    )  # fmt: skip
    for words in reading:
        assert medium.command(*words.split()).stdout, words
    assert medium.command("artifact", "cat", "desk:a.txt").stdout == "second"
    assert "desk:a.txt" in medium.command("find", "quaint").stdout
    writing = (
        "session create other", "session complete desk", "session save desk", "session tag desk +x",
        "session delete desk", "session purge desk --yes", "artifact put desk /etc/hostname", "artifact rm desk:a.txt",
        "artifact purge desk:a.txt --yes", "gc", "scrub", "fsck --repair", "init",
    )  # fmt: skip
    for words in writing:
        done = medium.command(*words.split(), check=False, stdin="x")
        if words == "init":
            continue
        assert done.returncode in {1, 2}, words
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0] == f"llmspellfs: read-only: the store {medium.store}: its file system is read-only", words
    assert snapshot(medium.store) == before


def test_what_a_killed_process_left_in_the_spool_of_a_medium_is_told_by_fsck(medium: Mounted) -> None:
    """Nobody can salvage it there."""
    medium.mount()
    with (medium.sessions / "desk/large").open("wb") as file:
        file.write(LARGE * 20)
        file.flush()
        medium.kill()
        with refused(errno.ENOTCONN, errno.ECONNABORTED):
            os.fsync(file.fileno())
        with suppress(OSError):
            file.close()
    medium.end()
    read_only(medium.store.parent)
    said = medium.command("fsck", "--json")
    (note,) = [note for note in json.loads(said.stdout)["notes"] if note["kind"] == "spool"]
    assert note["what"] == "its process is gone: the next to open salvages it"


def snapshot(store: Path) -> dict[str, tuple[int, int]]:
    """Every file of the store's folder, with its size and time."""
    files = [path for path in store.rglob("*") if not path.is_symlink()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("lost", [(), ("index.db-shm",)], ids=["wal and shm", "wal alone"])
def test_commits_that_are_only_in_the_wal_are_shown(medium: Mounted, lost: tuple[str, ...]) -> None:
    environment = {**medium.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DIES, medium.store], env=environment, check=False)
    assert done.returncode == -9
    assert (medium.store / "index.db-wal").stat().st_size > 0
    for name in lost:
        (medium.store / name).unlink()
    read_only(medium.store.parent)
    assert medium.command("artifact", "cat", "desk:a.txt").stdout == "commit 199"
    medium.mount()
    assert (medium.sessions / "desk/a.txt").read_bytes() == b"commit 199"
    medium.umount()
    with open_store(medium.store, config=Config()) as store:
        assert store.upkeep.fsck().problems == ()


def test_a_read_only_view_of_a_store_in_use_follows_its_writer(base: Path) -> None:
    """As through a read-only bind mount: the folder is the same one, and another process writes to it."""
    fill(base / "store")
    (base / "view").mkdir()
    run("mount", "--bind", str(base / "store"), str(base / "view"))
    run("mount", "-o", "remount,bind,ro", str(base / "view"))
    try:
        with open_store(base / "view", config=Config()) as view:
            assert view.read_only == "its file system is read-only"
            assert text(view) == b"second"
            for content in (b"third", b"fourth"):  # nobody has it open, somebody opens it, somebody closes it
                with open_store(base / "store", config=Config()) as store:
                    for number in range(50):
                        store.artifacts.put("desk", "a.txt", content + str(number).encode())
                        if not number % 25:
                            wait_for(lambda: text(view) == content + str(number).encode())  # noqa: B023
                wait_for(lambda: text(view) == content + b"49")  # noqa: B023
            with pytest.raises(ReadOnly):
                view.artifacts.put("desk", "a.txt", b"x")
    finally:
        run("umount", str(base / "view"))


def text(store: Store) -> bytes:
    return store.artifacts.read(store.artifacts.get("desk", "a.txt"))


def test_a_mount_of_a_read_only_view_shows_what_others_write_within_a_second_or_so(medium: Mounted) -> None:
    base, real = medium.store.parent, medium.store
    (base / "view").mkdir()
    run("mount", "--bind", str(real), str(base / "view"))
    run("mount", "-o", "remount,bind,ro", str(base / "view"))
    medium.store = base / "view"
    try:
        medium.mount()
        path = medium.sessions / "desk/a.txt"
        assert path.read_bytes() == b"second"
        for number in range(3):
            with open_store(real, config=Config()) as store:
                store.artifacts.put("desk", "a.txt", b"by another" + bytes([number]))
            time.sleep(1.6)
            assert path.read_bytes() == b"by another" + bytes([number])
        medium.umount()
    finally:
        run("umount", str(base / "view"))


def test_another_user_reads_a_store_that_is_opened_to_him_and_cannot_change_it(medium: Mounted) -> None:
    store = medium.store

    def reads() -> object:
        with open_store(store, config=Config()) as view:
            found = view.read_only, text(view), [hit.name for hit in view.artifacts.query("quaint")]
            with pytest.raises(ReadOnly, match="not writable for this user"):
                view.sessions.complete("desk")
            return found

    run("chmod", "-R", "a+rX,a-w", str(store))
    assert as_user(NOBODY, reads) == ("its folder is not writable for this user", b"second", ["a.txt"])
    store.chmod(0o700)
    assert "Permission denied" in str(as_user(NOBODY, reads))


def test_a_store_inside_a_mount_of_a_store_is_refused(own: Mounted) -> None:
    own.mount()
    inner = own.session("inner")
    for path in (inner, inner / "below", own.path / "sessions"):
        done = own.command("--store", str(path), "init", check=False)
        assert done.returncode == 1
        assert "inside the mount of a store" in done.stderr
    assert os.listdir(inner) == []
