"""Folders of a hundred thousand artifacts, and listings while entries come and go.

The artifacts are copies of one that was stored through the mount, made in the index at once; they have no events.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.mount.live import Mounted, events
from tests.steady import steady_clock

MANY, SOME = 100_000, 2000
MOST_KIB = 500_000
"""Memory of the daemon at most: a listing takes about a kilobyte an entry, and what is remembered as much."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = _libc.readdir.restype = ctypes.c_void_p
_libc.opendir.argtypes = (ctypes.c_char_p,)
_libc.telldir.restype = ctypes.c_long
_libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)
for _function in (_libc.readdir, _libc.telldir, _libc.rewinddir, _libc.closedir):
    _function.argtypes = (ctypes.c_void_p,)
_NAME_AT = 19  # of glibc's struct dirent, behind 64-bit numbers


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount with a session "large", whose folder "many" has f0, f1 and so on."""
    mounted = Mounted(tmp_path_factory.mktemp("large"))
    mounted.mount()
    fill(mounted, mounted.session("large"), "many", MANY)
    yield mounted
    mounted.end()
    mounted.check()


def fill(mounted: Mounted, session: Path, name: str, count: int) -> Path:
    """Return the new folder *name* of *session*, with *count* artifacts."""
    folder = session / name
    folder.mkdir()
    (folder / "f0").write_text("content")
    events(session)  # with it the first is in history
    with closing(sqlite3.connect(mounted.store / "index.db", isolation_level=None, timeout=60)) as db:
        db.execute("BEGIN IMMEDIATE")
        _copy(db, count - 1, folder.stat().st_ino)
        db.execute("COMMIT")
    return folder


def _copy(db: sqlite3.Connection, count: int, folder: int) -> None:
    first = db.execute("SELECT value FROM store WHERE key = 'next_ino'").fetchone()[0]
    eid, ino, sid = db.execute("SELECT eid, ino, sid FROM entry WHERE folder = ? AND name = 'f0'", (folder,)).fetchone()
    sequence = db.execute("SELECT next_sequence FROM session WHERE sid = ?", (sid,)).fetchone()[0] - 1
    new = {"eid": "NULL", "name": "'f' || n", "ino": f"{first} + n", "sequence": f"{sequence} + n"}
    for table, key, template in (("entry", "eid", eid), ("inode", "ino", ino)):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(new.get(column, f"t.{column}") for column in columns)
        db.execute(
            f"WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count})"
            f" INSERT INTO {table} SELECT {values} FROM number, {table} t WHERE t.{key} = ?",
            (template,),
        )
    db.execute("UPDATE store SET value = value + ? WHERE key = 'next_ino'", (count + 1,))
    db.execute(
        "UPDATE session SET next_sequence = next_sequence + ?, artifact_count = artifact_count + ?,"
        " change = (SELECT max(change) + 1 FROM session) WHERE sid = ?",
        (count, count, sid),
    )


def memory(mounted: Mounted) -> int:
    """Return how much memory the daemon has had at most, in KiB."""
    text = Path(f"/proc/{mounted.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


def rows(mounted: Mounted) -> tuple[int, ...]:
    """Return how many artifacts are called f and a number, and sums of what changes where their rows are written."""
    query = (
        "SELECT count(*), sum(eid), sum(folder), sum(seq_from) FROM entry WHERE name GLOB 'f[0-9]*' AND seq_to IS NULL"
    )
    with closing(sqlite3.connect(mounted.store / "index.db", timeout=60)) as db:
        found: tuple[int, ...] = db.execute(query).fetchone()
    return found


def test_a_large_folder_is_listed_whole(large: Mounted) -> None:
    session = large.sessions / "large"
    with os.scandir(session / "many") as found:
        listed = [(entry.name, entry.inode()) for entry in found]
    assert len(listed) == len({inode for _, inode in listed}) == MANY
    assert {name for name, _ in listed} == {f"f{number}" for number in range(MANY)}
    assert large.shell("find many -name 'f99*' -size 1 | wc -l", session).stdout.strip() == "1111"
    assert large.shell("ls -l many/f9999? | wc -l", session).stdout.strip() == "10"
    assert memory(large) < MOST_KIB


def test_one_file_of_many_is_found_made_and_removed_at_once(large: Mounted) -> None:
    folder = large.sessions / "large/many"
    before = rows(large)
    with steady_clock() as clock:
        assert (folder / "f77777").read_text() == "content"
        assert not (folder / "missing").exists()
        (folder / "new").write_text("new")
        assert (folder / "f99999").stat().st_size == 7
        (folder / "new").rename(folder / "newer")
        (folder / "newer").unlink()
        assert clock() < 2
    assert rows(large) == before


def test_a_large_folder_is_renamed_as_one_row(large: Mounted) -> None:
    session = large.sessions / "large"
    os.listdir(session / "many")
    (session / "inside").mkdir()
    before = len(events(session))
    rows_before = rows(large)
    with steady_clock() as clock:
        (session / "many").rename(session / "inside/moved")
        assert (session / "inside/moved/f1234").read_text() == "content"
        assert not (session / "many").exists()
        assert clock() < 2
    assert rows(large) == rows_before
    assert [event["kind"] for event in events(session)[before:]] == ["folder.renamed"]
    (session / "inside/moved").rename(session / "many")


def test_views_of_a_large_folder(large: Mounted) -> None:
    assert os.listdir(large.path / "by-type/user_input") == ["large"]
    assert os.listdir(large.path / "search/name:f9999*") == ["large"]
    assert len(os.listdir(large.path / "search/name:f9999*/large/many")) == 11
    assert len(os.listdir(large.path / "by-type/user_input/large/many")) == MANY


def test_a_folder_of_many_is_removed_with_all_in_it(large: Mounted) -> None:
    session = large.session("removed")
    folder = fill(large, session, "some", SOME)
    assert len(os.listdir(folder)) == SOME
    large.shell("rm -rf some", session)
    assert os.listdir(session) == []
    assert [event["kind"] for event in events(session)].count("artifact.deleted") == SOME
    session.rmdir()


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open *folder* as opendir(3) does."""
    stream = _libc.opendir(os.fsencode(folder))
    assert stream
    yield stream
    _libc.closedir(stream)


def read(stream: int, count: int) -> list[str]:
    """Return the next *count* names, fewer at the end, without the dots."""
    names: list[str] = []
    while len(names) < count and (entry := _libc.readdir(stream)):
        name = os.fsdecode(ctypes.string_at(entry + _NAME_AT))
        if name not in {".", ".."}:
            names.append(name)
    return names


def test_entries_that_stay_are_listed_once_while_others_come_and_go(large: Mounted) -> None:
    session = large.session("busy")
    folder = fill(large, session, "some", SOME)
    with opened(folder) as stream:
        listed = read(stream, 100)
        gone = [*listed[:20], *sorted({f"f{number}" for number in range(SOME)} - set(listed))[:20]]
        for number, name in enumerate(gone):
            (folder / name).unlink() if number % 2 else (folder / name).rename(folder / f"renamed{number}")
            (folder / f"new{number}").write_text("new")
        listed += read(stream, 2 * SOME)
        stay = {f"f{number}" for number in range(SOME)} - set(gone)
        assert sorted(name for name in listed if name in stay) == sorted(stay)
        assert len(listed) == len(set(listed))
        _libc.rewinddir(stream)
        assert sorted(read(stream, 2 * SOME)) == sorted(os.listdir(folder))
    assert {f"new{number}" for number in range(40)} <= set(os.listdir(folder))


def test_a_place_in_a_listing_is_found_again(large: Mounted) -> None:
    session = large.session("places")
    folder = fill(large, session, "some", SOME)
    with opened(folder) as stream:
        first = read(stream, 700)
        place = _libc.telldir(stream)
        rest = read(stream, SOME)
        assert len({*first, *rest}) == SOME
        (folder / rest[5]).unlink()
        (folder / "new").write_text("new")
        for _ in range(2):
            _libc.seekdir(stream, place)
            assert [name for name in read(stream, SOME) if name not in {rest[5], "new"}] == [*rest[:5], *rest[6:]]
