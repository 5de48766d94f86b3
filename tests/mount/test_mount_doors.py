"""Files that other doors replace, purge, move or swap while this mount has them open or cached."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs.service.paths import Place
from tests.mount.live import Mounted, refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmspellfs import Store

PAGES = 8192
SETTLED_SECONDS = 2.1
"""After this the kernel is believed to know a file's size, and its pages are used again."""


@pytest.fixture(scope="module")
def door(shared: Mounted) -> Iterator[Store]:
    """The store as another program has it."""
    with shared.open() as store:
        yield store


@pytest.fixture(scope="module")
def settled(shared: Mounted) -> Path:
    """A session with old files whose pages the kernel has."""
    s = shared.session("settled")
    for name in ("gone", "moved", "replaced", "refused", "written", "held"):
        (s / name).write_bytes(name[0].encode() * PAGES)
    time.sleep(SETTLED_SECONDS)
    for path in s.iterdir():
        assert len(path.read_bytes()) == PAGES
    return s


def stored(door: Store, s: Path, name: str) -> bytes:
    return door.artifacts.read(door.artifacts.get(s.name, name))


def test_a_path_whose_file_another_door_swaps_has_the_new_files_pages(
    live: Mounted, settled: Path, door: Store
) -> None:
    s = settled
    door.artifacts.delete(s.name, "gone")
    door.artifacts.update(s.name, "moved", name="gone")
    for _ in range(3):
        assert (s / "gone").read_bytes() == b"m" * PAGES
    assert stored(door, s, "gone") == b"m" * PAGES


def test_an_old_handle_does_not_fill_the_pages_of_the_file_that_took_its_place(
    live: Mounted, settled: Path, door: Store
) -> None:
    path = settled / "replaced"
    with open(path, "rb", buffering=0) as old:
        door.artifacts.delete(settled.name, "replaced")
        door.artifacts.put(settled.name, "replaced", b"N" * PAGES)
        time.sleep(SETTLED_SECONDS)
        with open(path, "rb", buffering=0) as new:
            assert old.read(PAGES) == b"r" * PAGES
            assert new.read(PAGES) == b"N" * PAGES
    assert path.read_bytes() == b"N" * PAGES


def test_bytes_of_a_commit_that_failed_are_in_nobodys_pages(live: Mounted, settled: Path, door: Store) -> None:
    live.may_fail = True
    path = settled / "refused"
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"B" * PAGES)
    door.sessions.suspend(settled.name)
    with refused(errno.EROFS):
        os.close(writer)
    door.sessions.resume(settled.name)
    before = door.upkeep.lost()
    for _ in range(2):
        assert path.read_bytes() == b"r" * PAGES
    assert stored(door, settled, "refused") == b"r" * PAGES
    assert [(item.name, item.size) for item in before] == [("refused", PAGES)]


def test_a_writers_pages_and_a_readers_are_never_mixed(live: Mounted, settled: Path, door: Store) -> None:
    path = settled / "written"
    door.artifacts.put(settled.name, "written", b"B" * PAGES)
    writer = os.open(path, os.O_RDWR)
    os.pwrite(writer, b"C" * PAGES, 0)
    reader = os.open(path, os.O_RDONLY)
    assert os.pread(reader, PAGES, 0) == b"C" * PAGES
    os.pwrite(writer, b"D" * PAGES, 0)
    assert os.pread(reader, PAGES, 0) == os.pread(writer, PAGES, 0) == b"D" * PAGES
    os.close(writer)
    assert path.read_bytes() == b"D" * PAGES
    os.close(reader)
    assert path.read_bytes() == stored(door, settled, "written") == b"D" * PAGES


def test_an_old_readers_pages_go_with_it(live: Mounted, settled: Path, door: Store) -> None:
    path = settled / "held"
    old = os.open(path, os.O_RDONLY)
    assert os.pread(old, 10, 0) == b"h" * 10
    door.artifacts.put(settled.name, "held", b"B" * PAGES)
    time.sleep(1.1)
    writer = os.open(path, os.O_RDWR)
    os.pwrite(writer, b"C" * PAGES, 0)
    assert os.pread(old, PAGES, 0) == b"h" * PAGES
    os.close(old)
    os.close(writer)
    for pause in (0, SETTLED_SECONDS, 0):
        time.sleep(pause)
        assert path.read_bytes() == b"C" * PAGES
    assert stored(door, settled, "held") == b"C" * PAGES


def test_an_append_goes_behind_what_another_door_has_stored(live: Mounted, s: Path, door: Store) -> None:
    (s / "log").write_text("one\n")
    assert (s / "log").stat().st_size == 4
    door.artifacts.put(s.name, "log", b"one\ntwo from elsewhere\n")
    live.shell("echo three >> log", s)
    assert stored(door, s, "log") == b"one\ntwo from elsewhere\nthree\n"
    assert (s / "log").read_bytes() == b"one\ntwo from elsewhere\nthree\n"


def test_tags_are_appended_to_what_another_door_has_given(live: Mounted, s: Path, door: Store) -> None:
    assert (s / ".session/tags").stat().st_size == 0
    door.sessions.tag(s.name, add=["alpha"])
    live.shell("echo beta >> .session/tags", s)
    assert door.sessions.get(s.name).tags == ("alpha", "beta")


def test_two_appenders_keep_every_line(live: Mounted, s: Path) -> None:
    live.shell("for n in 1 2; do (for i in $(seq 200); do echo $n.$i; done >> log) & done; wait", s)
    lines = (s / "log").read_text().split()
    assert sorted(lines) == sorted(f"{n}.{i}" for n in (1, 2) for i in range(1, 201))


def test_a_handle_on_a_purged_file_reads_an_error_never_another_files_bytes(
    live: Mounted, s: Path, door: Store
) -> None:
    live.may_fail = True
    door.artifacts.put(s.name, "secret", b"S" * 5000)
    with open(s / "secret", "rb", buffering=0) as handle:
        door.artifacts.purge(s.name, "secret")
        door.artifacts.put(s.name, "other", b"O" * 5000)
        with refused(errno.EIO):
            handle.read(20)
    assert (s / "other").read_bytes() == b"O" * 5000


def test_a_time_that_no_store_can_hold_loses_nothing(live: Mounted, s: Path, door: Store) -> None:
    with open(s / "f", "wb", buffering=0) as file:
        file.write(b"precious")
        os.utime(file.fileno(), (10**10, 10**10))
    assert stored(door, s, "f") == b"precious"
    assert time.gmtime((s / "f").stat().st_mtime).tm_year == 2262
    os.utime(s / "f", (-(10**10), -(10**10)))
    assert (s / "f").read_bytes() == b"precious"


def test_an_open_file_that_another_door_moves_is_appended_to_there(live: Mounted, s: Path, door: Store) -> None:
    other = live.session(f"{s.name[:90]}-there")
    (s / "log").write_text("one\n")
    with open(s / "log", "rb", buffering=0) as reader:
        here, there = door.sessions.get(s.name), door.sessions.get(other.name)
        door.entries.rename(Place(here.sid, here.ino, "log"), Place(there.sid, there.ino, "log"))
        live.shell("echo two >> log", other)
        assert reader.read(4) == b"one\n"
    assert stored(door, other, "log") == b"one\ntwo\n"
    wait_for(lambda: os.listdir(s) == [], seconds=1.5)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC])
def test_the_readme_cannot_be_opened_for_writing(live: Mounted, flags: int) -> None:
    before = (live.path / "README").read_bytes()
    with refused(errno.EROFS, errno.EACCES):
        os.close(os.open(live.path / "README", flags))
    assert (live.path / "README").read_bytes() == before


def test_a_name_that_another_door_has_just_removed_can_be_made_anew(live: Mounted, s: Path, door: Store) -> None:
    for number in range(5):
        (s / "f").write_text(f"old {number}")
        assert (s / "f").stat().st_size == 5
        door.artifacts.delete(s.name, "f")
        (s / "f").write_text(f"new {number}")
        assert (s / "f").read_text() == f"new {number}"
