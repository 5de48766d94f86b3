"""Two mounts of one store, and a third door: what one changes the others show within a second, never mixed."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted, refused, wait_for
from tests.mount.pairs import Pair
from tests.steady import steady_clock

if TYPE_CHECKING:
    from llmspellfs import Store

SECOND = 1.0
"""How old what a mount shows may be."""
SLACK = 0.6
"""What a loaded machine takes beside."""
SETTLED_SECONDS = 2.1
"""After this a file that came through another door can be mapped shared; until then mmap(MAP_SHARED) is ENODEV."""
PAGES = 5 * 4096


@pytest.fixture(scope="module")
def pair(shared: Mounted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    found = Pair(shared, tmp_path_factory.mktemp("other") / "mnt")
    yield found
    found.end()


@pytest.fixture
def other(pair: Pair, s: Path) -> Path:
    """The session's directory in the other mount."""
    return pair.there(s)


@pytest.fixture(scope="module")
def door(shared: Mounted) -> Iterator[Store]:
    with shared.open() as store:
        yield store


def soon(what: Callable[[], object], expected: object) -> None:
    """Find *what* to be *expected* within a second, an OSError being its number."""
    got: object = None

    def is_there() -> bool:
        nonlocal got
        try:
            got = what()
        except OSError as error:
            got = error.errno
        return got == expected

    wait_for(is_there, lambda: (got, expected), SECOND + SLACK)


def test_a_new_name_is_there_though_it_was_looked_for_before(s: Path, other: Path) -> None:
    for number in range(20):
        name = f"f{number}"
        with refused(errno.ENOENT):
            os.stat(other / name)
        (s / name).write_text(name)
        soon((other / name).read_text, name)


def test_content_size_and_attributes_follow(s: Path, other: Path) -> None:
    path, there = s / "f", other / "f"
    path.write_bytes(b"a" * PAGES)
    soon(there.read_bytes, b"a" * PAGES)
    for number in range(5):
        content = bytes([65 + number]) * (PAGES + number * 1000)
        path.write_bytes(content)
        path.chmod(0o600 + number)
        os.utime(path, ns=(number, number * 10**9))
        soon(lambda: there.stat().st_size, len(content))
        soon(there.read_bytes, content)
        soon(lambda: (there.stat().st_mode & 0o777, there.stat().st_mtime_ns), (0o600 + number, number * 10**9))
    os.truncate(path, 10)
    soon(lambda: (there.stat().st_size, there.read_bytes()), (10, content[:10]))


def test_xattrs_tags_and_sidecars_follow(s: Path, other: Path) -> None:
    (s / "f").write_text("x")
    soon((other / "f").exists, True)
    for number in range(5):
        os.setxattr(s / "f", "user.llmspell.tags", f"t{number}".encode())
        os.setxattr(s / "f", "user.key", f"v{number}".encode())
        soon(lambda: os.getxattr(other / "f", "user.llmspell.tags"), f"t{number}".encode())
        soon(lambda: os.getxattr(other / "f", "user.key"), f"v{number}".encode())
        sidecar = other / ".session/artifacts/f.json"
        soon(lambda: json.loads(sidecar.read_text())["tags"], [f"t{number}"])  # noqa: B023
    os.removexattr(s / "f", "user.key")
    soon(lambda: os.getxattr(other / "f", "user.key"), errno.ENODATA)


def test_renames_deletions_and_folders_follow(s: Path, other: Path) -> None:
    (s / "d/e").mkdir(parents=True)
    (s / "d/e/f").write_text("x")
    soon((other / "d/e/f").read_text, "x")
    assert os.listdir(other) == ["d"]
    (s / "d").rename(s / "moved")
    soon((other / "moved/e/f").read_text, "x")
    soon(lambda: os.listdir(other), ["moved"])
    soon(lambda: os.stat(other / "d"), errno.ENOENT)
    (s / "moved/e/f").unlink()
    soon(lambda: os.stat(other / "moved/e/f"), errno.ENOENT)
    soon(lambda: os.listdir(other / "moved/e"), [])
    (s / "moved/e").rmdir()
    (s / "link").symlink_to("one")
    soon(lambda: os.readlink(other / "link"), "one")
    (s / "link").unlink()
    (s / "link").symlink_to("two")
    soon(lambda: os.readlink(other / "link"), "two")


def test_a_session_frozen_through_one_mount_is_frozen_on_the_other(s: Path, other: Path, door: Store) -> None:
    (other / "f").write_text("x")
    (s / ".session/status").write_text("suspended")
    assert (other / ".session/status").read_text() == "suspended\n"
    with refused(errno.EROFS):
        (other / "f").write_text("y")
    (other / ".session/status").write_text("active")
    (s / "f").write_text("y")
    assert (s / ".session/events.jsonl").read_bytes() == (other / ".session/events.jsonl").read_bytes()
    door.sessions.complete(s.name)
    for path in (s, other):
        assert (path / ".session/status").read_text() == "completed\n"
        with refused(errno.EROFS):
            (path / "new").touch()


def test_sessions_come_and_go_on_both(live: Mounted, pair: Pair, s: Path, other: Path) -> None:
    mine = s.with_name(f"{s.name}-more")
    with refused(errno.ENOENT):
        os.stat(pair.there(mine))
    mine.mkdir()
    (mine / "f").write_text("x")
    soon((pair.there(mine) / "f").read_text, "x")
    soon(lambda: mine.name in os.listdir(other.parent), True)
    (pair.there(mine) / "f").unlink()
    pair.there(mine).rmdir()
    soon(lambda: mine.name in os.listdir(s.parent), False)
    soon(lambda: os.stat(mine), errno.ENOENT)


def test_an_open_handle_keeps_what_it_has_and_a_new_one_has_the_new(s: Path, other: Path) -> None:
    (s / "f").write_bytes(b"a" * PAGES)
    soon((other / "f").exists, True)
    with open(other / "f", "rb", buffering=0) as old:
        assert old.read(10) == b"a" * 10
        (s / "f").write_bytes(b"b" * (PAGES + 5))
        time.sleep(SECOND)
        with open(other / "f", "rb", buffering=0) as new:
            assert new.read(2 * PAGES) == b"b" * (PAGES + 5)
            assert os.pread(old.fileno(), 2 * PAGES, 0) == b"a" * PAGES
        (s / "f").unlink()
        time.sleep(SECOND)
        assert os.pread(old.fileno(), 2 * PAGES, 0) == b"a" * PAGES
    with refused(errno.ENOENT):
        (other / "f").read_bytes()


def test_a_mapping_is_of_one_content_and_the_next_of_the_next(s: Path, other: Path) -> None:
    (s / "f").write_bytes(b"a" * PAGES)
    soon((other / "f").read_bytes, b"a" * PAGES)
    for number in range(4):
        (s / "f").write_bytes(bytes([98 + number]) * PAGES)
        time.sleep(SECOND)
        with open(other / "f", "rb") as file, mmap.mmap(file.fileno(), PAGES, flags=mmap.MAP_PRIVATE) as view:
            assert set(view[:]) == {98 + number}
            (s / "f").write_bytes(b"z" * PAGES)
            assert set(view[:]) == {98 + number}
    time.sleep(SETTLED_SECONDS)
    with open(other / "f", "rb") as file, mmap.mmap(file.fileno(), PAGES, prot=mmap.PROT_READ) as view:
        assert set(view[:]) == {ord("z")}


def test_writers_on_both_mounts_append_and_nothing_is_lost_once_each_has_seen_the_other(s: Path, other: Path) -> None:
    lines = []
    for number in range(12):
        path = (s, other)[number % 2] / "log"
        with open(path, "a") as log:
            log.write(f"line {number}\n")
        lines.append(f"line {number}\n")
    soon((s / "log").read_text, "".join(lines))
    soon((other / "log").read_text, "".join(lines))


class Race:
    """Changes of a few files of a session, each content naming its number, and looks at them from elsewhere."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.names = [f"f{number}" for number in range(6)]
        self.written: dict[str, list[tuple[float, int]]] = {name: [] for name in self.names}
        self.begun = dict.fromkeys(self.names, 0)
        self.is_over = threading.Event()
        self.wrong: list[object] = []
        self.number = 0
        self.looks = 0

    def write(self, name: str, store: Callable[[str, bytes], object]) -> None:
        self.number += 1
        self.begun[name] = self.number
        store(name, content(self.number))
        self.written[name].append((self.clock(), self.number))

    def look(self, read: Callable[[str], bytes], seed: int, age: float) -> None:
        """Until all is over, find by *read* what is whole, and no older than *age* seconds."""
        pick = random.Random(seed)
        while not self.is_over.is_set():
            name = pick.choice(self.names)
            asked = self.clock()
            oldest = max((number for at, number in list(self.written[name]) if at < asked - age), default=0)
            got = read(name)
            number = int(got[:8])
            if got != content(number) or not oldest <= number <= self.begun[name]:
                self.wrong.append((seed, name, number, oldest, self.begun[name], len(got)))
            self.looks += 1


def content(number: int) -> bytes:
    return (f"{number:08d}" * (100 + number % 900)).encode()


def race(s: Path, other: Path, door: Store, seconds: float, *, changes: int = 0, looks_from_elsewhere: int = 0) -> Race:
    """Have one mount and, now and then, the third door write; the other mount and the third door read all along.

    That goes on for *seconds*, and until there are so many *changes* and *looks_from_elsewhere*.
    """
    with steady_clock() as clock:
        return _raced(Race(clock), s, other, door, seconds, changes, looks_from_elsewhere)


def _raced(
    race: Race, s: Path, other: Path, door: Store, seconds: float, changes: int, looks_from_elsewhere: int
) -> Race:
    for name in race.names:
        race.write(name, lambda name, data: (s / name).write_bytes(data))
    time.sleep(SECOND)
    looks: list[tuple[Callable[[str], bytes], int, float]] = [
        (lambda name: (other / name).read_bytes(), 1, SECOND + SLACK),
        (lambda name: (other / name).read_bytes(), 2, SECOND + SLACK),
        (lambda name: stored(door, s, name), 3, 0.0),
    ]
    readers = [threading.Thread(target=race.look, args=look) for look in looks]
    for reader in readers:
        reader.start()
    end, pick = time.monotonic() + seconds, random.Random(4)
    while time.monotonic() < end or race.number < changes or race.looks < looks_from_elsewhere:
        if race.number % 7:
            race.write(pick.choice(race.names), lambda name, data: (s / name).write_bytes(data))
        else:
            race.write(pick.choice(race.names), lambda name, data: door.artifacts.put(s.name, name, data))
    race.is_over.set()
    for reader in readers:
        reader.join()
    time.sleep(SECOND)
    for name in race.names:
        last = content(race.written[name][-1][1])
        assert (other / name).read_bytes() == (s / name).read_bytes() == stored(door, s, name) == last
    return race


def test_what_is_read_elsewhere_is_never_mixed_and_never_older_than_a_second(s: Path, other: Path, door: Store) -> None:
    found = race(s, other, door, 5, changes=50, looks_from_elsewhere=200)
    assert not found.wrong, (len(found.wrong), found.wrong[:5])


@pytest.mark.soak
def test_many_thousands_of_changes_are_never_mixed_and_never_older_than_a_second(
    s: Path, other: Path, door: Store, soak_seconds: float, figures: Callable[[str], None]
) -> None:
    found = race(s, other, door, soak_seconds)
    figures(f"{found.number} changes, {found.looks} looks from elsewhere, {len(found.wrong)} wrong")
    assert not found.wrong, (len(found.wrong), found.wrong[:5])


def stored(door: Store, s: Path, name: str) -> bytes:
    return door.artifacts.read(door.artifacts.get(s.name, name))


def test_listings_of_both_agree_after_many_changes_of_names(s: Path, other: Path) -> None:
    pick = random.Random(7)
    expected: set[str] = set()
    for number in range(300):
        side = pick.choice((s, other))
        if expected and pick.random() < 0.5:
            name = pick.choice(sorted(expected))
            if pick.random() < 0.5:
                wait_for((side / name).exists, seconds=SECOND + SLACK)
                (side / name).unlink()
            else:
                wait_for((side / name).exists, seconds=SECOND + SLACK)
                (side / name).rename(side / f"r{number}")
                expected.add(f"r{number}")
            expected.discard(name)
        else:
            (side / f"n{number}").write_text("x")
            expected.add(f"n{number}")
    for path in (s, other):
        soon(lambda: set(os.listdir(path)), expected)  # noqa: B023
        assert {entry.name for entry in os.scandir(path) if entry.is_file()} == expected
